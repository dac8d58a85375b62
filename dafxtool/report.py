"""A report on a run, as one page that can be sent: what data, what was learnt, how it sounds.

Figures 1 to 6 are those of the weekly report (2023) from which this project grew: two latent maps,
reconstructions of two effects, one recording from one effect to another, one effect from one
recording to another. All of them are made of pairs that training has not seen.

A section is a title and blocks: words, tables, figures with sounds. One that cannot be made (a
plugin is missing, there are too few pairs) says why instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dafxtool import (
    audio,
    evaluation,
    interactive_map,
    interpolation,
    map_audio,
    maps,
    outputs,
    pages,
    sheets,
    store,
    sweeps,
)
from dafxtool.boards import draw_training
from dafxtool.errors import DafxError, InputError
from dafxtool.files import shown_name
from dafxtool.latents import Latents, are_learnt, check_segments, embed, held_out
from dafxtool.pages import Fragment
from dafxtool.parameters import Effect
from dafxtool.plan import make_pair
from dafxtool.progress import SILENT, Progress
from dafxtool.runs import Run
from dafxtool.segments import SPLITS

N_POINTS = 40  # of the map that carry sound: a page of 5 s segments stays below MOST_BYTES
N_STEPS = 5  # from A to B
MOST_BYTES = 20e6
OPTIONAL = ("map", "sweeps", "evaluation")
MOST_FOLDERS = 24  # that are named one by one
LOUD_AMONG = 64  # pairs whose loudest segments become Figures 5 and 6


# --- what a section is made of --------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    text: str
    quiet: bool = False
    kind: str = field(default="words", init=False)


@dataclass(frozen=True)
class Table:
    """header has a name for each column; the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """uri is an address that holds it; width in pixels of the page."""

    uri: str
    width: int


@dataclass(frozen=True)
class Sound:
    name: str
    uri: str


@dataclass(frozen=True)
class Sounds:
    """Buttons in a row, under a name such as "wet"."""

    name: str
    sounds: Sequence[Sound]


@dataclass(frozen=True)
class Figure:
    """Without a picture it is the caption of the block before."""

    name: str
    picture: Picture | None
    caption: str
    sounds: Sequence[Sounds] = ()
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Html:
    """A part of the page that has been made elsewhere, with its script."""

    fragment: Fragment
    kind: str = field(default="html", init=False)

    @property
    def html(self) -> Markup:
        return self.fragment.html


Block = Words | Table | Figure | Html


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    blocks: Sequence[Block]


class TableLike(Protocol):
    """What an evaluation's tables have."""

    @property
    def title(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...


@dataclass(frozen=True)
class ReportResult:
    """left_out are (title of a section, why it could not be made)."""

    path: Path
    n_bytes: int
    sections: list[str]
    left_out: list[tuple[str, str]]


# --- the report -----------------------------------------------------------------------------------


def write_report(
    path: Path,
    run: Run,
    pairs: Path,
    n_points: int = N_POINTS,
    without: Sequence[str] = (),
    title: str = "",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ReportResult:
    """Write a report on a run as one page.

    pairs     where figures, sounds and numbers are from: the pairs that training has not seen
    n_points  of the interactive map that carry sound
    without   of OPTIONAL what shall be left out, which saves time and space

    FormatError where the pairs are not of the run's size; errors of outputs.check_page_path.
    """
    outputs.check_page_path(path, overwrite)
    with store.Reader(pairs, store.PAIRS) as reader:
        check_segments(reader, run)
    wanted: list[tuple[str, str, Callable[[], Sequence[Block]]]] = [
        ("data", "Data", lambda: data_blocks(pairs, run)),
        ("effects", "Effects", lambda: effect_blocks(pairs, run)),
        ("training", "Training", lambda: training_blocks(run)),
        ("map", "Latent map", lambda: map_blocks(pairs, run, n_points, seed, progress)),
        ("reconstruction", "Reconstruction", lambda: reconstruction_blocks(pairs, run, progress)),
        ("between-effects", "From one effect to another",
         lambda: between_effects(pairs, run, seed, progress)),
        ("between-recordings", "From one recording to another",
         lambda: between_recordings(pairs, run, seed, progress)),
        ("sweeps", "Sweeps of parameters", lambda: sweep_blocks(pairs, run, seed, progress)),
        ("evaluation", "Evaluation",
         lambda: evaluation_blocks(*evaluation_of(pairs, run, seed, progress))),
    ]  # fmt: skip
    sections, left_out = [], []
    for key, heading, make in wanted:
        if key in without:
            continue
        progress.say(f"report: {heading.lower()}")
        try:
            blocks = make()
        except DafxError as error:
            left_out.append((heading, str(error)))
            blocks = [Words(f"This could not be made: {error}")]
        sections.append(Section(key, heading, blocks))
    name = shown_name(run.path)
    text = pages.page(title or f"Report on {name}", _fragments(sections), _introduction(run, pairs))
    pages.write_page(path, text, overwrite)
    n_bytes = path.stat().st_size
    if n_bytes > MOST_BYTES:
        progress.say(
            f"{path} has {n_bytes / 1e6:.0f} MB, which many a mail server refuses: take fewer "
            "--points, or --without map."
        )
    return ReportResult(path, n_bytes, [section.title for section in sections], left_out)


def _introduction(run: Run, pairs: Path) -> str:
    model = run.configuration.model
    with store.Reader(pairs, store.PAIRS) as reader:
        rows = reader.labels.rows_of(held_out(reader.labels))
        n_learnt = int(are_learnt(reader.labels, rows, run).sum())
    seen = (
        f", {n_learnt} of the {len(rows)} of recordings that it was trained on or chosen by: what "
        "is shown of those flatters it."
        if n_learnt
        else " that training has not seen."
    )
    return (
        f"The run {shown_name(run.path)}: a {model.architecture} variational autoencoder with "
        f"{model.n_latent} latents, after {run.step:,} steps, looked at on pairs of "
        f"{shown_name(pairs)}{seen}"
    )


def _fragments(sections: Sequence[Section]) -> list[Fragment]:
    contents = pages.fill("contents.html", sections=sections)
    style, script = pages.asset("report.css"), pages.asset("report.js")
    made = [Fragment(contents, style, (script,))]
    for section in sections:
        inside = [block.fragment for block in section.blocks if isinstance(block, Html)]
        html = pages.fill("section.html", **vars(section))
        scripts = tuple(script for each in inside for script in each.scripts)
        made.append(Fragment(html, "".join(each.style for each in inside), scripts))
    return made


# --- data, effects, training ----------------------------------------------------------------------


def data_blocks(pairs: Path, run: Run) -> list[Block]:
    """What the pairs are made of, split by split, and the versions that made pairs and run."""
    with store.Reader(pairs, store.PAIRS) as reader:
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


def _count(labels: store.Labels, effect: int, split: str) -> int:
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
    with store.Reader(pairs, store.PAIRS) as reader:
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
    projection = maps.latent_map(latents, seed=seed)
    sounds = map_audio.sounds_of(pairs, latents, run, splits)
    assert sounds is not None  # pairs always have audio
    collected = map_audio.collect_audio(latents, run, sounds, n_points, seed, progress)
    rate = run.configuration.segments.sample_rate
    fragment = interactive_map.map_fragment(latents, projection, collected, rate)
    pca = maps.latent_map(latents, "pca", seed)
    static = _drawn(lambda path: maps.draw_latent_map(path, latents, pca, maps.map_title(latents)))
    n_names = len(set(latents.effects()))
    return [
        Words(
            f"Each of the {len(latents)} points is a held-out pair, each of the {n_names} colours "
            "an effect. Points lie together where what was done to the sound is alike to the model."
            + "".join(f" {line}." for line in maps.identical_lines(projection))
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
    with store.Reader(pairs, store.PAIRS) as reader:
        splits = held_out(reader.labels)
    return embed([pairs], run, splits=splits, progress=progress)


# --- Figures 3 and 4 ------------------------------------------------------------------------------


def reconstruction_blocks(pairs: Path, run: Run, progress: Progress) -> list[Block]:
    """Figures 3 and 4: typical pairs of two effects, and the errors of all effects."""
    made, table = sheets.reconstruct_pairs(pairs, run, progress=progress)
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


def _reconstruction(name: str, made: sheets.Reconstruction, run: Run, progress: Progress) -> Figure:
    dry, wet = made.errors
    picture = _drawn(lambda path: sheets.draw_reconstructions(path, [made], run))
    sounds = _sounds(
        lambda folder: sheets.sound_reconstructions(folder, [made], run, progress=progress)
    )
    source = made.source
    return Figure(
        name,
        picture,
        f"{source.label}, on {source.recording} from {source.offset_seconds:.2f} s: originals "
        f"beside what the decoder makes of their latent. Mean squared error {dry:.4f} dry and "
        f"{wet:.4f} wet; of all {source.effect} pairs this one is nearest to the median error.",
        [
            Sounds(kind, [Sound(what, sounds[f"{kind}-{what}"]) for what in BOTH])
            for kind in sheets.CHANNELS
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
    with store.Reader(pairs, store.PAIRS) as reader:
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
) -> sheets.Source:
    sound, setting = make_pair(dry, effect, effect.complete({}), run.configuration.segments)
    return sheets.source_of_pair(run, sound, effect.name, effect.label(setting), recording, offset)


def _way(
    name: str, a: sheets.Source, b: sheets.Source, run: Run, caption: str, progress: Progress
) -> Figure:
    made = interpolation.interpolate(a, b, run, N_STEPS)
    picture = _drawn(lambda path: interpolation.draw_interpolation(path, made, run))
    sounds = _sounds(
        lambda folder: interpolation.sound_interpolation(folder, made, run, progress=progress)
    )
    steps = [(f"t = {t:.2f}", f"t{t:.2f}") for t in made.positions]
    named = [("original A", "a"), *steps, ("original B", "b")]
    return Figure(
        name,
        picture,
        caption,
        [
            Sounds(kind, [Sound(shown, sounds[f"{key}-{kind}"]) for shown, key in named])
            for kind in sheets.CHANNELS
        ],
    )


# --- sweeps and evaluation ------------------------------------------------------------------------


def sweep_blocks(pairs: Path, run: Run, seed: int, progress: Progress) -> list[Block]:
    """How the latents move with each parameter: a table of all effects, a figure each of two."""
    effects = [Effect.from_dict(each) for each in run.effects if each["parameters"]]
    rate = run.configuration.segments.sample_rate
    chosen = [(effect.at(rate), dict[str, float]()) for effect in effects]
    made = sweeps.sweep([pairs], run, chosen, 8, 4, seed, progress=progress)
    moved = [each for sweep in made for each in sweeps.movements(sweep)]
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
        picture = _drawn(partial(sweeps.draw_sweep, sweep=sweep))
        blocks.append(Figure(f"Sweep of {sweep.effect.name}", picture, caption))
    return blocks


def evaluation_of(
    pairs: Path, run: Run, seed: int, progress: Progress
) -> tuple[Sequence[TableLike], Sequence[tuple[str, bytes]], Sequence[str]]:
    """Tables, figures (title and PNG) and remarks of an evaluation."""
    made = evaluation.evaluate(run, pairs, seed=seed, progress=progress)
    figure = _png(partial(evaluation.draw, made=made))
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


# --- pictures and sounds --------------------------------------------------------------------------


def _drawn(draw: Callable[[Path], Any]) -> Picture:
    """What a function draws into a file."""
    return _picture(_png(draw))


def _png(draw: Callable[[Path], Any]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return path.read_bytes()


def _picture(png: bytes) -> Picture:
    """A PNG at twice the density of a page; its width is in its header."""
    return Picture(pages.data_uri(png, "png"), int.from_bytes(png[16:20], "big") // 2)


def _sounds(write: Callable[[Path], Sequence[tuple[Path, float | None]]]) -> dict[str, str]:
    """What a function writes into a folder, as FLAC, by the last two words of each name."""
    made = {}
    with TemporaryDirectory() as folder:
        for path, _ in write(Path(folder) / "sounds"):
            if not path.stem[0].isdigit():  # all of them in one go
                continue
            samples, rate = audio.read(path)
            samples = samples / max(1.0, float(np.abs(samples).max()))  # 16 bits hold no more
            made["-".join(path.stem.split("-")[-2:])] = pages.data_uri(
                audio.encode(samples, rate, "flac"), "flac"
            )
    return made
