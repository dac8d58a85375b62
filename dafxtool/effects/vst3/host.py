"""VST3 plugins as effects, and the one function that applies effects of either kind.

A plugin is loaded anew for every segment, because what plugins keep from call to call survives
being reset: with a fresh instance, the output depends on audio, sample rate and setting alone.
All its settings are set, exactly, and read back after that and after processing: the setting that
is returned is the one in force. Which of its parameters are settings is found out by trying, see
plugin_audit. Loading and processing happen on the main thread of a process (so parallel rendering
takes processes), and what native code prints on the way is not shown.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool.effects.builtin import (
    Audio,
    pedalboard_module,
)
from dafxtool.effects.effect import Effect, PluginFile
from dafxtool.effects.parameter import Parameter, to_float32
from dafxtool.effects.vst3.audit import (
    DEEP,
    Audit,
    NoEffect,
    audit_instances,
    get_raw,
    on_a_step,
    set_raw,
)
from dafxtool.effects.vst3.files import _unchanged, check_unchanged, plugin_binary, sha256_of
from dafxtool.errors import PluginError
from dafxtool.utils import child_process
from dafxtool.utils.text import slug

SECONDS_TO_INITIALISE = 60.0  # that a plugin gets after it is loaded
MOST_TRIES = 3  # of a setting that the plugin changes while it processes
FEWEST_SAMPLES = 16  # shorter audio is padded: pedalboard cannot tell channels from samples there
HAIR = 2.0**-16  # of a knob's way: more than rounding, less than anybody hears


def apply_in_this_process(
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
        with (
            silence_native_output(),
            _loaded(effect.plugin.path, effect.plugin.plugin_name) as plugin,
        ):
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


def examine_plugin(
    path: Path,
    sample_rate: int,
    depth: int = DEEP,
    tell: Callable[[], None] = lambda: None,
) -> list[tuple[Effect, Audit]]:
    """What audited_effects does, in this very process: a plugin that crashes takes it along."""
    board, sha256 = pedalboard_module(), sha256_of(plugin_binary(path))
    try:
        with silence_native_output():
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

    with silence_native_output():
        return audit_instances(fresh, int(sample_rate), depth, tell)


@contextmanager
def silence_native_output() -> Iterator[None]:
    """What is written to file descriptors 1 and 2 meanwhile is lost; exceptions are not.

    Python's streams are not enough: plugins print with C. Holds for the whole process, so other
    threads are not heard either. Where a descriptor is closed there is nothing to silence.
    """
    if child_process.is_child():  # whose output is kept apart
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
        p.name: setting[p.name] if abs(is_set - raw) <= HAIR / 4 else p.from_normalised(is_set)
        for p, raw, is_set in zip(parameters, wanted, found, strict=True)
    }


def _raw_values(parameters: Sequence[Parameter], setting: Mapping[str, float]) -> list[float]:
    return [to_float32(p.to_normalised(setting[p.name])) for p in parameters]


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
    return setting | {knob.name: knob.from_normalised(nearby)}


def _not_loaded(path: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return f"{path} cannot be loaded as a VST3 plugin ({reason}): check that it is whole."


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    # What native code has printed and C still holds back.
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)
