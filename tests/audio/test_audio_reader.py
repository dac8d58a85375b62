"""Read complete recordings and segments, and refuse damaged files."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from audio_files import level_db, noise, tone, write_file, write_wav

from dafxtool.audio.frame_checks import mp3_frame_length
from dafxtool.audio.reader import AudioInfo, load_audio, load_segment, read_info, resampled_length
from dafxtool.audio.resample import required_span
from dafxtool.errors import InputError, RecordingError

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
def test_a_segment_equals_the_slice_at_every_rate_and_channel(tmp_path, name, from_rate):
    path = write_file(tmp_path / name, noise(3 * from_rate, 2), from_rate, **FILES[name])
    info = read_info(path)
    rng = np.random.default_rng(1)
    for rate, channel in ((24_000, "first"), (16_000, "mean"), (48_000, "2"), (from_rate, "1")):
        complete, _ = load_audio(path, rate, channel)
        assert len(complete) == resampled_length(info, rate)
        # 1152 and 576 samples are the frames of MP3, where decoders make errors.
        starts = [0, 1, 576, 1152, 23_040, *rng.integers(0, len(complete) - 1000, 4)]
        for start in starts:
            segment = load_segment(path, start, 1000, rate, channel, info)
            np.testing.assert_array_equal(segment, complete[start : start + 1000])
        tail = load_segment(path, len(complete) - 777, 777, rate, channel)
        np.testing.assert_array_equal(tail, complete[-777:])


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(LOSSY)])
def test_lossless_files_return_the_written_samples(tmp_path, name):
    samples = noise(5000, 2)
    audio, rate = load_audio(
        write_file(tmp_path / name, samples, 22_050, **FILES[name]), channel="2"
    )
    assert rate == 22_050
    np.testing.assert_allclose(audio, samples[1], atol=1.01 * 2**-15)


@pytest.mark.parametrize("name", ["vorbis.ogg", "opus.opus", "constant.mp3"])
def test_lossy_files_keep_frequency_and_level(tmp_path, name):
    path = write_file(tmp_path / name, tone(1000, 48_000)[None], 48_000, **FILES[name])
    audio, _ = load_audio(path, 24_000)
    spectrum = np.abs(np.fft.rfft(audio[:24_000]))
    assert np.argmax(spectrum) == pytest.approx(1000, abs=1)
    # LAME scales everything by 0.95.
    assert level_db(audio[6000:18_000]) == pytest.approx(level_db(tone(1000, 24_000)), abs=0.5)


def test_every_sample_format_of_wav_is_read(tmp_path):
    samples = noise(400, 2).T.astype(np.float64)
    eight = write_wav(tmp_path / "8.wav", (128 + np.round(127 * samples)).astype(np.uint8), 1, 8)
    long = write_wav(tmp_path / "32.wav", (samples * 2**31).astype("<i4"), 1, 32)
    single = write_wav(tmp_path / "float.wav", samples.astype("<f4"), 3, 32)
    double = write_wav(tmp_path / "double.wav", samples.astype("<f8"), 3, 64)
    for path, error in ((eight, 1 / 127), (long, 1e-7), (single, 0), (double, 1e-8)):
        np.testing.assert_allclose(load_audio(path)[0], samples[:, 0], atol=error)


def test_the_lowest_integer_is_minus_one(tmp_path):
    lowest = np.array([[-(2**15)], [2**15 - 1], [1]], dtype="<i2")
    audio, _ = load_audio(write_wav(tmp_path / "a.wav", lowest, 1, 16))
    np.testing.assert_array_equal(audio, np.array([-1, 1 - 2**-15, 2**-15], np.float32))


def test_a_channel_is_selected_by_name_or_number(tmp_path):
    samples = noise(1000, 3)
    path = write_file(tmp_path / "three.wav", samples, 24_000, subtype="FLOAT")
    assert read_info(path) == AudioInfo(24_000, 3, 1000)
    np.testing.assert_array_equal(load_audio(path)[0], samples[0])
    np.testing.assert_array_equal(load_audio(path, channel="3")[0], samples[2])
    np.testing.assert_allclose(load_audio(path, channel="mean")[0], samples.mean(axis=0), atol=1e-7)
    with pytest.raises(RecordingError, match=r"no channel 4 \(found 3 channels\)"):
        load_audio(path, channel="4")
    for unknown in ("left", "0", "-1", "1.5"):
        with pytest.raises(InputError, match="Give first, mean, loudest, or a number"):
            load_audio(path, channel=unknown)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("bit_rate", [CONSTANT, VARIABLE], ids=["constant", "variable"])
def test_an_mp3_without_a_tag_is_read_to_its_end(tmp_path, bit_rate, rate, n_channels):
    """Its length is that of its frames. Without the tag, the delay of its encoder is unknown."""
    samples = np.concatenate([noise(3 * rate, n_channels), 0.01 * noise(3 * rate, n_channels)], 1)
    path = write_file(tmp_path / "a.mp3", samples, rate, "MPEG_LAYER_III", **bit_rate)
    tagged, _ = load_audio(path)
    assert len(tagged) == samples.shape[1]
    bare = path.with_name("bare.mp3")
    data = path.read_bytes()
    bare.write_bytes(data[mp3_frame_length(data[:4]) :])
    audio, _ = load_audio(bare)
    per_frame = 1152 if rate >= 32_000 else 576
    assert (len(audio) + 529) % per_frame == 0 and len(audio) >= len(tagged) + 576
    np.testing.assert_allclose(
        audio[576 + 2000 :][: len(tagged) - 4000], tagged[2000:-2000], atol=1e-5
    )
    bare.write_bytes(bare.read_bytes()[:-50])
    with pytest.raises(RecordingError, match=r"bare\.mp3: truncated"):
        read_info(bare)


@pytest.mark.parametrize(
    ("start", "n_samples"), [(0, 1001), (1000, 1), (-1, 5), (5, -1), (2**63, 5), (5, 2**64)]
)
def test_a_segment_outside_of_the_recording_is_refused(tmp_path, start, n_samples):
    path = write_file(tmp_path / "short.wav", noise(1000), 24_000)
    with pytest.raises(
        RecordingError, match=r"short\.wav: no samples .* \(found 1000 samples at 24000 Hz"
    ):
        load_segment(path, start, n_samples, 24_000)


def test_a_segment_of_length_zero_is_empty(tmp_path):
    path = write_file(tmp_path / "short.wav", noise(1000), 44_100)
    assert load_segment(path, 10, 0, 24_000).shape == (0,)


def test_a_segment_decodes_only_what_it_needs(tmp_path):
    """The rest of the file is NaN, which raises an error when it is decoded."""
    start, n_samples = 120_000, 5000
    first, last = required_span(start, start + n_samples, 44_100, 24_000)
    samples = noise(441_000)
    samples[:, :first] = np.nan
    samples[:, last:] = np.nan
    path = write_file(tmp_path / "islands.wav", samples, 44_100, subtype="FLOAT")
    info = read_info(path)
    assert last - first < 4 * 44_100
    assert np.isfinite(load_segment(path, start, n_samples, 24_000, info=info)).all()
    with pytest.raises(RecordingError, match="NaN or infinite"):
        load_segment(path, start - 40_000, n_samples, 24_000, info=info)


def test_infinite_samples_are_refused(tmp_path):
    samples = noise(1000)
    samples[0, 7] = np.inf
    path = write_file(tmp_path / "loud.wav", samples, 24_000, subtype="FLOAT")
    with pytest.raises(RecordingError, match=r"loud\.wav: holds NaN or infinite"):
        load_audio(path, 24_000)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_segment_of_an_ogg_is_the_same_from_every_start(tmp_path, n_channels, subtype):
    """libsndfile returns wrong samples if it starts in the last page."""

    rng = np.random.default_rng(3)
    samples = rng.normal(0, 0.2, (n_channels, 60_000)).astype(np.float32)
    path = tmp_path / "noise.ogg"
    write_file(path, samples, 48_000, subtype)
    complete, rate = load_audio(path)
    late = [59_000, 55_000, 50_000, 44_000]
    for start in [1, 95, 1050, 2991, 4158, 9000, *rng.integers(0, 59_000, 20).tolist(), *late]:
        segment = load_segment(path, start, 1000, rate)
        assert np.array_equal(segment, complete[start : start + 1000]), start


@pytest.mark.corpus
def test_a_segment_of_a_real_recording_is_the_same_from_every_start(corpus):
    rng = np.random.default_rng(4)
    files = sorted(p for p in corpus.rglob("*") if p.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    for path in files[:40]:
        complete, rate = load_audio(path)
        for start in rng.integers(0, min(len(complete) - 10, 12_000), 4).tolist():
            n_samples = min(15_000, len(complete) - start)
            segment = load_segment(path, start, n_samples, rate)
            assert np.array_equal(segment, complete[start : start + n_samples]), (path, start)


# Refused files


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused(tmp_path, name):
    """A decoder would replace the missing part by silence."""
    path = write_file(tmp_path / name, noise(48_000, 2), 48_000, **FILES[name])
    read_info(path)
    data = path.read_bytes()
    for part in (0.9, 0.5, 0.05):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(RecordingError, match=f"{name}: (truncated|cannot be decoded)"):
            read_info(path)


@pytest.mark.parametrize("suffix", [".wav", ".AIFF", ".flac", ".ogg", ".mp3", ".m4a"])
@pytest.mark.parametrize("content", [b"To be, or not to be\n" * 50, bytes(500), b"\xff\xfb\x90"])
def test_other_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        RecordingError, match=rf"text\{suffix}: (not a recording|holds no samples|truncated)"
    ):
        load_audio(path)


@pytest.mark.parametrize("head", [b"RIFF", b"FORM", b"fLaC", b"ID3", b"OggS", b"\xff\xfb\x90\x00"])
@pytest.mark.parametrize("length", [0, 8, 60])
def test_a_file_of_the_first_bytes_only_is_refused(tmp_path, head, length):
    path = tmp_path / "beginning.wav"
    path.write_bytes(head + bytes(range(length)))
    with pytest.raises(RecordingError, match=r"beginning\.wav: "):
        read_info(path)


def test_missing_and_empty_files_and_folders_are_refused(tmp_path):
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


def test_a_file_that_changed_after_read_info_is_refused(tmp_path):
    path = write_file(tmp_path / "a.wav", noise(1000), 24_000)
    info = read_info(path)
    for samples, rate in ((noise(500), 24_000), (noise(1000), 16_000), (noise(500, 2), 24_000)):
        write_file(path, samples, rate)
        with pytest.raises(RecordingError, match=r"a\.wav: has changed since it was first read"):
            load_segment(path, 0, 1000, 24_000, info=info)
    path.unlink()
    with pytest.raises(RecordingError, match=r"a\.wav: has vanished since it was first read"):
        load_segment(path, 0, 1000, 24_000, info=info)
