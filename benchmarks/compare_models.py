"""Train variants of the model on one pairs file for the same time each, and evaluate all of them.

    python benchmarks/compare_models.py pairs.h5 --minutes 6
    python benchmarks/compare_models.py pairs.h5 --minutes 6 --variant small --variant week6

Prints a row of the table in docs/model.md as each variant finishes. A variant whose run exists in
--folder is only evaluated, so a table can be continued.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from dafxtool import presets, storage
from dafxtool.config import Configuration
from dafxtool.evaluation.evaluate import evaluate
from dafxtool.evaluation.results import Evaluation
from dafxtool.models.run import load_run
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms, segment_size
from dafxtool.training.train import train
from dafxtool.utils.progress import TerminalProgress

SMALL = PRESETS["small"]


def with_model(**values: float) -> Configuration:
    return replace(SMALL, model=replace(SMALL.model, **values))


def with_training(preset: str, **values: float) -> Configuration:
    return replace(PRESETS[preset], training=replace(PRESETS[preset].training, **values))


VARIANTS: dict[str, tuple[str, Configuration]] = {
    "small": ("the preset", SMALL),
    "week6": ("the report's model", PRESETS["week6"]),
    "week6-fast": (
        "the report's model, learning rate 1e-3",
        with_training("week6", learning_rate=1e-3),
    ),
    "no-labels": ("style shaped by the errors alone", with_training("small", label_weight=0.0)),
    "closed-form": ("no predictor: nothing is trained but the style", with_model(n_blocks=0)),
    "no-change": (
        "style alone, in place of change and style",
        with_model(n_effect=SMALL.model.n_style),
    ),
    "even-bins": ("bins not weighted by the ear's bands", with_model(ear_weighting=0.0)),
    "few-latents": ("640 content and 64 change latents", with_model(n_latent=768, n_effect=128)),
    "default": ("the preset for a GPU", PRESETS["default"]),
}
COLUMNS = {
    "dry error": ("reconstruction", "mean, dry", "model"),
    "wet error": ("reconstruction", "mean, wet", "model"),
    "style alone": ("reconstruction", "mean, wet", "style alone"),
    "decoded dry": ("reconstruction", "mean, wet", "decoded dry"),
    "closed form": ("reconstruction", "mean, wet", "closed form"),
    "dry copied": ("reconstruction", "mean, wet", "dry"),
    "wet, dB": ("spectral", "mean, wet", "model"),
    "sound, multi-res.": ("sound", "multi-resolution", "model"),
    "linear": ("linear", "mean", "latent"),
    "5-NN": ("neighbours", "mean", "latent"),
    "settings R²": ("settings", "mean", "latent"),
    "midpoint": ("midpoint", "mean", "model"),
    "cross-fade": ("midpoint", "mean", "cross-fade"),
    "drift": ("drift", "two effects", "model"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0, help="training time of each variant")
    parser.add_argument(
        "--variant", action="append", choices=VARIANTS, help="[default: the first six]"
    )
    parser.add_argument("--folder", type=Path, default=Path("comparison"))
    parser.add_argument("--device", default="auto")
    named = parser.parse_args()
    names = named.variant or list(VARIANTS)[:6]
    named.folder.mkdir(exist_ok=True)
    print("| variant | steps | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
    for name in names:
        created, steps = compare(name, named.pairs, named.folder, named.minutes, named.device)
        cells = [cell(created, *where) for where in COLUMNS.values()]
        print(f"| `{name}` | {steps} | " + " | ".join(cells) + " |", flush=True)


def compare(
    name: str, pairs: Path, folder: Path, minutes: float, device: str
) -> tuple[Evaluation, int]:
    """Train a variant unless its run exists, evaluate it, and write the evaluation to a file."""
    run = folder / name
    if not (run / "checkpoints" / "last.pt").exists():
        configuration = VARIANTS[name][1]
        with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
            configuration = presets.with_segments_of(configuration, *segment_size(reader))
        spectrogram = configuration.spectrogram
        analysed = folder / f"{spectrogram.n_fft}-{spectrogram.hop_length}.h5"
        if not analysed.exists():
            compute_spectrograms(pairs, analysed, spectrogram, progress=TerminalProgress())
        training = replace(configuration.training, max_minutes=minutes, max_steps=1_000_000)
        configuration = replace(configuration, training=training)
        train(analysed, run, configuration, device, progress=TerminalProgress())
    loaded = load_run(run, device)
    created = evaluate(loaded, pairs, progress=TerminalProgress())
    (folder / f"{name}.json").write_text(json.dumps(created.to_dict(), indent=1))
    return created, load_run(run, device, "last").step


def cell(created: Evaluation, section: str, what: str, method: str) -> str:
    try:
        result = created.score(section, what, method)
    except KeyError:
        return ""
    return f"{result.value:.3f} [{result.low:.3f}, {result.high:.3f}]"


if __name__ == "__main__":
    main()
