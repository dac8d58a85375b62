"""What each section of the report holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.config import SPLITS
from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import InputError
from dafxtool.evaluation.evaluate import evaluate
from dafxtool.evaluation.results import draw
from dafxtool.latents import sweep as sweep_module
from dafxtool.latents.embed import embed
from dafxtool.latents.examples import CHANNELS, Example, source_of_pair
from dafxtool.latents.interpolate import draw_interpolation, interpolate, sound_interpolation
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
    sound_reconstructions,
)
from dafxtool.latents.table import (
    Latents,
    held_out,
)
from dafxtool.models.run import Run
from dafxtool.training.tensorboard import draw_training
from dafxtool.utils.progress import Progress
from dafxtool.utils.text import shown_name
from dafxtool.web.blocks import (
    Block,
    Figure,
    Html,
    Sound,
    Sounds,
    Table,
    TableLike,
    Words,
    _drawn,
    _picture,
    _png,
    _sounds,
)
from dafxtool.web.latent_map import map_fragment
from dafxtool.web.map_audio import collect_audio, sounds_of

N_STEPS = 5  # from A to B
MOST_FOLDERS = 24  # that are named one by one
LOUD_AMONG = 64  # pairs whose loudest segments become Figures 5 and 6


# --- data, effects, training ----------------------------------------------------------------------


def data_blocks(pairs: Path, run: Run) -> list[Block]:
    """What the pairs are made of, split by split, and the versions that made pairs and run."""
    with storage.Reader(pairs, storage.PAIRS) as reader:
        labels, made_of = reader.labels, reader.configuration
    segments = run.configuration.segments
    seconds = segments.n_samples / segments.sample_rate
    rows = []
    for split in SPLITS:
        members = labels.rows_of([split])
        recordings = {labels.path_of(row) for row in members}
        folders = {labels.folder_of(row) for row in members}
        rows.append(
            [split, f"{len(members):,}", f"{len(recordings):,}", f"{len(folders):,}",
             f"{len(members) * seconds / 60:.1f} min", _listed(folders)]
        )  # fmt: skip
    environment = _environment(run.path)
    versions = {**made_of.get("versions", {}), **environment}
    same = made_of == run.data["pairs"]
    blocks: list[Block] = [
        Words(
            f"A pair is {seconds:.2f} s ({segments.n_samples:,} samples at "
            f"{segments.sample_rate:,} Hz) of a recording, dry and with an effect, both at a peak "
            f"of {segments.level_dbfs:g} dBFS. Settings of the effects are "
            f"{made_of.get('settings', 'random')}. Recordings of one split are in no other; a "
            "folder is a speaker or a source where recordings are kept in that way."
        ),
        Table(
            ["split", "pairs", "recordings", "folders", "dry sound", "names of folders"],
            rows,
            title="Splits",
        ),
        Table(
            ["effect", *SPLITS],
            [
                [name, *(str(_count(labels, index, split)) for split in SPLITS)]
                for index, name in enumerate(labels.effect_names)
            ],
            title="Pairs of each effect",
        ),
        Table(
            ["what", "version"],
            [[name, str(value)] for name, value in versions.items()],
            title="Made with",
        ),
    ]
    if not same:
        blocks.insert(
            0,
            Words(
                f"{shown_name(pairs)} is not the file that this run was trained on, so its splits "
                "are not the run's: what is called held out here may have been trained on."
            ),
        )
    return blocks


def _count(labels: storage.Labels, effect: int, split: str) -> int:
    return int(np.sum(labels.effect[labels.rows_of([split])] == effect))


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:MOST_FOLDERS]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _environment(run: Path) -> dict[str, str]:
    path = run / "environment.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # the run is a checkpoint alone
        return {}
    if not isinstance(found, dict):
        return {}
    names = ("dafxtool", "python", "torch", "device")
    return {name: str(found[name]) for name in names if name in found}


def effect_blocks(pairs: Path, run: Run) -> list[Block]:
    """Every parameter of every effect, with the range that settings were drawn from."""
    with storage.Reader(pairs, storage.PAIRS) as reader:
        described, fixed = reader.labels.effects, reader.configuration.get("fixed", [])
    tables: list[Block] = []
    for index, each in enumerate(described):
        effect = Effect.from_dict(each)
        held = fixed[index] if index < len(fixed) else {}
        rows = []
        for parameter in effect.parameters:
            there = parameter.name in held
            kept = f"held at {parameter.text(held[parameter.name])}" if there else ""
            rows.append(
                [parameter.name, kept or parameter.range_text(), parameter.text(parameter.default),
                 parameter.scale, parameter.description]
            )  # fmt: skip
        header = ["parameter", "range", "default", "scale", ""]
        tables.append(Table(header, rows, effect.name, effect.summary))
    trained = {str(each["name"]) for each in run.effects}
    foreign = [name for name in (each["name"] for each in described) if name not in trained]
    if foreign:
        tables.insert(0, Words(f"The run was not trained on {', '.join(foreign)}."))
    return tables


def training_blocks(run: Run) -> list[Block]:
    """The curves, and the configuration in a table."""
    config = run.configuration
    picture = _drawn(lambda path: draw_training(path, run.path))
    training, spectrogram = config.training, config.spectrogram
    rows = [
        ["preset", config.preset],
        ["steps of this model", f"{run.step:,}"],
        ["batch size", str(training.batch_size)],
        ["learning rate", f"{training.learning_rate:g}, {training.schedule}"],
        ["weight of the KL term", f"{training.beta:g}, {training.annealing}"],
        ["latents", str(config.model.n_latent)],
        [
            "spectrogram",
            f"{spectrogram.n_bins} bins, {spectrogram.n_frames} frames; transform of "
            f"{spectrogram.n_fft} samples every {spectrogram.hop_length}; magnitude to the power "
            f"of {spectrogram.exponent:g}",
        ],
    ]
    return [
        Figure(
            "Training curves",
            picture,
            "Errors are mean squared errors in standardised units, where 1 is the variance of the "
            "training spectrograms. Training is measured with noise and dropout, some rows without "
            "their change, which raises it; where validation lies far above it, or rises while "
            "training falls, the model learns its segments by heart: more recordings help.",
        ),
        Table(["setting", "value"], rows),
    ]


# --- Figures 1 and 2 ------------------------------------------------------------------------------


def map_blocks(pairs: Path, run: Run, n_points: int, seed: int, progress: Progress) -> list[Block]:
    """Figure 1 to click on, Figure 2 to print."""
    latents = _held_out_latents(pairs, run, progress)
    splits = [latents.labels.split_of(0)]
    progress.say(f"projecting {len(latents)} latents with t-SNE")
    projection = latent_map(latents, seed=seed)
    sounds = sounds_of(pairs, latents, run, splits)
    assert sounds is not None  # pairs always have audio
    collected = collect_audio(latents, run, sounds, n_points, seed, progress)
    rate = run.configuration.segments.sample_rate
    fragment = map_fragment(latents, projection, collected, rate)
    pca = latent_map(latents, "pca", seed)
    static = _drawn(lambda path: draw_latent_map(path, latents, pca, map_title(latents)))
    n_names = len(set(latents.effects()))
    return [
        Words(
            f"Each of the {len(latents)} points is a held-out pair, each of the {n_names} colours "
            "an effect. Points lie together where what was done to the sound is alike to the model."
            + "".join(f" {line}." for line in identical_lines(projection))
        ),
        Html(fragment),
        Figure(
            "Figure 1",
            None,
            "The effect part of the latents by t-SNE, which keeps neighbours together: near points "
            "are alike, distances between groups and their sizes say little. The map above can be "
            "clicked on.",
        ),
        Figure(
            "Figure 2",
            static,
            "The same latents along their two directions of largest variance, which keeps "
            "distances as far as two directions can: what lies apart here is apart.",
        ),
    ]  # fmt: skip


def _held_out_latents(pairs: Path, run: Run, progress: Progress) -> Latents:
    with storage.Reader(pairs, storage.PAIRS) as reader:
        splits = held_out(reader.labels)
    return embed([pairs], run, splits=splits, progress=progress)


# --- Figures 3 and 4 ------------------------------------------------------------------------------


def reconstruction_blocks(pairs: Path, run: Run, progress: Progress) -> list[Block]:
    """Figures 3 and 4: typical pairs of two effects, and the errors of all effects."""
    made, table = reconstruct_pairs(pairs, run, progress=progress)
    blocks: list[Block] = [
        Table(
            ["effect", "segments", "MSE, dry", "MSE, wet"],
            [
                [name, str(n), f"{dry:.4f}", f"{wet:.4f}"]
                for name, n, dry, wet in zip(*vars(table).values(), strict=True)
            ],
            note="Mean squared errors of all held-out pairs, in standardised units.",
        )
    ]
    figures = [_reconstruction(f"Figure {3 + i}", e, run, progress) for i, e in enumerate(made[:2])]
    return [*blocks, *figures, Words(_about_sound(), quiet=True)]


def _reconstruction(name: str, made: Reconstruction, run: Run, progress: Progress) -> Figure:
    dry, wet = made.errors
    picture = _drawn(lambda path: draw_reconstructions(path, [made], run))
    sounds = _sounds(lambda folder: sound_reconstructions(folder, [made], run, progress=progress))
    source = made.source
    return Figure(
        name,
        picture,
        f"{source.label}, on {source.recording} from {source.offset_seconds:.2f} s: originals "
        f"beside what the decoder makes of their latent. Mean squared error {dry:.4f} dry and "
        f"{wet:.4f} wet; of all {source.effect} pairs this one is nearest to the median error.",
        [
            Sounds(kind, [Sound(what, sounds[f"{kind}-{what}"]) for what in BOTH])
            for kind in CHANNELS
        ],
    )


BOTH = ("original", "reconstruction")


def _about_sound() -> str:
    return (
        "A decoded spectrogram has no phase: for the sound it is found anew, starting from the "
        "phase of the dry recording."
    )


# --- Figures 5 and 6 ------------------------------------------------------------------------------


def between_effects(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """Figure 5: two effects on one segment."""
    effects = _first_effects(run, 2)
    ((recording, offset, dry),) = _segments(pairs, run, 1, seed)
    a, b = (_pair(run, effect, recording, offset, dry) for effect in effects)
    caption = (
        f"One recording ({a.recording}) from {a.label} to {b.label}. The originals are at the "
        "outer ends; between them is what the decoder makes of latents on the straight line from "
        "one to the other. In the dry row only the recording shows, so it should stand still; in "
        "the wet row one effect goes and the other comes."
    )
    return [_way("Figure 5", a, b, run, caption, progress), Words(_about_sound(), quiet=True)]


def between_recordings(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """Figure 6: one effect on two segments of different recordings."""
    (effect,) = _first_effects(run, 1)
    a, b = (_pair(run, effect, *segment) for segment in _segments(pairs, run, 2, seed))
    caption = (
        f"Two recordings ({a.recording} and {b.recording}), both with {a.label}. Between the "
        "originals at the outer ends, one recording fades into the other in both rows; the effect "
        "is the same at each step."
    )
    return [_way("Figure 6", a, b, run, caption, progress)]


def _first_effects(run: Run, count: int) -> list[Effect]:
    rate = run.configuration.segments.sample_rate
    effects = [Effect.from_dict(each).at(rate) for each in run.effects[:count]]
    if len(effects) < count:
        raise InputError(
            f"the run {run.path} was trained on {len(effects)} effect, and it takes {count}: train "
            "on more."
        )
    return effects


def _segments(
    pairs: Path, run: Run, count: int, seed: int
) -> list[tuple[str, float, NDArray[np.float32]]]:
    """(recording, offset in seconds, dry segment): full ones, each of another recording."""
    with storage.Reader(pairs, storage.PAIRS) as reader:
        labels = reader.labels
        rows = labels.rows_of(held_out(labels))
        rows = np.sort(np.random.default_rng([seed, 9]).permutation(rows)[:LOUD_AMONG])
        dry = reader.rows(rows)[:, 0]
    # Each is at full peak level already, so the ones with the largest mean are the fullest.
    fullest = np.argsort(-np.mean(np.square(dry, dtype=np.float64), axis=1), kind="stable")
    chosen: dict[int, int] = {}
    for index in fullest:
        chosen.setdefault(int(labels.recording[rows[index]]), int(index))
    if len(chosen) < count:
        raise InputError(f"{pairs} has held-out pairs of one recording only: render more of them.")
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
    sound, setting = render_pair(dry, effect, effect.complete({}), run.configuration.segments)
    return source_of_pair(run, sound, effect.name, effect.label(setting), recording, offset)


def _way(name: str, a: Example, b: Example, run: Run, caption: str, progress: Progress) -> Figure:
    made = interpolate(a, b, run, N_STEPS)
    picture = _drawn(lambda path: draw_interpolation(path, made, run))
    sounds = _sounds(lambda folder: sound_interpolation(folder, made, run, progress=progress))
    steps = [(f"t = {t:.2f}", f"t{t:.2f}") for t in made.positions]
    named = [("original A", "a"), *steps, ("original B", "b")]
    return Figure(
        name,
        picture,
        caption,
        [
            Sounds(kind, [Sound(shown, sounds[f"{key}-{kind}"]) for shown, key in named])
            for kind in CHANNELS
        ],
    )


# --- sweeps and evaluation ------------------------------------------------------------------------


def sweep_blocks(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """How the latents move with each parameter: a table of all effects, a figure each of two."""
    effects = [Effect.from_dict(each) for each in run.effects if each["parameters"]]
    rate = run.configuration.segments.sample_rate
    chosen = [EffectChoice(effect.at(rate), {}) for effect in effects]
    made = sweep_module.sweep([pairs], run, chosen, 8, 4, seed, progress=progress)
    moved = [each for sweep in made for each in sweep_module.movements(sweep)]
    blocks: list[Block] = [
        Words(
            "Every parameter moved alone from end to end, over the same segments. Travel is the "
            "length of the way of the latent, against the distance between two segments; monotone "
            "tells how far the order of the values is kept on that way (1 is wholly)."
        ),
        Table(
            ["effect", "parameter", "from", "to", "travel", "monotone"],
            [
                [each.effect, each.parameter, each.low, each.high, f"{each.travel:.2f}",
                 f"{each.monotone:.2f}"]
                for each in moved
            ],
        ),
    ]  # fmt: skip
    caption = (
        "Each point is a segment at one setting, coloured by the value of the parameter; grey "
        "lines join the settings of one segment."
    )
    for sweep in made[:2]:
        picture = _drawn(partial(sweep_module.draw_sweep, sweep=sweep))
        blocks.append(Figure(f"Sweep of {sweep.effect.name}", picture, caption))
    return blocks


def evaluation_of(
    pairs: Path, run: Run, seed: int, progress: Progress
) -> tuple[Sequence[TableLike], Sequence[tuple[str, bytes]], Sequence[str]]:
    """Tables, figures (title and PNG) and remarks of an evaluation."""
    made = evaluate(run, pairs, seed=seed, progress=progress)
    figure = _png(partial(draw, made=made))
    return made.tables(), [("Evaluation", figure)], made.remarks


def evaluation_blocks(
    tables: Sequence[TableLike],
    figures: Sequence[tuple[str, bytes]] = (),
    remarks: Sequence[str] = (),
) -> list[Block]:
    """An evaluation as blocks."""
    return [
        Words(
            "Numbers on the test split; in brackets their 95 % intervals, by the bootstrap over "
            "recordings."
        ),
        *(Table(each.header, each.rows, each.title, each.note) for each in tables),
        *(Figure(title, _picture(png), "The same numbers, drawn.") for title, png in figures),
        *(Words(remark, quiet=True) for remark in remarks),
    ]
