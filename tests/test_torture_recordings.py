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
from datasets import RATE, SEGMENTS, SPLIT, chosen, write_recordings
from mutants import Child, Tally, mutant

from dafxtool.audio import header_checks
from dafxtool.audio.io import (
    AudioInfo,
    find_recordings,
    load_audio,
    load_segment,
    read_info,
    save_audio,
)
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import build_catalogue
from dafxtool.dataset.segments import consecutive_segments, draw_segment
from dafxtool.errors import InputError, RecordingError

pytestmark = pytest.mark.torture

CONFIG = SegmentConfig(short="pad", n_samples=8192)
ALL = SplitConfig(validation=0.0, test=0.0)
HERE = "test_torture_recordings"


def read_recording(path: str) -> None:
    """All ways into a recording: those of render and sweep, of embed, and of the rest."""
    catalogue = build_catalogue([Path(path)], CONFIG, ALL, strict=True)
    draw_segment(catalogue, "train", CONFIG, np.random.default_rng(0), strict=True)
    consecutive_segments(Path(path), CONFIG)
    load_audio(Path(path), 24_000)


# Whole files


def sound(n_samples: int, n_channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(n_samples)
    tone = 0.3 * np.sin(np.arange(n_samples) / 10)
    return (tone + 0.05 * rng.standard_normal((n_channels, n_samples))).astype(np.float32)


def encoded(kind: str, rate: int, n_channels: int, n_samples: int, **how) -> bytes:
    from pedalboard.io import AudioFile

    made = io.BytesIO()
    with AudioFile(made, "w", rate, n_channels, format=kind, **how) as file:
        file.write(sound(n_samples, n_channels))
    return made.getvalue()


def wave(
    kind: int, n_channels: int, bits: int, block: int, data: bytes, rate: int = 24_000, extra=b""
):
    """A WAV file by hand, of any format number."""
    chunk = (
        struct.pack("<HHIIHH", kind, n_channels, rate, rate * block % 2**32, block, bits) + extra
    )
    body = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk
    body += b"data" + struct.pack("<I", len(data)) + data
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
    return {
        "wav": [
            *(encoded("wav", 44_100, 2, 4000, bit_depth=bits) for bits in (16, 24, 32)),
            wave(1, 1, 8, 1, (128 + 100 * samples).astype(np.uint8).tobytes()),
            wave(3, 1, 64, 8, samples.astype("<f8").tobytes()),
            wave(6, 2, 8, 2, noise),
            wave(7, 1, 8, 1, noise),
            wave(2, 1, 4, 256, blocks(256, bytes(1), noise), extra=struct.pack("<HH", 2, 500)),
            wave(17, 2, 4, 512, blocks(512, 2 * b"\0\0\x14\0", noise), extra=b"\2\0\xf9\1"),
        ],
        "flac": [
            encoded("flac", 24_000, 1, 20_000, bit_depth=16),
            encoded("flac", 44_100, 2, 20_000, bit_depth=24),
        ],
        "aiff": [
            encoded("aiff", 24_000, 1, 4000, bit_depth=16),
            encoded("aiff", 44_100, 2, 4000, bit_depth=24),
            aifc(b"fl32", 32, samples.astype(">f4").tobytes(), 4000),
            aifc(b"sowt", 16, (20_000 * samples).astype("<i2").tobytes(), 4000),
        ],
        "ogg": [
            encoded("ogg", 24_000, 1, 20_000, quality="96 kbps"),
            encoded("ogg", 44_100, 2, 20_000, quality="96 kbps"),
        ],
        "mp3": [
            encoded("mp3", 24_000, 1, 20_000, quality=64),
            encoded("mp3", 44_100, 2, 20_000, quality="V5"),
        ],
    }


KINDS = ("wav", "flac", "aiff", "ogg", "mp3")


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


def try_all(contents, path: Path, figure) -> Tally:
    """Read each of (name, bytes) under this path."""
    tally = Tally()
    with Child(f"{HERE}:read_recording") as child:
        for name, data in contents:
            path.write_bytes(data)
            outcome = child.read(str(path))
            n_wrong = len(tally.wrong)
            tally.add(name, outcome)
            if outcome.what == "refused" and not is_sentence(outcome.told, path):
                tally.wrong.append(f"{name}: {outcome.told}")
            if len(tally.wrong) > n_wrong:
                path.with_name(f"wrong-{len(tally.wrong)}{path.suffix}").write_bytes(data)
    figure(f"files like {path.name}", tally.told())
    return tally


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_read_or_refused(tmp_path, wholes, amount, figure, kind):
    others = [data for each in wholes.values() for data in each]
    contents = (
        (f"mutant {number}", mutant(wholes[kind], others, [1, KINDS.index(kind), number]))
        for number in range(amount(40, 2000))
    )
    tally = try_all(contents, tmp_path / f"mutant.{kind}", figure)
    assert not tally.wrong, "\n".join(tally.wrong)
    assert {outcome.what for outcome in tally.outcomes} == {"read", "refused"}


def test_random_bytes_are_refused(tmp_path, amount, figure):
    """Behind the first bytes of each kind, too."""
    heads = (b"", b"RIFF\0\1\0\0WAVEfmt ", b"FORM\0\1\0\0AIFFCOMM", b"fLaC\0\0\0\x22", b"OggS\0\2")
    heads += (b"ID3\4\0\0\0\0\2\1", b"\xff\xfb\x90\0", b"riff", b"RF64", b"caff", b"wvpk", b"\x1aE")

    def content(number: int) -> bytes:
        rng = np.random.default_rng([2, number])
        return heads[number % len(heads)] + rng.bytes(2 ** int(rng.integers(0, 16)))

    contents = ((f"random bytes {i}", content(i)) for i in range(amount(36, 2000)))
    tally = try_all(contents, tmp_path / "random.wav", figure)
    assert not tally.wrong, "\n".join(tally.wrong)
    assert sum(outcome.what == "refused" for outcome in tally.outcomes) > 0.9 * len(tally.outcomes)


# Headers that lie


def changed(data: bytes, at: int, number: bytes) -> bytes:
    return data[:at] + number + data[at + len(number) :]


def lying(name: str, wholes: dict[str, list[bytes]]) -> bytes:
    """A file of that name; see LIES for what is wrong with it."""
    wav, flac, mp3 = wave(1, 1, 16, 2, bytes(8000)), wholes["flac"][0], wholes["mp3"][1]
    return {
        "length.wav": changed(wav, 40, b"\xff\xff\xff\xff"),
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
        "frames.mp3": changed(mp3, mp3.find(b"Xing") + 8, b"\xff\xff\xff\xff"),
        "tag-only.mp3": b"ID3\4\0\0\0\0\1\0" + bytes(128),
        "two-streams.ogg": wholes["ogg"][0] + wholes["ogg"][1],
        "header-only.ogg": wholes["ogg"][0][:58],
        "text.flac": b"To be, or not to be\n" * 100,
    }[name]


LIES = {
    "length.wav": "cut off|never finished",
    "zero-hz.wav": "no recording|0 Hz",
    "one-hz.wav": "has 1 Hz, by its header",
    "gigahertz.wav": "Hz, by its header",
    "no-channels.wav": "0 channels",
    "65535-channels.wav": "65535 channels",
    "1000-channels.wav": "1000 channels",
    "adpcm-channels.wav": "10 channels",
    "adpcm-block.wav": "blocks of 0 bytes",
    "mu-law-bits.wav": "16 bits a sample",
    "a-law-rate.wav": "2147483648 Hz",
    "no-format.wav": "without samples, or without their format",
    "header-only.wav": "cut off|holds no samples",
    "length.aiff": "-1 samples",
    "bits.aiff": "0 bits a sample",
    "length.flac": "cut off",
    "length-and-blocks.flac": "cut off",
    "header-only.flac": "cut off",
    "frames.mp3": "cut off",
    "tag-only.mp3": "cut off|no recording|holds no samples",
    "two-streams.ogg": "several streams of different channels",
    "header-only.ogg": "no recording|holds no samples",
    "text.flac": "no recording",
}


def test_headers_that_lie_are_told(tmp_path, wholes):
    with Child(f"{HERE}:read_recording") as child:
        for name, reasons in LIES.items():
            path = tmp_path / name
            path.write_bytes(lying(name, wholes))
            outcome = child.read(str(path))
            assert outcome.what == "refused", (name, outcome)
            assert is_sentence(outcome.told, path)
            assert any(reason in outcome.told for reason in reasons.split("|")), outcome.told


def test_streams_of_one_kind_behind_each_other_are_read_whole(tmp_path, wholes):
    first = wholes["ogg"][0]
    second = with_serial(first, b"abcd")
    (tmp_path / "two.ogg").write_bytes(first + second)
    assert read_info(tmp_path / "two.ogg").n_samples == 40_000
    assert len(load_audio(tmp_path / "two.ogg")[0]) == 40_000


def with_serial(data: bytes, serial: bytes) -> bytes:
    """The Ogg pages with another serial number, and so other checksums (RFC 3533, 6)."""
    pages = data.split(b"OggS\0")[1:]
    made = b""
    for page in pages:
        page = b"OggS\0" + page[:9] + serial + page[13:17] + bytes(4) + page[21:]
        made += changed(page, 22, struct.pack("<I", ogg_checksum(page)))
    return made


def ogg_checksum(page: bytes) -> int:
    """The polynomial of zlib's CRC-32, but bits from the highest on, and nothing inverted."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in page)
    begun = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{begun:032b}"[::-1], 2)


def test_a_flac_that_goes_on_with_fewer_channels_does_no_harm(tmp_path, wholes):
    """libFLAC, asked for a sample inside such a frame, would read where nothing is."""
    mono, stereo = encoded("flac", 44_100, 1, 20_000, bit_depth=24), wholes["flac"][1]
    tally = Tally()
    with Child(f"{HERE}:enter_everywhere") as child:
        for cut in range(2000, 40_000, 4000):
            (tmp_path / "spliced.flac").write_bytes(stereo[:cut] + mono[cut // 2 :])
            tally.add(f"cut at {cut}", child.read(str(tmp_path / "spliced.flac")))
    assert not tally.wrong


def enter_everywhere(path: str) -> None:
    info = AudioInfo(44_100, 2, 20_000)
    for start in range(0, 19_000, 333):
        load_segment(Path(path), start, 500, 44_100, "2", info)


def test_a_kind_is_told_by_what_a_file_holds_not_by_its_name(tmp_path, wholes):
    for kind in KINDS:
        (tmp_path / f"right.{kind}").write_bytes(wholes[kind][0])
        wanted, rate = load_audio(tmp_path / f"right.{kind}")
        for other in (*KINDS, "txt"):
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

    monkeypatch.setattr(header_checks, "open", guarded, raising=False)
    return folder, {
        "cut-off.wav": "is cut off",
        "empty.flac": "is empty",
        "nan.wav": "NaN or infinite",
        "text.mp3": "no recording",
        "new\\nline.wav": "no recording",
        "\\x1b[31mred.wav": "no recording",
        "bytes-\\udcff.wav": "no recording",
        "round.wav": "cannot be read: Too many levels of symbolic links",
        "nowhere.wav": "does not exist",
        "locked.wav": "cannot be read: Permission denied",
    }


SMALL = ("--segment-seconds", "0.5", "--sample-rate", RATE, "--effect", "gain", "--workers", 1)


def test_bad_recordings_among_good_ones_are_listed_each_on_its_line(invoke, bad_ones, tmp_path):
    folder, reasons = bad_ones
    amount = ("--pairs-per-effect", 60)  # enough for the one of NaN to be drawn
    done = invoke("render", folder, "-o", tmp_path / "pairs.h5", *SMALL, *amount)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    listed = lines[lines.index(f"{len(reasons)} recordings skipped:") + 1 :]
    assert len(listed) == len(reasons)
    for name, reason in reasons.items():
        (line,) = [each for each in listed if each.startswith(f"  {folder}/{name} ")]
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
    assert f"{folder}/{shown} " in told[0]
    assert reasons[shown] in told[0] or "leads nowhere" in told[0]


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
    with pytest.raises(RecordingError, match=f"{told} since it was first looked at"):
        draw_segment(catalogue, "train", SEGMENTS, rng)
    with pytest.raises(RecordingError, match=f"{told} since it was first looked at"):
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
    assert "has vanished since it was first looked at" in result.skipped[0][1]


@pytest.mark.parametrize("name", ["round", "nowhere"])
def test_a_link_that_leads_nowhere_is_no_recording(tmp_path, name):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "nowhere").symlink_to("nothing")
    with pytest.raises(InputError, match=f"{name} is a link that leads nowhere"):
        find_recordings([tmp_path / name])
