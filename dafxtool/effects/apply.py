"""Look up effects by name and apply them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dafxtool.effects.builtin import (
    Audio,
    apply_effect,
    builtin_effects,
    validate_audio,
)
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.effects.vst3.audit import (
    DOES_NOT_STICK,
)
from dafxtool.effects.vst3.files import allow, check_allowed, find_plugin
from dafxtool.effects.vst3.host import apply_in_this_process
from dafxtool.effects.vst3.isolation import apply_in_worker, audited_effects
from dafxtool.errors import EffectError
from dafxtool.utils import child_process
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import near_names


def parse_effect(text: str, known: Mapping[str, Effect] | None = None) -> EffectChoice:
    """The effect and the values that "NAME[:parameter=value[,...]]" asks for.

    Values are in the parameter's unit, which may be written behind them ("time=350ms",
    "tone=3.2kHz"). known is the built-in effects unless given. EffectError tells similar names,
    and the range of a value that is out of range.
    """
    known = builtin_effects() if known is None else known
    name, colon, listed = text.strip().partition(":")
    name = name.strip().lower().replace("_", "-")
    if name not in known:
        raise EffectError(f"there is no effect {name!r}: {near_names(name, list(known))}")
    effect = known[name]
    items = [item for item in listed.split(",") if item.strip()]
    if colon and not items:
        raise EffectError(f"{text!r} ends at the colon: write {name}:parameter=value, or {name}.")
    values: dict[str, float] = {}
    for item in items:
        key, equals, value = item.partition("=")
        key = key.strip().lower().replace("_", "-")
        if not equals or key in values:
            found = f"sets {key!r} twice" if equals else f"has {item.strip()!r} without a value"
            raise EffectError(f"the effect {text!r} {found}: write {name}:parameter=value,...")
        values[key] = effect.parameter(key).parse(value, name)
    return EffectChoice(effect, values)


def apply(
    effect: Effect, dry: Audio, sample_rate: int, setting: Mapping[str, float]
) -> tuple[Audio, dict[str, float]]:
    """(wet, setting in force): wet is float32 (n_samples,), like dry.

    effect may be built-in or a plugin's. What setting leaves out stands at its default. A plugin
    that takes stereo only hears dry on both channels, and its first one is returned. Raises
    EffectError for what cannot be set, PluginError for a plugin that fails.
    """
    complete = effect.at(sample_rate).complete(setting)
    if effect.plugin is None:
        return apply_effect(effect, dry, sample_rate, complete), complete
    dry = validate_audio(dry, f"the input of {effect.name!r}")
    if child_process.is_child():  # whose parent has looked
        return apply_in_this_process(effect, dry, sample_rate, complete)
    check_allowed(effect.plugin.path)
    return apply_in_worker(effect, dry, sample_rate, complete)


def known_effects(
    plugin_files: Sequence[Path] = (), sample_rate: int = 24_000, progress: Progress = SILENT
) -> dict[str, Effect]:
    """Built-in effects and those of the plugins, by name.

    A plugin with the name of another effect gets "-2" (or 3, ...) behind it.
    """
    known = builtin_effects()
    for path in plugin_files:
        for effect in load_effects(path, sample_rate, progress).values():
            _add(known, effect)
    return known


def load_effects(
    path: Path | str, sample_rate: int = 24_000, progress: Progress = SILENT
) -> dict[str, Effect]:
    """Every effect in a VST3 file, by name, with ranges that hold at sample_rate (Hz).

    path may be the bare name of a plugin that is installed in one of plugin_folders(). The plugin
    is examined in a process of its own, so that one that crashes is a PluginError. So are a file
    that is missing, no plugin, or made for another kind of machine. What does not keep what is set,
    and a plugin that is not repeatable, are said to progress.
    """
    effects: dict[str, Effect] = {}
    allow(find_plugin(path))
    for effect, _ in audited_effects(path, sample_rate, progress):
        _add(effects, effect)
    for effect in effects.values():
        for remark in remarks(effect):
            progress.say(remark)
    return effects


def remarks(effect: Effect) -> list[str]:
    """What whoever renders with a plugin should know of it, in sentences."""
    if effect.plugin is None:
        return []
    told = [
        f"{effect.name}: the parameter {name!r} is left out, because {why}."
        for name, why in effect.plugin.left_out
        if why in DOES_NOT_STICK
    ]
    if not effect.plugin.repeatable:
        told.append(
            f"{effect.name} is not repeatable: the same setting and sound did not give the same "
            "bits again, or it crashed when that was tried."
        )
    return told


# --- small things -------------------------------------------------------------------------------


def _add(effects: dict[str, Effect], effect: Effect) -> None:
    name, number = effect.name, 2
    while name in effects:
        name, number = f"{effect.name}-{number}", number + 1
    effects[name] = replace(effect, name=name)
