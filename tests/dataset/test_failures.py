from __future__ import annotations

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, write_recordings

from dafxtool.dataset.failures import FailureSummary
from dafxtool.dataset.pair import Pair
from dafxtool.dataset.render import render
from dafxtool.effects.apply import load_effects
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter

SWITCH = Parameter("freeze", "", choices=("Off", "On"), minimum=0.0, maximum=1.0, default=0.0)
MODE = Parameter("mode", "", choices=("A", "B", "C"), minimum=0.0, maximum=2.0, default=0.0)
GRAINS = Effect("grains", (SWITCH, MODE, Parameter("size", "ms", 1.0, 100.0, 10.0)))
GAIN = Effect("gain", (SWITCH,))


def pair(effect: int, **setting: float) -> Pair:
    return Pair(np.empty((2, 0), np.float32), effect, setting, 0, 0, "train")


def grains(freeze: int, mode: int) -> Pair:
    return pair(0, freeze=freeze, mode=mode, size=10.0)


def remarks(made: list[Pair], lost: list[Pair]) -> list[str]:
    losses = FailureSummary([GRAINS, GAIN])
    losses.count(made[:1], lost[:1])  # batch by batch
    losses.count(made[1:], lost[1:])
    return losses.remarks()


def test_the_choice_that_every_lost_pair_has_and_no_other_is_told():
    made = [grains(0, mode) for mode in range(3)] + [pair(1, freeze=1)]
    lost = [grains(1, 0), grains(1, 2)]
    assert remarks(made, lost) == [
        "All 2 lost pairs of grains have freeze=on, and no other pair has: hold it with "
        "--effect grains:freeze=off."
    ]


def test_nothing_is_told_of_what_cannot_be_known():
    kept = [grains(0, mode) for mode in range(3)]
    assert remarks(kept, []) == []
    assert remarks(kept, [grains(1, 0)]) == []  # one alone
    assert remarks([*kept, grains(1, 1)], [grains(1, 0), grains(1, 2)]) == []  # works at times
    assert remarks(kept, [grains(1, 0), grains(0, 2)]) == []  # not all
    assert remarks([pair(1, freeze=0)], [grains(1, 0), grains(1, 0)]) == []  # all of the effect


@pytest.mark.plugin
def test_a_plugin_that_one_switch_silences(plugin_named, tmp_path):
    """A freeze before anything was heard repeats nothing, or NaN."""
    recordings = write_recordings(tmp_path / "recordings")
    (grains,) = load_effects(plugin_named("ZamGrains"), SEGMENTS.sample_rate).values()
    output = tmp_path / "pairs.h5"
    result = render([recordings], output, [(grains, {})], SEGMENTS, SPLIT, 8, seed=1)
    assert 2 <= len(result.lost) <= 6
    assert all("silence" in why or "not finite" in why for _, _, why in result.lost)
    (told,) = result.remarks
    assert told.endswith("--effect zamgrains:freeze=off.")
    held = [(grains, {"freeze": 0.0})]
    again = render([recordings], output, held, SEGMENTS, SPLIT, 8, seed=1, overwrite=True)
    assert len(again.lost) < len(result.lost) and again.remarks == []
