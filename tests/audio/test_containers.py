"""Read one recording from every container: the same length and position, complete or refused.

Files come from libsndfile, and from ffmpeg and sox if these are installed.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dafxtool.audio import av_reader
from dafxtool.audio.reader import load_audio, load_segment, read_info
from dafxtool.errors import RecordingError

RATE = 48_000
N_SAMPLES = 3 * RATE + 776  # W64 pads to units of 8 bytes: this needs no padding


def recording() -> np.ndarray:
    """Generate two channels: bursts of noise, whose position is unique, and a rising tone."""
    rng = np.random.default_rng(0)
    time_s = np.arange(N_SAMPLES) / RATE
    bursts = 0.2 * rng.standard_normal(N_SAMPLES) * (time_s % 0.7 < 0.3)
    chirp = 0.3 * np.sin(2 * np.pi * (200 * time_s + 300 * time_s**2))
    return np.stack([bursts, chirp], 1).astype(np.float32)


# Written by libsndfile: format, subtype, options. Lossless formats have 16 bits.
SNDFILE = {
    "sndfile.wav": ("WAV", "PCM_16", {}),
    "sndfile.rf64": ("RF64", "PCM_16", {}),
    "sndfile.w64": ("W64", "PCM_16", {}),
    "sndfile.aiff": ("AIFF", "PCM_16", {}),
    "sndfile.caf": ("CAF", "PCM_16", {}),
    "sndfile.au": ("AU", "PCM_16", {}),
    "sndfile.flac": ("FLAC", "PCM_16", {}),
    "sndfile.ogg": ("OGG", "VORBIS", {}),
    "sndfile.opus": ("OGG", "OPUS", {}),
    "constant.mp3": ("MP3", "MPEG_LAYER_III", {"bitrate_mode": "CONSTANT"}),
    "variable.mp3": ("MP3", "MPEG_LAYER_III", {"bitrate_mode": "VARIABLE"}),
}
# Written by ffmpeg: options. "|" writes into a pipe, where headers cannot contain the length.
FFMPEG = {
    "ffmpeg.wav": "",
    "rf64.wav": "-rf64 always",
    "stream.wav": "| -f wav",
    "ffmpeg.w64": "",
    "stream.w64": "| -f w64",
    "ffmpeg.aiff": "",
    "stream.aiff": "| -f aiff",
    "ffmpeg.caf": "",
    "stream.caf": "| -f caf",
    "ffmpeg.au": "",
    "stream.au": "| -f au",
    "ffmpeg.flac": "",
    "stream.flac": "| -f flac",
    "vorbis.ogg": "-c:a libvorbis",
    "ffmpeg.opus": "-c:a libopus",
    "ffmpeg-constant.mp3": "-b:a 128k",
    "ffmpeg-variable.mp3": "-q:a 4",
    "untagged-constant.mp3": "-b:a 128k -write_xing 0",
    "untagged-variable.mp3": "-q:a 4 -write_xing 0 -id3v2_version 0",
}
# sox knows the length in advance, and writes it into WAV and AU headers even in a pipe.
SOX = {"sox.aifc": "", "sox-piped.wav": "| -t wav", "sox-stream.aiff": "| -t aiff"}
SOX |= {"sox-piped.au": "| -t au", "sox.mp3": "-C -4.2"}
# Written by ffmpeg, read by PyAV. AAC may be a codec frame longer.
PYAV = {
    "alac.m4a": "-c:a alac",
    "aac.m4a": "-c:a aac",
    "opus.webm": "-c:a libopus",
    "wavpack.wv": "",
    "flac.ogg": "-c:a flac",
}
PCM = (".wav", ".rf64", ".w64", ".aiff", ".aifc", ".caf", ".au")
CHECKED = (".flac", ".ogg", ".opus")  # with checksums: every flipped bit is detected


@pytest.fixture(scope="session")
def make(tmp_path_factory):
    """Function that returns the path of a file by its name, and writes it on first use."""
    folder = tmp_path_factory.mktemp("containers")
    soundfile.write(folder / "original.wav", recording(), RATE, subtype="PCM_16")

    def path_of(name: str) -> Path:
        path = folder / name
        if not path.exists():
            _write(folder / "original.wav", path)
        return path

    return path_of


def _write(original: Path, path: Path) -> None:
    if path.name in SNDFILE:
        kind, subtype, options = SNDFILE[path.name]
        with soundfile.SoundFile(path, "w", RATE, 2, subtype, format=kind, **options) as file:
            for start in range(0, N_SAMPLES, 4096):
                file.write(recording()[start : start + 4096])
        return
    program = "sox" if path.name in SOX else "ffmpeg"
    if shutil.which(program) is None:
        pytest.skip(f"{program}, which makes this file, is not installed")
    options = {**FFMPEG, **SOX, **PYAV}[path.name].split()
    source = [str(original)] if program == "sox" else ["-v", "error", "-y", "-i", str(original)]
    if options[:1] == ["|"]:
        command = [program, *source, *options[1:], "-"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # a pipe: no seeking
            path.write_bytes(process.stdout.read())
    else:
        subprocess.run([program, *source, *options, str(path)], check=True, capture_output=True)


def lag(audio: np.ndarray, original: np.ndarray) -> int:
    """Return the delay of the audio relative to the original, in samples."""
    n_fft = 1 << 19
    spectra = np.fft.rfft(audio, n_fft) * np.conj(np.fft.rfft(original, n_fft))
    at = int(np.argmax(np.fft.irfft(spectra, n_fft)))
    return at if at < n_fft // 2 else at - n_fft


@pytest.mark.parametrize("name", [*SNDFILE, *FFMPEG, *SOX])
def test_every_container_holds_the_same_recording(make, name):
    path = make(name)
    audio, rate = load_audio(path)
    assert rate == RATE
    original = recording()[:, 0]
    if name.startswith("untagged"):  # LAME's own delay; the length is that of complete frames
        assert (len(audio) + 529) % 1152 == 0 and len(audio) >= N_SAMPLES + 576
        assert lag(audio, original) == 576
        return
    assert len(audio) == N_SAMPLES
    assert lag(audio, original) == 0
    if path.suffix in (*PCM, ".flac"):
        np.testing.assert_allclose(audio, original, atol=2**-15)


@pytest.mark.parametrize("name", [*SNDFILE, *FFMPEG, *SOX])
@pytest.mark.parametrize("rate", [RATE, 24_000])
def test_a_segment_is_the_slice_of_the_complete_recording(make, name, rate):
    path = make(name)
    info = read_info(path)
    complete, _ = load_audio(path, rate, "2")
    rng = np.random.default_rng(1)
    lengths = (1, 700, 5000)
    for start in [0, *rng.integers(0, len(complete) - 5000, 5).tolist()]:
        for n_samples in lengths:
            audio = load_segment(path, start, n_samples, rate, "2", info)
            assert np.array_equal(audio, complete[start : start + n_samples])
    for n_samples in lengths:
        audio = load_segment(path, len(complete) - n_samples, n_samples, rate, "2", info)
        assert np.array_equal(audio, complete[-n_samples:])


@pytest.mark.parametrize("name", [*SNDFILE, *FFMPEG, *SOX])
def test_a_truncated_file_is_refused(make, tmp_path, name):
    """Only a stream of uncompressed samples may end anywhere: its header has no length."""
    data = make(name).read_bytes()
    path = tmp_path / name
    for part in (0.02, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * part)])
        if "stream" in name and path.suffix in PCM:
            assert read_info(path).n_samples == pytest.approx(part * N_SAMPLES, abs=60)
            continue
        with pytest.raises(RecordingError, match=rf"{path.name}: "):
            load_audio(path)


@pytest.mark.parametrize("name", [*SNDFILE, *FFMPEG, *SOX])
def test_tags_at_the_end_are_ignored_and_other_bytes_refused(make, tmp_path, name):
    path = tmp_path / name
    data = make(name).read_bytes()
    if "stream" in name and path.suffix in PCM:
        return  # everything up to the end is audio
    complete, _ = load_audio(make(name))
    ape = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)
    for tag in (b"TAG" + bytes(range(125)), ape):
        path.write_bytes(data + tag)
        try:
            assert np.array_equal(load_audio(path)[0], complete)
        except RecordingError as error:
            assert path.suffix == ".w64", error  # libsndfile reads them as audio
    path.write_bytes(data + b"\xde\xad\xbe\xef" * 500)
    if path.name in (
        "sndfile.flac",
        "ffmpeg.flac",
    ):  # the header has the length: the rest is not audio
        assert np.array_equal(load_audio(path)[0], complete)
    else:
        with pytest.raises(RecordingError, match=rf"{path.name}: "):
            load_audio(path)


@pytest.mark.parametrize("name", [*SNDFILE, *FFMPEG, *SOX])
def test_a_flipped_bit_is_detected_by_checksums(make, tmp_path, name):
    """PCM and MP3 have no checksums: for them the length has to stay right."""
    data = make(name).read_bytes()
    path = tmp_path / name
    complete, _ = load_audio(make(name), channel="mean")
    rng = np.random.default_rng(2)
    for _ in range(12):
        damaged = bytearray(data)
        damaged[int(rng.integers(len(data) // 4, len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            audio, _ = load_audio(path, channel="mean")
        except RecordingError:
            continue
        assert len(audio) == len(complete)
        assert path.suffix not in CHECKED or np.array_equal(audio, complete)


@pytest.mark.parametrize("name", PYAV)
def test_pyav_reads_other_containers(make, tmp_path, name):
    pytest.importorskip("av")
    path = make(name)
    audio, rate = load_audio(path)
    assert rate == RATE
    assert 0 <= len(audio) - N_SAMPLES <= 1024
    assert lag(audio, recording()[:, 0]) == 0
    part = load_segment(path, 40_000, 9000, RATE)
    assert np.array_equal(part, audio[40_000:49_000])
    data = path.read_bytes()
    cut = tmp_path / name
    for part in (0.05, 0.5, 0.9):
        cut.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(RecordingError, match=rf"{name}: "):
            load_audio(cut)


def test_without_pyav_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(av_reader, "has_av", lambda: False)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    with pytest.raises(RecordingError, match=r"a\.m4a: reading MP4 or M4A needs PyAV.*\[av\]"):
        read_info(path)


def test_a_flac_with_missing_or_repeated_frames_is_refused(make, tmp_path):
    """libFLAC would replace missing frames by silence."""
    data = make("sndfile.flac").read_bytes()
    heads = frame_positions(data)
    path = tmp_path / "gap.flac"
    for first, last in ((3, 5), (10, 11), (len(heads) - 4, len(heads) - 1)):
        path.write_bytes(data[: heads[first]] + data[heads[last] :])
        with pytest.raises(RecordingError, match=r"gap\.flac: truncated"):
            read_info(path)
        path.write_bytes(data[: heads[last]] + data[heads[first] :])
        with pytest.raises(RecordingError, match=r"gap\.flac: a frame is repeated"):
            read_info(path)


def frame_positions(data: bytes) -> list[int]:
    """Return the positions of the frames of a FLAC file with a constant block size."""
    positions: list[int] = []
    at = 0
    while len(positions) < 2000:
        number = chr(len(positions)).encode()
        at = data.find(b"\xff\xf8", at)
        if at < 0:
            break
        if data[at + 4 : at + 4 + len(number)] == number and data[at + 3] & 0x0F == 8:
            positions.append(at)
        at += 2
    return positions
