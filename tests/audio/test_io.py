"""Resample, read, refuse, find and write recordings, against tones and hand-made files."""

from __future__ import annotations

import os
import struct
import wave

import numpy as np
import pytest
import soundfile

from dafxtool.audio.find_recordings import _walk, find_recordings
from dafxtool.audio.frame_checks import mp3_frame_length
from dafxtool.audio.io import (
    AudioInfo,
    load_audio,
    load_segment,
    read_info,
    resampled_length,
)
from dafxtool.audio.resample import required_span, resample, resample_span
from dafxtool.audio.writer import save_audio
from dafxtool.errors import InputError, OutputExistsError, RecordingError

KINDS = {".opus": "OGG", ".aif": "AIFF", ".aifc": "AIFF"}
RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000)


def tone(frequency_hz, rate, seconds=1.0):
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def noise(n_samples, n_channels=1, seed=0):
    made = np.random.default_rng(seed).standard_normal((n_channels, n_samples))
    return (0.1 * made).astype(np.float32)


def level_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30)


def encode(path, samples, rate, subtype=None, kind=None, **how):
    """Write (n_channels, n_samples) with libsndfile."""
    kind = kind or KINDS.get(path.suffix, path.suffix[1:].upper())
    with soundfile.SoundFile(path, "w", rate, len(samples), subtype, format=kind, **how) as file:
        for start in range(0, samples.shape[1], 4096):  # libsndfile crashes on long blocks of Ogg
            file.write(samples[:, start : start + 4096].T)
    return path


def riff(path, samples, kind, bits, rate=24_000):
    """A WAV file by hand. kind: 1 whole numbers, 3 floating point; samples: (n, n_channels)"""
    data = samples.tobytes()
    n_channels, block = samples.shape[1], samples.shape[1] * bits // 8
    chunk = struct.pack("<HHIIHH", kind, n_channels, rate, rate * block, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + chunk + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data)
    return path


# Resampling


@pytest.mark.parametrize("to_rate", [24_000, 44_100])
@pytest.mark.parametrize("from_rate", RATES)
def test_a_tone_in_the_pass_band_keeps_its_level_and_its_place_in_time(from_rate, to_rate):
    lower = min(from_rate, to_rate)
    for frequency in (0.02 * lower, 0.3 * lower, 0.44 * lower):
        made = resample(tone(frequency, from_rate), from_rate, to_rate)
        assert len(made) == to_rate
        inside = slice(to_rate // 5, -to_rate // 5)
        carrier = np.exp(-2j * np.pi * frequency * np.arange(to_rate) / to_rate)
        window = np.hanning(len(made[inside]))
        found = np.sum(made[inside] * carrier[inside] * window) / np.sum(window)  # 0.25 / i
        assert abs(20 * np.log10(abs(found) / 0.25)) < 0.01  # dB
        assert abs(np.angle(found * 1j)) < 1e-5  # radians: 1e-5 of a period
        error = made - 0.5 * abs(found) / 0.25 * np.sin(
            2 * np.pi * frequency * np.arange(to_rate) / to_rate
        )
        assert level_db(error[inside]) - level_db(made[inside]) < -100


@pytest.mark.parametrize("to_rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("from_rate", [32_000, 44_100, 48_000, 88_200, 96_000, 192_000])
def test_what_the_lower_rate_cannot_hold_vanishes(from_rate, to_rate):
    for frequency in (0.501 * to_rate, 0.54 * to_rate, 0.62 * to_rate, 0.49 * from_rate):
        if 0.501 * to_rate <= frequency < 0.5 * from_rate:
            sound = tone(frequency, from_rate)
            made = resample(sound, from_rate, to_rate)[5000:-5000]
            assert level_db(made) - level_db(sound) < -120


@pytest.mark.parametrize("to_rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("from_rate", [*RATES, 88_200, 22_255])
def test_every_span_has_the_bits_of_the_complete_recording(from_rate, to_rate):
    sound = noise(3 * from_rate)[0]
    whole = resample(sound, from_rate, to_rate)
    rng = np.random.default_rng(from_rate)
    for start in (0, len(whole) - 100, *rng.integers(0, len(whole) - 100, 5).tolist()):
        stop = min(len(whole), start + int(rng.integers(1, 50_000)))
        first, last = required_span(start, stop, from_rate, to_rate)
        first, last = max(first, 0), min(last, len(sound))
        found = resample_span(sound[first:last], first, start, stop, from_rate, to_rate)
        assert np.array_equal(found, whole[start:stop])


@pytest.mark.parametrize("from_rate", [8000, 16_000, 22_050])
def test_raising_the_rate_adds_no_images(from_rate):
    made = resample(tone(0.4 * from_rate, from_rate, 2.0), from_rate, 24_000)[8000:-8000]
    spectrum = np.abs(np.fft.rfft(made * np.blackman(len(made))))
    frequencies = np.fft.rfftfreq(len(made), 1 / 24_000)
    elsewhere = np.abs(frequencies - 0.4 * from_rate) > 20
    assert 20 * np.log10(spectrum[elsewhere].max() / spectrum.max()) < -95


def test_a_constant_stays_what_it_is():
    made = resample(np.full(4000, 0.25, np.float32), 22_050, 24_000)
    np.testing.assert_allclose(made[500:-500], 0.25, atol=2e-7)


def test_an_impulse_stays_at_its_time_and_spreads_evenly():
    impulse = np.zeros(2001, dtype=np.float32)
    impulse[1000] = 1
    made = resample(impulse, 24_000, 48_000)
    assert np.argmax(made) == 2000
    np.testing.assert_allclose(made[2001:2200], made[1999:1800:-1], atol=1e-7)


@pytest.mark.parametrize("n_samples", [0, 1, 2, 147, 148])
def test_lengths_are_rounded_up_also_when_very_short(n_samples):
    made = resample(np.ones(n_samples, np.float32), 44_100, 24_000)
    assert made.shape == (-(-n_samples * 80 // 147),)
    assert resampled_length(AudioInfo(44_100, 1, n_samples), 24_000) == len(made)


def test_axes_before_the_last_are_kept():
    sound = noise(3000, 6).reshape(2, 3, 3000)
    made = resample(sound, 48_000, 24_000)
    assert made.shape == (2, 3, 1500)
    np.testing.assert_array_equal(made[1, 2], resample(sound[1, 2], 48_000, 24_000))


def test_the_same_rate_changes_nothing():
    sound = noise(1000)
    made = resample(sound, 24_000, 24_000)
    np.testing.assert_array_equal(made, sound)
    assert made is not sound


def test_rates_without_a_common_divisor_can_be_resampled():
    made = resample(tone(1000, 22_255), 22_255, 24_000)
    error = (made - tone(1000, 24_000))[2000:-2000]
    assert level_db(error) < -100


@pytest.mark.parametrize("rates", [(0, 24_000), (24_000, -1), (24_000, 22_050.5)])
def test_impossible_rates_are_refused(rates):
    with pytest.raises(InputError, match="whole rates above 0"):
        resample(noise(10)[0], *rates)


# Reading


VARIABLE = {"bitrate_mode": "VARIABLE", "compression_level": 0.4}
CONSTANT = {"bitrate_mode": "CONSTANT"}
FILES = {
    "16.wav": {"subtype": "PCM_16"},
    "24.wav": {"subtype": "PCM_24"},
    "float.wav": {"subtype": "FLOAT"},
    "16.aiff": {"subtype": "PCM_16"},
    "16.flac": {"subtype": "PCM_16"},
    "24.flac": {"subtype": "PCM_24"},
    "vorbis.ogg": {"subtype": "VORBIS"},
    "opus.opus": {"subtype": "OPUS"},
    "constant.mp3": {"subtype": "MPEG_LAYER_III", **CONSTANT},
    "variable.mp3": {"subtype": "MPEG_LAYER_III", **VARIABLE},
}
LOSSY = ("ogg", "opus", "mp3")


@pytest.mark.parametrize("from_rate", [48_000, 24_000])
@pytest.mark.parametrize("name", FILES)
def test_a_segment_is_to_the_bit_a_slice_of_the_whole(tmp_path, name, from_rate):
    path = encode(tmp_path / name, noise(3 * from_rate, 2), from_rate, **FILES[name])
    info = read_info(path)
    rng = np.random.default_rng(1)
    for rate, channel in ((24_000, "first"), (16_000, "mean"), (48_000, "2"), (from_rate, "1")):
        whole, _ = load_audio(path, rate, channel)
        assert len(whole) == resampled_length(info, rate)
        # 1152 and 576 samples are the frames of MP3, at whose borders decoders err.
        starts = [0, 1, 576, 1152, 23_040, *rng.integers(0, len(whole) - 1000, 4)]
        for start in starts:
            made = load_segment(path, start, 1000, rate, channel, info)
            np.testing.assert_array_equal(made, whole[start : start + 1000])
        tail = load_segment(path, len(whole) - 777, 777, rate, channel)
        np.testing.assert_array_equal(tail, whole[-777:])


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(LOSSY)])
def test_lossless_files_hold_what_was_written(tmp_path, name):
    sound = noise(5000, 2)
    made, rate = load_audio(encode(tmp_path / name, sound, 22_050, **FILES[name]), channel="2")
    assert rate == 22_050
    np.testing.assert_allclose(made, sound[1], atol=1.01 * 2**-15)


@pytest.mark.parametrize("name", ["vorbis.ogg", "opus.opus", "constant.mp3"])
def test_lossy_files_sound_like_what_was_written(tmp_path, name):
    path = encode(tmp_path / name, tone(1000, 48_000)[None], 48_000, **FILES[name])
    made, _ = load_audio(path, 24_000)
    spectrum = np.abs(np.fft.rfft(made[:24_000]))
    assert np.argmax(spectrum) == pytest.approx(1000, abs=1)
    # LAME lowers everything to 0.95 by itself.
    assert level_db(made[6000:18_000]) == pytest.approx(level_db(tone(1000, 24_000)), abs=0.5)


def test_every_sample_format_of_wav_is_read(tmp_path):
    sound = noise(400, 2).T.astype(np.float64)
    eight = riff(tmp_path / "8.wav", (128 + np.round(127 * sound)).astype(np.uint8), 1, 8)
    long = riff(tmp_path / "32.wav", (sound * 2**31).astype("<i4"), 1, 32)
    single = riff(tmp_path / "float.wav", sound.astype("<f4"), 3, 32)
    double = riff(tmp_path / "double.wav", sound.astype("<f8"), 3, 64)
    for path, error in ((eight, 1 / 127), (long, 1e-7), (single, 0), (double, 1e-8)):
        np.testing.assert_allclose(load_audio(path)[0], sound[:, 0], atol=error)


def test_the_lowest_whole_number_is_minus_one(tmp_path):
    lowest = np.array([[-(2**15)], [2**15 - 1], [1]], dtype="<i2")
    made, _ = load_audio(riff(tmp_path / "a.wav", lowest, 1, 16))
    np.testing.assert_array_equal(made, np.array([-1, 1 - 2**-15, 2**-15], np.float32))


def test_channels(tmp_path):
    sound = noise(1000, 3)
    path = encode(tmp_path / "three.wav", sound, 24_000, subtype="FLOAT")
    assert read_info(path) == AudioInfo(24_000, 3, 1000)
    np.testing.assert_array_equal(load_audio(path)[0], sound[0])
    np.testing.assert_array_equal(load_audio(path, channel="3")[0], sound[2])
    np.testing.assert_allclose(load_audio(path, channel="mean")[0], sound.mean(axis=0), atol=1e-7)
    with pytest.raises(RecordingError, match=r"no channel 4 \(found 3 channels\)"):
        load_audio(path, channel="4")
    for unknown in ("left", "0", "-1", "1.5"):
        with pytest.raises(InputError, match="Give first, mean, or a number"):
            load_audio(path, channel=unknown)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("how", [CONSTANT, VARIABLE], ids=["constant", "variable"])
def test_an_mp3_without_a_tag_is_read_to_its_end(tmp_path, how, rate, n_channels):
    """Only its frames tell how long it is. Without the tag, its encoder's delay is unknown."""
    sound = np.concatenate([noise(3 * rate, n_channels), 0.01 * noise(3 * rate, n_channels)], 1)
    path = encode(tmp_path / "a.mp3", sound, rate, "MPEG_LAYER_III", **how)
    tagged, _ = load_audio(path)
    assert len(tagged) == sound.shape[1]
    bare = path.with_name("bare.mp3")
    data = path.read_bytes()
    bare.write_bytes(data[mp3_frame_length(data[:4]) :])
    found, _ = load_audio(bare)
    per_frame = 1152 if rate >= 32_000 else 576
    assert (len(found) + 529) % per_frame == 0 and len(found) >= len(tagged) + 576
    np.testing.assert_allclose(
        found[576 + 2000 :][: len(tagged) - 4000], tagged[2000:-2000], atol=1e-5
    )
    bare.write_bytes(bare.read_bytes()[:-50])
    with pytest.raises(RecordingError, match=r"bare\.mp3: truncated"):
        read_info(bare)


@pytest.mark.parametrize(
    ("start", "n_samples"), [(0, 1001), (1000, 1), (-1, 5), (5, -1), (2**63, 5), (5, 2**64)]
)
def test_what_is_outside_cannot_be_read(tmp_path, start, n_samples):
    path = encode(tmp_path / "short.wav", noise(1000), 24_000)
    with pytest.raises(
        RecordingError, match=r"short\.wav: no samples .* \(found 1000 samples at 24000 Hz"
    ):
        load_segment(path, start, n_samples, 24_000)


def test_a_segment_of_no_length_is_empty(tmp_path):
    path = encode(tmp_path / "short.wav", noise(1000), 44_100)
    assert load_segment(path, 10, 0, 24_000).shape == (0,)


def test_a_segment_decodes_no_more_than_it_needs(tmp_path):
    """The rest of the file is NaN, which would be refused."""
    start, n_samples = 120_000, 5000
    first, last = required_span(start, start + n_samples, 44_100, 24_000)
    sound = noise(441_000)
    sound[:, :first] = np.nan
    sound[:, last:] = np.nan
    path = encode(tmp_path / "islands.wav", sound, 44_100, subtype="FLOAT")
    info = read_info(path)
    assert last - first < 4 * 44_100
    assert np.isfinite(load_segment(path, start, n_samples, 24_000, info=info)).all()
    with pytest.raises(RecordingError, match="NaN or infinite"):
        load_segment(path, start - 40_000, n_samples, 24_000, info=info)


def test_infinite_samples_are_refused(tmp_path):
    sound = noise(1000)
    sound[0, 7] = np.inf
    path = encode(tmp_path / "loud.wav", sound, 24_000, subtype="FLOAT")
    with pytest.raises(RecordingError, match=r"loud\.wav: holds NaN or infinite"):
        load_audio(path, 24_000)


# Refusing


@pytest.mark.parametrize("name", FILES)
def test_cut_off_files_are_refused(tmp_path, name):
    """The decoder would make up for what is missing with silence."""
    whole = encode(tmp_path / name, noise(48_000, 2), 48_000, **FILES[name])
    read_info(whole)
    data = whole.read_bytes()
    for part in (0.9, 0.5, 0.05):
        whole.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(RecordingError, match=f"{name}: (truncated|cannot be decoded)"):
            read_info(whole)


@pytest.mark.parametrize("suffix", [".wav", ".AIFF", ".flac", ".ogg", ".mp3", ".m4a"])
@pytest.mark.parametrize("content", [b"To be, or not to be\n" * 50, bytes(500), b"\xff\xfb\x90"])
def test_what_is_no_recording_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        RecordingError, match=rf"text\{suffix}: (not a recording|holds no samples|truncated)"
    ):
        load_audio(path)


@pytest.mark.parametrize("head", [b"RIFF", b"FORM", b"fLaC", b"ID3", b"OggS", b"\xff\xfb\x90\x00"])
@pytest.mark.parametrize("length", [0, 8, 60])
def test_a_beginning_alone_is_refused(tmp_path, head, length):
    path = tmp_path / "beginning.wav"
    path.write_bytes(head + bytes(range(length)))
    with pytest.raises(RecordingError, match=r"beginning\.wav: "):
        read_info(path)


def test_missing_empty_and_folder(tmp_path):
    with pytest.raises(RecordingError, match=r"nothing\.wav: does not exist"):
        read_info(tmp_path / "nothing.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(RecordingError, match=r"empty\.wav: empty"):
        load_audio(tmp_path / "empty.wav")
    with pytest.raises(RecordingError, match=": a folder"):
        read_info(tmp_path)


def test_a_file_without_samples_is_refused(tmp_path):
    with wave.open(str(tmp_path / "none.wav"), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
    with pytest.raises(RecordingError, match=r"none\.wav: holds no samples"):
        read_info(tmp_path / "none.wav")


def test_a_file_that_changed_since_it_was_probed_is_refused(tmp_path):
    path = encode(tmp_path / "a.wav", noise(1000), 24_000)
    info = read_info(path)
    for sound, rate in ((noise(500), 24_000), (noise(1000), 16_000), (noise(500, 2), 24_000)):
        encode(path, sound, rate)
        with pytest.raises(RecordingError, match=r"a\.wav: has changed since it was first read"):
            load_segment(path, 0, 1000, 24_000, info=info)
    path.unlink()
    with pytest.raises(RecordingError, match=r"a\.wav: has vanished since it was first read"):
        load_segment(path, 0, 1000, 24_000, info=info)


# Finding


def test_recordings_are_found_once_and_in_order(tmp_path):
    names = ["b.wav", "a.FLAC", "deep/er/c.mp3", "deep/d.ogg", "e.aif", "f.WMA", "deep/g.Opus"]
    hidden = [".hidden.wav", ".folder/x.wav", "notes.txt"]
    for name in names + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    wanted = ["a.FLAC", "b.wav", "e.aif", "f.WMA", "deep/d.ogg", "deep/g.Opus", "deep/er/c.mp3"]
    paths = [tmp_path, tmp_path / "deep", tmp_path / "b.wav"]
    assert find_recordings(paths) == [tmp_path / name for name in wanted]


def test_links_are_followed_and_loops_end(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav").touch()
    os.symlink(tmp_path / "out", tmp_path / "in" / "linked")
    os.symlink(tmp_path / "in", tmp_path / "out" / "back")
    os.symlink(tmp_path / "in" / "a.wav", tmp_path / "in" / "again.wav")
    found = find_recordings([tmp_path / "in"])
    assert found == [tmp_path / "in" / "a.wav", tmp_path / "in" / "linked" / "b.wav"]
    assert len(_walk(tmp_path / "in")) == 3  # each folder was walked once


def test_a_file_is_taken_whatever_its_suffix(tmp_path):
    path = tmp_path / "take1.w"
    path.touch()
    assert find_recordings([path]) == [path]


def test_missing_paths_and_folders_without_recordings_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: does not exist"):
        find_recordings([tmp_path / "nowhere"])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no recordings"):
        find_recordings([tmp_path])


# Writing


@pytest.mark.parametrize(
    ("name", "depth", "error"),
    [("a.wav", None, 0), ("a.wav", 24, 2**-24), ("a.wav", 16, 2**-16), ("a.FLAC", None, 2**-24)],
)
def test_what_is_written_is_read_again(tmp_path, name, depth, error):
    sound = noise(3000, 2)
    path = tmp_path / "new" / name
    save_audio(path, sound, 24_000, bit_depth=depth)
    assert read_info(path) == AudioInfo(24_000, 2, 3000)
    np.testing.assert_allclose(load_audio(path, channel="2")[0], sound[1], atol=error)
    assert os.listdir(path.parent) == [name]


@pytest.mark.parametrize("depth", [16, 24])
def test_rounding_adds_no_offset(tmp_path, depth):
    sound = noise(100_000)[0]
    save_audio(tmp_path / "a.wav", sound, 24_000, bit_depth=depth)
    error = load_audio(tmp_path / "a.wav")[0].astype(np.float64) - sound
    assert abs(error.mean()) < 0.01 * 2.0 ** (1 - depth)


def test_full_scale_is_written(tmp_path):
    for name in ("a.wav", "a.flac"):
        save_audio(
            tmp_path / name, np.array([1.0, -1.0]), 24_000, bit_depth=16 + 8 * (name[2] == "f")
        )
        np.testing.assert_allclose(load_audio(tmp_path / name)[0], [1, -1], atol=2**-15)


def test_float_files_keep_what_is_beyond_full_scale(tmp_path):
    sound = np.array([0.5, -3.0, 2.0], dtype=np.float32)
    save_audio(tmp_path / "a.wav", sound, 24_000)
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav")[0], sound)
    with pytest.raises(InputError, match=r"24 bits would clip it .*\+9\.5 dBFS"):
        save_audio(tmp_path / "a.flac", sound, 24_000)
    assert not (tmp_path / "a.flac").exists()


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "a.wav"
    save_audio(path, np.zeros(10), 24_000)
    with pytest.raises(OutputExistsError):
        save_audio(path, np.ones(20), 24_000)
    assert read_info(path).n_samples == 10
    save_audio(path, np.ones(20), 24_000, overwrite=True)
    assert read_info(path).n_samples == 20


@pytest.mark.parametrize(
    ("name", "sound", "match"),
    [
        ("a.mp3", np.zeros(10), "cannot be written"),
        ("a.wav", np.array([0, np.nan]), "NaN or infinite"),
        ("a.wav", np.zeros(0), "shape"),
        ("a.wav", np.zeros((100, 2)), "shape"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, sound, match):
    with pytest.raises(InputError, match=match):
        save_audio(tmp_path / name, sound, 24_000)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_an_ogg_is_the_same_wherever_it_is_entered(tmp_path, n_channels, subtype):
    """libsndfile gives wrong samples where it enters the last page."""

    rng = np.random.default_rng(3)
    sound = rng.normal(0, 0.2, (n_channels, 60_000)).astype(np.float32)
    path = tmp_path / "noise.ogg"
    encode(path, sound, 48_000, subtype)
    whole, rate = load_audio(path)
    late = [59_000, 55_000, 50_000, 44_000]
    for start in [1, 95, 1050, 2991, 4158, 9000, *rng.integers(0, 59_000, 20).tolist(), *late]:
        found = load_segment(path, start, 1000, rate)
        assert np.array_equal(found, whole[start : start + 1000]), start


@pytest.mark.corpus
def test_real_recordings_are_the_same_wherever_they_are_entered(corpus):
    rng = np.random.default_rng(4)
    files = sorted(p for p in corpus.rglob("*") if p.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    for path in files[:40]:
        whole, rate = load_audio(path)
        for start in rng.integers(0, min(len(whole) - 10, 12_000), 4).tolist():
            n_samples = min(15_000, len(whole) - start)
            found = load_segment(path, start, n_samples, rate)
            assert np.array_equal(found, whole[start : start + n_samples]), (path, start)
