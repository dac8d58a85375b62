"""Train matchers with each supervision for equal processor time, and score them on the test split.

    python benchmarks/bench_matcher.py PAIRS
    python benchmarks/bench_matcher.py PAIRS --seconds 60 --seeds 2 --rows 4140 --list

PAIRS is a pairs file with all three splits, such as of 'dafxtool render --split-by folder'. The
features are computed once and kept beside it. Each training takes the given seconds of processor
time in one thread, without that of the validations; 'labels, audio' takes half with each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import print_header, print_table

from dafxtool import storage
from dafxtool.api import defaults
from dafxtool.matching.controller.audio_loss import renderers
from dafxtool.matching.controller.data import Data, read_splits
from dafxtool.matching.controller.network import FeatureExtractor, Matcher, Prediction
from dafxtool.matching.controller.train import ControllerOptions, ControllerTrainer
from dafxtool.matching.search.candidate import LEVEL_PARAMETERS
from dafxtool.matching.search.pool import Pool
from dafxtool.models.run import Run
from dafxtool.utils.progress import TerminalProgress

SUPERVISIONS = (("labels",), ("labels", "audio"), ("audio",))
TIMED_STEPS = 6
VALIDATIONS = 5
SCORES = ("right", "first_three", "settings_r2", "settings_error", "sound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--run", help="[pretrained]", default="pretrained")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each training [60]")
    parser.add_argument("--seeds", type=int, default=1, help="[1]")
    parser.add_argument("--rows", type=int, help="first rows of the file to use [all]")
    parser.add_argument("--only", help="supervisions, such as 'labels' or 'labels,audio' [all]")
    parser.add_argument("--list", action="store_true", help="also print each effect and setting")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print_header("matcher", "torch", "pedalboard")
    run = defaults.loaded_run(chosen.run, "cpu")
    supervisions = [tuple(chosen.only.split(","))] if chosen.only else SUPERVISIONS
    table = []
    with (
        storage.Hdf5Reader(chosen.pairs, storage.PAIRS) as reader,
        renderers(1) as pool,
    ):
        splits = read_splits(reader, FeatureExtractor(run), TerminalProgress(), chosen.rows)
        print({name: len(data.rows) for name, data in splits.items()}, "pairs")
        for losses in supervisions:
            for seed in range(chosen.seeds):
                trainer, steps = trained(run, reader, splits, pool, losses, seed, chosen.seconds)
                scores = trainer.test_scores(pool)
                table.append(
                    [", ".join(losses), str(seed), steps]
                    + [f"{scores[name]:.3f}" for name in SCORES]
                )
                print(*table[-1], flush=True)
                if chosen.list:
                    print_each(trainer)
    print_table(["loss", "seed", "steps", *SCORES], table)


def trained(
    run: Run,
    reader: storage.Hdf5Reader,
    splits: Mapping[str, Data],
    pool: Pool,
    losses: tuple[str, ...],
    seed: int,
    seconds: float,
) -> tuple[ControllerTrainer, str]:
    """Train with one loss after the other; return the last trainer and the numbers of steps."""
    numbers = []
    first: Matcher | None = None
    for loss in losses:
        options = ControllerOptions(loss, seed=seed)
        timed = ControllerTrainer(run, reader, options, splits=splits)
        timed.step(pool)
        start = time.process_time()
        for _ in range(TIMED_STEPS):
            timed.step(pool)
        a_step = (time.process_time() - start) / TIMED_STEPS
        n_steps = max(1, round(seconds / len(losses) / a_step))
        trainer = ControllerTrainer(run, reader, replace(options, steps=n_steps), splits=splits)
        if first is not None:
            trainer.start_from(first, Path("the matcher of the first loss"))
        trainer.validate(pool)
        for number in range(1, n_steps + 1):
            trainer.step(pool)
            if number % max(1, n_steps // VALIDATIONS) == 0:
                trainer.validate(pool)
        trainer.load(trainer.best_state)
        first = Matcher(trainer.controller, trainer.effects, loss)
        numbers.append(f"{n_steps} ({1000 * a_step:.0f} ms)")
    return trainer, " + ".join(numbers)


def print_each(trainer: ControllerTrainer) -> None:
    """Print the share of right answers of each effect, and R² of each setting."""
    trainer.load(trainer.best_state)
    prediction: Prediction = trainer.predict(trainer.test)
    targets = trainer.test.targets
    right = (prediction.logits.argmax(dim=1) == targets.effect).numpy()
    column = 0
    for index, effect in enumerate(trainer.effects):
        own = (targets.effect == index).numpy()
        values = []
        for parameter in effect.parameters:
            true = targets.setting[:, column][own]
            error = prediction.setting[:, column][own] - true
            is_level = parameter.name in LEVEL_PARAMETERS.get(effect.name, ())
            if not is_level and float(true.var()) > 0:
                r_squared = 1 - float(error.square().mean() / true.var(correction=0))
                values.append(f"{parameter.name} {r_squared:.2f}")
            column += 1
        print(f"{effect.name:16}{np.mean(right[own]):6.2f}  {', '.join(values)}")


if __name__ == "__main__":
    main()
