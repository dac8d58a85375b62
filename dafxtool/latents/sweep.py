"""Sweeps: every parameter of an effect moved alone, and how its latents move with it.

The same segments hear every setting, so whatever changes along a sweep is the setting's doing. For
drawing and for numbers, each segment's own mean latent is taken off: what is left is the movement.
Distances are those of the part of the latent that tells of the effect, scaled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from dafxtool import storage
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.pair import render_pair
from dafxtool.dataset.recordings import RecordingSet, build_catalogue, recording_rows
from dafxtool.dataset.segments import Segment, draw_segment
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import (
    ConfigError,
    EffectError,
    InputError,
    RecordingError,
)
from dafxtool.latents.embed import ROWS_PER_BATCH
from dafxtool.latents.projection import principal_points
from dafxtool.latents.table import (
    Latents,
    check_segments,
    held_out,
    labels_of,
    latent_parts,
)
from dafxtool.models.run import Run
from dafxtool.plots.pair_plot import PairPlot, draw_pair_plot
from dafxtool.plots.scatter import ScatterPanel, draw_maps
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress

N_DIRECTIONS = 4  # that are kept in tables and drawn against each other
COLUMNS = (
    *("effect", "parameter", "value", "unit", "position", "recording", "offset"),
    *(f"pc{index + 1}" for index in range(N_DIRECTIONS)),
)


@dataclass(frozen=True)
class Sweep:
    """The latents of one effect's settings: row by row, a parameter after the other.

    latents    (n, n_latent) with setting, recording and offset of each row
    parameter  n names: what was moved in that row
    value      (n,) of that parameter, in its unit; position (n,) the same on its scale, 0 to 1
    segment    (n,) which segment heard it, 0 to n_segments - 1
    default    (n_segments, n_latent) where nothing is moved
    fixed      what was held at a value of its own instead of the default
    """

    effect: Effect
    latents: Latents
    parameter: list[str]
    value: NDArray[np.float64]
    position: NDArray[np.float64]
    segment: NDArray[np.int64]
    default: NDArray[np.float32]
    fixed: dict[str, float]

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def parameters(self) -> list[Parameter]:
        """Those that were moved, in the effect's order."""
        return [self.effect.parameter(name) for name in dict.fromkeys(self.parameter)]

    def rows_of(self, parameter: str) -> NDArray[np.int64]:
        return np.flatnonzero(np.array(self.parameter) == parameter)


@dataclass(frozen=True)
class _Heard:
    """The segments that hear every setting, the split of each, and the table of recordings."""

    segments: list[Segment]
    splits: list[str]
    recordings: list[dict[str, Any]]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ParameterEffect:
    """How much the latents hear of one parameter.

    travel    largest distance between the latents of any two values, mean over segments, against
              the distance between two segments at the default (root mean square)
    monotone  how far the order of the values is the order along the parameter's first principal
              direction: the size of Spearman's rank correlation, mean over segments, 0 to 1
    """

    effect: str
    parameter: str
    low: str
    high: str
    travel: float
    monotone: float


def sweep(
    inputs: Sequence[Path],
    run: Run,
    chosen: Sequence[EffectChoice],
    n_values: int = 16,
    n_segments: int = 8,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
) -> list[Sweep]:
    """Move every free parameter of each effect alone from end to end, over the same segments.

    inputs      recordings and folders, or one pairs file, of which the dry side of pairs that
                training has not seen is taken
    chosen      effects that training may never have seen, with the parameters that stay fixed
    n_segments  of as many different recordings as there are; fewer where there are not so many
    """
    config = run.configuration.segments
    chosen = check_effects(chosen, n_values, n_segments, config)
    heard = _choose_segments(inputs, run, n_segments, seed, strict, progress)
    if len(heard.segments) < n_segments:
        progress.message(
            f"there are {len(heard.segments)} segments, not {n_segments}: taking those"
        )
    jobs = [_jobs(each, n_values, len(heard.segments)) for each in chosen]
    progress.start("sweeping", sum(map(len, jobs)), "pair")
    made = [_sweep_one(*each, heard, run, progress) for each in zip(chosen, jobs, strict=True)]
    progress.finish()
    return made


def check_effects(
    chosen: Sequence[EffectChoice], n_values: int, n_segments: int, config: SegmentConfig
) -> list[EffectChoice]:
    """The effects as they hold at the sample rate; refused where there is nothing to move."""
    if n_values < 2:
        raise ConfigError(f"{n_values} values were asked for: from end to end it takes at least 2.")
    if n_segments < 1:
        raise ConfigError(f"{n_segments} segments were asked for: it takes at least 1.")
    names = [effect.name for effect, _ in chosen]
    if not names:
        raise ConfigError("no effect was chosen: name at least one with --effect.")
    if len(set(names)) < len(names):
        raise ConfigError(f"an effect is named twice in {', '.join(names)}: name each once.")
    for effect, fixed in chosen:
        if not effect.parameters:
            raise EffectError(f"the effect {effect.name!r} has no parameters: sweep another one.")
        if not _free(effect, fixed):
            raise EffectError(
                f"every parameter of the effect {effect.name!r} is held at a value: leave at least "
                "one of them free."
            )
    return [EffectChoice(effect.at(config.sample_rate), dict(fixed)) for effect, fixed in chosen]


def _free(effect: Effect, fixed: dict[str, float]) -> list[Parameter]:
    return [parameter for parameter in effect.parameters if parameter.name not in fixed]


def _jobs(
    chosen: EffectChoice, n_values: int, n_segments: int
) -> list[tuple[str, int, dict[str, float]]]:
    """(parameter that is moved, segment, setting) of every pair, by parameter, then by segment.

    First of all each segment with the base that parameters.sweep_settings moves one at a time.
    """
    effect, fixed = chosen
    base = effect.complete(fixed)
    moved = [
        (parameter.name, segment, base | {parameter.name: value})
        for parameter in _free(effect, fixed)
        for segment in range(n_segments)
        for value in parameter.linspace(n_values)
    ]
    return [("", segment, base) for segment in range(n_segments)] + moved


def _sweep_one(
    chosen: EffectChoice,
    jobs: Sequence[tuple[str, int, dict[str, float]]],
    heard: _Heard,
    run: Run,
    progress: Progress,
) -> Sweep:
    effect, fixed = chosen
    first = len(heard.segments)  # before it: each segment at the default
    latent, settings = _embed_jobs(effect, jobs, heard, run, progress)
    names, numbers, _ = zip(*jobs[first:], strict=True)
    values = [setting[name] for name, setting in zip(names, settings[first:], strict=True)]
    parameters = map(effect.parameter, names)
    places = [parameter.to_normalised(v) for parameter, v in zip(parameters, values, strict=True)]
    rows = [
        (heard.segments[number].recording, heard.segments[number].offset, 0, setting)
        for number, setting in zip(numbers, settings[first:], strict=True)
    ]
    labels = labels_of(rows, heard.recordings, [chosen])
    labels = replace(labels, split=np.array([SPLITS.index(heard.splits[i]) for i in numbers]))
    return Sweep(
        effect=effect,
        latents=Latents(latent[first:], labels, *latent_parts(run), heard.skipped),
        parameter=list(names),
        value=np.array(values),
        position=np.array(places),
        segment=np.array(numbers),
        default=latent[:first],
        fixed=fixed,
    )


def _embed_jobs(
    effect: Effect,
    jobs: Sequence[tuple[str, int, dict[str, float]]],
    heard: _Heard,
    run: Run,
    progress: Progress,
) -> tuple[NDArray[np.float32], list[dict[str, float]]]:
    """Latents (n_jobs, n_latent), and the settings that were in force."""
    config = run.configuration.segments
    latents, settings = [], []
    for start in range(0, len(jobs), ROWS_PER_BATCH):
        pairs = [
            render_pair(heard.segments[segment].audio, effect, setting, config)
            for _, segment, setting in jobs[start : start + ROWS_PER_BATCH]
        ]
        latents.append(run.embed(run.analyse(np.stack([sound for sound, _ in pairs]))[0]))
        settings += [setting for _, setting in pairs]
        progress.advance(len(pairs))
    return np.concatenate(latents), settings


# Segments -----------------------------------------------------------------------------------------


def _choose_segments(
    inputs: Sequence[Path], run: Run, count: int, seed: int, strict: bool, progress: Progress
) -> _Heard:
    if not inputs:
        raise InputError("nothing to sweep over was named: name recordings or a pairs.h5.")
    hdf5 = [path for path in inputs if path.suffix.lower() in (".h5", ".hdf5")]
    if hdf5 and len(inputs) > 1:
        raise InputError("sweep over one HDF5 file at a time, and not together with recordings.")
    rng = np.random.default_rng([seed, 4])
    if hdf5:
        return _stored_segments(hdf5[0], run, count, rng)
    config = run.configuration.segments
    catalogue = build_catalogue(inputs, config, SplitConfig("recording", 0, 0), 0, strict, progress)
    return _drawn_segments(catalogue, config, count, rng, strict)


def _stored_segments(path: Path, run: Run, count: int, rng: np.random.Generator) -> _Heard:
    """Dry sides of pairs that training has not seen, each recording's first ones first."""
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        check_segments(reader, run)
        labels = reader.labels
        row_of: dict[tuple[int, int], int] = {}  # several pairs may be of one segment
        for row in rng.permutation(labels.rows_of(held_out(labels))).tolist():
            row_of.setdefault((int(labels.recording[row]), int(labels.offset[row])), row)
        turns: Counter[int] = Counter()
        ranked: list[tuple[int, int, int]] = []
        for (recording, _), row in row_of.items():
            ranked.append((turns[recording], len(ranked), row))
            turns[recording] += 1
        rows = [row for _, _, row in sorted(ranked)[:count]]
        if not rows:
            raise InputError(f"{path} has no pairs: render some.")
        dry = reader.rows(np.array(rows))[:, 0].astype(np.float32)
    segments = [
        Segment(sound, int(labels.recording[row]), int(labels.offset[row]))
        for sound, row in zip(dry, rows, strict=True)
    ]
    return _Heard(segments, [labels.split_of(row) for row in rows], labels.recordings, ())


def _drawn_segments(
    catalogue: RecordingSet,
    config: SegmentConfig,
    count: int,
    rng: np.random.Generator,
    strict: bool,
) -> _Heard:
    """One segment of each track, then another of each, until there are enough or no new ones."""
    skipped = dict(catalogue.skipped)
    found: dict[tuple[int, int], Segment] = {}
    tracks = [catalogue.tracks[index] for index in rng.permutation(len(catalogue.tracks))]
    before = -1
    while before < len(found) < count:
        before = len(found)
        for track in list(tracks):
            alone = RecordingSet(catalogue.recordings, (track,))
            try:
                segment, _ = draw_segment(alone, track.split, config, rng, strict)
            except RecordingError as error:
                if strict:
                    raise
                skipped[catalogue.recordings[track.recordings[0]].path] = str(error)
                tracks.remove(track)
                continue
            found.setdefault((segment.recording, segment.offset), segment)
            if len(found) == count:
                break
    if not found:
        raise InputError(f"nothing can be swept over; a reason: {next(iter(skipped.values()))}")
    table = [row | {"split": "test"} for row in recording_rows(catalogue)]
    return _Heard(list(found.values()), ["test"] * len(found), table, tuple(skipped.items()))


# Numbers and figures ------------------------------------------------------------------------------


def movements(sweep: Sweep) -> list[ParameterEffect]:
    """How much the latents hear of each parameter that was moved."""
    spread = _spread(sweep)
    made = []
    for parameter in sweep.parameters:
        rows = sweep.rows_of(parameter.name)
        part, segment = sweep.latents.effect_part[rows].astype(np.float64), sweep.segment[rows]
        along = principal_points(_without_means(part, segment), 1)[0][:, 0]
        ways = [segment == number for number in range(len(sweep.default))]
        extents = [float(pdist(part[way]).max(initial=0.0)) for way in ways]
        orders = [_order(sweep.position[rows][way], along[way]) for way in ways]
        made.append(
            ParameterEffect(
                effect=sweep.effect.name,
                parameter=parameter.name,
                low=parameter.text(float(sweep.value[rows[0]])),
                high=parameter.text(float(sweep.value[rows[-1]])),
                travel=float(np.mean(extents)) / spread if spread else math.nan,
                monotone=float(np.mean(orders)),
            )
        )
    return made


def _spread(sweep: Sweep) -> float:
    """Root mean square distance between two segments at the default; NaN of a single one."""
    if len(sweep.default) < 2:
        return math.nan
    part = replace(sweep.latents, latent=sweep.default).effect_part.astype(np.float64)
    return math.sqrt(2 * float(part.var(axis=0, ddof=1).sum()))


def _order(position: NDArray[np.float64], along: NDArray[np.float32]) -> float:
    """The size of Spearman's rank correlation; what stands still has none."""
    if np.ptp(position) == 0 or np.ptp(along) == 0:
        return 0.0
    return abs(float(spearmanr(position, along).statistic))


def _without_means(
    part: NDArray[np.floating[Any]], segment: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Latents (n, n_latent) less the mean of their segment."""
    centred = part.astype(np.float64)
    for number in np.unique(segment):
        centred[segment == number] -= centred[segment == number].mean(axis=0)
    return centred.astype(np.float32)


def principal_movement(sweep: Sweep) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Rows along the (at most four) principal directions of all that moved, and their names."""
    centred = _without_means(sweep.latents.effect_part, sweep.segment)
    return principal_points(centred, N_DIRECTIONS)


def draw_sweep(path: Path, sweep: Sweep, title: str = "", overwrite: bool = False) -> None:
    """A panel a parameter, coloured by its value; grey lines join the points of a segment."""
    points, names = principal_movement(sweep)
    maps = []
    for parameter in sweep.parameters:
        rows = sweep.rows_of(parameter.name)
        segment = sweep.segment[rows]
        maps.append(
            ScatterPanel(
                points[rows, :2],
                title=parameter.name,
                axis_names=(names[0], names[1]),
                values=sweep.value[rows],
                value_name=_with_unit(parameter),
                logarithmic=parameter.scale == "logarithmic",
                paths=[np.flatnonzero(segment == number) for number in np.unique(segment)],
            )
        )
    draw_maps(path, maps, title or sweep_title(sweep), overwrite, note=sweep_note(sweep))


def draw_sweep_pairs(path: Path, sweep: Sweep, title: str = "", overwrite: bool = False) -> None:
    """The principal directions against each other, coloured by parameter, darker with its value."""
    points, names = principal_movement(sweep)
    ends = {
        p.name: tuple(p.text(float(sweep.value[sweep.rows_of(p.name)[end]])) for end in (0, -1))
        for p in sweep.parameters
    }
    plot = PairPlot(points, sweep.parameter, sweep.position, ends, names)
    draw_pair_plot(path, plot, title or sweep_title(sweep), sweep_note(sweep), overwrite)


def _with_unit(parameter: Parameter) -> str:
    return f"{parameter.name} ({parameter.unit})" if parameter.unit else parameter.name


def sweep_title(sweep: Sweep) -> str:
    n_segments, n_recordings = len(sweep.default), len(set(sweep.latents.labels.recording.tolist()))
    heard = f"{_counted(n_segments, 'segment')} of {_counted(n_recordings, 'recording')}"
    moved = "each parameter moved alone" if len(sweep.parameters) > 1 else "one parameter moved"
    return f"{sweep.effect.name}: {moved}, {heard}, {Path(sweep.latents.run).name}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def sweep_note(sweep: Sweep) -> str:
    """How the figures are to be read."""
    parts = [
        f"{name} {sweep.effect.parameter(name).text(value)} held"
        for name, value in sweep.fixed.items()
    ]
    if len(sweep.parameters) > 1:
        parts.append("the others at their default")
    return (
        f"{', '.join(['Latents of the effect', *parts])}; each segment's own mean is taken off, "
        "so that the movement shows and not the recording."
    )


def write_sweep_table(path: Path, sweeps: Sequence[Sweep], overwrite: bool = False) -> None:
    """A row for each setting and segment; the principal directions are each effect's own."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for sweep in sweeps:
        labels, n = sweep.latents.labels, len(sweep)
        points, _ = principal_movement(sweep)
        columns["effect"] += [sweep.effect.name] * n
        columns["parameter"] += sweep.parameter
        columns["value"] += sweep.value.tolist()
        columns["unit"] += [sweep.effect.parameter(name).unit for name in sweep.parameter]
        columns["position"] += sweep.position.tolist()
        columns["recording"] += [labels.path_of(row) for row in range(n)]
        columns["offset"] += labels.offset.tolist()
        for index in range(N_DIRECTIONS):
            there = index < points.shape[1]
            columns[f"pc{index + 1}"] += list(points[:, index]) if there else [""] * n
    write_table(path, columns, overwrite)
