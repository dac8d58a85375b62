"""Pairs with plugins of zam-plugins, where they are installed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from dafxtool.effects.apply import known_effects
from dafxtool.effects.effect import sample_setting
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import Objective
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared
from matching.figures import median, worst
from matching.recordings import AUDIBLE, RATE, Recordings

PLUGINS = ("ZamDelay", "ZamComp", "ZamEQ2", "ZamGate", "ZamTube", "ZamGrains", "ZamCompX2")
PLUGIN_FOLDER = Path("/usr/lib/vst3")
KEPT = 0.1  # ratio above which truth and answer are printed


def plugins(recordings: Recordings, n_pairs: int) -> None:
    """Match n_pairs of each plugin that can be heard."""
    for name in recordings.plugins or PLUGINS:
        path = PLUGIN_FOLDER / f"{name}.vst3"
        if not path.exists():
            print(f"  {name}: not installed")
            continue
        effect = next(e for e in known_effects([path], RATE).values() if e.plugin)
        ratios: list[float] = []
        evaluations: list[int] = []
        for number in range(recordings.first, recordings.first + 3 * n_pairs):
            if len(ratios) == n_pairs:
                break
            rng = np.random.default_rng(300 + 1000 * recordings.seed + number)
            dry = recordings.dry(number)
            truth = Stage(effect, sample_setting(effect, rng))
            wet = render_chain([truth], dry, RATE)
            unprocessed = Objective(wet).distance(dry)
            if unprocessed < AUDIBLE:
                continue
            pair = Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)
            began = time.process_time()
            answer = match_pair(pair, Options(effects=[(effect, {})], budget=recordings.budget))
            seconds = time.process_time() - began
            ratios.append(answer.distance / answer.distance_unprocessed)
            evaluations.append(answer.evaluations)
            print(
                f"  {name} {number}: unprocessed {unprocessed:.3f}, MRSTFT ratio {ratios[-1]:.4f}, "
                f"{evaluations[-1]} evaluations, CPU s {seconds:.0f}",
                flush=True,
            )
            if ratios[-1] > KEPT:
                print(f"    true {truth.text()}, answer {answer.best.text}", flush=True)
        print(
            f"plugin {name}, {len(effect.parameters)} parameters, {len(ratios)} pairs: MRSTFT "
            f"ratio median {median(ratios):.4f}, worst {worst(ratios):.3f}, evaluations "
            f"{median(evaluations):.0f}",
            flush=True,
        )
