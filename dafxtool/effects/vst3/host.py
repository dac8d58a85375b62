"""Load VST3 plugins with pedalboard, and apply them in this process.

Each segment is rendered by a new instance, because the state that plugins keep between calls
survives a reset. So the output depends on audio, sample rate and setting alone. All parameters are
set exactly, and read back before and after processing: the returned setting is the effective one.
Which parameters are settings is found by trials, see `vst3.audit`. Plugins are loaded and run on
the main thread (so parallel rendering needs processes), and output of native code is discarded.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter, to_float32
from dafxtool.effects.registry import Audio, pedalboard_module
from dafxtool.effects.vst3.audit import (
    DEEP,
    SEED,
    NewInstance,
    audit_instances,
    digest_of,
    render_trial,
)
from dafxtool.effects.vst3.audit_result import Audit
from dafxtool.effects.vst3.files import check_unchanged_once
from dafxtool.effects.vst3.output_channel import keep_output
from dafxtool.effects.vst3.raw_values import get_raw_values, round_to_step, set_raw_values
from dafxtool.errors import PluginError
from dafxtool.utils import child_process

SECONDS_TO_INITIALISE = 60.0  # after loading
MOST_TRIES = 3  # for a setting that the plugin changes during processing
FEWEST_SAMPLES = 16  # shorter audio is padded: pedalboard could confuse channels and samples
NUDGE = 2.0**-16  # in normalised value: more than a rounding error, less than is audible


def apply_in_this_process(
    effect: Effect,
    dry: Audio,
    sample_rate: int,
    complete: dict[str, float],
    keep_loaded: bool = False,
) -> tuple[Audio, dict[str, float]]:
    """Apply a plugin as `apply.apply_resolved` does, in this process: a crash ends the process."""
    assert effect.plugin is not None
    check_unchanged_once(effect)
    new_instance = kept_plugin if keep_loaded else loaded_plugin
    effective = complete
    for _ in range(MOST_TRIES):
        with (
            silence_native_output(),
            new_instance(
                effect.plugin.path, effect.plugin.plugin_name, zlib.crc32(dry.tobytes())
            ) as plugin,
        ):
            wet, requested, effective = _process(plugin, effect, dry, sample_rate, effective)
            del plugin
        if requested == effective:
            break
    else:
        raise PluginError(
            f"{effect.setting_text(complete)}: the plugin changes the setting during processing, "
            f"in {MOST_TRIES} of {MOST_TRIES} tries. Choose another setting, or leave this plugin "
            "out."
        )
    if wet.shape[-1:] != dry.shape or not np.isfinite(wet).all():
        raise PluginError(
            f"{effect.setting_text(complete)}: the output is not finite or not as long as the "
            "input. Choose another setting, or leave this plugin out."
        )
    return wet, effective


def plugin_names(path: Path) -> list[str]:
    """Return the names of the plugins in a VST3 file, instruments too; PluginError if none."""
    board = pedalboard_module()
    try:
        with silence_native_output():
            names = board.VST3Plugin.get_plugin_names_for_file(str(path))
    except Exception as error:  # pedalboard passes on any error of the plugin's loader
        raise _load_error(path, error) from error
    if not names:
        raise PluginError(f"{path}: contains no plugin. Check that the file is complete.")
    return list(dict.fromkeys(names))  # a plugin is loaded by its name


def audit(
    path: Path | str,
    plugin_name: str | None,
    sample_rate: int,
    depth: int = DEEP,
    on_progress: Callable[[], None] = lambda: None,
) -> Audit:
    """Audit one plugin at a sample rate (Hz), in this process; see audit_instances."""
    with silence_native_output():
        new_instance = _instances_of(path, plugin_name)
        return audit_instances(new_instance, int(sample_rate), depth, on_progress)


def render_digest(
    path: Path | str,
    plugin_name: str | None,
    sample_rate: int,
    n_channels: int,
    trial_setting: Sequence[tuple[int, float]],
) -> str:
    """Render the trial of an audit again, in this process; return the digest of the output."""
    with silence_native_output():
        new_instance = _instances_of(path, plugin_name)
        output = render_trial(new_instance, dict(trial_setting), n_channels, sample_rate)
        return digest_of(output)


def _instances_of(path: Path | str, plugin_name: str | None) -> NewInstance:
    @contextmanager
    def new_instance(seed: int) -> Iterator[Any]:
        with loaded_plugin(str(path), plugin_name, seed) as plugin:
            yield plugin
            del plugin

    return new_instance


def seed_native_random(seed: int) -> None:
    """Seed the random numbers of the C library, from which some plugins draw.

    Plugins with a C library of their own, and those that seed it by the clock, are not affected.
    """
    try:
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    except (OSError, TypeError):  # an unknown C library: the audit finds what is not repeatable
        return
    for name in ("srand", "srandom", "srand48"):  # ucrtbase has the first one only
        if hasattr(library, name):
            getattr(library, name)(seed)


@contextmanager
def silence_native_output() -> Iterator[None]:
    """Discard what is written to file descriptors 1 and 2; exceptions pass.

    Redirecting Python's streams is not enough, because plugins print with C. This affects the
    complete process, so output of other threads is discarded too. It does nothing where one of the
    descriptors is closed.
    """
    if child_process.is_child():  # its output is already separate
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


# One instance


@contextmanager
def loaded_plugin(path: str, plugin_name: str | None, seed: int = SEED) -> Iterator[Any]:
    """Load a new instance, which is freed at the end; PluginError if that fails.

    seed  of the random numbers of the C library
    """
    if threading.current_thread() is not threading.main_thread():
        raise PluginError(f"{path}: plugins run on the main thread only. Use worker processes.")
    board = pedalboard_module()
    with _collect_garbage():
        try:
            plugin = board.VST3Plugin(
                path, plugin_name=plugin_name, initialization_timeout=SECONDS_TO_INITIALISE
            )
        except Exception as error:  # pedalboard passes on any error of the plugin's loader
            raise _load_error(path, error) from error
        seed_native_random(seed)
        _renew(plugin)
        yield plugin
        del plugin


_kept: dict[tuple[str, str | None], Any] = {}  # one plugin at most


@contextmanager
def kept_plugin(path: str, plugin_name: str | None, seed: int = SEED) -> Iterator[Any]:
    """Return a new instance of a plugin that stays loaded for the next call.

    Loading takes 100 times as long as a new instance. PluginError as of loaded_plugin.
    """
    plugin = _kept.pop((path, plugin_name), None)
    if plugin is None:
        _kept.clear()
        with loaded_plugin(path, plugin_name, seed) as plugin:
            yield plugin
    else:
        seed_native_random(seed)
        _renew(plugin)
        yield plugin
    _kept[path, plugin_name] = plugin  # not reached after an error


def _renew(plugin: Any) -> None:
    """Replace the instance by an unused one.

    While loading, pedalboard processes random noise to test whether a reset silences the plugin. If
    it does, the used instance stays. The test of ZamTube is not reliable: without this function, 15
    of 100 instances gave different output, with it none.
    """
    types, reload_type = pedalboard_module().ExternalPluginReloadType, type(plugin)._reload_type
    reload_type.__set__(plugin, types.PersistsAudioOnReset)  # a reset then makes a new instance
    plugin.reset()
    reload_type.__set__(plugin, types.ClearsAudioOnReset)  # process() need not do it again


@contextmanager
def _collect_garbage() -> Iterator[None]:
    """Free new objects with circular references at the end, in little time.

    pedalboard leaves a reference cycle for each plugin. Without this, plugins would stay loaded
    until the next garbage collection, and print into the output of other code when they end.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # new objects then stay in the youngest generation
    try:
        yield
    finally:
        gc.collect(0)
        if was_enabled:
            gc.enable()


def _process(
    plugin: Any, effect: Effect, dry: Audio, sample_rate: int, setting: dict[str, float]
) -> tuple[Audio, dict[str, float], dict[str, float]]:
    """Return the wet audio, and the effective setting before and after processing."""
    assert effect.plugin is not None
    file, parameters = effect.plugin, effect.parameters
    padded = np.zeros((file.n_channels, max(dry.size, FEWEST_SAMPLES)), dtype=np.float32)
    padded[:, : dry.size] = dry
    # All parameters are set before the first sample, so none glides to its value.
    loaded = get_raw_values(plugin)
    if len(file.indices) != len(parameters) or any(i >= len(loaded) for i in file.indices):
        raise PluginError(
            f"{effect.name}: the plugin has other parameters than when it was loaded (found "
            f"{len(loaded)}). Load it again."
        )
    setting = _avoid_load_values([loaded[index] for index in file.indices], parameters, setting)
    steps = [plugin._parameters[index].num_steps for index in file.indices]
    requested = _raw_values(parameters, setting)
    rounded = [round_to_step(n, raw) for n, raw in zip(steps, requested, strict=True)]
    try:
        set_raw_values(plugin, dict(zip(file.indices, rounded, strict=True)))
        before = [get_raw_values(plugin)[index] for index in file.indices]
        wet = np.asarray(plugin.process(padded, sample_rate), dtype=np.float32)
        after = [get_raw_values(plugin)[index] for index in file.indices]
    except (RuntimeError, ValueError) as error:
        raise PluginError(
            f"{effect.name}: the plugin failed ({error}). Choose another setting, or leave "
            "this plugin out."
        ) from error
    at_start = _effective_setting(parameters, setting, requested, before)
    at_end = _effective_setting(parameters, at_start, before, after)
    output = keep_output(wet[:, : dry.size], file.output_channel)
    return output, at_start, at_end


def _effective_setting(
    parameters: Sequence[Parameter],
    setting: Mapping[str, float],
    requested: Sequence[float],
    actual: Sequence[float],
) -> dict[str, float]:
    """Return the setting, with new values where the actual raw value is not the requested one."""
    return {
        p.name: setting[p.name] if abs(now - raw) <= NUDGE / 4 else p.from_normalised(now)
        for p, raw, now in zip(parameters, requested, actual, strict=True)
    }


def _raw_values(parameters: Sequence[Parameter], setting: Mapping[str, float]) -> list[float]:
    """Return the raw value of each parameter at a setting."""
    return [to_float32(p.to_normalised(setting[p.name])) for p in parameters]


def _avoid_load_values(
    load_values: Sequence[float], parameters: Sequence[Parameter], setting: dict[str, float]
) -> dict[str, float]:
    """Return the setting, with one value nudged if it equals the plugin's values after loading.

    Some plugins compute their coefficients only when a value changes, and load with coefficients
    for 44.1 kHz. The returned setting reads back as itself, so it can be rendered again.
    """
    raw = _raw_values(parameters, setting)
    continuous = [(p, value) for p, value in zip(parameters, raw, strict=True) if not p.choices]
    if not continuous or not np.allclose(raw, load_values, rtol=0.0, atol=NUDGE / 4):
        return setting
    parameter, value = continuous[0]
    nearby = value + NUDGE if value < 0.5 else value - NUDGE
    return setting | {parameter.name: parameter.from_normalised(nearby)}


def _load_error(path: Path | str, error: Exception) -> PluginError:
    reason = " ".join(str(error).split())[:300]
    return PluginError(
        f"{path}: cannot be loaded as a VST3 plugin ({reason}). Check that the file is complete."
    )


def _flush_streams() -> None:
    """Write out what Python and C still buffer for stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)
