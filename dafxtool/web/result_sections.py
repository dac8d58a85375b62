"""Build the sections of a report on the results of a run, from the map to the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import InputError
from dafxtool.evaluation.evaluate import evaluate
from dafxtool.evaluation.figure import draw_results
from dafxtool.latents.embed import embed
from dafxtool.latents.examples import CHANNELS, Example, analyse_pair
from dafxtool.latents.interpolate import interpolate
from dafxtool.latents.interpolation_results import (
    draw_interpolation,
    save_interpolation_audio,
)
from dafxtool.latents.latent_map import (
    draw_latent_map,
    identical_lines,
    latent_map,
    map_title,
)
from dafxtool.latents.reconstruct import (
    Reconstruction,
    draw_reconstructions,
    reconstruct_pairs,
    save_reconstruction_audio,
)
from dafxtool.latents.sweep import sweep as sweep_effects
from dafxtool.latents.sweep_results import HEADER, draw_sweep, effect_rows, parameter_effects
from dafxtool.latents.table import (
    Latents,
    held_out,
)
from dafxtool.models.run import Run
from dafxtool.utils.progress import Progress
from dafxtool.utils.text import shown_name
from dafxtool.web.blocks import (
    Block,
    Clip,
    ClipRow,
    Figure,
    Html,
    Table,
    TableLike,
    Text,
    draw_image,
    draw_png,
    encode_clips,
    png_image,
)
from dafxtool.web.latent_map import map_fragment
from dafxtool.web.map_audio import audio_reader, collect_audio

N_STEPS = 5  # of an interpolation, including both ends
N_CANDIDATES = 64  # pairs whose loudest segments become Figures 5 and 6


# --- Figures 1 and 2 ------------------------------------------------------------------------------


def map_blocks(pairs: Path, run: Run, n_points: int, seed: int, progress: Progress) -> list[Block]:
    """Show the latent map: Figure 1 interactive by t-SNE, Figure 2 static by PCA."""
    latents = _held_out_latents(pairs, run, progress)
    splits = [latents.labels.split_of(0)]
    progress.message(f"projecting {len(latents)} latents with t-SNE")
    projection = latent_map(latents, seed=seed)
    read_audio = audio_reader(pairs, latents, run, splits)
    assert read_audio is not None  # pairs always have audio
    map_audio = collect_audio(latents, run, read_audio, n_points, seed, progress)
    rate = run.configuration.segments.sample_rate
    fragment = map_fragment(latents, projection, map_audio, rate)
    pca = latent_map(latents, "pca", seed)
    pca_image = draw_image(lambda path: draw_latent_map(path, latents, pca, map_title(latents)))
    n_names = len(set(latents.effects()))
    return [
        Text(
            f"Each of the {len(latents)} points is a held-out pair, each of the {n_names} colours "
            "an effect. Points lie close together if the model encodes their effects alike."
            + "".join(f" {line}." for line in identical_lines(projection))
        ),
        Html(fragment),
        Figure(
            "Figure 1",
            None,
            "Effect part of the latents by t-SNE, in the interactive map above. t-SNE keeps "
            "neighbours together: close points have similar latents, but distances between groups "
            "and sizes of groups mean little.",
        ),
        Figure(
            "Figure 2",
            pca_image,
            "The same latents by PCA, along their two directions of largest variance. Points that "
            "are far apart here have different latents; close points may differ along other "
            "directions.",
        ),
    ]  # fmt: skip


def _held_out_latents(pairs: Path, run: Run, progress: Progress) -> Latents:
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        splits = held_out(reader.labels)
    return embed([pairs], run, splits=splits, progress=progress)


# --- Figures 3 and 4 ------------------------------------------------------------------------------


def reconstruction_blocks(pairs: Path, run: Run, progress: Progress) -> list[Block]:
    """Show reconstructions of typical pairs (Figures 3 and 4) and the errors of all effects."""
    reconstructions, table = reconstruct_pairs(pairs, run, progress=progress)
    blocks: list[Block] = [
        Table(
            ["effect", "segments", "MSE, dry", "MSE, wet"],
            [
                [name, str(n), f"{dry:.4f}", f"{wet:.4f}"]
                for name, n, dry, wet in zip(
                    table.effect, table.n_segments, table.dry_error, table.wet_error, strict=True
                )
            ],
            note="Mean squared errors over all held-out pairs, in standardised units.",
        )
    ]
    figures = [
        _reconstruction(f"Figure {3 + index}", each, run, progress)
        for index, each in enumerate(reconstructions[:2])
    ]
    return [*blocks, *figures, Text(ABOUT_PHASE, quiet=True)]


def _reconstruction(
    name: str, reconstruction: Reconstruction, run: Run, progress: Progress
) -> Figure:
    image = draw_image(lambda path: draw_reconstructions(path, [reconstruction], run))
    clips = encode_clips(
        lambda folder: save_reconstruction_audio(folder, [reconstruction], run, progress=progress)
    )
    (dry, wet), example = reconstruction.errors, reconstruction.example
    return Figure(
        name,
        image,
        f"{example.label}, on {example.recording} from {example.offset_seconds:.2f} s: originals "
        f"beside their reconstructions. Mean squared error {dry:.4f} dry and {wet:.4f} wet. Of all "
        f"{example.effect} pairs, the error of this one is nearest to the median.",
        [
            ClipRow(channel, [Clip(kind, clips[f"{channel}-{kind}"]) for kind in KINDS])
            for channel in CHANNELS
        ],
    )


KINDS = ("original", "reconstruction")
ABOUT_PHASE = (
    "A decoded spectrogram has no phase. For the audio, the phase is reconstructed, starting from "
    "the phase of the dry recording."
)


# --- Figures 5 and 6 ------------------------------------------------------------------------------


def between_effects(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """Interpolate between two effects on one segment (Figure 5)."""
    effects = _first_effects(run, 2)
    ((recording, offset, dry),) = _segments(pairs, run, 1, seed)
    a, b = (_pair(run, effect, recording, offset, dry) for effect in effects)
    caption = (
        f"One recording ({a.recording}) from {a.label} to {b.label}. The originals are at both "
        "ends; between them are decoded latents on the straight line from one to the other. The "
        "dry row should stay the same; in the wet row the first effect changes into the second."
    )
    figure = _interpolation("Figure 5", a, b, run, caption, progress)
    return [figure, Text(ABOUT_PHASE, quiet=True)]


def between_recordings(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """Interpolate between two recordings with one effect (Figure 6)."""
    (effect,) = _first_effects(run, 1)
    a, b = (_pair(run, effect, *segment) for segment in _segments(pairs, run, 2, seed))
    caption = (
        f"Two recordings ({a.recording} and {b.recording}), both with {a.label}. Between the "
        "originals at both ends, the first recording changes into the second in both rows. The "
        "effect should be the same at each step."
    )
    return [_interpolation("Figure 6", a, b, run, caption, progress)]


def _first_effects(run: Run, count: int) -> list[Effect]:
    rate = run.configuration.segments.sample_rate
    known = [Effect.from_dict(each) for each in run.effects]
    effects = [each.at(rate) for each in known if not each.is_recorded][:count]
    if len(effects) < count:
        raise InputError(
            f"{run.path}: too few effects that can be applied (found {len(effects)}, expected "
            f"{count}). Train a run on more effects."
        )
    return effects


def _segments(
    pairs: Path, run: Run, count: int, seed: int
) -> list[tuple[str, float, NDArray[np.float32]]]:
    """Return name, offset in s and dry segment of the loudest of some recordings, held out."""
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        labels = reader.labels
        rows = labels.rows_of(held_out(labels))
        rows = np.sort(np.random.default_rng([seed, 9]).permutation(rows)[:N_CANDIDATES])
        dry = reader.rows(rows)[:, 0]
    # All have the same peak level, so the loudest have the largest mean square.
    loudest = np.argsort(-np.mean(np.square(dry, dtype=np.float64), axis=1), kind="stable")
    chosen: dict[int, int] = {}
    for index in loudest:
        chosen.setdefault(int(labels.recording[rows[index]]), int(index))
    if len(chosen) < count:
        raise InputError(
            f"{pairs}: too few recordings with held-out pairs (found {len(chosen)}, expected "
            f"{count}). Render more recordings."
        )
    rate = run.configuration.segments.sample_rate
    return [
        (
            shown_name(Path(labels.path_of(int(rows[index])))),
            float(labels.offset[rows[index]]) / rate,
            np.asarray(dry[index], dtype=np.float32),
        )
        for index in list(chosen.values())[:count]
    ]


def _pair(
    run: Run, effect: Effect, recording: str, offset: float, dry: NDArray[np.float32]
) -> Example:
    audio, setting = render_pair(dry, effect, effect.complete({}), run.configuration.segments)
    return analyse_pair(run, audio, effect.name, effect.label(setting), recording, offset)


def _interpolation(
    name: str, a: Example, b: Example, run: Run, caption: str, progress: Progress
) -> Figure:
    interpolation = interpolate(a, b, run, N_STEPS)
    image = draw_image(lambda path: draw_interpolation(path, interpolation, run))
    clips = encode_clips(
        lambda folder: save_interpolation_audio(folder, interpolation, run, progress=progress)
    )
    steps = [(f"t = {t:.2f}", f"t{t:.2f}") for t in interpolation.positions]
    keys = [("original A", "a"), *steps, ("original B", "b")]
    return Figure(
        name,
        image,
        caption,
        [
            ClipRow(channel, [Clip(text, clips[f"{key}-{channel}"]) for text, key in keys])
            for channel in CHANNELS
        ],
    )


# --- sweeps and evaluation ------------------------------------------------------------------------


def sweep_blocks(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """Show how the latents change with each parameter: a table, and figures of two effects."""
    known = [Effect.from_dict(each) for each in run.effects if each["parameters"]]
    effects = [effect for effect in known if not effect.is_recorded]
    rate = run.configuration.segments.sample_rate
    chosen = [EffectChoice(effect.at(rate), {}) for effect in effects]
    sweeps = sweep_effects([pairs], run, chosen, 8, 4, seed, progress=progress)
    parameters = [each for sweep in sweeps for each in parameter_effects(sweep)]
    blocks: list[Block] = [
        Text(
            "One parameter at a time is swept over its range, on the same segments. The latent "
            "range is the largest distance between the latents of two values, relative to the "
            "distance between two segments. The rank correlation is 1 if the latents keep the "
            "order of the values. Level is the RMS of wet over dry before both are levelled. A "
            "dash marks a number without a basis."
        ),
        Table(list(HEADER), [list(row) for row in effect_rows(parameters)]),
    ]
    caption = (
        "Each point is a segment at one setting, coloured by the value of the parameter. Grey "
        "lines join the settings of one segment."
    )
    for sweep in sweeps[:2]:
        image = draw_image(partial(draw_sweep, sweep=sweep))
        blocks.append(Figure(f"Sweep of {sweep.effect.name}", image, caption))
    return blocks


def evaluation_results(
    pairs: Path, run: Run, seed: int, progress: Progress
) -> tuple[Sequence[TableLike], Sequence[tuple[str, bytes]], Sequence[str]]:
    """Evaluate a run; return the tables, the figures (title and PNG) and the remarks."""
    evaluation = evaluate(run, pairs, seed=seed, progress=progress)
    figure = draw_png(partial(draw_results, evaluation=evaluation))
    return evaluation.tables(), [("Evaluation", figure)], evaluation.remarks


def evaluation_blocks(
    tables: Sequence[TableLike],
    figures: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[str] = (),
) -> list[Block]:
    """Show tables, figures and remarks of an evaluation."""
    return [
        Text(
            "Scores on the test split, with 95 % intervals in brackets by the bootstrap over "
            "recordings."
        ),
        *(Table(each.header, each.rows, each.title, each.note) for each in tables),
        *(Figure(title, png_image(png), "The same scores as a figure.") for title, png in figures),
        *(Text(remark, quiet=True) for remark in remarks),
    ]
