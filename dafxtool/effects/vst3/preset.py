"""Read presets of VST3 plugins (.vstpreset files) as settings.

The file is Steinberg's: "VST3", a version (int32), the class id of the plugin (32 hexadecimal
characters), the position of a list of chunks (int64), and the chunks; all little-endian. Only the
plugin can read its chunks, so a child process loads the preset into it and reads the parameters.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dafxtool.effects.effect import Effect
from dafxtool.effects.vst3.audit import get_raw_values, noise, restore_state, set_raw_values
from dafxtool.effects.vst3.host import loaded_plugin, silence_native_output
from dafxtool.effects.vst3.isolation import time_limit_s
from dafxtool.effects.vst3.memory import fill_memory
from dafxtool.errors import PluginError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import ChildDied, ChildProcess, ChildSilent
from dafxtool.utils.progress import SILENT, Progress

SUFFIX = ".vstpreset"
HEADER = struct.Struct("<4si32sq")  # magic, version, class id, position of the list of chunks
LIST_HEADER = struct.Struct("<4si")  # "List", number of chunks
ENTRY = struct.Struct("<4sqq")  # name of a chunk, its position and its length
LARGEST = 1 << 28  # bytes
PEAK = 0.25  # of the noise that compares a preset with its setting
LARGEST_DIFFERENCE_DB = -60.0  # relative to the output


def is_preset(path: Path | str) -> bool:
    """Return whether a file is named like a preset."""
    return Path(path).suffix.lower() == SUFFIX


def class_id(path: Path) -> str:
    """Return the class id of the plugin that a preset is for.

    PluginError for a file that is missing, is no preset or is truncated.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PluginError(
            f"{path}: the preset cannot be read ({reason}). Check the name."
        ) from error
    remedy = "Save the preset again, or choose another file"
    if len(data) < HEADER.size or not data.startswith(b"VST3"):
        raise PluginError(f"{path}: not a VST3 preset (expected 'VST3' at its start). {remedy}.")
    _, version, name, position = HEADER.unpack_from(data)
    ends = [position + LIST_HEADER.size]
    if 0 < position <= len(data) - LIST_HEADER.size:
        magic, n_chunks = LIST_HEADER.unpack_from(data, position)
        if magic == b"List" and 0 <= n_chunks <= len(data):
            ends.append(position + LIST_HEADER.size + n_chunks * ENTRY.size)
            if ends[-1] <= len(data):
                entries = ENTRY.iter_unpack(data[position + LIST_HEADER.size : ends[-1]])
                ends += [start + length for _, start, length in entries if min(start, length) >= 0]
            if max(ends) <= len(data) and len(ends) == n_chunks + 2:
                return str(name.decode("ascii", "replace"))
    raise PluginError(
        f"{path}: the preset is damaged or truncated (found {len(data):,} bytes, version "
        f"{version}). {remedy}."
    )


def read_preset(path: Path, effect: Effect, progress: Progress = SILENT) -> dict[str, float] | None:
    """Return the complete setting of a plugin that a preset stores; None if it is for another one.

    A message says so if the preset also changes what is no parameter of the effect.
    PluginError for a damaged preset, and for a plugin that crashes or takes too long with it.
    """
    target = class_id(path)
    child = ChildProcess(_start_reading, environment=fill_memory())
    try:
        answer = child.ask((path, target, effect), time_limit_s())
    except ChildDied as death:
        raise PluginError(
            f"{path}: {effect.name} crashed with this preset ({death}). Leave it out."
        ) from death
    except ChildSilent as silence:
        raise PluginError(
            f"{path}: {effect.name} did not load this preset within {time_limit_s():g} s. Raise "
            "--plugin-timeout."
        ) from silence
    finally:
        child.kill()
    if answer is None:
        return None
    setting, difference_db = answer
    if difference_db > LARGEST_DIFFERENCE_DB:
        progress.message(
            f"{path.name}: the preset also changes what is no parameter of {effect.name}. With the "
            f"parameters alone, noise differs by {difference_db:.0f} dB."
        )
    return dict(setting)


def _start_reading() -> child_process.Answer:
    return lambda request, send: read_in_this_process(*request)


def read_in_this_process(
    path: Path, target: str, effect: Effect
) -> tuple[dict[str, float], float] | None:
    """Load a preset in this process: a crash ends it.

    Returns the setting, and by how many dB the output for noise differs from that of the setting
    alone, relative to the output; -inf if it does not. None for a preset of another plugin.
    """
    file = effect.plugin
    assert file is not None
    dry = noise(file.n_channels, PEAK)
    with silence_native_output(), loaded_plugin(file.path, file.plugin_name) as plugin:
        own = bytes(plugin.preset_data[8:40]).decode("ascii", "replace")
        if own.upper() != target.upper():
            return None
        try:
            plugin.load_preset(str(path))
        except Exception as error:  # pedalboard passes on any error of the plugin
            raise PluginError(
                f"{path}: {effect.name} does not accept this preset. Save it again with version "
                f"{file.version} of the plugin."
            ) from error
        if not restore_state(plugin):
            raise PluginError(
                f"{path}: {effect.name} does not give its state back, so the values of the preset "
                "cannot be read. Set them with --effect."
            )
        raw = get_raw_values(plugin)
        wet = np.asarray(plugin.process(dry, file.sample_rate))
        del plugin
    values = {index: raw[index] for index in file.indices}
    with silence_native_output(), loaded_plugin(file.path, file.plugin_name) as plugin:
        set_raw_values(plugin, values)
        other = np.asarray(plugin.process(dry, file.sample_rate))
        del plugin
    setting = {
        parameter.name: parameter.from_normalised(raw[index])
        for parameter, index in zip(effect.parameters, file.indices, strict=True)
    }
    return setting, _difference_db(wet, other) if file.repeatable else float("-inf")


def _difference_db(wet: np.ndarray, other: np.ndarray) -> float:
    difference, level = (
        float(np.square(each, dtype=np.float64).mean()) for each in (wet - other, wet)
    )
    if not difference or not np.isfinite(difference):
        return float("-inf")
    return float(10 * np.log10(difference / max(level, 1e-20)))
