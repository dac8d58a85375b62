"""Check hints: settings estimated from a pair in closed form."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.matching.chain import Stage, render_stage
from dafxtool.matching.hints.bit_crusher import levels_per_unit
from dafxtool.matching.hints.registry import starts_for
from dafxtool.matching.objective import Objective
from dafxtool.matching.pair import Pair

RATE = 24_000
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}


def starts(name, setting, seconds=5.0, phase=0.0, **options):
    dry = synthetic_notes(seconds)
    complete = EFFECTS[name].complete(setting)
    wet = render_stage(Stage(EFFECTS[name], complete, phase), dry, RATE)
    return starts_for(Pair(dry, wet, RATE), EFFECTS[name], **options), dry, wet


def best_start(name, setting, **options):
    """Return the start whose rendering is nearest to the wet audio."""
    result, dry, wet = starts(name, setting, **options)
    objective = Objective(wet)

    def distance(start):
        complete = EFFECTS[name].default_setting() | dict(start.setting)
        return objective.distance(
            render_stage(Stage(start.effect, complete, start.phase), dry, RATE)
        )

    return min(result, key=distance)


# Tolerances are relative to the true value.
@pytest.mark.parametrize(
    ("name", "setting", "tolerances"),
    [
        ("delay", {"time": 310, "feedback": 35, "mix": 40}, {"time": 1e-4, "mix": 0.3}),
        ("delay", {"time": 45, "feedback": 70, "mix": 60}, {"time": 1e-3, "mix": 0.3}),
        ("tremolo", {"rate": 5.3, "depth": 60}, {"rate": 2e-3, "depth": 0.02}),
        ("tremolo", {"rate": 11.1, "depth": 95}, {"rate": 2e-3, "depth": 0.02}),
        ("ring-modulator", {"frequency": 333, "mix": 70}, {"frequency": 1e-4, "mix": 0.01}),
        ("low-pass", {"cutoff": 700}, {"cutoff": 0.01}),
        ("high-pass", {"cutoff": 2500}, {"cutoff": 0.01}),
        ("peak", {"cutoff": 2724, "gain": 2.5, "q": 1}, {"cutoff": 0.02, "gain": 0.05}),
        ("low-shelf", {"cutoff": 400, "gain": -15}, {"cutoff": 0.03, "gain": 0.05}),
        ("high-shelf", {"cutoff": 2000, "gain": 9}, {"cutoff": 0.03, "gain": 0.05}),
        ("overdrive", {"drive": 30, "tone": 2000}, {"drive": 0.05, "tone": 0.05}),
        ("distortion", {"drive": 40, "tone": 3000}, {"drive": 0.05, "tone": 0.1}),
        ("bit-crusher", {"bits": 5.5, "rate": 3934.2}, {"rate": 1e-5, "bits": 0.01}),
        ("pitch-shift", {"semitones": 5}, {"semitones": 0.02}),
        ("vibrato", {"rate": 5.5, "depth": 12}, {"rate": 5e-3, "depth": 0.05}),
        ("chorus", {"rate": 1.4, "depth": 30, "delay": 14}, {"rate": 5e-3, "delay": 0.02}),
        ("phaser", {"rate": 0.9, "depth": 60, "centre": 900}, {"rate": 0.01, "centre": 0.3}),
    ],
)
def test_a_hint_estimates_the_setting(name, setting, tolerances):
    start = best_start(name, setting)
    for parameter, tolerance in tolerances.items():
        assert start.setting[parameter] == pytest.approx(setting[parameter], rel=tolerance)


@pytest.mark.parametrize("phase", [0.25, 0.6])
@pytest.mark.parametrize(
    ("name", "setting"),
    [("tremolo", {"rate": 5.3, "depth": 60}), ("ring-modulator", {"frequency": 333, "mix": 70})],
)
def test_the_phase_of_an_oscillator_is_estimated(name, setting, phase):
    start = starts(name, setting, phase=phase)[0][0]
    assert start.phase == pytest.approx(phase, abs=0.02)


def test_a_vibrato_is_found_at_any_phase():
    start = best_start("vibrato", {"rate": 5.5, "depth": 12}, phase=0.4, any_phase=True)
    assert start.setting["rate"] == pytest.approx(5.5, rel=0.01)


@pytest.mark.parametrize("name", [n for n in EFFECTS if EFFECTS[n].parameters])
@pytest.mark.parametrize("kind", ["silence", "click", "short", "noise"])
def test_no_hint_fails_on_odd_audio(name, kind):
    dry = {
        "silence": np.zeros(24_000, np.float32),
        "click": np.eye(1, 24_000, 100, dtype=np.float32)[0],
        "short": synthetic_notes(0.3),
        "noise": np.random.default_rng(0).standard_normal(24_000).astype(np.float32),
    }[kind]
    wet = apply_effect(EFFECTS[name], dry, RATE, {})
    for start in starts_for(Pair(dry, wet, RATE), EFFECTS[name]):
        EFFECTS[name].complete(start.setting)  # raises where a value is out of range


def test_the_levels_of_a_quiet_recording_give_the_bits():
    effect = EFFECTS["bit-crusher"]
    for levels in ([0.043], [0.043, 0.086], [0.043, 0.086, 0.129]):
        values = np.array([0.0, *levels, *(-level for level in levels)])
        assert levels_per_unit(values, effect) == pytest.approx(1 / 0.043, rel=0.01)
