"""Build the sections of a report on the inputs of a run: data, effects and training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dafxtool import storage
from dafxtool.config import SPLITS
from dafxtool.dataset.pair import effect_level_db
from dafxtool.effects.effect import Effect
from dafxtool.models.run import Run
from dafxtool.training.tensorboard import draw_training
from dafxtool.utils.text import shown_name
from dafxtool.web.blocks import Block, Figure, Table, Text, draw_image

MOST_LEVELS = 64  # pairs of an effect whose audio is read for its median level
MAX_FOLDERS = 24  # names of folders in a row of the table of splits


def data_blocks(pairs: Path, run: Run) -> list[Block]:
    """Describe the pairs by split and effect, and list the versions that made pairs and run."""
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        labels, configuration = reader.labels, reader.configuration
        levels = [_median_level(reader, index) for index in range(len(labels.effects))]
    keeps = configuration.get("segments", {}).get("level") == "keep"
    segments = run.configuration.segments
    seconds = segments.n_samples / segments.sample_rate
    versions = {**configuration.get("versions", {}), **_environment(run.path)}
    blocks: list[Block] = [
        Text(
            f"A pair is a segment of {seconds:.2f} s ({segments.n_samples:,} samples at "
            f"{segments.sample_rate:,} Hz) of a recording, dry and with an effect. The dry one "
            f"is normalised to a peak of {segments.level_dbfs:g} dBFS, the wet one "
            f"{'keeps the level of the effect' if keeps else 'to the same peak'}. Level is the "
            "RMS of wet over dry before that. Settings of the effects: "
            f"{configuration.get('settings', 'random')}. A recording belongs to one split only. A "
            "folder is a speaker or a source, if the recordings are organised by them."
        ),
        Table(
            ["split", "pairs", "recordings", "folders", "dry audio", "names of folders"],
            [_split_row(labels, split, seconds) for split in SPLITS],
            title="Splits",
        ),
        Table(
            ["effect", *SPLITS, "level, median (dB)"],
            [
                [name, *(str(_count(labels, index, split)) for split in SPLITS), levels[index]]
                for index, name in enumerate(labels.effect_names)
            ],
            title="Pairs of each effect",
        ),
        Table(
            ["package or device", "version"],
            [[name, str(value)] for name, value in versions.items()],
            title="Versions",
        ),
    ]
    if configuration != run.data["pairs"]:
        warning = (
            f"The run was not trained on {shown_name(pairs)}, so the splits of this file are not "
            "those of the run. The run may have been trained on pairs that are called held out "
            "here."
        )
        blocks.insert(0, Text(warning))
    return blocks


def _median_level(reader: storage.Hdf5Reader, effect: int) -> str:
    """Return the median level of some pairs of an effect in dB; "-" where it is unknown."""
    members = np.flatnonzero(reader.labels.effect == effect)
    rows = members[storage.some_positions(len(members), MOST_LEVELS)]
    levels = effect_level_db(reader.rows(rows), reader.labels.gains_db[rows])
    levels = levels[np.isfinite(levels)]
    return f"{np.median(levels):+.1f}" if len(levels) else "-"


def _split_row(labels: storage.Labels, split: str, seconds: float) -> list[str]:
    members = labels.rows_of([split])
    recordings = {labels.path_of(row) for row in members}
    folders = {labels.folder_of(row) for row in members}
    counts = [f"{len(each):,}" for each in (members, recordings, folders)]
    return [split, *counts, f"{len(members) * seconds / 60:.1f} min", _listed(folders)]


def _count(labels: storage.Labels, effect: int, split: str) -> int:
    return int(np.sum(labels.effect[labels.rows_of([split])] == effect))


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:MAX_FOLDERS]
    n_more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {n_more} more" if n_more else "")


def _environment(run: Path) -> dict[str, str]:
    path = run / "environment.json"
    try:
        environment = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # the run is a single checkpoint file
        return {}
    if not isinstance(environment, dict):
        return {}
    names = ("dafxtool", "python", "torch", "device")
    return {name: str(environment[name]) for name in names if name in environment}


def effect_blocks(pairs: Path, run: Run) -> list[Block]:
    """List every parameter of every effect with its range, default and scale."""
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        effects, all_fixed = reader.labels.effects, reader.configuration.get("fixed", [])
    blocks: list[Block] = []
    for index, described in enumerate(effects):
        effect = Effect.from_dict(described)
        fixed = all_fixed[index] if index < len(all_fixed) else {}
        rows = []
        for parameter in effect.parameters:
            span = parameter.range_text()
            if parameter.name in fixed:
                span = f"fixed at {parameter.text(fixed[parameter.name])}"
            default = parameter.text(parameter.default)
            rows.append([parameter.name, span, default, parameter.scale, parameter.description])
        header = ["parameter", "range", "default", "scale", ""]
        blocks.append(Table(header, rows, effect.name, effect.summary))
    trained = {str(each["name"]) for each in run.effects}
    untrained = [name for name in (each["name"] for each in effects) if name not in trained]
    if untrained:
        blocks.insert(0, Text(f"The run was not trained on {', '.join(untrained)}."))
    return blocks


def training_blocks(run: Run) -> list[Block]:
    """Show the training curves, where the run has a folder, and the configuration."""
    config = run.configuration
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
            f"{spectrogram.n_bins} bins, {spectrogram.n_frames} frames; STFT of "
            f"{spectrogram.n_fft} samples with a hop of {spectrogram.hop_length}; magnitude to the "
            f"power of {spectrogram.exponent:g}",
        ],
    ]
    caption = (
        "Errors are mean squared errors in standardised units: 1 is the variance of the training "
        "spectrograms. Training errors include noise, dropout and rows without their change "
        "latents, which raises them. If the validation error is far above the training error, or "
        "rises while the training error falls, the model overfits: use more recordings."
    )
    table = Table(["setting", "value"], rows)
    if not (run.path / "metrics.csv").is_file():
        return [Text("No training curves: the run is a single checkpoint."), table]
    image = draw_image(lambda path: draw_training(path, run.path))
    return [Figure("Training curves", image, caption), table]
