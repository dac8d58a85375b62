from __future__ import annotations

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, write_recordings

from dafxtool.dataset.failures import FailureSummary, reason_of
from dafxtool.dataset.pair import Pair
from dafxtool.dataset.render import render
from dafxtool.effects.apply import load_effects
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import PluginError

SWITCH = Parameter("freeze", "", choices=("Off", "On"), minimum=0.0, maximum=1.0, default=0.0)
MODE = Parameter("mode", "", choices=("A", "B", "C"), minimum=0.0, maximum=2.0, default=0.0)
GRAINS = Effect("grains", (SWITCH, MODE, Parameter("size", "ms", 1.0, 100.0, 10.0)))
GAIN = Effect("gain", (SWITCH,))


def pair(effect: int, **setting: float) -> Pair:
    return Pair(np.empty((2, 0), np.float32), effect, setting, 0, 0, "train")


def grains(freeze: int, mode: int) -> Pair:
    return pair(0, freeze=freeze, mode=mode, size=10.0)


def warnings(rendered: list[Pair], failed: list[Pair]) -> list[str]:
    summary = FailureSummary([GRAINS, GAIN])
    summary.count(rendered[:1], failed[:1])  # batch by batch
    summary.count(rendered[1:], failed[1:])
    return summary.warnings()


def test_a_choice_shared_by_all_failed_pairs_and_no_other_is_reported():
    rendered = [grains(0, mode) for mode in range(3)] + [pair(1, freeze=1)]
    failed = [grains(1, 0), grains(1, 2)]
    (sentence,) = warnings(rendered, failed)
    assert sentence.startswith("All 2 failed pairs of grains have freeze=on")
    assert sentence.endswith("--effect grains:freeze=off.")


def test_no_warning_without_a_clear_reason():
    rendered = [grains(0, mode) for mode in range(3)]
    assert warnings(rendered, []) == []
    assert warnings(rendered, [grains(1, 0)]) == []  # a single failed pair
    assert warnings([*rendered, grains(1, 1)], [grains(1, 0), grains(1, 2)]) == []  # one worked
    assert warnings(rendered, [grains(1, 0), grains(0, 2)]) == []  # not in all failed pairs
    assert warnings([pair(1, freeze=0)], [grains(1, 0), grains(1, 0)]) == []  # no rendered pair


@pytest.mark.plugin
def test_a_plugin_that_one_switch_silences(plugin_named, tmp_path):
    """Freeze before the first sound repeats silence, or NaN."""
    recordings = write_recordings(tmp_path / "recordings")
    (grains,) = load_effects(plugin_named("ZamGrains"), SEGMENTS.sample_rate).values()
    output = tmp_path / "pairs.h5"
    result = render([recordings], output, [(grains, {})], SEGMENTS, SPLIT, 8, seed=1)
    assert 2 <= len(result.failed) <= 6
    assert all("silent" in why or "not finite" in why for _, _, why in result.failed)
    (sentence,) = result.warnings
    assert sentence.endswith("--effect zamgrains:freeze=off.")
    fixed = [(grains, {"freeze": 0.0})]
    repeated = render([recordings], output, fixed, SEGMENTS, SPLIT, 8, seed=1, overwrite=True)
    assert len(repeated.failed) < len(result.failed) and repeated.warnings == []


def test_a_reason_does_not_repeat_the_setting():
    effect = GRAINS
    setting = effect.setting_text({"freeze": 1.0, "mode": 2.0})
    reason = "the output is silent. Choose another setting: any."
    for start in (f"{setting}: ", f"{effect.name}: "):
        assert reason_of(PluginError(start + reason), effect) == reason
    for message in ("the plugin crashed (signal SIGSEGV)", f"other:{setting}: {reason}"):
        assert reason_of(PluginError(message), effect) == message
