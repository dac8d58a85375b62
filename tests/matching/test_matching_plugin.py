"""Plugins are matched from hints: a plugin made of built-in effects has known settings."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects import apply as apply_module
from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.effects.effect import Effect, PluginFile
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import PluginError
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.hints.plugin import combinations, plugin_starts
from dafxtool.matching.pair import Pair
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.plugin_reuse import stays_loaded
from dafxtool.matching.prepare import Prepared

RATE = 24_000
BUILTIN = builtin_effects()
FILE = PluginFile("x.vst3", "x", "1.0", "00", 1, RATE)
ECHO = Effect(
    "echo-box",
    (
        Parameter("invert", "", 0, 1, 0, choices=("off", "on")),
        Parameter("delay-time", "ms", 1, 2000, 160),
        Parameter("output-gain", "dB", -60, 0, 0),
        Parameter("dry-wet", "", 0, 1, 0.5),
        Parameter("regen", "", 0, 1, 0),
    ),
    plugin=FILE,
)
SQUEEZE = Effect(
    "squeeze-box",
    (
        Parameter("threshold-1", "dB", -80, 0, 0),
        Parameter("ratio-1", "", 1, 20, 4),
        Parameter("attack-1", "ms", 0.1, 100, 10),
        Parameter("release-1", "ms", 1, 500, 80),
        Parameter("makeup", "dB", 0, 30, 0),
    ),
    plugin=FILE,
)


def render_fake(effect, dry, sample_rate, setting, start, keep_loaded=False):
    """Render the effects above; the echo crashes at high feedback."""
    if effect.name == "squeeze-box":
        values = {
            name: setting[f"{name}-1"] for name in ("threshold", "ratio", "attack", "release")
        }
        values["makeup"] = setting["makeup"]
        return apply_effect(BUILTIN["compressor"], dry, sample_rate, values), setting
    if setting["regen"] > 0.9:
        raise PluginError("the plugin crashed")
    mix = setting["dry-wet"]
    values = {"time": setting["delay-time"], "feedback": 100 * setting["regen"], "mix": 100 * mix}
    wet = apply_effect(BUILTIN["delay"], dry, sample_rate, values)
    if setting["invert"]:
        wet = 2 * np.float32(1 - mix) * dry - wet
    return wet * np.float32(10 ** (setting["output-gain"] / 20)), setting


@pytest.fixture(autouse=True)
def fake_plugins(monkeypatch):
    monkeypatch.setattr(apply_module, "apply_in_worker", render_fake)
    monkeypatch.setattr(apply_module, "check_allowed", lambda path: None)
    stays_loaded.cache_clear()
    yield
    stays_loaded.cache_clear()


def pair_of(effect, setting):
    dry = synthetic_notes(3.0)
    wet = render_chain([Stage(effect, effect.complete(setting))], dry, RATE)
    return Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)


def test_the_delay_of_a_plugin_is_found_although_it_crashes_at_some_settings():
    truth = {"invert": 1.0, "delay-time": 843.25, "output-gain": -20, "dry-wet": 0.15, "regen": 0.4}
    prepared = pair_of(ECHO, truth)
    answer = match_pair(prepared, Options(effects=[(ECHO, {})], budget="fast"))
    assert answer.best.stages[0].effect == ECHO
    setting = answer.best.stages[0].setting
    assert setting["invert"] == 1
    assert setting["delay-time"] == pytest.approx(843.25, abs=0.1)
    assert setting["dry-wet"] == pytest.approx(0.15, abs=0.01)
    assert setting["regen"] == pytest.approx(0.4, abs=0.02)
    assert answer.distance < 0.1 * answer.distance_unprocessed
    assert answer.evaluations <= 600
    # The search ignores the level, so the level parameter stays and a gain stage follows.
    assert setting["output-gain"] == 0
    matched = render_chain(answer.best.stages, prepared.dry, RATE)
    np.testing.assert_allclose(np.std(matched), np.std(prepared.wet), rtol=0.02)


def test_levels_become_starts_of_parameters_with_fitting_names():
    prepared = pair_of(SQUEEZE, {"threshold-1": -45, "ratio-1": 8})
    starts = plugin_starts(Pair(prepared.dry, prepared.wet, RATE), SQUEEZE)
    best = min(abs(start.setting.get("threshold-1", 0) + 45) for start in starts[:2])
    assert best < 12
    assert all(start.setting.get("ratio-1", 2) > 1.5 for start in starts[:2])


def test_combinations_of_choices():
    assert combinations(ECHO, 4) == [{"invert": 0.0}, {"invert": 1.0}]
    assert combinations(ECHO, 1) == []
    assert combinations(SQUEEZE, 4) == [{}]


def test_a_plugin_whose_output_depends_on_earlier_calls_is_loaded_again(monkeypatch):
    assert stays_loaded(ECHO, RATE)
    assert not stays_loaded(BUILTIN["delay"], RATE)
    stays_loaded.cache_clear()

    def with_state(effect, dry, sample_rate, setting, start, keep_loaded=False):
        wet, setting = render_fake(effect, dry, sample_rate, setting, start)
        return (wet + np.float32(0.01) if keep_loaded else wet), setting

    monkeypatch.setattr(apply_module, "apply_in_worker", with_state)
    assert not stays_loaded(ECHO, RATE)
