"""The built-in recordings: pitches, formants, levels and spectra as asked for."""

from __future__ import annotations

import numpy as np
import pytest

from dafxtool import (
    drums,
    organ,
    partials,
    strings,
    synthesis,
    voice,
)
from dafxtool.audio.io import (
    AudioInfo,
    find_recordings,
    load_audio,
    read_info,
)
from dafxtool.errors import InputError, OutputExistsError

RATE = synthesis.SAMPLE_RATE


@pytest.fixture(scope="module")
def built_in():
    return list(synthesis.corpus())


def power_spectrum(sound, rate=RATE):
    spectrum = np.abs(np.fft.rfft(sound * np.blackman(len(sound)), 4 * len(sound))) ** 2
    return np.fft.rfftfreq(4 * len(sound), 1 / rate), spectrum


def strongest(sound, low_hz, high_hz, rate=RATE):
    """The frequency of the strongest partial between two frequencies."""
    frequencies, spectrum = power_spectrum(sound, rate)
    inside = (frequencies >= low_hz) & (frequencies <= high_hz)
    return frequencies[inside][np.argmax(spectrum[inside])]


def test_twenty_recordings_in_four_families(built_in):
    families = [family for family, _, _ in built_in]
    assert [families.count(name) for name in ("strings", "voice", "drums", "organ")] == [5] * 4
    assert len({(family, name) for family, name, _ in built_in}) == 20
    for _, _, sound in built_in:
        assert sound.dtype == np.float32
        assert sound.shape == (6 * RATE,)


def test_levels(built_in):
    window = round(1.4 * RATE)
    for family, name, sound in built_in:
        assert 20 * np.log10(np.abs(sound).max()) == pytest.approx(-3, abs=0.01), (family, name)
        energy = np.concatenate([[0], np.cumsum(np.square(sound, dtype=np.float64))])
        assert ((energy[window:] - energy[:-window]) / window).min() > 1e-4, (family, name)


def test_no_silence_longer_than_half_a_second(built_in):
    half = RATE // 2
    for family, name, sound in built_in:
        for start in range(0, len(sound) - half, half // 10):
            assert np.abs(sound[start : start + half]).max() > 10 ** (-40 / 20), (family, name)


def test_nothing_near_nyquist(built_in):
    """What lies between the guard and Nyquist is only what short attacks spread there."""
    for family, name, sound in built_in:
        frequencies, spectrum = power_spectrum(sound)
        beyond = spectrum[frequencies > 0.48 * RATE].sum() / spectrum.sum()
        assert 10 * np.log10(beyond) < -60, (family, name)


def test_one_seed_one_corpus(built_in):
    for (_, _, first), (_, _, second) in zip(built_in, synthesis.corpus(), strict=True):
        np.testing.assert_array_equal(first, second)
    other = synthesis.recording("voice", 0, seed=1)
    assert not np.array_equal(other, synthesis.recording("voice", 0, seed=0))


def test_no_two_recordings_of_a_family_are_alike(built_in):
    """Neither their spectra nor, within a family, the samples themselves."""
    for family in synthesis.FAMILIES:
        sounds = [sound for own, _, sound in built_in if own == family]
        sounds.append(synthesis.recording(family, synthesis.PER_FAMILY))
        likeness = np.abs(np.corrcoef(sounds)) - np.eye(len(sounds))
        assert likeness.max() < 0.3, family


def test_families_differ_measurably(built_in):
    """By the spectrum in 8 bands, level and flatness, the nearest is mostly of the same family."""
    features, families = [], []
    for family, _, sound in built_in:
        frames = sound[: len(sound) // 480 * 480].reshape(-1, 480).astype(np.float64)
        level = np.log10(np.mean(frames**2, axis=1) + 1e-6)
        spectrum = np.abs(np.fft.rfft(frames * np.hanning(480))) ** 2
        bands = np.add.reduceat(spectrum.mean(axis=0), [1, 3, 6, 12, 25, 50, 100, 160])
        flat = np.exp(np.log(spectrum + 1e-9).mean(axis=1)) / (spectrum.mean(axis=1) + 1e-9)
        extra = [2 * level.std(), np.abs(np.diff(level)).mean() * 5, 3 * np.log10(flat.mean())]
        features.append([*np.log10(bands / bands.sum()), *extra])
        families.append(family)
    x = np.array(features)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1) + 1e9 * np.eye(len(x))
    nearest = np.argmin(distance, axis=1)
    right = np.mean([families[i] == families[j] for i, j in enumerate(nearest)])
    assert right >= 0.7  # chance: 0.21


@pytest.mark.parametrize("frequency", [55.0, 146.83, 440.0, 987.77])
@pytest.mark.parametrize("instrument", strings.INSTRUMENTS[:5], ids=lambda i: i.name)
def test_a_plucked_string_has_the_pitch_that_was_asked_for(instrument, frequency):
    rng = np.random.default_rng(0)
    sound = strings.pluck(frequency, 2 * RATE, RATE, instrument, rng)
    found = strongest(sound, 0.8 * frequency, 1.2 * frequency)
    assert abs(1200 * np.log2(found / frequency)) < 12  # cents


def test_the_partials_of_a_stiff_string_are_stretched():
    guitar = strings.INSTRUMENTS[1]._replace(stiffness=1e-3)
    sound = strings.pluck(220.0, RATE, RATE, guitar, np.random.default_rng(0))
    for number in (3, 7):
        wanted = 220 * number * np.sqrt((1 + 1e-3 * number**2) / (1 + 1e-3))
        assert strongest(sound, wanted - 100, wanted + 100) == pytest.approx(wanted, rel=2e-3)


def test_a_plucked_string_dies_away_as_told():
    """60 dB in ring_s at 220 Hz: so the first partial falls by 60 dB / ring_s in a second."""
    guitar = strings.INSTRUMENTS[1]
    sound = strings.pluck(220.0, 4 * RATE, RATE, guitar, np.random.default_rng(0))
    time = np.arange(len(sound)) / RATE
    turned = sound * np.exp(-2j * np.pi * 220 * time)
    quarter = RATE // 4
    levels = [abs(turned[start : start + quarter].mean()) for start in (RATE // 2, 3 * RATE // 2)]
    fallen = 20 * np.log10(levels[0] / levels[1])
    assert fallen == pytest.approx(60 / guitar.ring_s, rel=0.15)


def test_the_sum_of_partials_is_the_sum_of_partials():
    frequencies, decays = np.array([100.0, 1234.5, 20_000.0]), np.array([1.0, 20.0, 0.0])
    amplitudes = np.array([0.5, -0.3, 1.0])
    made = partials.sum_of_partials(frequencies, amplitudes, decays, 5001, RATE)
    time = np.arange(5001) / RATE
    wanted = 0.5 * np.exp(-time) * np.sin(2 * np.pi * 100 * time)
    wanted -= 0.3 * np.exp(-20 * time) * np.sin(2 * np.pi * 1234.5 * time)
    np.testing.assert_allclose(made, wanted, atol=1e-9)  # the third is beyond the guard


@pytest.mark.parametrize("vowel", voice.VOWELS)
@pytest.mark.parametrize("tract", [1.0, 1.2])
def test_formants_are_where_they_should_be(vowel, tract):
    """The harmonics of a sustained vowel, 40 Hz apart, peak at the first two formants."""
    wanted = np.array(voice.VOWELS[vowel]) * tract
    formants = np.tile(wanted, (200, 1))
    sound = voice.voiced(np.full(200, 40.0), formants, RATE)
    frequencies, spectrum = power_spectrum(sound)
    harmonics = np.arange(40, 4000, 40.0)
    level = 10 * np.log10(np.interp(harmonics, frequencies, spectrum))
    level += 20 * np.log10((1 + (harmonics / 150) ** 2) / harmonics)  # the source taken away
    peaks = harmonics[1:-1][(level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])]
    for formant in wanted[:2]:
        assert np.abs(peaks - formant).min() <= 40


def test_a_voice_has_the_pitch_that_was_asked_for():
    formants = np.tile(np.array(voice.VOWELS["a"], dtype=float), (200, 1))
    sound = voice.voiced(np.full(200, 130.0), formants, RATE)
    assert strongest(sound, 100, 160) == pytest.approx(130, abs=0.5)
    frequencies, spectrum = power_spectrum(sound)
    between = spectrum[np.abs(frequencies - 195) < 10].max()
    assert 10 * np.log10(between / spectrum.max()) < -80


def test_a_whisper_has_the_formants_too():
    formants = np.tile(np.array(voice.VOWELS["a"], dtype=float), (800, 1))
    sound = voice.breathed(formants, RATE, np.random.default_rng(0))
    assert len(sound) == 4 * RATE
    frequencies, spectrum = power_spectrum(sound)

    def band(low_hz, high_hz):
        return spectrum[(frequencies > low_hz) & (frequencies < high_hz)].mean()

    assert band(650, 1200) > 10 * band(1600, 2000)


def test_an_organ_pipe_has_the_partials_of_its_drawbars():
    """8' and 2 2/3' alone: the key's frequency and three times that, with little else low down."""
    stop = organ.REGISTRATIONS[0]._replace(drawbars="008080000", tilt=6.0, chorus_hz=0.0)
    sound = organ.pipe(200.0, 2.0, stop, RATE, np.random.default_rng(0))[RATE // 2 : 3 * RATE // 2]
    frequencies, spectrum = power_spectrum(sound)
    level = {f: spectrum[np.abs(frequencies - f) < 5].max() for f in (100, 200, 300, 400, 600)}
    assert level[600] == pytest.approx(level[200], rel=0.05)
    assert max(level[100], level[300]) < 1e-8 * level[200]
    assert level[400] == pytest.approx(2.0**-12 * level[200], rel=0.05)


def test_noise_is_where_it_was_asked_for():
    made = partials.shaped_noise(np.random.default_rng(0), RATE, 1000, 4000, RATE)
    frequencies, spectrum = power_spectrum(made)
    inside = (frequencies > 1000) & (frequencies < 4000)
    outside = (frequencies < 600) | (frequencies > 6500)
    assert np.mean(made**2) == pytest.approx(1, rel=0.1)
    assert spectrum[outside].mean() < 1e-4 * spectrum[inside].mean()


@pytest.mark.parametrize("drum", ["kick", "snare", "rim", "tom", "shaker", "hat"])
def test_a_stroke_begins_and_ends_without_a_click(drum):
    for opened in (False, True):
        sound = drums.strike(drum, opened, 1.0, RATE, np.random.default_rng(0))
        assert abs(sound[0]) < 1e-3
        assert abs(sound[-1]) < 1e-3
        assert 0.05 < np.abs(sound).max() < 1.5


def test_other_sample_rates_give_the_same_music_without_aliasing():
    for rate in (16_000, 44_100):
        sound = synthesis.recording("strings", 1, sample_rate=rate)
        assert len(sound) == 6 * rate
        frequencies, spectrum = power_spectrum(sound, rate)
        beyond = spectrum[frequencies > 0.48 * rate].sum() / spectrum.sum()
        assert 10 * np.log10(beyond) < -60


def test_the_corpus_on_disk(tmp_path, built_in):
    paths = synthesis.write_corpus(tmp_path)
    assert sorted(paths) == sorted(find_recordings([tmp_path]))
    for path, (family, name, sound) in zip(paths, built_in, strict=True):
        assert path == tmp_path / family / f"{name}.wav"
        assert read_info(path) == AudioInfo(RATE, 1, len(sound))
    np.testing.assert_allclose(load_audio(paths[7])[0], built_in[7][2], atol=2**-15)
    with pytest.raises(OutputExistsError):
        synthesis.write_corpus(tmp_path)


def test_the_example_is_not_in_the_corpus(tmp_path, built_in):
    synthesis.write_example(tmp_path / "a.wav", "voice")
    example, _ = load_audio(tmp_path / "a.wav")
    for family, _, sound in built_in:
        if family == "voice":
            assert abs(np.corrcoef(example, sound)[0, 1]) < 0.3


def test_an_unknown_family_is_refused(tmp_path):
    with pytest.raises(InputError, match="'brass' is unknown: take one of strings, voice"):
        synthesis.write_example(tmp_path / "a.wav", "brass")
