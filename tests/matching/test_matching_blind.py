"""Check estimates of times, rates and frequencies from a processed recording alone."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.matching.unpaired.blind.hints import ESTIMATORS, blind_hint
from dafxtool.matching.unpaired.blind.lines import harmonic_strength, lines, relative_power

RATE = 24_000
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}
SECONDS = 40
SETTINGS = {
    "tremolo": {"rate": 6.3, "depth": 70},
    "vibrato": {"rate": 5.7, "depth": 15},
    "phaser": {"rate": 1.3, "depth": 80, "centre": 900, "feedback": 50, "mix": 50},
    "chorus": {"rate": 1.7, "depth": 20, "delay": 14, "mix": 50},
    "flanger": {"rate": 0.7, "depth": 20, "delay": 4, "feedback": 30, "mix": 50},
    "ring-modulator": {"frequency": 333.3, "mix": 60},
    "delay": {"time": 271, "feedback": 30, "mix": 40},
    "bit-crusher": {"rate": 5432.1, "bits": 6},
}
EXACT = {"time", "rate", "frequency"}


@pytest.fixture(scope="module")
def dry():
    return synthetic_notes(SECONDS, seed=3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_reference_shows_its_times_and_rates(name, dry):
    wet = apply_effect(EFFECTS[name], dry, RATE, SETTINGS[name])
    hint = blind_hint(wet, RATE, EFFECTS[name], dry)
    assert hint
    for parameter, value in hint.items():
        tolerance = 0.003 if parameter in EXACT else 0.15
        assert value == pytest.approx(SETTINGS[name][parameter], rel=tolerance), parameter


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_unprocessed_recording_gives_no_hint(name, dry):
    assert blind_hint(dry, RATE, EFFECTS[name], dry) == {}


def test_silence_and_short_references_give_no_hint():
    for audio in (np.zeros(10 * RATE, np.float32), synthetic_notes(1)):
        assert blind_hint(audio, RATE, EFFECTS["chorus"], audio) == {}


@pytest.mark.parametrize("mix", [60, 100])
def test_the_carrier_is_not_taken_for_twice_its_frequency(mix, dry):
    effect = EFFECTS["ring-modulator"]
    wet = apply_effect(effect, dry, RATE, {"frequency": 700, "mix": mix})
    hint = blind_hint(wet, RATE, effect, dry)
    assert hint["frequency"] == pytest.approx(700, rel=1e-4)


def test_a_line_in_noise_is_found_with_its_harmonics():
    rng = np.random.default_rng(1)
    time = np.arange(6000) / 100
    noise = rng.standard_normal((6000, 4)).astype(np.float32)
    pulses = np.cos(2 * np.pi * 1.234 * time) ** 9
    power, width = relative_power(noise + 0.3 * pulses[:, None].astype(np.float32), 100.0)
    line = lines(power, width, 0.5, 4, 4, 1)[0]
    assert line.rate == pytest.approx(1.234, abs=0.003)
    assert line.strength > 15
    power, width = relative_power(noise, 100.0)
    assert lines(power, width, 0.5, 4, 4, 1)[0].strength < 8


def test_the_strength_of_harmonics_is_largest_at_the_fundamental():
    rng = np.random.default_rng(2)
    power = rng.exponential(size=3000)
    width, rate = 0.01, 0.31
    power[np.round(rate * np.arange(1, 20) / width).astype(int)] += 8
    strengths = {
        r: harmonic_strength(power, width, r, 6.0) for r in (rate, 2 * rate, rate / 2, 0.4)
    }
    assert max(strengths, key=strengths.get) == rate
    assert strengths[0.4] < 9 < strengths[rate]


def test_the_rate_of_a_slow_phaser_is_found_from_its_harmonics():
    dry = synthetic_notes(60, seed=4)
    setting = {"rate": 0.22, "depth": 90, "centre": 1300, "feedback": 30, "mix": 40}
    wet = apply_effect(EFFECTS["phaser"], dry, RATE, setting)
    hint = blind_hint(wet, RATE, EFFECTS["phaser"], dry)
    assert hint["rate"] == pytest.approx(0.22, rel=0.005)


def test_the_rate_of_a_deep_tremolo_is_not_taken_for_a_harmonic(dry):
    wet = apply_effect(EFFECTS["tremolo"], dry, RATE, {"rate": 4.15, "depth": 99})
    hint = blind_hint(wet, RATE, EFFECTS["tremolo"], dry)
    assert hint["rate"] == pytest.approx(4.15, rel=0.003)
