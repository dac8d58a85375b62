"""Look up effects by name, read effects from text, and apply them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dafxtool.audio.level import is_silent
from dafxtool.effects.builtin import builtin_effects, render_builtin
from dafxtool.effects.chain import check_name, make_chain, split_text
from dafxtool.effects.effect import Effect, EffectChoice, stage_settings
from dafxtool.effects.known import KnownEffects
from dafxtool.effects.registry import Audio, validate_audio
from dafxtool.effects.vst3.files import check_allowed
from dafxtool.effects.vst3.host import apply_in_this_process
from dafxtool.effects.vst3.isolation import apply_in_worker
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils import child_process
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import near_names, slug


def parse_effect(text: str, known: Mapping[str, Effect] | None = None) -> EffectChoice:
    """Read an effect and its fixed values from "NAME[:parameter=value[,...]]".

    text   values are in the parameter's unit, which may follow them ("time=350ms", "tone=3.2kHz");
           several effects with ">" between them are a chain, which may have a name of its own:
           "lead=overdrive:drive=30 > delay"
    known  effects by name; the built-in ones by default

    EffectError with similar names, or with the range of a value that is out of range.
    """
    known = builtin_effects() if known is None else known
    name, stages = split_text(text)
    if not name and len(stages) == 1:
        return _parse_stage(text, known)
    if name:
        check_name(name, known)
    choices = []
    for number, stage in enumerate(stages, 1):
        try:
            choices.append(_parse_stage(stage, known))
        except EffectError as error:
            raise EffectError(f"stage {number} of {text.strip()!r}: {error}") from error
    return make_chain(choices, name)


def _parse_stage(text: str, known: Mapping[str, Effect]) -> EffectChoice:
    """Read a single effect and its fixed values."""
    name, colon, listed = text.strip().partition(":")
    name = name.strip().lower().replace("_", "-")
    # A plugin may also be named as it names itself: "mda Overdrive" is mda-overdrive.
    name = name if name in known else slug(name)
    if name not in known:
        raise EffectError(f"unknown effect {name!r}. {near_names(name, list(known))}")
    effect = known[name]
    items = [item for item in listed.split(",") if item.strip()]
    if colon and not items:
        raise EffectError(f"{text!r}: ends at the colon. Write {name}:parameter=value, or {name}.")
    values: dict[str, float] = {}
    for item in items:
        key, equals, value = item.partition("=")
        key = key.strip().lower().replace("_", "-")
        if not equals or key in values:
            problem = f"{key!r} is set twice" if equals else f"{item.strip()!r} is without a value"
            raise EffectError(f"{text!r}: {problem}. Write {name}:parameter=value,...")
        values[key] = effect.parameter(key).parse(value, name)
    preset = known.preset_setting(name) if isinstance(known, KnownEffects) else {}
    return EffectChoice(effect, preset | values)


def parse_effects(effects: Sequence[str | EffectChoice], known: KnownEffects) -> list[EffectChoice]:
    """Read effects as parse_effect does; PluginError for a preset that none of them uses."""
    choices = [
        each if isinstance(each, EffectChoice) else parse_effect(each, known) for each in effects
    ]
    known.check_presets()
    return choices


def apply(
    effect: Effect,
    dry: Audio,
    sample_rate: int,
    setting: Mapping[str, float],
    keep_loaded: bool = False,
) -> tuple[Audio, dict[str, float]]:
    """Apply a built-in effect or a plugin to audio (n_samples,).

    setting  parameters that it leaves out have their default
    keep_loaded
             whether a plugin stays loaded for the next call, which is then much faster. A plugin
             with global state may then depend on earlier calls
    returns  wet audio, float32 (n_samples,), and the effective setting: a plugin may round values

    A plugin that accepts stereo only gets the audio on both channels; its first channel is
    returned. EffectError for an invalid setting, PluginError for a plugin that fails.
    """
    at_rate = effect.at(sample_rate)
    return apply_resolved(at_rate, dry, sample_rate, at_rate.complete(setting), keep_loaded)


def apply_resolved(
    effect: Effect,
    dry: Audio,
    sample_rate: int,
    setting: dict[str, float],
    keep_loaded: bool = False,
) -> tuple[Audio, dict[str, float]]:
    """Apply an effect as `apply` does, without checking the setting again.

    effect   with the ranges of sample_rate: the result of Effect.at
    setting  complete and checked: the result of Effect.complete
    """
    if not effect.plugins or child_process.is_child():  # the parent has checked the plugins
        return _apply_here(effect, dry, sample_rate, setting, keep_loaded)
    dry = validate_audio(dry, f"input of {effect.name}")
    for file in effect.plugins:
        check_allowed(file.path)
    return apply_in_worker(effect, dry, sample_rate, setting, _start_applying, keep_loaded)


def _start_applying() -> child_process.Answer:
    return lambda request, send: _apply_here(*request)


def _apply_here(
    effect: Effect,
    dry: Audio,
    sample_rate: int,
    setting: dict[str, float],
    keep_loaded: bool = False,
) -> tuple[Audio, dict[str, float]]:
    """Apply an effect in this process: a plugin that crashes ends it."""
    if effect.is_recorded:
        raise EffectError(
            f"{effect.name}: cannot be applied, because its pairs were imported. Name a built-in "
            "effect or a plugin with --effect."
        )
    if effect.stages:
        return _apply_chain(effect, dry, sample_rate, setting)
    if effect.plugin is None:
        return render_builtin(effect, dry, sample_rate, setting), setting
    dry = validate_audio(dry, f"input of {effect.name}")
    return apply_in_this_process(effect, dry, sample_rate, setting, keep_loaded)


def _apply_chain(
    chain: Effect, dry: Audio, sample_rate: int, setting: dict[str, float]
) -> tuple[Audio, dict[str, float]]:
    """Apply the stages one after the other; an error names the stage that failed."""
    audio, effective = dry, dict(setting)
    parts = zip(chain.stages, stage_settings(chain, setting), strict=True)
    for number, ((label, effect), part) in enumerate(parts, 1):
        stage = f"stage {number} of {chain.name}"
        try:
            wet, after = _apply_here(effect, audio, sample_rate, part)
        except EffectError as error:
            raise type(error)(f"{stage}: {error}") from error
        if number < len(chain.stages) and is_silent(wet) and not is_silent(audio):
            raise (PluginError if effect.plugin else EffectError)(
                f"{stage}: {effect.setting_text(after)} gives silence. Choose another setting, or "
                "leave this stage out."
            )
        effective |= {f"{label}.{name}": value for name, value in after.items()}
        audio = wet
    return audio, effective


def known_effects(
    plugin_files: Sequence[Path] = (), sample_rate: int = 24_000, progress: Progress = SILENT
) -> KnownEffects:
    """Return the built-in effects and those of the plugins, by name.

    plugin_files  VST3 files, and .vstpreset files, whose values are fixed values of their plugins

    A plugin is audited when its effect is first requested. PluginError as of load_effects.
    """
    return KnownEffects(plugin_files, sample_rate, progress)


def load_effects(
    path: Path | str, sample_rate: int = 24_000, progress: Progress = SILENT
) -> dict[str, Effect]:
    """Load every effect of a VST3 file, by name, with the ranges that are valid at sample_rate.

    path         a VST3 file, or the bare name of a plugin in one of plugin_folders()
    sample_rate  Hz
    progress     receives plugin_warnings(), and the names of plugins that are left out

    PluginError for a file that is missing, is no plugin, is built for another system, or crashes.
    The plugin is examined in a child process, so a crash does not end this one.
    """
    return dict(KnownEffects([path], sample_rate, progress, with_builtin=False).items())
