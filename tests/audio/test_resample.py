"""Resampling: gain, phase, aliasing, lengths, and spans equal to the complete output."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import level_db, noise, tone

from dafxtool.audio.reader import AudioInfo, resampled_length
from dafxtool.audio.resample import required_span, resample, resample_span
from dafxtool.errors import InputError

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000)


@pytest.mark.parametrize("to_rate", [24_000, 44_100])
@pytest.mark.parametrize("from_rate", RATES)
def test_a_tone_in_the_pass_band_keeps_level_and_phase(from_rate, to_rate):
    lower = min(from_rate, to_rate)
    for frequency in (0.02 * lower, 0.3 * lower, 0.44 * lower):
        output = resample(tone(frequency, from_rate), from_rate, to_rate)
        assert len(output) == to_rate
        inside = slice(to_rate // 5, -to_rate // 5)
        carrier = np.exp(-2j * np.pi * frequency * np.arange(to_rate) / to_rate)
        window = np.hanning(len(output[inside]))
        amplitude = np.sum(output[inside] * carrier[inside] * window) / np.sum(window)  # 0.25 / i
        assert abs(20 * np.log10(abs(amplitude) / 0.25)) < 0.01  # dB
        assert abs(np.angle(amplitude * 1j)) < 1e-5  # radians: 1e-5 of a period
        error = output - 0.5 * abs(amplitude) / 0.25 * np.sin(
            2 * np.pi * frequency * np.arange(to_rate) / to_rate
        )
        assert level_db(error[inside]) - level_db(output[inside]) < -100


@pytest.mark.parametrize("to_rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("from_rate", [32_000, 44_100, 48_000, 88_200, 96_000, 192_000])
def test_frequencies_above_the_lower_nyquist_are_removed(from_rate, to_rate):
    for frequency in (0.501 * to_rate, 0.54 * to_rate, 0.62 * to_rate, 0.49 * from_rate):
        if 0.501 * to_rate <= frequency < 0.5 * from_rate:
            audio = tone(frequency, from_rate)
            output = resample(audio, from_rate, to_rate)[5000:-5000]
            assert level_db(output) - level_db(audio) < -120


@pytest.mark.parametrize("to_rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("from_rate", [*RATES, 88_200, 22_255])
def test_every_span_equals_the_slice_of_the_complete_output(from_rate, to_rate):
    audio = noise(3 * from_rate)[0]
    complete = resample(audio, from_rate, to_rate)
    rng = np.random.default_rng(from_rate)
    for start in (0, len(complete) - 100, *rng.integers(0, len(complete) - 100, 5).tolist()):
        stop = min(len(complete), start + int(rng.integers(1, 50_000)))
        first, last = required_span(start, stop, from_rate, to_rate)
        first, last = max(first, 0), min(last, len(audio))
        span = resample_span(audio[first:last], first, start, stop, from_rate, to_rate)
        assert np.array_equal(span, complete[start:stop])


@pytest.mark.parametrize("from_rate", [8000, 16_000, 22_050])
def test_upsampling_adds_no_images(from_rate):
    output = resample(tone(0.4 * from_rate, from_rate, 2.0), from_rate, 24_000)[8000:-8000]
    spectrum = np.abs(np.fft.rfft(output * np.blackman(len(output))))
    frequencies = np.fft.rfftfreq(len(output), 1 / 24_000)
    elsewhere = np.abs(frequencies - 0.4 * from_rate) > 20
    assert 20 * np.log10(spectrum[elsewhere].max() / spectrum.max()) < -95


def test_a_constant_stays_constant():
    output = resample(np.full(4000, 0.25, np.float32), 22_050, 24_000)
    np.testing.assert_allclose(output[500:-500], 0.25, atol=2e-7)


def test_an_impulse_keeps_its_time_and_the_response_is_symmetric():
    impulse = np.zeros(2001, dtype=np.float32)
    impulse[1000] = 1
    output = resample(impulse, 24_000, 48_000)
    assert np.argmax(output) == 2000
    np.testing.assert_allclose(output[2001:2200], output[1999:1800:-1], atol=1e-7)


@pytest.mark.parametrize("n_samples", [0, 1, 2, 147, 148])
def test_lengths_are_rounded_up(n_samples):
    output = resample(np.ones(n_samples, np.float32), 44_100, 24_000)
    assert output.shape == (-(-n_samples * 80 // 147),)
    assert resampled_length(AudioInfo(44_100, 1, n_samples), 24_000) == len(output)


def test_leading_axes_are_kept():
    audio = noise(3000, 6).reshape(2, 3, 3000)
    output = resample(audio, 48_000, 24_000)
    assert output.shape == (2, 3, 1500)
    np.testing.assert_array_equal(output[1, 2], resample(audio[1, 2], 48_000, 24_000))


def test_the_same_rate_gives_a_copy():
    audio = noise(1000)
    output = resample(audio, 24_000, 24_000)
    np.testing.assert_array_equal(output, audio)
    assert output is not audio


def test_rates_without_a_common_divisor_can_be_resampled():
    output = resample(tone(1000, 22_255), 22_255, 24_000)
    error = (output - tone(1000, 24_000))[2000:-2000]
    assert level_db(error) < -100


@pytest.mark.parametrize("rates", [(0, 24_000), (24_000, -1), (24_000, 22_050.5)])
def test_impossible_rates_are_refused(rates):
    with pytest.raises(InputError, match="whole rates above 0"):
        resample(noise(10)[0], *rates)
