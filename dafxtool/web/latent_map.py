"""Write a latent map as a page: select points, listen, and interpolate between two of them.

The map itself is templates/point_map.js. This module provides its data: coordinates, labels,
colourings, and the audio and thumbnails of some points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.writer import encode
from dafxtool.config import SPLITS
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.latents.latent_map import map_title
from dafxtool.latents.projection import Projection
from dafxtool.latents.table import Latents
from dafxtool.plots.base import (
    MARKERS,
    PALETTE,
    VALUE_COLOURS,
    typeset,
)
from dafxtool.plots.spectrogram_axes import erb_rate
from dafxtool.plots.spectrograms import colour_table
from dafxtool.utils import outputs
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import shown_name
from dafxtool.web.map_audio import (
    N_POINTS,
    POSITIONS,
    MapAudio,
    ReadAudio,
    collect_audio,
)
from dafxtool.web.page import (
    Fragment,
    bundle,
    deflate,
    fill,
    pack,
    read_asset,
    render_page,
    script_json,
    to_base64,
    write_page,
)
from dafxtool.web.thumbnails import (
    FLOOR_DB,
    N_BANDS,
    N_TIMES,
    RANGE_DB,
)

if TYPE_CHECKING:
    from dafxtool.models.run import Run

TICKS_HZ = (100, 500, 1000, 2000, 5000, 10000)
SCRIPT_MARKERS = {
    **{"o": "circle", "^": "triangle-up", "s": "square", "D": "diamond"},
    **{"v": "triangle-down", "P": "plus", "X": "cross", "p": "pentagon"},
}
DARK_COLOURS = {"#333333": "#D0D0D0"}  # of the palette, on a dark page
N_VALUE_COLOURS = 64
WHITE_ON_DARK = 0.35


def write_map_page(
    path: Path,
    latents: Latents,
    projection: Projection,
    run: Run | None = None,
    read_audio: ReadAudio | None = None,
    n_points: int = N_POINTS,
    title: str = "",
    silent_reason: str = "",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MapAudio | None:
    """Write the map as one page; with a run and read_audio it has audio.

    read_audio     reads the audio of rows; see map_audio.audio_reader
    n_points       largest number of points with audio
    silent_reason  sentence for the reader of a map without audio
    seed           of the choice of points with audio

    Returns the audio of the page. InputError for another suffix than .html; OutputExistsError and
    DiskError as in files.atomic_write.
    """
    outputs.check_page_path(path, overwrite)
    map_audio = None
    if run is not None and read_audio is not None:
        map_audio = collect_audio(latents, run, read_audio, n_points, seed, progress)
    rate = run.spectrogram_config.sample_rate if run else 0
    fragment = map_fragment(latents, projection, map_audio, rate, silent_reason)
    text = render_page("Latent map", [fragment], title or map_title(latents))
    write_page(path, text, overwrite)
    return map_audio


def map_fragment(
    latents: Latents,
    projection: Projection,
    map_audio: MapAudio | None = None,
    sample_rate: int = 0,
    silent_reason: str = "",
) -> Fragment:
    """Render the map as a part of a page.

    map_audio      audio and thumbnails of some points; without it the map is silent
    sample_rate    of the audio, in Hz
    silent_reason  sentence for the reader of a map without audio
    """
    data: dict[str, Any] = {
        "map": map_data(latents, projection, map_audio),
        "points": point_descriptions(latents),
        "audio": _audio_data(map_audio, sample_rate) if map_audio else None,
        "colours": pack(colour_table()),
        "floorDb": FLOOR_DB,
        "ticks": _frequency_ticks(sample_rate) if map_audio else [],
    }
    content = fill(
        "map.html",
        data=script_json(data),
        n_with_audio=len(map_audio.rows) if map_audio else 0,
        n_points=len(latents),
        silent_reason=silent_reason,
        n_coefficients=len(map_audio.residuals.scales) if map_audio else 0,
        error_db=map_audio.error_db if map_audio else 0.0,
        positions=[0.0, *POSITIONS, 1.0],
        n_bands=N_BANDS,
        n_times=N_TIMES,
        floor_db=round(-FLOOR_DB),
    )
    style = read_asset("point_map.css") + read_asset("map.css")
    return Fragment(content, style, (bundle("latent_map.js"),))


def map_data(
    latents: Latents, projection: Projection, map_audio: MapAudio | None = None
) -> dict[str, Any]:
    """Return the MapData of point_map.js: coordinates and colourings."""
    return {
        "x": _rounded(projection.points[:, 0]),
        "y": _rounded(projection.points[:, 1]),
        "colourings": _colourings(latents, map_audio),
        "valueColours": _hex_colours(colour_table(VALUE_COLOURS)),
        "darkValueColours": _hex_colours(_lightened(colour_table(VALUE_COLOURS))),
        "axisNames": [_printable(name) for name in projection.axis_names],
    }


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _lightened(table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mix colours with white, so that the darkest one is visible on a dark page."""
    mixed = (1 - WHITE_ON_DARK) * table.astype(np.float64) + WHITE_ON_DARK * 255
    return mixed.round().astype(np.uint8)


def _hex_colours(table: NDArray[np.uint8]) -> list[str]:
    chosen = table[np.linspace(0, len(table) - 1, N_VALUE_COLOURS).round().astype(int)]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in chosen]


def _printable(text: str) -> str:
    """Escape the bytes of a file name that are not valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


# --- descriptions -----------------------------------------------------------------------------


def point_descriptions(latents: Latents) -> dict[str, Any]:
    """Describe each point: effect and setting, recording, and excerpt of the recording."""
    labels = latents.labels
    names = [shown_name(Path(str(each["path"]))) for each in labels.recordings]
    return {
        "labels": [_label(latents, row) for row in range(len(latents))],
        "recordings": [_printable(name) for name in names],
        "recording": labels.recording.tolist(),
        "excerpts": [_excerpt(latents, row) for row in range(len(latents))],
    }


def _label(latents: Latents, row: int) -> str:
    labels = latents.labels
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    return typeset(_printable(effect.label(labels.setting_of(row), most=99)))


def _excerpt(latents: Latents, row: int) -> str:
    labels = latents.labels
    recording = labels.recordings[labels.recording[row]]
    total_seconds = recording["n_samples_native"] / recording["sample_rate"]
    seconds = float(labels.offset[row]) / recording["n_samples"] * total_seconds
    return f"from {seconds:.2f} s, {labels.split_of(row)}, row {labels.row[row]}"


# --- colourings -------------------------------------------------------------------------------


def _colourings(latents: Latents, map_audio: MapAudio | None) -> list[dict[str, Any]]:
    """Return the colourings: effect, recording, split, reconstruction error, each parameter."""
    labels = latents.labels
    names = list(dict.fromkeys(labels.effect_names))
    by_effect = [names.index(labels.effect_of(row)) for row in range(len(latents))]
    recordings = [_printable(shown_name(Path(str(each["path"])))) for each in labels.recordings]
    return [
        _by_category("effect", names, by_effect),
        _by_category("recording", recordings, labels.recording.tolist()),
        _by_category("split", SPLITS, labels.split.tolist()),
        *([_by_error(map_audio.mse)] if map_audio else []),
        *_by_parameter(latents),
    ]


def _by_category(name: str, names: Sequence[str], values: list[int]) -> dict[str, Any]:
    categories = []
    for index, each in enumerate(names):
        colour = PALETTE[index % len(PALETTE)]
        marker = SCRIPT_MARKERS[MARKERS[index // len(PALETTE) % len(MARKERS)]]
        category = {"name": _printable(each), "colour": colour, "marker": marker}
        if colour in DARK_COLOURS:
            category["darkColour"] = DARK_COLOURS[colour]
        categories.append(category)
    return {"name": name, "kind": "category", "values": values, "categories": categories}


def _by_error(mse: NDArray[np.float32]) -> dict[str, Any]:
    """Colour by reconstruction error, on a logarithmic scale from the least to the largest."""
    rows = np.flatnonzero(np.isfinite(mse) & (mse > 0))
    errors = np.log(mse[rows])
    low, high = (float(errors.min()), float(errors.max())) if len(rows) else (0.0, 0.0)
    positions = (errors - low) / max(high - low, 1e-9)
    ticks = [(at, f"{np.exp(low + at * (high - low)):.3g}") for at in (0.0, 0.5, 1.0)]
    return _by_value("reconstruction error (MSE)", rows, positions, ticks)


def _by_parameter(latents: Latents) -> list[dict[str, Any]]:
    """Colour by each parameter that differs between points, by its normalised value."""
    labels, colourings = latents.labels, []
    names = labels.effect_names
    for index, described in enumerate(labels.effects):
        effect = Effect.from_dict(described)
        rows = np.flatnonzero(labels.effect == index)
        for column, parameter in enumerate(effect.parameters):
            values = labels.setting[rows, column]
            known = rows[np.isfinite(values)]
            if len(np.unique(labels.setting[known, column])) < 2:
                continue
            positions = [parameter.to_normalised(float(v)) for v in labels.setting[known, column]]
            name = f"{effect.name}: {parameter.name}"
            if names.count(effect.name) > 1:
                name += f" ({names[: index + 1].count(effect.name)})"
            colourings.append(_by_value(name, known, np.array(positions), _ticks(parameter)))
    return colourings


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    if parameter.choices and len(parameter.choices) <= 4:
        values = [float(index) for index in range(len(parameter.choices))]
    else:
        values = [parameter.from_normalised(position) for position in (0.0, 0.5, 1.0)]
    return [(parameter.to_normalised(value), parameter.text(value)) for value in values]


def _by_value(
    name: str,
    rows: NDArray[np.int64],
    positions: NDArray[np.float64],
    ticks: Sequence[tuple[float, str]],
) -> dict[str, Any]:
    return {
        "name": _printable(name),
        "kind": "value",
        "rows": rows.tolist(),
        "values": [round(float(each), 4) for each in np.clip(positions, 0, 1)],
        "ticks": [[float(at), typeset(_printable(text))] for at, text in ticks],
    }


# --- audio and thumbnails ---------------------------------------------------------------------


def _audio_data(map_audio: MapAudio, sample_rate: int) -> dict[str, Any]:
    """Return the AudioData of map_audio.js; pairs of one segment share their dry clip."""
    clip_indices: dict[bytes, int] = {}
    clips: list[str] = []
    clips_of = []
    for pair in map_audio.audio:
        indices = []
        for samples in pair:
            key = samples.tobytes()
            if key not in clip_indices:
                clip_indices[key] = len(clips)
                clips.append(to_base64(encode(samples, sample_rate, "mp3")))
            indices.append(clip_indices[key])
        clips_of.append(indices)
    return {
        "rows": map_audio.rows.tolist(),
        "clips": clips,
        "clipsOf": clips_of,
        "sampleRate": sample_rate,
        "nSamples": map_audio.audio.shape[2],
        "bands": N_BANDS,
        "times": N_TIMES,
        "originals": deflate(map_audio.originals),
        "ends": deflate(map_audio.ends),
        "positions": list(POSITIONS),
        "coefficients": deflate(map_audio.residuals.coefficients),
        "basis": deflate(map_audio.residuals.basis),
        "scales": map_audio.residuals.scales.tolist(),
        "exponent": map_audio.exponent,
        "rangeDb": RANGE_DB,
        "errorDb": map_audio.error_db,
    }


def _frequency_ticks(sample_rate: int) -> list[tuple[float, str]]:
    """Return ticks of the frequency axis: height from 0 to 1 on the ERB-rate scale, and text."""
    heights = {f: float(erb_rate(f) / erb_rate(sample_rate / 2)) for f in TICKS_HZ}
    return [
        (height, f"{f // 1000} kHz" if f >= 1000 else f"{f} Hz")
        for f, height in heights.items()
        if height < 0.93
    ]
