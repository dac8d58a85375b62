"""Recordings that are damaged, that lie, that vanish, and that are called what nobody expects.

Whatever a file holds: it is read, or refused in a sentence that names it. Mutants are read in a
process of their own, which a decoder may crash, and which is measured.
"""

from __future__ import annotations

import builtins
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import RATE, SEGMENTS, SPLIT, chosen, write_recordings
from mutants import ReaderProcess, Tally, mutant

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.frame_checks import Layout, mp3_frame_length, ogg_checksum
from dafxtool.audio.io import (
    AudioInfo,
    load_audio,
    load_segment,
    read_info,
)
from dafxtool.audio.writer import save_audio
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import build_catalogue
from dafxtool.dataset.segments import consecutive_segments, draw_segment
from dafxtool.errors import InputError, RecordingError

pytestmark = pytest.mark.torture

CONFIG = SegmentConfig(short="pad", n_samples=8192)
ALL = SplitConfig(validation=0.0, test=0.0)
HERE = Path(__file__).stem


def read_recording(path: str) -> str:
    """Read a recording as render and sweep, as embed, and as the others do; return its checksum."""
    catalogue = build_catalogue([Path(path)], CONFIG, ALL, strict=True)
    draw_segment(catalogue, "train", CONFIG, np.random.default_rng(0), strict=True)
    consecutive_segments(Path(path), CONFIG)
    load_audio(Path(path), 24_000)
    samples, rate = load_audio(Path(path), channel="mean")
    return f"{len(samples)} samples, {rate} Hz, {zlib.crc32(samples.tobytes())}"


# Whole files


def sound(n_samples: int, n_channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(n_samples)
    tone = 0.3 * np.sin(np.arange(n_samples) / 10)
    return (tone + 0.05 * rng.standard_normal((n_channels, n_samples))).astype(np.float32)


def encoded(kind: str, subtype: str, rate: int, n_channels: int, n_samples: int, **how) -> bytes:
    made = io.BytesIO()
    samples = sound(n_samples, n_channels)
    with soundfile.SoundFile(made, "w", rate, n_channels, subtype, format=kind, **how) as file:
        for start in range(0, n_samples, 4096):
            file.write(samples[:, start : start + 4096].T)
    return made.getvalue()


ADPCM_COEFFICIENTS = (256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232)
VARIABLE = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
MS_ADPCM = struct.pack("<HHH14h", 32, 500, 7, *ADPCM_COEFFICIENTS)


def wave(
    kind: int,
    n_channels: int,
    bits: int,
    block: int,
    data: bytes,
    rate: int = 24_000,
    extra=b"",
    length: int | None = None,
):
    """A WAV file by hand, of any format number. length: of the samples, by the header"""
    chunk = (
        struct.pack("<HHIIHH", kind, n_channels, rate, rate * block % 2**32, block, bits) + extra
    )
    body = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def aifc(kind: bytes, bits: int, data: bytes, n_frames: int) -> bytes:
    """An AIFF-C file by hand, of one channel at 32 kHz."""
    common = struct.pack(">HIHHQ", 1, n_frames, bits, 0x400D, 0xFA00 << 48) + kind + b"\1 "
    body = b"AIFCCOMM" + struct.pack(">I", len(common)) + common
    body += b"SSND" + struct.pack(">III", len(data) + 8, 0, 0) + data
    return b"FORM" + struct.pack(">I", len(body)) + body


def blocks(size: int, head: bytes, data: bytes) -> bytes:
    """data with this head over the first bytes of every block."""
    cut = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(head + each[len(head) :] for each in cut)


@pytest.fixture(scope="session")
def wholes() -> dict[str, list[bytes]]:
    """Whole files of each kind of container."""
    noise = np.random.default_rng(0).bytes(8192)
    samples = sound(4000)[0]
    constant = encoded("MP3", "MPEG_LAYER_III", 24_000, 1, 20_000, bitrate_mode="CONSTANT")
    bare = constant[mp3_frame_length(constant[:4]) :]
    return {
        "wav": [
            *(encoded("WAV", f"PCM_{bits}", 44_100, 2, 4000) for bits in (16, 24)),
            encoded("WAV", "FLOAT", 44_100, 2, 4000),
            wave(1, 1, 8, 1, (128 + 100 * samples).astype(np.uint8).tobytes()),
            wave(3, 1, 64, 8, samples.astype("<f8").tobytes()),
            wave(6, 2, 8, 2, noise),
            wave(7, 1, 8, 1, noise),
            wave(2, 1, 4, 256, blocks(256, bytes(1), noise), extra=MS_ADPCM),
            wave(17, 2, 4, 512, blocks(512, 2 * b"\0\0\x14\0", noise), extra=b"\2\0\xf9\1"),
        ],
        "stream.wav": [
            wave(1, 2, 16, 4, noise, length=0xFFFFFFFF),
            wave(1, 1, 16, 2, noise, length=0),
        ],
        "rf64": [encoded("RF64", "PCM_16", 44_100, 2, 4000)],
        "w64": [encoded("W64", "PCM_16", 44_100, 2, 4000)],
        "caf": [
            encoded("CAF", "PCM_24", 44_100, 2, 4000),
            encoded("CAF", "FLOAT", 24_000, 1, 4000),
        ],
        "au": [encoded("AU", "PCM_16", 44_100, 2, 4000), encoded("AU", "ULAW", 8000, 1, 4000)],
        "flac": [
            encoded("FLAC", "PCM_16", 24_000, 1, 20_000),
            encoded("FLAC", "PCM_24", 44_100, 2, 20_000),
        ],
        "aiff": [
            encoded("AIFF", "PCM_16", 24_000, 1, 4000),
            encoded("AIFF", "PCM_24", 44_100, 2, 4000),
        ],
        "aifc": [
            aifc(b"fl32", 32, samples.astype(">f4").tobytes(), 4000),
            aifc(b"sowt", 16, (20_000 * samples).astype("<i2").tobytes(), 4000),
        ],
        "ogg": [
            encoded("OGG", "VORBIS", 24_000, 1, 20_000),
            encoded("OGG", "VORBIS", 44_100, 2, 20_000),
        ],
        "opus": [
            encoded("OGG", "OPUS", 24_000, 1, 20_000),
            encoded("OGG", "OPUS", 48_000, 2, 20_000),
        ],
        "mp3": [constant, encoded("MP3", "MPEG_LAYER_III", 44_100, 2, 20_000, **VARIABLE), bare],
    }


KINDS = ("wav", "stream.wav", "rf64", "w64", "caf", "au")
KINDS += ("aiff", "aifc", "flac", "ogg", "opus", "mp3")
CHECKED = ("flac", "ogg", "opus")  # with checksums: wrong samples are noticed


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_mutated_can_be_read_as_it_is(tmp_path, wholes, kind):
    for number, data in enumerate(wholes[kind]):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(data)
        read_recording(str(path))


def is_sentence(told: str, path: Path) -> bool:
    """One line that names the file, or its split, and ends."""
    named = str(path) in told or "of the train recordings" in told
    return named and told.endswith(".") and "\n" not in told and len(told) < 500


def try_all(contents, path: Path, figure, known=(), has_checksums=False) -> Tally:
    """Read each of (name, bytes) under this path."""
    tally = Tally(frozenset(known), has_checksums)
    with ReaderProcess(f"{HERE}:read_recording") as child:
        for name, data in contents:
            path.write_bytes(data)
            outcome = child.read(str(path))
            n_wrong = len(tally.failures)
            tally.add(name, outcome)
            if outcome.status == "refused" and not is_sentence(outcome.detail, path):
                tally.failures.append(f"{name}: {outcome.detail}")
            if len(tally.failures) > n_wrong:
                path.with_name(f"wrong-{len(tally.failures)}{path.suffix}").write_bytes(data)
    figure(f"files like {path.name}", tally.summary())
    return tally


def checksums(contents, folder: Path) -> set[str]:
    """What read_recording returns for undamaged files."""
    found = set()
    for data in contents:
        (folder / "whole").write_bytes(data)
        found.add(read_recording(str(folder / "whole")))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_read_or_refused(tmp_path, wholes, amount, figure, kind):
    others = [data for each in wholes.values() for data in each]
    contents = (
        (f"mutant {number}", mutant(wholes[kind], others, [1, KINDS.index(kind), number]))
        for number in range(amount(40, 2000))
    )
    known = checksums([whole for each in wholes.values() for whole in each], tmp_path)
    path = tmp_path / f"mutant.{kind}"
    tally = try_all(contents, path, figure, known, kind in CHECKED)
    assert not tally.failures, "\n".join(tally.failures)
    results = {outcome.status for outcome in tally.outcomes}
    assert "refused" in results and (kind in CHECKED or "read" in results)


def test_random_bytes_are_refused(tmp_path, amount, figure):
    """Behind the first bytes of each kind, too."""
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


# Headers that lie


def changed(data: bytes, at: int, number: bytes) -> bytes:
    return data[:at] + number + data[at + len(number) :]


def lying(name: str, wholes: dict[str, list[bytes]]) -> bytes:
    """A file of that name; see LIES for what is wrong with it."""
    tag = wholes["mp3"][1].find(b"Xing")
    wav, flac, mp3 = wave(1, 1, 16, 2, bytes(8000)), wholes["flac"][0], wholes["mp3"][1]
    return {
        "length.wav": changed(wholes["wav"][0], 40, b"\xff\xff\xff\xff"),
        "zero-hz.wav": changed(wav, 24, bytes(4)),
        "one-hz.wav": changed(wav, 24, b"\1\0\0\0"),
        "gigahertz.wav": changed(wav, 24, b"\0\0\0\x70"),
        "no-channels.wav": changed(wav, 22, b"\0\0"),
        "65535-channels.wav": wave(1, 65_535, 8, 65_535, bytes(65_535 * 4)),
        "1000-channels.wav": wave(1, 1000, 16, 2000, bytes(2000 * 4)),
        "adpcm-channels.wav": wave(17, 10, 4, 512, bytes(8192)),
        "adpcm-block.wav": wave(2, 2, 4, 0, bytes(8192)),
        "mu-law-bits.wav": wave(7, 2, 16, 4, bytes(8192)),
        "a-law-rate.wav": wave(6, 1, 8, 1, bytes(8192), rate=2**31),
        "no-format.wav": b"RIFF\x24\0\0\0WAVEdata\x10\0\0\0" + bytes(16),
        "header-only.wav": wav[:44],
        "length.aiff": changed(wholes["aiff"][0], 22, b"\xff\xff\xff\xff"),
        "bits.aiff": changed(wholes["aiff"][0], 26, bytes(2)),
        "length.flac": changed(flac, 21, b"\xff\xff\xff\xff\xff"),
        "length-and-blocks.flac": changed(changed(flac, 8, b"\0\x10"), 21, b"\xff" * 5),
        "header-only.flac": flac[:42],
        "frames.mp3": changed(mp3, tag + 8, b"\xff\xff\xff\xff"),
        "tag-only.mp3": b"ID3\4\0\0\0\0\1\0" + bytes(128),
        "two-streams.ogg": wholes["ogg"][0] + wholes["ogg"][1],
        "header-only.ogg": wholes["ogg"][0][:58],
        "text.flac": b"To be, or not to be\n" * 100,
    }[name]


LIES = {
    "length.wav": "",  # as ffmpeg leaves it in a stream: read to the end
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
    "length.aiff": "",  # the chunk of samples is complete, and says how many there are
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


def test_headers_that_lie_are_told(tmp_path, wholes):
    with ReaderProcess(f"{HERE}:read_recording") as child:
        for name, reasons in LIES.items():
            path = tmp_path / name
            path.write_bytes(lying(name, wholes))
            outcome = child.read(str(path))
            assert outcome.status == ("refused" if reasons else "read"), (name, outcome)
            if not reasons:
                continue
            assert is_sentence(outcome.detail, path)
            assert any(reason in outcome.detail for reason in reasons.split("|")), outcome.detail


def test_streams_behind_each_other_are_refused(tmp_path, wholes):
    """libsndfile would read the first one only."""
    first = wholes["ogg"][0]
    for second in (first, with_serial(first, b"abcd")):
        (tmp_path / "two.ogg").write_bytes(first + second)
        with pytest.raises(RecordingError, match=r"two\.ogg: (several streams|page)"):
            read_info(tmp_path / "two.ogg")


def with_serial(data: bytes, serial: bytes) -> bytes:
    """The Ogg pages with another serial number, and so other checksums (RFC 3533, 6)."""
    pages = data.split(b"OggS\0")[1:]
    made = b""
    for page in pages:
        page = b"OggS\0" + page[:9] + serial + page[13:17] + bytes(4) + page[21:]
        made += changed(page, 22, struct.pack("<I", ogg_checksum(page)))
    return made


def test_a_flac_that_goes_on_with_fewer_channels_does_no_harm(tmp_path, wholes):
    """libFLAC, asked for a sample inside such a frame, would read where nothing is."""
    mono, stereo = encoded("FLAC", "PCM_24", 44_100, 1, 20_000), wholes["flac"][1]
    tally = Tally()
    with ReaderProcess(f"{HERE}:enter_everywhere") as child:
        for cut in range(2000, 40_000, 4000):
            (tmp_path / "spliced.flac").write_bytes(stereo[:cut] + mono[cut // 2 :])
            tally.add(f"cut at {cut}", child.read(str(tmp_path / "spliced.flac")))
    assert not tally.failures


def enter_everywhere(path: str) -> None:
    layout = Layout("FLAC", Path(path).stat().st_size, n_samples=20_000)  # as if it was not checked
    info = AudioInfo(44_100, 2, 20_000, layout)
    for start in range(0, 19_000, 333):
        load_segment(Path(path), start, 500, 44_100, "2", info)


def test_a_kind_is_told_by_what_a_file_holds_not_by_its_name(tmp_path, wholes):
    for kind in KINDS:
        (tmp_path / f"right.{kind}").write_bytes(wholes[kind][0])
        wanted, rate = load_audio(tmp_path / f"right.{kind}")
        for other in ("wav", "flac", "mp3", "ogg", "raw", "txt"):
            (tmp_path / f"wrong.{other}").write_bytes(wholes[kind][0])
            found, found_rate = load_audio(tmp_path / f"wrong.{other}")
            assert found_rate == rate
            np.testing.assert_array_equal(found, wanted)


# Files that cannot be read, change or vanish


@pytest.fixture
def bad_ones(tmp_path, wholes, monkeypatch):
    """A folder of good recordings and bad ones: name -> what is told of it."""
    folder = write_recordings(tmp_path / "recordings")
    hurt = {
        "cut-off.wav": wholes["wav"][0][:5000],
        "empty.flac": b"",
        "nan.wav": wave(3, 1, 32, 4, np.full(9000, np.nan, "<f4").tobytes(), rate=RATE),
        "text.mp3": b"To be, or not to be\n" * 100,
        "new\nline.wav": b"no sound",
        "\x1b[31mred.wav": b"no sound",
        os.fsdecode(b"bytes-\xff.wav"): b"no sound",
    }
    for name, data in hurt.items():
        try:
            (folder / name).write_bytes(data)
        except OSError:
            pytest.skip("this file system does not take such a name")
    (folder / "round.wav").symlink_to("round.wav")
    (folder / "nowhere.wav").symlink_to("nothing.wav")
    (folder / "again").symlink_to(folder)
    locked = folder / "locked.wav"
    locked.write_bytes(wholes["wav"][0])

    def guarded(path, *arguments, **options):
        """open, by someone who may not read that file: tests may run as root."""
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return builtins.open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    return folder, {
        "cut-off.wav": ": truncated",
        "empty.flac": ": empty",
        "nan.wav": ": holds NaN or infinite",
        "text.mp3": ": not a recording",
        "new\\nline.wav": ": not a recording",
        "\\x1b[31mred.wav": ": not a recording",
        "bytes-\\udcff.wav": ": not a recording",
        "round.wav": ": cannot be read (Too many levels of symbolic links)",
        "nowhere.wav": ": does not exist",
        "locked.wav": ": cannot be read (Permission denied)",
    }


SMALL = ("--segment-seconds", "0.5", "--sample-rate", RATE, "--effect", "gain", "--workers", 1)


def test_bad_recordings_among_good_ones_are_listed_by_reason(invoke, bad_ones, tmp_path):
    folder, reasons = bad_ones
    amount = ("--pairs-per-effect", 60)  # enough for the one of NaN to be drawn
    done = invoke("render", folder, "-o", tmp_path / "pairs.h5", *SMALL, *amount)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    listed = lines[lines.index(f"{len(reasons)} recordings skipped:") + 1 :]
    alone = {name: reason for name, reason in reasons.items() if "not a rec" not in reason}
    (together,) = [each for each in listed if "files: " in each]
    assert len(listed) == len(alone) + 1
    assert together.startswith(f"  {len(reasons) - len(alone)} files: not a recording that can be")
    assert together.count(", ...)") == 1 and together.count(".wav") == 3
    for name, reason in alone.items():
        (line,) = [each for each in listed if each.startswith(f"  {folder}/{name}: ")]
        assert reason in line and line.endswith(".")
    assert "\x1b" not in done.output
    strict = invoke("render", folder, "-o", tmp_path / "s.h5", *SMALL, *amount, "--strict")
    assert strict.exit_code == 1
    assert len(strict.stderr.splitlines()[-1]) < 500 and "Error: " in strict.stderr
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("name", ["cut-off.wav", "new\nline.wav", "nan.wav", "round.wav"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "{bad}", "-o", "{out}/l.h5"),
        ("interpolate", "{bad}", "--effect", "delay", "--effect", "overdrive", "-o", "{out}/i.png"),
        ("reconstruct", "{bad}", "--effect", "delay", "-o", "{out}/r.png"),
        ("sweep", "{bad}", "--effect", "overdrive", "-o", "{out}/s.png"),
        ("invert", "{spectrograms}", "--phase-from", "{bad}", "-o", "{out}/i.wav"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_bad_recording_is_an_error_to_the_rest(
    *, invoke, bad_ones, run_folder, spectrograms_file, tmp_path, arguments, name
):
    folder, reasons = bad_ones
    named = {"bad": folder / name, "out": tmp_path, "spectrograms": spectrograms_file}
    words = [word.format(**named) for word in arguments]
    run = () if words[0] == "invert" else ("--run", run_folder, "--device", "cpu")
    done = invoke(*words, *run, "-q")
    assert done.exit_code == 1, done.output
    told = done.stderr.splitlines()
    assert len(told) == 1 and told[0].startswith("Error: ")
    shown = name.replace("\n", "\\n")
    assert f"{folder}/{shown}: " in told[0]
    assert reasons[shown] in told[0] or "broken symbolic link" in told[0]


def test_one_sample_is_a_recording(invoke, tmp_path):
    (tmp_path / "in").mkdir()
    save_audio(tmp_path / "in" / "click.wav", np.array([0.5], np.float32), RATE)
    output = ("-o", tmp_path / "pairs.h5", "--short", "pad", "--min-mean-square", 0)
    done = invoke("render", tmp_path / "in", *output, *SMALL, "--pairs-per-effect", 2)
    assert done.exit_code == 0, done.output


def test_silence_alone_is_a_sentence(invoke, tmp_path):
    save_audio(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    output = ("-o", tmp_path / "pairs.h5", *SMALL, "--pairs-per-effect", 2)
    done = invoke("render", tmp_path / "silent.wav", *output)
    assert done.exit_code == 1
    assert "was louder than a mean square of 1e-05" in done.stderr
    assert not (tmp_path / "pairs.h5").exists()


@pytest.mark.parametrize("happening", ["vanishes", "grows", "another"])
def test_what_happens_to_a_file_between_looking_and_reading_is_told(tmp_path, wholes, happening):
    folder = write_recordings(tmp_path / "recordings")
    catalogue = build_catalogue([folder], SEGMENTS, ALL)
    for recording in catalogue.recordings:
        path = Path(recording.path)
        if happening == "vanishes":
            path.unlink()
        elif happening == "grows":
            with path.open("ab") as file:
                file.write(bytes(100))
        else:
            path.write_bytes(wholes["wav"][0])
    told = "vanished" if happening == "vanishes" else "changed"
    rng = np.random.default_rng(0)
    with pytest.raises(RecordingError, match=f"{told} since it was first read"):
        draw_segment(catalogue, "train", SEGMENTS, rng)
    with pytest.raises(RecordingError, match=f"{told} since it was first read"):
        draw_segment(catalogue, "train", SEGMENTS, rng, strict=True)


def test_a_recording_that_vanishes_while_rendering_costs_only_itself(tmp_path, monkeypatch):
    from dafxtool.dataset import plan
    from dafxtool.dataset.render import render

    folder = write_recordings(tmp_path / "recordings")
    gone = folder / "plucks" / "0.wav"
    looked = plan.build_catalogue

    def and_then_it_is_gone(*arguments, **options):
        catalogue = looked(*arguments, **options)
        gone.unlink()
        return catalogue

    monkeypatch.setattr(plan, "build_catalogue", and_then_it_is_gone)
    result = render([folder], tmp_path / "pairs.h5", chosen("gain"), SEGMENTS, SPLIT, 40, seed=1)
    assert result.n_pairs == 40
    assert [path for path, _ in result.skipped] == [str(gone)]
    assert "has vanished since it was first read" in result.skipped[0][1]


@pytest.mark.parametrize("name", ["round", "nowhere"])
def test_a_link_that_leads_nowhere_is_no_recording(tmp_path, name):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "nowhere").symlink_to("nothing")
    with pytest.raises(InputError, match=f"{name}: a broken symbolic link"):
        find_recordings([tmp_path / name])
