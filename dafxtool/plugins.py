"""VST3 plugins as effects, and the one function that applies effects of either kind.

A plugin is loaded anew for every segment, because what plugins keep from call to call survives
being reset: with a fresh instance, the output depends on audio, sample rate and setting alone.
All its settings are set, exactly, and read back after that and after processing: the setting that
is returned is the one in force. Which of its parameters are settings is found out by trying, see
plugin_audit. Loading and processing happen on the main thread of a process (so parallel rendering
takes processes), and what native code prints on the way is not shown.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import hashlib
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool import supervision
from dafxtool.effects import (
    Audio,
    apply_effect,
    builtin_effects,
    checked_audio,
    pedalboard_module,
)
from dafxtool.errors import PluginError
from dafxtool.parameters import Effect, Parameter, PluginFile, slug, to_float32
from dafxtool.plugin_audit import (
    DEEP,
    DOES_NOT_STICK,
    UNTRIED,
    Audit,
    NoEffect,
    audit_instances,
    get_raw,
    on_a_step,
    set_raw,
)
from dafxtool.progress import SILENT, Progress
from dafxtool.supervision import ChildDied, ChildProcess, ChildSilent

SECONDS_BEFORE_NOTICE = 4.0  # of loading, until the user is told that it goes on
PLUGIN_SECONDS = 60.0  # for loading, and for each segment
USES_OF_A_PROCESS = 64  # long loops over plugins have crashed after 90 to 150
SECONDS_TO_INITIALISE = 60.0  # that a plugin gets after it is loaded
MOST_TRIES = 3  # of a setting that the plugin changes while it processes
FEWEST_SAMPLES = 16  # shorter audio is padded: pedalboard cannot tell channels from samples there
HAIR = 2.0**-16  # of a knob's way: more than rounding, less than anybody hears


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
    dry = checked_audio(dry, f"the input of {effect.name!r}")
    if supervision.is_child():  # whose parent has looked
        return apply_here(effect, dry, sample_rate, complete)
    _check_allowed(effect.plugin.path)
    return _apply_apart(effect, dry, sample_rate, complete)


def apply_here(
    effect: Effect, dry: Audio, sample_rate: int, complete: dict[str, float]
) -> tuple[Audio, dict[str, float]]:
    """What apply does for a plugin, in this very process: one that crashes takes it along."""
    assert effect.plugin is not None
    file = (effect.plugin.path, effect.plugin.sha256)
    if file not in _unchanged:  # once in a process
        check_unchanged(effect)
        _unchanged.add(file)
    in_force = complete
    for _ in range(MOST_TRIES):
        with quiet(), _loaded(effect.plugin.path, effect.plugin.plugin_name) as plugin:
            wet, asked, in_force = _process(plugin, effect, dry, sample_rate, in_force)
            del plugin
        if asked == in_force:
            break
    else:
        raise PluginError(
            f"{effect.setting_text(complete)} is changed by the plugin while it processes, again "
            "and again: choose another setting, or leave this plugin out."
        )
    if wet.shape != dry.shape or not np.isfinite(wet).all():
        raise PluginError(
            f"{effect.setting_text(complete)} gave audio that is not finite or not as long as the "
            f"input: choose another setting, or leave this plugin out."
        )
    return wet, in_force


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


_allowed: set[Path] = set()  # plugins that the user has named


def allow(path: Path | str) -> None:
    """Let effects from files use a plugin that lies in none of plugin_folders()."""
    _allowed.add(_without_dots(path))


def _without_dots(path: Path | str) -> Path:
    """Absolute; links stay links, since plugin folders are made of them at times.

    But not before "..": there the system goes up from where the link leads, and a host that
    shortens the text would load another file than the one that is looked at.
    """
    return Path(path).resolve() if ".." in Path(path).parts else Path(path).absolute()


def _check_allowed(path: str) -> None:
    """A file or a checkpoint names plugins; that of a stranger shall not choose what is run."""
    plugin = _without_dots(path)
    folders = {_without_dots(folder) for folder in plugin_folders()}
    if plugin in _allowed or folders & {*plugin.parents}:
        return
    raise PluginError(
        f"{path} is named in a file and lies in none of the folders for plugins, so it is not run: "
        "put it there, or name its folder in VST3_PATH, if you know where it comes from."
    )


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


def audited_effects(
    path: Path | str, sample_rate: int = 24_000, progress: Progress = SILENT
) -> list[tuple[Effect, Audit]]:
    """What load_effects finds, with all that was found out; the same file is tried only once."""
    found = find_plugin(path)
    key = (str(found), sha256_of(plugin_binary(found)), int(sample_rate))
    if key not in _audited:
        _audited[key] = _examine_apart(found, sample_rate, progress)
    return _audited[key]


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


def examine_plugin(
    path: Path,
    sample_rate: int,
    depth: int = DEEP,
    tell: Callable[[], None] = lambda: None,
) -> list[tuple[Effect, Audit]]:
    """What audited_effects does, in this very process: a plugin that crashes takes it along."""
    board, sha256 = pedalboard_module(), sha256_of(plugin_binary(path))
    try:
        with quiet():
            names = board.VST3Plugin.get_plugin_names_for_file(str(path))
    except Exception as error:  # pedalboard raises whatever the plugin's loader came upon
        raise PluginError(_not_loaded(path, error)) from error
    examined = []
    for name in names:
        plugin_name = name if len(names) > 1 else None
        try:
            found = audit(path, plugin_name, sample_rate, depth, tell)
        except NoEffect:
            continue
        file = PluginFile(
            str(path),
            plugin_name,
            found.version,
            sha256,
            found.n_channels,
            found.sample_rate,
            found.indices,
            found.left_out,
            found.repeatable,
        )
        summary = f"VST3 plugin by {found.maker}" if found.maker else "VST3 plugin"
        examined.append((Effect(slug(name), found.parameters, summary, file), found))
    if not examined:
        raise PluginError(f"{path} holds instruments only: give a plugin that takes audio in.")
    return examined


def audit(
    path: Path | str,
    plugin_name: str | None,
    sample_rate: int,
    depth: int = DEEP,
    tell: Callable[[], None] = lambda: None,
) -> Audit:
    """Try a plugin at a sample rate (Hz), in this very process; see audit_instances."""

    @contextmanager
    def fresh() -> Iterator[Any]:
        with _loaded(str(path), plugin_name) as plugin:
            yield plugin
            del plugin

    with quiet():
        return audit_instances(fresh, int(sample_rate), depth, tell)


def plugin_folders() -> list[Path]:
    """Where VST3 plugins are looked for: $VST3_PATH first, then the system's usual places."""
    listed = [Path(p) for p in os.environ.get("VST3_PATH", "").split(os.pathsep) if p]
    if sys.platform == "darwin":
        usual = [Path.home() / "Library/Audio/Plug-Ins/VST3", Path("/Library/Audio/Plug-Ins/VST3")]
    elif sys.platform == "win32":
        usual = [
            Path(os.environ.get("COMMONPROGRAMFILES", "C:/Program Files/Common Files"), "VST3")
        ]
    else:
        usual = [Path.home() / ".vst3", Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]
    return listed + usual


def find_plugin(path: Path | str) -> Path:
    """The absolute path of a plugin, given as a path or as the bare name of an installed one."""
    given = Path(path).expanduser()
    if given.exists():
        return _without_dots(given)
    if given.name == str(path):
        for folder in plugin_folders():
            for name in (given.name, f"{given.name}.vst3"):
                if (folder / name).exists():
                    return (folder / name).absolute()
    folders = ", ".join(str(folder) for folder in plugin_folders())
    raise PluginError(
        f"there is no plugin {path}: give the path of a .vst3, or the name of one in {folders}."
    )


def plugin_binary(path: Path) -> Path:
    """The file with this machine's code in a VST3 bundle (which may be that file itself)."""
    if path.is_file() and path.suffix.lower() == ".vst3":
        return path
    contents = path / "Contents"
    if not contents.is_dir():
        raise PluginError(f"{path} is no VST3 plugin: give a .vst3 file or bundle.")
    wanted = _architecture()
    binaries = sorted(file for file in (contents / wanted).glob("*") if file.is_file())
    if not binaries:
        others = sorted(
            folder.name
            for folder in contents.iterdir()
            if folder.is_dir() and folder.name != "Resources"
        )
        raise PluginError(
            f"{path} is made for {', '.join(others) or 'no machine'}, not for {wanted}: "
            f"get the plugin for this kind of machine."
        )
    same_name = [file for file in binaries if file.stem == path.stem]
    return (same_name or binaries)[0]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


_unchanged: set[tuple[str, str]] = set()  # path and hash of plugins that were looked at


def check_unchanged(effect: Effect) -> None:
    """PluginError when the plugin's file is not the one that effect was read from."""
    if effect.plugin is None:
        return
    path = find_plugin(effect.plugin.path)
    if sha256_of(plugin_binary(path)) != effect.plugin.sha256:
        raise PluginError(
            f"{path} is not the file that {effect.name!r} was rendered with (version "
            f"{effect.plugin.version}): install that version, or render anew."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """What is written to file descriptors 1 and 2 meanwhile is lost; exceptions are not.

    Python's streams are not enough: plugins print with C. Holds for the whole process, so other
    threads are not heard either. Where a descriptor is closed there is nothing to silence.
    """
    if supervision.is_child():  # whose output is kept apart
        yield
        return
    _flush_streams()
    try:
        saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    except OSError:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in saved:
            os.dup2(null, descriptor)
        yield
    finally:
        _flush_streams()
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(null)


# --- one plugin, once ---------------------------------------------------------------------------


@contextmanager
def _loaded(path: str, plugin_name: str | None) -> Iterator[Any]:
    """A fresh instance, which is gone at the end."""
    if threading.current_thread() is not threading.main_thread():
        raise PluginError(f"{path} can be used on the main thread only: take worker processes.")
    board = pedalboard_module()
    with _collected():
        try:
            plugin = board.VST3Plugin(
                path, plugin_name=plugin_name, initialization_timeout=SECONDS_TO_INITIALISE
            )
        except Exception as error:  # pedalboard raises whatever the plugin's loader came upon
            raise PluginError(_not_loaded(path, error)) from error
        _renew(plugin)
        yield plugin
        del plugin


def _renew(plugin: Any) -> None:
    """Make the instance anew, so that it has not heard anything.

    To find out whether a reset silences a plugin, pedalboard plays random noise to it while it is
    loaded, and leaves it like that where the answer is yes. Of ZamTube, whose answer changes, 15
    instances of 100 sounded different for it, and all alike after this.
    """
    kinds, kind_of = pedalboard_module().ExternalPluginReloadType, type(plugin)._reload_type
    kind_of.__set__(plugin, kinds.PersistsAudioOnReset)  # then a reset makes a new instance
    plugin.reset()
    kind_of.__set__(plugin, kinds.ClearsAudioOnReset)  # process() need not do it once more


@contextmanager
def _collected() -> Iterator[None]:
    """What is made meanwhile and refers to itself is freed at the end, for little time.

    pedalboard leaves a circle of references behind each plugin, so that it would live on until
    the next garbage collection, and say its goodbyes in the middle of somebody's output.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # so that all of it stays in the youngest generation
    try:
        yield
    finally:
        gc.collect(0)
        if was_enabled:
            gc.enable()


def _process(
    plugin: Any, effect: Effect, dry: Audio, sample_rate: int, setting: dict[str, float]
) -> tuple[Audio, dict[str, float], dict[str, float]]:
    """(wet, the setting as it was before the first sample, and as it was after the last one)."""
    assert effect.plugin is not None
    file, parameters = effect.plugin, effect.parameters
    padded = np.zeros((file.n_channels, max(dry.size, FEWEST_SAMPLES)), dtype=np.float32)
    padded[:, : dry.size] = dry
    # Everything is set before the plugin hears its first sample: nothing glides to its value.
    loaded = get_raw(plugin)
    if len(file.indices) != len(parameters) or any(i >= len(loaded) for i in file.indices):
        raise PluginError(
            f"the plugin {plugin.name!r} has {len(loaded)} parameters, which are not those that "
            f"{effect.name!r} was read with: load it again."
        )
    setting = _away_from([loaded[index] for index in file.indices], parameters, setting)
    steps = [plugin._parameters[index].num_steps for index in file.indices]
    asked = _raw_values(parameters, setting)
    on_steps = [on_a_step(n, raw) for n, raw in zip(steps, asked, strict=True)]
    try:
        set_raw(plugin, dict(zip(file.indices, on_steps, strict=True)))
        before = [get_raw(plugin)[index] for index in file.indices]
        wet = np.asarray(plugin.process(padded, sample_rate), dtype=np.float32)
        after = [get_raw(plugin)[index] for index in file.indices]
    except (RuntimeError, ValueError) as error:
        raise PluginError(f"the plugin effect {effect.name!r} failed: {error}") from error
    at_first = _in_force(parameters, setting, asked, before)
    at_last = _in_force(parameters, at_first, before, after)
    return np.ascontiguousarray(wet[0, : dry.size]), at_first, at_last


def _in_force(
    parameters: Sequence[Parameter],
    setting: Mapping[str, float],
    wanted: Sequence[float],
    found: Sequence[float],
) -> dict[str, float]:
    """setting, with what was found where that is not what was wanted."""
    return {
        p.name: setting[p.name] if abs(is_set - raw) <= HAIR / 4 else p.value_at(is_set)
        for p, raw, is_set in zip(parameters, wanted, found, strict=True)
    }


def _raw_values(parameters: Sequence[Parameter], setting: Mapping[str, float]) -> list[float]:
    return [to_float32(p.position_of(setting[p.name])) for p in parameters]


def _away_from(
    load_values: Sequence[float], parameters: Sequence[Parameter], setting: dict[str, float]
) -> dict[str, float]:
    """setting, or, where it is how the plugin was loaded, with one knob moved a hair's breadth.

    Some plugins work out their coefficients only when a value changes; those they are loaded with
    hold for 44.1 kHz. What is returned reads back as itself, so it can be rendered again.
    """
    raw = _raw_values(parameters, setting)
    knobs = [(p, value) for p, value in zip(parameters, raw, strict=True) if not p.choices]
    if not knobs or not np.allclose(raw, load_values, rtol=0.0, atol=HAIR / 4):
        return setting
    knob, value = knobs[0]
    nearby = value + HAIR if value < 0.5 else value - HAIR
    return setting | {knob.name: knob.value_at(nearby)}


# --- examining in a process of its own ----------------------------------------------------------


_audited: dict[tuple[str, str, int], list[tuple[Effect, Audit]]] = {}  # by path, hash and rate


def _examine_apart(
    path: Path, sample_rate: int, progress: Progress, depth: int = DEEP
) -> list[tuple[Effect, Audit]]:
    """The effects in path, found out by another process, which may crash.

    One that crashes at some settings, or when its state is given back to it, can be rendered with
    all the same: it is tried again with less.
    """
    child = ChildProcess(_begin_examining)
    try:
        return list(
            child.ask(
                (path, int(sample_rate), depth),
                time_limit_s(),
                SECONDS_BEFORE_NOTICE,
                lambda: progress.say(
                    f"{path.name} is still being loaded and tried; some plugins take minutes."
                ),
            )
        )
    except ChildDied as death:
        if depth > UNTRIED:
            return _examine_apart(path, sample_rate, progress, depth - 1)
        raise PluginError(
            f"the plugin {path} crashed while it was loaded ({death}): leave it out, or try "
            "another version of it."
        ) from death
    except ChildSilent as silence:
        raise PluginError(
            f"the plugin {path} was not loaded within {time_limit_s():g} s: give it more with "
            "--plugin-timeout, or leave it out."
        ) from silence
    finally:
        child.kill()


def _begin_examining() -> supervision.Answer:
    def examine(
        request: tuple[Path, int, int], send: supervision.Send
    ) -> list[tuple[Effect, Audit]]:
        return examine_plugin(*request, lambda: send("still working"))

    return examine


# --- one process that plugins run in, for whoever needs a sound now and then --------------------

_time_limit_s = PLUGIN_SECONDS
_host: ChildProcess | None = None
_host_owner = 0  # the process that began it
_host_uses = 0
_host_lock = threading.Lock()


def limit_time(seconds: float) -> None:
    """What a plugin gets from now on for loading, and for each segment."""
    global _time_limit_s
    _time_limit_s = seconds


def time_limit_s() -> float:
    """What a plugin gets for loading, and for each segment."""
    return _time_limit_s


def _apply_apart(
    effect: Effect, dry: Audio, sample_rate: int, complete: dict[str, float]
) -> tuple[Audio, dict[str, float]]:
    """apply_here in a process of its own, which is kept for the next time."""
    with _host_lock:
        try:
            answer = _the_host().ask((effect, dry, sample_rate, complete), _time_limit_s)
        except PluginError:
            raise
        except BaseException as error:
            _end_host()
            if isinstance(error, ChildDied):
                raise PluginError(
                    f"{effect.setting_text(complete)} crashed ({error}): choose another setting, "
                    "or leave this plugin out."
                ) from error
            if isinstance(error, ChildSilent):
                raise PluginError(
                    f"{effect.setting_text(complete)} took more than {_time_limit_s:g} s: give it "
                    "more with --plugin-timeout, or leave this plugin out."
                ) from error
            raise
    wet, in_force = answer
    return wet, in_force


def _the_host() -> ChildProcess:
    global _host, _host_owner, _host_uses
    if _host is not None and (_host_owner != os.getpid() or _host_uses >= USES_OF_A_PROCESS):
        _end_host()
    if _host is None:
        _host, _host_owner, _host_uses = ChildProcess(_begin_applying), os.getpid(), 0
    _host_uses += 1
    return _host


def _end_host() -> None:
    global _host
    if _host is not None and _host_owner == os.getpid():
        _host.kill()
    _host = None


atexit.register(_end_host)


def _begin_applying() -> supervision.Answer:
    return lambda request, send: apply_here(*request)


# --- small things -------------------------------------------------------------------------------


def _add(effects: dict[str, Effect], effect: Effect) -> None:
    name, number = effect.name, 2
    while name in effects:
        name, number = f"{effect.name}-{number}", number + 1
    effects[name] = replace(effect, name=name)


def _not_loaded(path: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return f"{path} cannot be loaded as a VST3 plugin ({reason}): check that it is whole."


def _architecture() -> str:
    """The folder for this machine in a VST3 bundle."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower())
    machine = machine or platform.machine().lower()
    if sys.platform == "darwin":
        return "MacOS"
    return f"{machine}-win" if sys.platform == "win32" else f"{machine}-linux"


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    # What native code has printed and C still holds back.
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)
