"""Read mutants and files with wrong headers, and check that each is read or refused.

Files are read in a child process, because a decoder may crash. Memory and time are measured.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from audio_files import wav_bytes
from mutants import ReaderProcess, Tally, mutant
from recording_files import (
    CONTAINERS,
    encode_signal,
    read_recording,
    recordings_by_container,
    replaced,
)

from dafxtool.audio.frame_checks import ogg_checksum
from dafxtool.audio.reader import load_audio, read_info
from dafxtool.errors import RecordingError

pytestmark = pytest.mark.robustness

READER = "recording_files:read_recording"

CHECKED = ("flac", "ogg", "opus")  # with checksums: changed samples are detected


@pytest.fixture(scope="session")
def originals() -> dict[str, list[bytes]]:
    """Undamaged files of every container."""
    return recordings_by_container()


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_originals_can_be_read(tmp_path, originals, container):
    for number, data in enumerate(originals[container]):
        path = tmp_path / f"{number}.{container}"
        path.write_bytes(data)
        read_recording(str(path))


def is_sentence(message: str, path: Path) -> bool:
    """Return whether a message is one sentence that names the file, or its split."""
    named = str(path) in message or "of the train recordings" in message
    return named and message.endswith(".") and "\n" not in message and len(message) < 500


def try_all(contents, path: Path, figure, known=(), has_checksums=False) -> Tally:
    """Write each of (name, bytes) to this path, and read it in a child process."""
    tally = Tally(frozenset(known), has_checksums)
    with ReaderProcess(READER) as child:
        for name, data in contents:
            path.write_bytes(data)
            outcome = child.read(str(path))
            n_failures = len(tally.failures)
            tally.add(name, outcome)
            if outcome.status == "refused" and not is_sentence(outcome.detail, path):
                tally.failures.append(f"{name}: {outcome.detail}")
            if len(tally.failures) > n_failures:
                path.with_name(f"wrong-{len(tally.failures)}{path.suffix}").write_bytes(data)
    figure(f"files like {path.name}", tally.summary())
    return tally


def checksums(contents, folder: Path) -> set[str]:
    """Return the results of read_recording for undamaged files."""
    results = set()
    for data in contents:
        (folder / "original").write_bytes(data)
        results.add(read_recording(str(folder / "original")))
    return results


@pytest.mark.parametrize("container", CONTAINERS)
def test_mutants_are_read_or_refused(tmp_path, originals, amount, figure, container):
    others = [data for each in originals.values() for data in each]
    contents = (
        (
            f"mutant {number}",
            mutant(originals[container], others, [1, CONTAINERS.index(container), number]),
        )
        for number in range(amount(40, 2000))
    )
    known = checksums([data for each in originals.values() for data in each], tmp_path)
    path = tmp_path / f"mutant.{container}"
    tally = try_all(contents, path, figure, known, container in CHECKED)
    assert not tally.failures, "\n".join(tally.failures)
    results = {outcome.status for outcome in tally.outcomes}
    assert "refused" in results and (container in CHECKED or "read" in results)


def test_random_bytes_are_refused(tmp_path, amount, figure):
    """Test random bytes alone, and after the first bytes of each container."""
    heads = (b"", b"RIFF\0\1\0\0WAVEfmt ", b"FORM\0\1\0\0AIFFCOMM", b"fLaC\0\0\0\x22", b"OggS\0\2")
    heads += (b"ID3\4\0\0\0\0\2\1", b"\xff\xfb\x90\0", b"riff", b"RF64", b"caff", b"wvpk", b"\x1aE")

    def content(number: int) -> bytes:
        rng = np.random.default_rng([2, number])
        return heads[number % len(heads)] + rng.bytes(2 ** int(rng.integers(0, 16)))

    contents = ((f"random bytes {i}", content(i)) for i in range(amount(36, 2000)))
    tally = try_all(contents, tmp_path / "random.wav", figure)
    assert not tally.failures, "\n".join(tally.failures)
    assert sum(outcome.status == "refused" for outcome in tally.outcomes) > 0.9 * len(
        tally.outcomes
    )


# Wrong headers


def wrong_header(name: str, originals: dict[str, list[bytes]]) -> bytes:
    """Return a file with a wrong header, by its name in WRONG_HEADERS."""
    tag = originals["mp3"][1].find(b"Xing")
    wav, flac, mp3 = wav_bytes(1, 1, 16, 2, bytes(8000)), originals["flac"][0], originals["mp3"][1]
    return {
        "length.wav": replaced(originals["wav"][0], 40, b"\xff\xff\xff\xff"),
        "zero-hz.wav": replaced(wav, 24, bytes(4)),
        "one-hz.wav": replaced(wav, 24, b"\1\0\0\0"),
        "gigahertz.wav": replaced(wav, 24, b"\0\0\0\x70"),
        "no-channels.wav": replaced(wav, 22, b"\0\0"),
        "65535-channels.wav": wav_bytes(1, 65_535, 8, 65_535, bytes(65_535 * 4)),
        "1000-channels.wav": wav_bytes(1, 1000, 16, 2000, bytes(2000 * 4)),
        "adpcm-channels.wav": wav_bytes(17, 10, 4, 512, bytes(8192)),
        "adpcm-block.wav": wav_bytes(2, 2, 4, 0, bytes(8192)),
        "mu-law-bits.wav": wav_bytes(7, 2, 16, 4, bytes(8192)),
        "a-law-rate.wav": wav_bytes(6, 1, 8, 1, bytes(8192), rate=2**31),
        "no-format.wav": b"RIFF\x24\0\0\0WAVEdata\x10\0\0\0" + bytes(16),
        "header-only.wav": wav[:44],
        "length.aiff": replaced(originals["aiff"][0], 22, b"\xff\xff\xff\xff"),
        "bits.aiff": replaced(originals["aiff"][0], 26, bytes(2)),
        "length.flac": replaced(flac, 21, b"\xff\xff\xff\xff\xff"),
        "length-and-blocks.flac": replaced(replaced(flac, 8, b"\0\x10"), 21, b"\xff" * 5),
        "header-only.flac": flac[:42],
        "frames.mp3": replaced(mp3, tag + 8, b"\xff\xff\xff\xff"),
        "tag-only.mp3": b"ID3\4\0\0\0\0\1\0" + bytes(128),
        "two-streams.ogg": originals["ogg"][0] + originals["ogg"][1],
        "header-only.ogg": originals["ogg"][0][:58],
        "text.flac": b"To be, or not to be\n" * 100,
    }[name]


WRONG_HEADERS = {
    "length.wav": "",  # as written by ffmpeg into a pipe: read to the end
    "zero-hz.wav": "0 Hz|cannot be decoded",
    "one-hz.wav": "1 Hz, expected",
    "gigahertz.wav": "Hz, expected",
    "no-channels.wav": "0 channels|cannot be decoded",
    "65535-channels.wav": "65535 channels|cannot be decoded",
    "1000-channels.wav": "1000 channels",
    "adpcm-channels.wav": "cannot be decoded",
    "adpcm-block.wav": "cannot be decoded",
    "mu-law-bits.wav": "",  # mu-law has 8 bits, whatever the header says
    "a-law-rate.wav": "Hz, expected|cannot be decoded",
    "no-format.wav": "cannot be decoded",
    "header-only.wav": "holds no samples|truncated",
    "length.aiff": "",  # the chunk of samples is complete, and has the length
    "bits.aiff": "damaged header|cannot be decoded",
    "length.flac": "truncated",
    "length-and-blocks.flac": "truncated",
    "header-only.flac": "truncated",
    "frames.mp3": "truncated",
    "tag-only.mp3": "not a recording|holds no samples",
    "two-streams.ogg": "several streams",
    "header-only.ogg": "truncated",
    "text.flac": "not a recording",
}


def test_wrong_headers_are_read_or_refused(tmp_path, originals):
    with ReaderProcess(READER) as child:
        for name, reasons in WRONG_HEADERS.items():
            path = tmp_path / name
            path.write_bytes(wrong_header(name, originals))
            outcome = child.read(str(path))
            assert outcome.status == ("refused" if reasons else "read"), (name, outcome)
            if not reasons:
                continue
            assert is_sentence(outcome.detail, path)
            assert any(reason in outcome.detail for reason in reasons.split("|")), outcome.detail


def test_concatenated_ogg_streams_are_refused(tmp_path, originals):
    """libsndfile would read only the first one."""
    first = originals["ogg"][0]
    for second in (first, with_serial(first, b"abcd")):
        (tmp_path / "two.ogg").write_bytes(first + second)
        with pytest.raises(RecordingError, match=r"two\.ogg: (several streams|page)"):
            read_info(tmp_path / "two.ogg")


def with_serial(data: bytes, serial: bytes) -> bytes:
    """Return the Ogg pages with another serial number and new checksums (RFC 3533, 6)."""
    pages = data.split(b"OggS\0")[1:]
    result = b""
    for page in pages:
        page = b"OggS\0" + page[:9] + serial + page[13:17] + bytes(4) + page[21:]
        result += replaced(page, 22, struct.pack("<I", ogg_checksum(page)))
    return result


def test_a_flac_whose_number_of_channels_drops_does_not_crash(tmp_path, originals):
    """libFLAC would read invalid memory when it seeks to a sample of such a frame."""
    mono, stereo = encode_signal("FLAC", "PCM_24", 44_100, 1, 20_000), originals["flac"][1]
    tally = Tally()
    with ReaderProcess("recording_files:read_spans") as child:
        for cut in range(2000, 40_000, 4000):
            (tmp_path / "spliced.flac").write_bytes(stereo[:cut] + mono[cut // 2 :])
            tally.add(f"cut at {cut}", child.read(str(tmp_path / "spliced.flac")))
    assert not tally.failures


def test_a_container_is_recognised_by_content_not_by_suffix(tmp_path, originals):
    for container in CONTAINERS:
        (tmp_path / f"right.{container}").write_bytes(originals[container][0])
        expected, rate = load_audio(tmp_path / f"right.{container}")
        for other in ("wav", "flac", "mp3", "ogg", "raw", "txt"):
            (tmp_path / f"wrong.{other}").write_bytes(originals[container][0])
            audio, audio_rate = load_audio(tmp_path / f"wrong.{other}")
            assert audio_rate == rate
            np.testing.assert_array_equal(audio, expected)
