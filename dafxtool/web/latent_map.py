"""A latent map to click on: hear each point, see it, and see the way from one point to another.

A page cannot run a model, so what it shows between two points is decoded beforehand, for some of
the points: those that carry sound. The others are there too, fainter, and silent.
"""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.dataset.pair import render_pair
from dafxtool.dataset.segments import cut_recording
from dafxtool.effects.effect import Effect
from dafxtool.latents.latent_map import map_title
from dafxtool.latents.projection import Projection
from dafxtool.latents.table import Latents
from dafxtool.plots.base import INK, QUIET_INK, typeset
from dafxtool.plots.scatter import ScatterPanel, label_style
from dafxtool.plots.spectrograms import colour_table, erb_rate
from dafxtool.utils import outputs
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import shown_name
from dafxtool.web.page import (
    Fragment,
    asset,
    data_uri,
    fill,
    packed,
    page,
    script_data,
    write_page,
)
from dafxtool.web.thumbnails import (
    FLOOR_DB,
    N_BANDS,
    N_TIMES,
    RANGE_DB,
    Departures,
    compress,
    from_levels,
    shown_db,
    shrink,
    to_levels,
)

if TYPE_CHECKING:
    from dafxtool.models.run import Run

N_POINTS = 60
POSITIONS = (0.25, 0.5, 0.75)  # that are decoded between two points
DECODED_VALUES = 2e6  # at a time: more only waits for memory
TICKS_HZ = (100, 500, 1000, 2000, 5000, 10000)
SYMBOLS = {
    **{"o": "circle", "^": "triangle-up", "s": "square", "D": "diamond"},
    **{"v": "triangle-down", "P": "cross", "X": "x", "p": "pentagon"},
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# Rows of the latents -> their dry and wet sound (n, 2, n_samples).
Sounds = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class MapAudio:
    """What the points with sound bring along; each array has a row for each of them.

    rows        (n,) of the latents
    audio       (n, 2, n_samples), dry first
    originals   (n, 2, bands, times) levels of the originals, ends of what the decoder makes of them
    departures  of the steps between points i < j at POSITIONS, pair by pair: (0, 1), (0, 2), ...
    exponent    of the power law in which steps are blended
    error_db    root mean square over what is shown, of all steps: page against decoder
    """

    rows: NDArray[np.int64]
    audio: NDArray[np.float32]
    originals: NDArray[np.uint8]
    ends: NDArray[np.uint8]
    departures: Departures
    exponent: float
    error_db: float


# --- the sounds -------------------------------------------------------------------------------


def sounds_of(path: Path, latents: Latents, run: Run, splits: Sequence[str]) -> Sounds | None:
    """Where the sound of embedded rows comes from; None where the file has no sound.

    path    what was embedded: a file of render or spectrogram, or one of the recordings
    splits  those that were embedded of a pairs file
    """
    kind = storage.kind_of(path) if path.suffix.lower() in (".h5", ".hdf5") else None
    if kind == storage.PAIRS:
        return lambda rows: _stored(path, splits, rows)
    return None if kind else lambda rows: np.stack([_rendered(latents, run, row) for row in rows])


def _stored(path: Path, splits: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    with storage.Reader(path, storage.PAIRS) as reader:
        return np.asarray(reader.rows(reader.labels.rows_of(splits)[rows]), dtype=np.float32)


def _rendered(latents: Latents, run: Run, row: int) -> NDArray[np.float32]:
    labels, config = latents.labels, run.configuration.segments
    dry = cut_recording(Path(labels.path_of(row)), int(labels.offset[row]), config)
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    return render_pair(dry, effect, labels.setting_of(row), config)[0]


def choose_points(latents: Latents, n_points: int, seed: int = 0) -> NDArray[np.int64]:
    """Rows that shall carry sound: as many of each effect as there are, the same for a seed."""
    rng = np.random.default_rng([seed, 7])
    shuffled = rng.permutation(len(latents))
    turns = np.zeros(len(latents), dtype=np.int64)
    for effect in np.unique(latents.labels.effect):
        members = latents.labels.effect[shuffled] == effect
        turns[members] = np.arange(members.sum())
    return np.sort(shuffled[np.argsort(turns, kind="stable")[:n_points]])


# --- what is decoded beforehand ---------------------------------------------------------------


def carry(
    latents: Latents,
    run: Run,
    sounds: Sounds,
    n_points: int = N_POINTS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> MapAudio:
    """Read the sound of some points, and decode the way between any two of them."""
    rows = choose_points(latents, n_points, seed)
    sound = sounds(rows)
    spectrograms, constants = run.analyse(sound)
    config, exponent = run.spectrogram_config, run.spectrogram_config.exponent
    originals = shrink(spectrograms, constants, config)
    del spectrograms
    latent = latents.latent[rows]
    ends = _decoded(run, latent, constants)
    loudest = max(float(originals.max()), 1e-9)
    end_levels = to_levels(ends, loudest, exponent)
    blended = from_levels(end_levels, exponent)
    first, second = np.triu_indices(len(rows), 1)
    count = len(first) * len(POSITIONS)
    departures = np.empty((count, *ends.shape[1:]), np.float16)

    def decode(step: NDArray[np.int64]) -> int:
        a, b = first[step // len(POSITIONS)], second[step // len(POSITIONS)]
        t = np.array(POSITIONS, np.float32)[step % len(POSITIONS), None]
        between = _decoded(
            run, (1 - t) * latent[a] + t * latent[b], (1 - t) * constants[a] + t * constants[b]
        )
        t = t[:, :, None, None]
        departures[step] = between / loudest - ((1 - t) * blended[a] + t * blended[b])
        return len(step)

    progress.start("decoding ways", count, "step")
    for n_done in _side_by_side(decode, _parts(count, run), run.device):
        progress.advance(n_done)
    progress.finish()
    progress.say("compressing the ways")
    small = compress(departures, seed)
    error = _error_db(small, departures, blended, first, second, exponent)
    return MapAudio(
        rows,
        sound,
        to_levels(originals, loudest, exponent),
        end_levels,
        small,
        exponent,
        error,
    )


def _parts(count: int, run: Run) -> list[NDArray[np.int64]]:
    """0 to count - 1 in parts that are decoded at a time."""
    size = max(1, int(DECODED_VALUES // np.prod(run.model.shape)))
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]


def _side_by_side(
    work: Callable[[NDArray[np.int64]], int], parts: Sequence[NDArray[np.int64]], device: str
) -> Iterator[int]:
    """Work on parts, on a CPU each core on its own: a part is too small for more than one."""
    import torch

    n_threads = torch.get_num_threads() if device == "cpu" else 1
    if n_threads == 1:
        yield from map(work, parts)
        return
    pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, parts)
    finally:
        pool.shutdown(cancel_futures=True)


def _decoded(
    run: Run, latent: NDArray[np.float32], constants: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Miniatures of latents, decoded in parts."""
    return np.concatenate(
        [
            shrink(run.decode(latent[rows]), constants[rows], run.spectrogram_config)
            for rows in _parts(len(latent), run)
        ]
    )


def _error_db(
    small: Departures,
    departures: NDArray[Any],
    ends: NDArray[np.float32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    exponent: float,
) -> float:
    """Root mean square of what a page shows of the steps less what was decoded, in dB."""
    squares, count = 0.0, 0
    for start in range(0, len(departures), 512):
        step = np.arange(start, min(start + 512, len(departures)))
        t = np.array(POSITIONS, np.float32)[step % len(POSITIONS), None, None, None]
        a, b = first[step // len(POSITIONS)], second[step // len(POSITIONS)]
        blend = (1 - t) * ends[a] + t * ends[b]
        shown = shown_db(blend + small.of(step), exponent)
        true = shown_db(blend + departures[step], exponent)
        squares += float(np.square(shown - true, dtype=np.float64).sum())
        count += shown.size
    return float(np.sqrt(squares / max(count, 1)))


# --- the page ---------------------------------------------------------------------------------


def map_fragment(
    latents: Latents,
    projection: Projection,
    carried: MapAudio | None = None,
    sample_rate: int = 0,
    n_samples: int = 0,
    silent_because: str = "",
) -> Fragment:
    """The map as a part of a page.

    carried                 sound and pictures of some points; without, the map is only looked at
    sample_rate, n_samples  of the sounds carried
    silent_because          a sentence for the reader of a map without sound
    """
    from plotly.offline import get_plotlyjs

    data: dict[str, Any] = {
        "figure": json.loads(_figure(latents, projection, carried).to_json()),
        "points": [_about(latents, row) for row in range(len(latents))],
        "carried": _carried_data(carried, sample_rate, n_samples) if carried else None,
    }
    content = fill(
        "map.html",
        data=script_data(data),
        n_sounding=len(carried.rows) if carried else 0,
        n_points=len(latents),
        silent_because=silent_because,
        n_coefficients=len(carried.departures.scales) if carried else 0,
        error_db=carried.error_db if carried else 0.0,
        positions=[0.0, *POSITIONS, 1.0],
        n_bands=N_BANDS,
        n_times=N_TIMES,
        floor_db=round(-FLOOR_DB),
    )
    return Fragment(content, asset("map.css"), (get_plotlyjs(), asset("map.js")))


def write_map_page(
    path: Path,
    latents: Latents,
    projection: Projection,
    run: Run | None = None,
    sounds: Sounds | None = None,
    n_points: int = N_POINTS,
    title: str = "",
    silent_because: str = "",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MapAudio | None:
    """Write the map as one page; with a run and sounds it can be heard.

    n_points  how many points carry sound, at most
    Returns what the page carries; errors of outputs.check_page_path and files.writing.
    """
    outputs.check_page_path(path, overwrite)
    carried = None
    if run is not None and sounds is not None:
        carried = carry(latents, run, sounds, n_points, seed, progress)
    n_samples = carried.audio.shape[2] if carried else 0
    rate = run.spectrogram_config.sample_rate if run else 0
    made = map_fragment(latents, projection, carried, rate, n_samples, silent_because)
    text = page("Latent map", [made], title or map_title(latents))
    write_page(path, text, overwrite)
    return carried


def _figure(latents: Latents, projection: Projection, carried: MapAudio | None) -> Any:
    """plotly's figure: silent points below, then those with sound, then letters at chosen ones.

    An effect has a name in the legend, which hides both of its kinds of points.
    """
    from plotly import graph_objects

    names = np.array(latents.effects())
    order = ScatterPanel(projection.points, names.tolist(), order=latents.labels.effect_names).names
    sounding = np.zeros(len(latents), dtype=bool)
    sounding[carried.rows if carried else slice(None)] = True
    size = float(np.clip(12 * (sounding.sum() / 60) ** -0.2, 6, 12))
    figure = graph_objects.Figure()
    for loud in (False, True):
        for index, name in enumerate(order):
            colour, marker = label_style(index)
            rows = np.flatnonzero((names == name) & (sounding == loud))
            style = {"size": size, "opacity": 0.9} if loud else {"size": 5, "opacity": 0.35}
            edge = {"width": 0.5 if loud else 0, "color": "white"}
            if not len(rows):
                continue
            figure.add_scatter(
                x=[float(f"{x:.4g}") for x in projection.points[rows, 0]],
                y=[float(f"{y:.4g}") for y in projection.points[rows, 1]],
                name=f"{plotly_text(name)} ({np.sum(names == name)})",
                legendgroup=str(index),
                showlegend=loud or not sounding[names == name].any(),
                mode="markers",
                customdata=rows.tolist(),
                hovertext=[_hover(latents, int(row)) for row in rows],
                hoverinfo="text",
                marker={"color": colour, "symbol": SYMBOLS[marker], "line": edge, **style},
            )
    figure.add_scatter(
        x=[],
        y=[],
        text=[],
        mode="markers+text",
        textposition="top center",
        textfont={"size": 16, "color": INK, "weight": "bold"},
        marker={"symbol": "circle-open", "size": size + 9, "color": INK, "line": {"width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )
    axis = {"zeroline": False, "gridcolor": "#eeeeee", "color": QUIET_INK, "showline": False}
    x_name, y_name = (plotly_text(name) for name in projection.axis_names)
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        hovermode="closest",
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": INK, "family": FONT}},
        xaxis={**axis, "title": {"text": x_name}},
        yaxis={**axis, "title": {"text": y_name}, "scaleanchor": "x"},
        legend={"itemsizing": "constant", "orientation": "h", "y": 1.01, "yanchor": "bottom"},
        margin={"l": 48, "r": 8, "t": 8, "b": 44},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    return figure


def plotly_text(text: str) -> str:
    """Text that plotly shows as it is: what it draws is read as a small kind of HTML."""
    return html.escape(_printable(text), quote=False)


def _printable(text: str) -> str:
    """Bytes of a file's name that are no text are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _hover(latents: Latents, row: int) -> str:
    about = _about(latents, row)
    label = re.sub("(?<!,) ", "\N{NO-BREAK SPACE}", about["label"])  # breaks between parameters
    parts = (label, about["recording"], about["place"])
    lines = [line for part in parts for line in textwrap.wrap(part, 44)]
    return "<br>".join(map(plotly_text, lines))


def _about(latents: Latents, row: int) -> dict[str, str]:
    """Effect and setting, recording, and where in it."""
    labels = latents.labels
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    recording = labels.recordings[labels.recording[row]]
    whole_seconds = recording["n_samples_native"] / recording["sample_rate"]
    seconds = float(labels.offset[row]) / recording["n_samples"] * whole_seconds
    return {
        "label": typeset(_printable(effect.label(labels.setting_of(row), most=99))),
        "recording": shown_name(Path(labels.path_of(row))),
        "place": f"from {seconds:.2f} s, {labels.split_of(row)}",
    }


def _carried_data(carried: MapAudio, sample_rate: int, n_samples: int) -> dict[str, Any]:
    """For the script, each sound once: pairs of one segment have the dry one in common."""
    sounds: dict[bytes, int] = {}
    uris: list[str] = []
    slots = []
    for pair in carried.audio:
        slot = []
        for samples in pair:
            key = samples.tobytes()
            if key not in sounds:
                sounds[key] = len(uris)
                uris.append(data_uri(audio.encode(samples, sample_rate, "mp3"), "mp3"))
            slot.append(sounds[key])
        slots.append(slot)
    highest_hz = sample_rate / 2
    heights = {f: float(erb_rate(f) / erb_rate(highest_hz)) for f in TICKS_HZ}
    return {
        "rows": carried.rows.tolist(),
        "sounds": uris,
        "sounds_of": slots,
        "seconds": n_samples / sample_rate,
        "bands": N_BANDS,
        "times": N_TIMES,
        "originals": packed(carried.originals),
        "ends": packed(carried.ends),
        "positions": list(POSITIONS),
        "coefficients": packed(carried.departures.coefficients),
        "basis": packed(carried.departures.basis),
        "scales": carried.departures.scales.tolist(),
        "exponent": carried.exponent,
        "range_db": RANGE_DB,
        "floor_db": FLOOR_DB,
        "error_db": carried.error_db,
        "colours": packed(colour_table()),
        "ticks": [
            [height, f"{f // 1000} kHz" if f >= 1000 else f"{f} Hz"]
            for f, height in heights.items()
            if height < 0.93
        ],
    }
