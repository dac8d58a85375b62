"""Built-in effects against their definitions: levels, spectra, times and errors."""

import itertools
import sys

import numpy as np
import pytest

from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.errors import EffectError, MissingDependencyError

SAMPLE_RATE = 24_000
EFFECTS = builtin_effects()
RATES = (8_000, 16_000, 24_000, 48_000, 96_000)


def render(name, dry, sample_rate=SAMPLE_RATE, **setting):
    return apply_effect(EFFECTS[name], dry, sample_rate, setting)


def tone(frequency, n_samples=SAMPLE_RATE, level=0.5, sample_rate=SAMPLE_RATE):
    time = np.arange(n_samples) / sample_rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def impulse(n_samples=SAMPLE_RATE):
    return np.eye(1, n_samples, dtype=np.float32)[0]


def noise(n_samples=6000, level=0.08, seed=0):
    return np.random.default_rng(seed).normal(0, level, n_samples).astype(np.float32)


def square(level, n_samples=2 * SAMPLE_RATE):
    """Return a square wave: level detectors settle on exactly its absolute value."""
    return np.where(np.arange(n_samples) // 20 % 2, level, -level).astype(np.float32)


def response_db(name, frequency, **setting):
    """Return the gain at a frequency (whole Hz), from an impulse response of one second."""
    spectrum = np.abs(np.fft.rfft(render(name, impulse(), **setting)))
    return 20 * np.log10(spectrum[frequency])


def harmonics_db(audio, frequency):
    """Return the levels of the harmonics relative to the fundamental, from the second on."""
    spectrum = np.abs(np.fft.rfft(audio)) + 1e-12
    multiples = range(2 * frequency, SAMPLE_RATE // 2, frequency)
    return 20 * np.log10(spectrum[list(multiples)] / spectrum[frequency])


# All effects


def test_there_are_twenty_effects_with_names_and_summaries():
    assert len(EFFECTS) >= 20
    for name, effect in EFFECTS.items():
        assert name == effect.name == name.lower() and "_" not in name
        assert effect.summary
        assert EFFECTS[name].default_setting() == effect.complete({})


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("name", EFFECTS)
def test_output_is_finite_at_every_corner_of_the_ranges(name, sample_rate):
    effect = EFFECTS[name].at(sample_rate)
    dry = noise(1600)
    names = [p.name for p in effect.parameters]
    for corner in itertools.product(*((p.minimum, p.maximum) for p in effect.parameters)):
        audio = apply_effect(effect, dry, sample_rate, dict(zip(names, corner, strict=True)))
        assert audio.dtype == np.float32 and audio.shape == dry.shape
        assert np.isfinite(audio).all() and np.abs(audio).max() < 20


@pytest.mark.parametrize("name", EFFECTS)
def test_output_does_not_depend_on_earlier_calls(name):
    effect, rng = EFFECTS[name].at(SAMPLE_RATE), np.random.default_rng(1)
    a, b = sample_setting(effect, rng), sample_setting(effect, rng)
    dry = noise()
    first = apply_effect(effect, dry, SAMPLE_RATE, a)
    apply_effect(effect, noise(seed=5, level=0.5), SAMPLE_RATE, b)
    repeated = apply_effect(effect, dry, SAMPLE_RATE, a)
    np.testing.assert_array_equal(first, repeated)
    np.testing.assert_array_equal(dry, noise())  # the input is unchanged


@pytest.mark.parametrize("name", [name for name in EFFECTS if name not in ("clean", "gain")])
def test_the_default_setting_is_more_than_a_gain(name):
    """The residual after the best gain is above -40 dB of the recording."""
    envelope = np.abs(np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * 1.5 / SAMPLE_RATE)) ** 3
    dry = (noise(SAMPLE_RATE, 0.25 / 4) * envelope).astype(np.float32)
    audio = render(name, dry)
    residual = dry - audio * (dry @ audio) / (audio @ audio)
    assert 10 * np.log10((residual @ residual) / (dry @ dry)) > -40


@pytest.mark.parametrize("n_samples", [1, 2, 3, 17, 999])
def test_short_audio_keeps_its_length(n_samples):
    for name in EFFECTS:
        assert render(name, noise(n_samples)).shape == (n_samples,)


@pytest.mark.parametrize("name", EFFECTS)
def test_setting_text_is_read_back_exactly(name):
    rng = np.random.default_rng(2)
    for _ in range(20):
        setting = sample_setting(EFFECTS[name], rng)
        effect, parsed = parse_effect(EFFECTS[name].setting_text(setting))
        assert effect == EFFECTS[name] and parsed == setting


# Each effect


def test_clean_is_the_identity():
    np.testing.assert_array_equal(render("clean", noise()), noise())


def test_gain_changes_the_level_by_its_decibels():
    np.testing.assert_allclose(render("gain", noise(), gain=-6.0206), noise() / 2, rtol=1e-5)


def test_overdrive_is_symmetric_and_clips_softly():
    odd, even = slice(1, None, 2), slice(0, None, 2)  # of the multiples 2, 3, 4, ...
    levels = harmonics_db(render("overdrive", tone(500, level=0.25), drive=24), 500)
    assert levels[1] > -20  # the third
    assert levels[odd].max() > levels[even].max() + 60
    softly = harmonics_db(render("overdrive", tone(500, level=0.25), drive=12), 500)
    assert softly[1] < levels[1] - 6


def test_overdrive_follows_the_hyperbolic_tangent():
    # The filter hardly changes the tone, so its level is that of tanh of the amplified sine.
    gain = 10 ** (20 / 20)
    driven = np.tanh(gain * tone(200, level=0.25).astype(float))
    audio = render("overdrive", tone(200, level=0.25), drive=20, tone=8000, output=0)
    fundamental = np.abs(np.fft.rfft(audio))[200] / np.abs(np.fft.rfft(driven))[200]
    assert 20 * np.log10(fundamental) == pytest.approx(0, abs=0.05)


def test_distortion_is_harder_than_overdrive():
    dry = tone(500, level=0.25)
    same = {"drive": 30, "tone": 8000}
    high = slice(8, None)  # from the tenth multiple on
    overdriven = harmonics_db(render("overdrive", dry, **same), 500)[high]
    distorted = harmonics_db(render("distortion", dry, **same), 500)[high]
    assert distorted.max() > overdriven.max() + 3


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("time_ms", [20, 123.4, 350])
def test_echoes_arrive_on_time_and_fade_by_the_feedback(sample_rate, time_ms):
    dry = impulse(2 * sample_rate)
    audio = render("delay", dry, sample_rate, time=time_ms, feedback=40, mix=50)
    arrivals = np.flatnonzero(np.abs(audio) > 1e-6)[:4]
    period = round(np.float32(time_ms) * sample_rate / 1000)
    np.testing.assert_array_equal(arrivals, period * np.arange(4))
    np.testing.assert_allclose(audio[arrivals], [0.5, 0.5, 0.2, 0.08], rtol=1e-5)


def test_reverb_keeps_direct_sound_and_decays_more_slowly_in_a_larger_room():
    def energy_after(seconds, **setting):
        return np.sum(
            render("reverb", impulse(2 * SAMPLE_RATE), **setting)[int(seconds * SAMPLE_RATE) :] ** 2
        )

    assert render("reverb", impulse(), mix=40)[0] == pytest.approx(0.6, rel=1e-5)
    assert energy_after(0.5, size=90) > 10 * energy_after(0.5, size=30)
    narrow, wide = (render("reverb", impulse(), width=width) for width in (0, 100))
    scaled = narrow[1:] * (narrow[1:] @ wide[1:]) / (narrow[1:] @ narrow[1:])
    assert np.abs(scaled - wide[1:]).max() > 0.3 * np.abs(wide[1:]).max()  # more than a level


def test_damping_attenuates_high_frequencies():
    bright, dull = (
        np.abs(np.fft.rfft(render("reverb", impulse(), damping=damping, mix=70)[1:]))[6000:].sum()
        for damping in (0, 100)
    )
    assert bright > 1.5 * dull


@pytest.mark.parametrize(
    ("name", "rate"), [("chorus", 1), ("flanger", 1), ("phaser", 1), ("vibrato", 4)]
)
def test_modulation_repeats_at_its_rate(name, rate):
    """A tone modulated at `rate` has side bands only at multiples of that rate."""
    audio = render(name, tone(1000, 6 * SAMPLE_RATE), rate=rate)[SAMPLE_RATE : 5 * SAMPLE_RATE]
    energy = np.abs(np.fft.rfft(audio))[4000 - 200 : 4000 + 201] ** 2  # bins of 0.25 Hz
    on_rate = np.abs(np.arange(-200, 201)) % (4 * rate) == 0
    assert energy[~on_rate].sum() < 1e-3 * energy[on_rate].sum()
    side_bands = energy[on_rate].sum() - energy[200]
    assert side_bands > 0.02 * energy[200]


def test_tremolo_reduces_the_level_by_its_depth():
    audio = render("tremolo", np.ones(SAMPLE_RATE, dtype=np.float32), rate=5, depth=75)
    assert audio.max() == 1 and audio.min() == pytest.approx(0.25, abs=1e-6)
    assert np.argmin(audio[:4800]) == 2400  # half a period of 5 Hz


def test_ring_modulator_gives_sum_and_difference_frequencies():
    spectrum = np.abs(np.fft.rfft(render("ring-modulator", tone(1000), frequency=300, mix=100)))
    assert set(np.argsort(spectrum)[-2:]) == {700, 1300}
    assert spectrum[1000] < 1e-4 * spectrum[700]


@pytest.mark.parametrize("semitones", [-7, -4, 5, 7])
def test_pitch_shift_moves_a_tone_by_its_semitones(semitones):
    audio = render("pitch-shift", tone(440, 3 * SAMPLE_RATE), semitones=semitones)
    middle = audio[SAMPLE_RATE : 2 * SAMPLE_RATE] * np.hanning(SAMPLE_RATE)
    peak = np.argmax(np.abs(np.fft.rfft(middle, 8 * SAMPLE_RATE))) / 8
    # The library smears a single sine; a quarter of a semitone distinguishes two semitones.
    assert abs(12 * np.log2(peak / 440) - semitones) < 0.25


@pytest.mark.parametrize(("level", "above_db"), [(1.0, 40), (0.1, 20), (0.005, None)])
def test_compressor_divides_what_is_above_the_threshold(level, above_db):
    audio = render("compressor", square(level), threshold=-40, ratio=4, makeup=0)
    settled_db = 20 * np.log10(np.abs(audio[-100:]).max())
    expected = 20 * np.log10(level) if above_db is None else -40 + above_db / 4
    assert settled_db == pytest.approx(expected, abs=0.01)


def test_makeup_gain_is_added_after_compression():
    quiet, loud = (render("compressor", noise(), makeup=makeup) for makeup in (0, 12))
    np.testing.assert_allclose(loud, quiet * 10 ** (12 / 20), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("drive", [12, 36])
def test_limiter_holds_its_ceiling(drive):
    audio = render("limiter", tone(440), drive=drive, ceiling=-9)
    assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(-9, abs=0.01)
    burst = np.concatenate([tone(440, 6000, 0.01), tone(440, 6000, 0.9)])
    assert np.abs(render("limiter", burst, drive=36, ceiling=-9)).max() <= 10 ** (-9 / 20) * 1.0001


def test_gate_closes_below_its_threshold_only():
    soft, loud = square(0.003), square(0.25)
    setting = {"threshold": -30, "ratio": 8}
    assert np.abs(render("gate", soft, **setting)[-100:]).max() < 0.003 / 30
    np.testing.assert_allclose(render("gate", loud, **setting)[-100:], loud[-100:], rtol=1e-4)


def test_multiband_keeps_quiet_audio_and_compresses_bands_separately():
    soft = noise(level=1e-4)
    np.testing.assert_allclose(render("multiband", soft, makeup=0), soft, atol=1e-8)
    low, high = tone(80, 2 * SAMPLE_RATE, 0.5), tone(6000, 2 * SAMPLE_RATE, 0.004)
    both = np.abs(np.fft.rfft(render("multiband", low + high, makeup=0)[SAMPLE_RATE:]))
    dry = np.abs(np.fft.rfft((low + high)[SAMPLE_RATE:]))
    assert both[80] < 0.3 * dry[80]
    assert both[6000] > 0.5 * dry[6000]
    together = render("compressor", low + high, threshold=-36, ratio=6, makeup=0)[SAMPLE_RATE:]
    assert np.abs(np.fft.rfft(together))[6000] < 0.3 * dry[6000]  # a single band would do this


@pytest.mark.parametrize("cutoff", [200, 1000, 3000])
def test_low_pass_and_high_pass_are_first_order(cutoff):
    assert response_db("low-pass", cutoff, cutoff=cutoff) == pytest.approx(-3.01, abs=0.01)
    low, high = (response_db("low-pass", f, cutoff=200) for f in (1000, 2000))
    assert low - high == pytest.approx(6.02, abs=0.3)
    high_cutoff = max(cutoff, 300)
    measured = response_db("high-pass", high_cutoff, cutoff=high_cutoff)
    assert measured == pytest.approx(-3.01, abs=0.01)


def test_shelf_and_peak_filters_reach_their_gain():
    assert response_db("low-shelf", 10, cutoff=500, gain=12) == pytest.approx(12, abs=0.05)
    assert response_db("low-shelf", 11_000, cutoff=500, gain=12) == pytest.approx(0, abs=0.05)
    assert response_db("high-shelf", 11_900, cutoff=2500, gain=-9) == pytest.approx(-9, abs=0.05)
    assert response_db("high-shelf", 50, cutoff=2500, gain=-9) == pytest.approx(0, abs=0.05)
    assert response_db("peak", 1000, cutoff=1000, gain=15, q=2) == pytest.approx(15, abs=0.01)
    assert response_db("peak", 50, cutoff=1000, gain=15, q=2) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("bits", [4, 6, 10])
def test_bit_crusher_quantises_to_two_to_the_power_of_bits_steps(bits):
    ramp = np.linspace(-1, 1, SAMPLE_RATE, dtype=np.float32)
    levels = np.unique(render("bit-crusher", ramp, bits=bits, rate=10_800))
    assert len(levels) == 2**bits + 1  # both ends count
    np.testing.assert_allclose(np.diff(levels), 2.0 ** (1 - bits), rtol=1e-5)


def test_bit_crusher_holds_each_sample():
    audio = render("bit-crusher", noise(level=0.2), bits=10, rate=4000)  # a sixth of 24 kHz
    held = audio.reshape(-1, 6)
    np.testing.assert_array_equal(held, np.repeat(held[:, :1], 6, axis=1))
    np.testing.assert_allclose(held[:, 0], noise(level=0.2)[::6], atol=2.0**-9)


def test_combo_attenuates_frequencies_above_the_loudspeaker():
    high = 20 * np.log10(np.abs(np.fft.rfft(render("combo", 0.001 * impulse(), treble=0))))
    assert high[10_000] < high[1000] - 15


# Text and errors


def test_effects_are_read_from_text():
    effect, values = parse_effect(" Low_Pass : cutoff = 1.2kHz ")
    assert effect.name == "low-pass" and values == {"cutoff": 1200}
    assert parse_effect("clean") == (EFFECTS["clean"], {})
    own = Effect("own")
    assert parse_effect("own", {"own": own}) == (own, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overdirve", "Did you mean overdrive"),
        ("xyz", "Use clean, gain"),
        ("delay:tmie=20", "Did you mean time"),
        ("delay:time=5000", "1 to 2000 ms"),
        ("delay:time", "without a value"),
        ("delay:", "ends at the colon"),
        ("delay:time=20,time=30", "twice"),
        ("delay:time=20 dB", "cannot read the value of time"),
    ],
)
def test_errors_name_the_mistake(text, message):
    with pytest.raises(EffectError, match=message):
        parse_effect(text)


@pytest.mark.parametrize(
    ("dry", "message"),
    [
        (np.zeros((2, 100), np.float32), r"\(2, 100\)"),
        (np.zeros(0, np.float32), r"\(0,\)"),
        (np.zeros(100, np.int16), "int16"),
        (np.full(100, np.nan, np.float32), "NaN"),
    ],
)
def test_invalid_audio_is_refused(dry, message):
    with pytest.raises(EffectError, match=message):
        render("gain", dry)


def test_a_cutoff_above_nyquist_is_refused():
    assert render("high-pass", noise(), 8000, cutoff=3600).shape == (6000,)
    with pytest.raises(EffectError, match="20 to 3600 Hz"):
        render("high-pass", noise(), 8000, cutoff=4100)


def test_an_unknown_effect_is_refused():
    with pytest.raises(EffectError, match="own: not a built-in effect"):
        apply_effect(Effect("own"), noise(), SAMPLE_RATE, {})


def test_missing_pedalboard_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    assert len(builtin_effects()) >= 20  # the list needs no pedalboard
    with pytest.raises(MissingDependencyError, match="pedalboard"):
        render("gain", noise())
