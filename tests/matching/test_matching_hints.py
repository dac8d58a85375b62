"""Check hints: settings estimated from a pair in closed form."""

import numpy as np
import pedalboard
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.matching.chain import Stage, render_stage
from dafxtool.matching.hints.bit_crusher import levels_per_unit
from dafxtool.matching.hints.phaser_response import responses
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
        # Its delay would be negative in a part of each cycle, and is held at 1 ms there.
        ("flanger", {"rate": 0.247, "depth": 28.7, "delay": 1.56}, {"rate": 5e-3, "delay": 0.05}),
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


PHASER = {"rate": 1.36, "depth": 47, "centre": 708, "feedback": 69, "mix": 63}


def is_the_sweep(start, setting, phase=0.0):
    """Return whether a start has the path of a phaser, within 2 % of the ranges."""
    differences = [
        EFFECTS["phaser"].parameter(name).to_normalised(setting[name])
        - EFFECTS["phaser"].parameter(name).to_normalised(start.setting[name])
        for name in ("rate", "depth", "centre")
    ]
    return max(map(abs, differences)) < 0.02 and abs(start.phase - phase) < 0.02


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"feedback": 79, "mix": 40, "rate": 0.72, "depth": 65, "centre": 584},
        {"feedback": 54, "mix": 54, "rate": 1.55, "depth": 96, "centre": 1191},
        {"feedback": 28, "mix": 47, "rate": 0.19, "depth": 97, "centre": 534},
        {"feedback": 60, "mix": 41, "rate": 2.32, "depth": 99, "centre": 1876},
    ],
)
def test_a_phaser_with_shallow_notches_or_a_deep_sweep_is_estimated(changed):
    setting = PHASER | changed
    assert is_the_sweep(best_start("phaser", setting), setting)


@pytest.mark.parametrize("any_phase", [False, True])
def test_the_phase_of_a_phaser_is_estimated(any_phase):
    start = best_start("phaser", PHASER, phase=0.4, any_phase=any_phase)
    assert is_the_sweep(start, PHASER, 0.4)


def test_a_phaser_at_its_own_phase_has_no_other_one():
    assert starts("phaser", PHASER)[0][0].phase == 0.0


@pytest.mark.parametrize("delay", [-0.5, 0.5])
def test_a_phaser_is_found_in_audio_that_is_late_by_half_a_sample(delay):
    _, dry, wet = starts("phaser", PHASER)
    shift = np.exp(-1j * np.pi * delay * np.linspace(0, 1, wet.size + 1))
    moved = np.fft.irfft(np.fft.rfft(wet, 2 * wet.size) * shift)[: wet.size]
    late = Pair(dry, moved.astype(np.float32), RATE)
    assert any(is_the_sweep(start, PHASER) for start in starts_for(late, EFFECTS["phaser"]))


def test_the_response_of_a_phaser_is_that_of_the_effect():
    # A depth of nearly 0 holds the centre.
    effect = pedalboard.Phaser(0.1, 0.0, 1000.0, 0.6, 0.4)
    impulse = np.zeros(16_384, np.float32)
    impulse[0] = 0.5
    frequencies = np.fft.rfftfreq(impulse.size, 1 / RATE)
    # The centre on an axis up to 20 kHz, read on one up to 0.49 of the rate.
    position = np.log(1000 / 20) / np.log(1000)
    centre = np.array([20 * (0.49 * RATE / 20) ** position])
    measured = np.fft.rfft(effect(impulse, RATE)) / 0.5
    expected = responses(frequencies, centre, 0.6, 0.4, RATE)[0]
    assert np.abs(measured - expected).max() < 0.02


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
