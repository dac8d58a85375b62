"""The commands, used and misused: run one, open the file that came out."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import N_SAMPLES, RATE, SPECTROGRAM, write_recordings

from dafxtool import storage
from dafxtool.audio.io import load_audio
from dafxtool.audio.writer import save_audio
from dafxtool.dataset.render import rerender_row

SMALL = ("--sample-rate", RATE, "--segment-seconds", N_SAMPLES / RATE, "--workers", 1, "-q")
FIGURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
N_BINS, N_FRAMES = SPECTROGRAM.n_bins, SPECTROGRAM.n_frames


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def pluck(recordings) -> Path:
    return recordings / "plucks" / "1.wav"


@pytest.fixture(scope="module")
def other(recordings) -> Path:
    return recordings / "swells" / "2.wav"


@pytest.fixture
def succeed(invoke):
    """succeed("render", ...): its standard output, as a dictionary where --json was given."""

    def run(*arguments):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return run


@pytest.fixture
def fail(invoke):
    """fail("render", ...): its one sentence; 1 is the exit status that it has to have."""

    def run(*arguments, status=1):
        result = invoke(*arguments)
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        return sentence_of(result.exit_code, result.stderr, status)

    return run


def sentence_of(found: int, stderr: str, status: int = 1) -> str:
    assert found == status, stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, stderr
    assert stderr.rstrip().endswith(errors[0]), "the sentence is the last thing said"
    return errors[0].removeprefix("Error: ")


def spawn(*arguments: object, **options) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "dafxtool", *map(os.fspath, map(str, arguments))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def names_in(folder: Path) -> set[str]:
    """Everything there, hidden or not."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def is_figure(path: Path) -> bool:
    return path.read_bytes().startswith(FIGURES[path.suffix]) and path.stat().st_size > 5000


# --- the way without arguments ----------------------------------------------------------------


def test_the_first_three_lines_work_in_an_empty_folder(
    succeed, fail, invoke, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = invoke("render", "--pairs-per-effect", 6, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "pairs.h5" in result.stdout
    assert "taking the built-in ones, built-in-recordings/" in result.stderr
    assert "taking overdrive and delay" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("pairs.h5", "built-in-recordings", "a.wav", "b.wav")
    }
    assert len(list(Path("built-in-recordings").glob("*/*.flac"))) == 20
    with storage.Hdf5Reader(Path("pairs.h5"), storage.PAIRS) as reader:
        assert len(reader) == 12
        assert reader.labels.effect_names == ["overdrive", "delay"]

    result = invoke("train", "--steps", 3, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "analysing pairs.h5 into spectrograms.h5" in result.stderr
    assert "run -> runs/small-1" in result.stdout
    assert {"config.toml", "metrics.csv", "checkpoints"} <= {
        path.name for path in Path("runs/small-1").iterdir()
    }

    result = invoke("interpolate", "a.wav", "b.wav", "--steps", 3)
    assert result.exit_code == 0, result.output
    assert "taking overdrive" in result.stderr
    assert "interpolation.png" in result.stdout
    assert is_figure(Path("interpolation.png"))

    again = succeed("train", "--resume", "--steps", 5, "--device", "cpu", "--json")
    assert (again["run"], again["steps"]) == ("runs/small-1", 5)
    assert "complete before" in succeed("train", "--resume", "--device", "cpu")

    assert "pairs.h5 exists already" in fail("render", "--pairs-per-effect", 6)
    before = Path("pairs.h5").read_bytes()
    succeed("render", "--pairs-per-effect", 2, "--workers", 1, "--overwrite")
    assert Path("pairs.h5").read_bytes() != before


# --- what each command writes ------------------------------------------------------------------


def test_render_writes_pairs_and_says_the_same_as_json(succeed, recordings, tmp_path):
    output = tmp_path / "pairs.h5"
    arguments = ("--effect", "delay:mix=50", "--effect", "gain", "--pairs-per-effect", 5)
    said = succeed("render", recordings, "-o", output, *arguments, *SMALL, "--json")
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        assert reader.row_shape == (2, N_SAMPLES)
        assert said["n_pairs"] == len(reader) == 10
        assert said["pairs_per_effect"] == {"delay": 5, "gain": 5}
        assert reader.configuration["segments"]["sample_rate"] == RATE
        rows = np.flatnonzero(reader.labels.effect == 0)
        assert all(reader.labels.setting_of(row)["mix"] == 50 for row in rows)
        sound = reader.rows(slice(None))
    np.testing.assert_allclose(np.abs(sound).max(axis=2), 10 ** (-12 / 20), rtol=1e-5)
    assert said["skipped"] == []


def test_a_length_in_seconds_is_one_at_the_rate_of_the_configuration(succeed, recordings, tmp_path):
    (tmp_path / "a.toml").write_text("[segments]\nsample_rate = 16000\n")
    options = ("--config", tmp_path / "a.toml", "--segment-seconds", 0.5, "--pairs-per-effect", 2)
    succeed("render", recordings, *options, "--effect", "gain", "-o", tmp_path / "p.h5")
    with storage.Hdf5Reader(tmp_path / "p.h5", storage.PAIRS) as pairs:
        assert pairs.configuration["segments"]["sample_rate"] == 16_000
        assert pairs.row_shape == (2, 8_000)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_render_writes_a_folder_of_audio(succeed, pluck, tmp_path, kind):
    arguments = ("--pairs-per-effect", 2, "--effect", "gain", "--audio-format", kind)
    succeed("render", pluck, "-o", tmp_path / "wet", *arguments, *SMALL)
    with (tmp_path / "wet" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert names_in(tmp_path / "wet") == {
        "pairs.csv",
        "pairs.json",
        *(r[k] for r in rows for k in ("dry", "wet")),
    }
    sound, rate = load_audio(tmp_path / "wet" / rows[0]["wet"])
    assert (len(sound), rate) == (N_SAMPLES, RATE)


def test_bad_recordings_are_skipped_and_told_or_refused(
    succeed, fail, invoke, recordings, tmp_path
):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    arguments = (recordings, tmp_path, "-o", tmp_path / "p.h5", "--pairs-per-effect", 1, *SMALL)
    assert "text.wav" in fail("render", *arguments, "--strict") or "empty.wav" in fail(
        "render", *arguments, "--strict"
    )
    told = succeed("render", *arguments)
    assert "2 recordings skipped:" in told
    assert "empty.wav: empty (0 bytes)" in told
    assert "text.wav: not a recording" in told


def test_files_skipped_for_one_reason_are_one_line(succeed, recordings, tmp_path, monkeypatch):
    from dafxtool.audio import av_reader

    monkeypatch.setattr(av_reader, "has_av", lambda: False)
    for number in range(5):
        (tmp_path / f"{number}.M4A").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    (tmp_path / "note.opus").write_text("no audio")
    (tmp_path / "read-me.txt").write_text("no audio file")
    arguments = (recordings, tmp_path, "-o", tmp_path / "p.h5", "--pairs-per-effect", 1, *SMALL)
    lines = succeed("render", *arguments).splitlines()
    at = lines.index("6 recordings skipped:")
    assert lines[at + 1].startswith("  5 files: reading MP4 or M4A needs PyAV. Install it with pip")
    assert lines[at + 1].endswith("(0.M4A, 1.M4A, 2.M4A, ...)")
    assert lines[at + 2].startswith(f"  {tmp_path}/note.opus: not a recording that can be read")
    listed = succeed("render", *arguments, "--overwrite", "--json")["skipped"]
    assert len(listed) == 6


def test_spectrogram_writes_spectrograms(succeed, fail, pairs_file, tmp_path):
    output = tmp_path / "s.h5"
    sizes = ("--n-fft", 128, "--hop-length", 32, "--window-length", 128, "--dtype", "float32")
    said = succeed("spectrogram", pairs_file, "-o", output, *sizes, "-q", "--json")
    with storage.Hdf5Reader(output, storage.SPECTROGRAMS) as reader:
        assert said["shape"] == [2, *reader.row_shape[1:]] == [2, 65, N_SAMPLES // 32 + 1]
        values = reader.rows(slice(None))
        training = reader.labels.rows_of(("train",))
    assert said["n_pairs"] == len(values)
    assert abs(values[training].mean()) < 1e-3
    assert abs(values[training].std() - 1) < 1e-3


def test_an_analysis_never_replaces_its_own_pairs(fail, pairs_file, run_folder, tmp_path):
    copy = shutil.copy(pairs_file, tmp_path / "pairs.h5")
    before = copy.read_bytes()
    assert "hoose another" in fail("spectrogram", copy, "-o", copy, "--overwrite")
    assert "hoose another" in fail("embed", copy, "--run", run_folder, "-o", copy, "--overwrite")
    assert copy.read_bytes() == before


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".npz"])
def test_embed_writes_latents(succeed, pairs_file, run, run_folder, tmp_path, suffix):
    output = tmp_path / f"l{suffix}"
    said = succeed("embed", pairs_file, "--run", run_folder, "-o", output, "-q", "--json")
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        wanted = run.embed(run.analyse(reader.rows(slice(0, 4)))[0])
        n_rows = len(reader)
    if suffix == ".h5":
        with h5py.File(output) as file:
            latent = file["latent"][:]
    elif suffix == ".npz":
        with np.load(output) as file:
            latent = np.concatenate([file["content"], file["change"], file["style"]], axis=1)
    else:
        with output.open(newline="") as file:
            rows = list(csv.reader(file))
        latent = np.array([row[-said["n_latent"] :] for row in rows[1:]], float)
    assert np.shape(latent) == (n_rows, said["n_latent"]) == (said["n_segments"], wanted.shape[1])
    np.testing.assert_allclose(np.asarray(latent)[:4], wanted, atol=1e-4)


def test_embed_takes_recordings_with_effects(succeed, recordings, run_folder, tmp_path):
    output = tmp_path / "l.csv"
    arguments = ("--effect", "gain", "--effect", "delay:time=250")
    told = succeed("embed", recordings, "--run", run_folder, "-o", output, *arguments, "-q")
    with output.open(newline="") as file:
        effects = [row["effect"] for row in csv.DictReader(file)]
    assert effects == ["gain", "delay"] * (len(effects) // 2)
    assert f"{len(effects)} segments" in told


@pytest.mark.parametrize("suffix", FIGURES)
def test_reconstruct_writes_a_figure_with_its_numbers(
    succeed, pairs_file, run_folder, tmp_path, suffix
):
    output, table = tmp_path / f"r{suffix}", tmp_path / "r.csv"
    arguments = (pairs_file, "--run", run_folder, "-o", output, "--csv", table)
    said = succeed("reconstruct", *arguments, "--json", "-q")
    assert is_figure(output)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        [row["effect"] for row in rows]
        == [each["effect"] for each in said["errors"]]
        == ["overdrive", "delay"]
    )
    assert [float(row["wet_error"]) for row in rows] == [
        each["wet_error"] for each in said["errors"]
    ]


def test_reconstruct_takes_folders_of_recordings_and_writes_sound(
    succeed, recordings, run_folder, tmp_path
):
    arguments = ("--effect", "gain", "-o", tmp_path / "r.png", "--audio", tmp_path / "sounds")
    said = succeed(
        "reconstruct", recordings / "plucks", "--run", run_folder, *arguments, "--json", "-q"
    )
    assert [each["n_segments"] for each in said["errors"]] == [4]
    assert len(said["audio_files"]) == len(list((tmp_path / "sounds").iterdir())) == 16
    for path in (each["path"] for each in said["audio_files"]):
        sound, rate = load_audio(Path(path))
        assert (len(sound), rate) == (N_SAMPLES, RATE)


@pytest.mark.parametrize("arguments", [(), ("--spherical",), ("--start-a", 0.5, "--start-b", 0)])
def test_interpolate_between_two_recordings(succeed, pluck, other, run_folder, tmp_path, arguments):
    places = ("-o", tmp_path / "i.svg", "--csv", tmp_path / "i.csv", "--audio", tmp_path / "steps")
    said = succeed(
        *("interpolate", pluck, other, "--run", run_folder, "--effect", "gain", "--steps", 3),
        *(*places, *arguments, "--json", "-q"),
    )
    assert is_figure(tmp_path / "i.svg")
    assert [end["recording"] for end in said["ends"]] == [pluck.name, other.name]
    if "--start-a" in arguments:
        assert [end["start_seconds"] for end in said["ends"]] == [0.5, 0]
    with (tmp_path / "i.csv").open(newline="") as file:
        assert [float(row["t"]) for row in csv.DictReader(file)] == [0, 0.5, 1]
    sounds = [Path(each["path"]) for each in said["audio_files"]]
    assert len(sounds) == 2 * 5 + 1
    for path in sounds[:-1]:
        sound, rate = load_audio(path)
        assert (len(sound), rate) == (N_SAMPLES, RATE)
        assert np.abs(sound).max() > 1e-3


def test_interpolate_between_two_effects_on_one_recording(succeed, pluck, run_folder, tmp_path):
    arguments = ("interpolate", pluck, "--run", run_folder, "--steps", 2, "-q", "--json")
    named = succeed(*arguments, "-o", tmp_path / "a.pdf", "--effect", "gain", "--effect", "delay")
    assert is_figure(tmp_path / "a.pdf")
    assert [end["effect"].split()[0] for end in named["ends"]] == ["gain", "delay"]
    assert len({end["start_seconds"] for end in named["ends"]}) == 1
    default = succeed(*arguments, "-o", tmp_path / "b.png")
    assert [end["effect"].split()[0] for end in default["ends"]] == ["overdrive,", "delay"]


def test_interpolate_in_detail(succeed, fail, pluck, other, tmp_path, monkeypatch):
    """Without a run: nothing is decoded."""
    monkeypatch.chdir(tmp_path)
    arguments = ("--steps", 3, "--detailed", "-q", "-o", tmp_path / "d.png")
    effects = ("--effect", "delay:time=50", "--effect", "delay:time=200")
    said = succeed(
        *("interpolate", pluck, *arguments, *effects, "--audio", tmp_path / "s", "--json")
    )
    assert is_figure(tmp_path / "d.png")
    assert len(said["audio_files"]) == 2 * 5 + 1 + 3  # and the three rendered settings
    assert [end["wet_error"] for end in said["ends"]] == [None, None]
    assert len(said["rendered_errors"]) == 3
    again = (*arguments, "--overwrite")
    assert "found 2 recordings" in fail("interpolate", pluck, other, *again, status=2)
    assert "spherical does" in fail("interpolate", pluck, *again, "--spherical", status=2)
    table = ("--csv", tmp_path / "t.csv")
    assert "csv does" in fail("interpolate", pluck, *again, *table, status=2)
    starts = ("--start-a", 0, "--start-b", 0.5)
    assert "one start" in fail("interpolate", pluck, *again, *effects, *starts)


def test_interpolate_takes_wet_files(succeed, fail, pluck, other, run_folder, tmp_path):
    arguments = ("interpolate", pluck, "--run", run_folder, "--steps", 2, "-q", "--json")
    both = succeed(*arguments, "-o", tmp_path / "a.png", "--wet-a", pluck, "--wet-b", other)
    assert [end["effect"] for end in both["ends"]] == [pluck.name, other.name]
    one = succeed(*arguments, "-o", tmp_path / "b.png", "--wet-b", other, "--effect", "gain")
    assert [end["effect"].split()[0] for end in one["ends"]] == ["gain", other.name]
    wets = ("--wet-a", pluck, "--wet-b", other)
    assert "Use one of them" in fail(*arguments, *wets, "--effect", "gain", status=2)


def test_map_writes_a_figure_and_its_points(succeed, pairs_file, run_folder, tmp_path):
    latents, figure, table = (tmp_path / name for name in ("l.h5", "m.svg", "m.csv"))
    succeed("embed", pairs_file, "--run", run_folder, "-o", latents, "-q")
    places = ("-o", figure, "--csv", table, "--method", "pca", "--split", "all")
    said = succeed("map", latents, *places, "-q", "--json")
    assert is_figure(figure)
    with table.open(newline="") as file:
        effects = [row["effect"] for row in csv.DictReader(file)]
    assert said["segments_per_effect"] == {
        name: effects.count(name) for name in ("overdrive", "delay")
    }
    told = succeed(
        *("map", pairs_file, "--run", run_folder, "-o", tmp_path / "m.png", "--method", "pca"),
        *("--split", "all", "-q"),
    )
    assert f"{len(effects)} segments" in told


def test_a_map_shows_identical_recordings_at_one_place(succeed, recordings, run_folder, tmp_path):
    shutil.copytree(recordings, tmp_path / "copy")
    arguments = (recordings, tmp_path / "copy", "--run", run_folder, "--csv", tmp_path / "m.csv")
    said = succeed("map", *arguments, "-o", tmp_path / "m.svg", "-q")
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} of {len(rows)} points" in said
    places: dict[tuple[str, ...], set] = {}
    for row in rows:
        segment = (*Path(row["recording"]).parts[-2:], row["offset"])
        places.setdefault(segment, set()).add((row["x"], row["y"]))
    assert len(places) == len(rows) / 2 >= 3
    assert all(len(place) == 1 for place in places.values())


def test_effects_and_doctor_answer_machines(succeed, invoke):
    effects = succeed("effects", "overdrive", "--json")["effects"]
    assert [effect["name"] for effect in effects] == ["overdrive"]
    answer = json.loads(invoke("doctor", "--json", "-q").stdout)
    assert answer["ok"] == all(check["state"] != "broken" for check in answer["checks"])


# --- inversion --------------------------------------------------------------------------------


def magnitude(seed: int = 0) -> np.ndarray:
    """Of noise that swells: a magnitude that a sound has."""
    from dafxtool.spectrogram.stft import magnitude

    rng = np.random.default_rng(seed)
    sound = rng.standard_normal(N_SAMPLES) * np.linspace(0.05, 0.2, N_SAMPLES)
    return magnitude(sound.astype(np.float32), SPECTROGRAM).numpy()


@pytest.mark.parametrize("channel", ["dry", "wet"])
def test_invert_a_row_of_spectrograms(succeed, spectrograms_file, tmp_path, channel):
    output = tmp_path / "sound.wav"
    arguments = ("--row", 3, "--channel", channel, "-o", output, "-q", "--json")
    (said,) = succeed("invert", spectrograms_file, *arguments)["audio_files"]
    sound, rate = load_audio(output)
    assert (len(sound), rate) == (N_SAMPLES, RATE)
    assert said["seconds"] == N_SAMPLES / RATE
    assert said["convergence_db"] < -10
    with storage.Hdf5Reader(spectrograms_file.with_name("pairs.h5"), storage.PAIRS) as reader:
        wanted = reader.rows(slice(3, 4))[0, ("dry", "wet").index(channel)]
    np.testing.assert_allclose(sound.std(), wanted.std(), rtol=0.1)


def test_invert_several_rows_into_a_folder(succeed, fail, spectrograms_file, tmp_path):
    rows = ("--row", 1, "--row", 0, "--row", 1, "--channel", "both")
    said = succeed("invert", spectrograms_file, *rows, "-o", tmp_path / "all", "-q", "--json")
    assert names_in(tmp_path / "all") == {Path(each["path"]).name for each in said["audio_files"]}
    assert len(said["audio_files"]) == 4
    told = fail("invert", spectrograms_file, *rows, "-o", tmp_path / "all.wav", "-q")
    assert "4 audio files to write" in told
    assert names_in(tmp_path) == {"all", *(f"all/{name}" for name in names_in(tmp_path / "all"))}


def test_invert_latents(succeed, pairs_file, run_folder, tmp_path):
    succeed("embed", pairs_file, "--run", run_folder, "-o", tmp_path / "l.h5", "-q")
    succeed("invert", tmp_path / "l.h5", "--row", 2, "-o", tmp_path / "l.flac", "-q")
    sound, rate = load_audio(tmp_path / "l.flac")
    assert (len(sound), rate) == (N_SAMPLES, RATE)


@pytest.mark.parametrize("method", ["griffin-lim", "fast", "best"])
def test_invert_an_array_that_says_its_settings(succeed, tmp_path, method):
    settings = {key: getattr(SPECTROGRAM, key) for key in ("sample_rate", "n_fft", "hop_length")}
    np.savez(tmp_path / "m.npz", magnitude=magnitude(), n_samples=N_SAMPLES, **settings)
    output = tmp_path / "m.wav"
    (said,) = succeed(
        *("invert", tmp_path / "m.npz", "--method", method, "-o", output, "-q", "--json")
    )["audio_files"]
    sound, rate = load_audio(output)
    assert (len(sound), rate) == (N_SAMPLES, RATE)
    assert said["convergence_db"] < -10


def test_invert_a_bare_array_with_options(succeed, tmp_path):
    np.save(tmp_path / "m.npy", np.stack([magnitude(0), magnitude(1)]))
    options = ("--hop-length", 64, "--sample-rate", RATE, "--row", 1)
    succeed("invert", tmp_path / "m.npy", *options, "-o", tmp_path / "m.wav", "-q")
    sound, rate = load_audio(tmp_path / "m.wav")
    assert (len(sound), rate) == ((N_FRAMES - 1) * 64, RATE)


def test_invert_from_a_known_phase_finds_the_sound_itself(succeed, pluck, tmp_path):
    from dafxtool.spectrogram.stft import magnitude

    known = load_audio(pluck)[0][:N_SAMPLES]
    settings = {"sample_rate": RATE, "hop_length": 64, "n_samples": N_SAMPLES}
    np.savez(tmp_path / "m.npz", magnitude=magnitude(known, SPECTROGRAM).numpy(), **settings)
    save_audio(tmp_path / "dry.wav", known, RATE)
    arguments = ("--phase-from", tmp_path / "dry.wav", "-o", tmp_path / "m.wav", "-q")
    succeed("invert", tmp_path / "m.npz", *arguments)
    np.testing.assert_allclose(load_audio(tmp_path / "m.wav")[0], known, atol=1e-4)


def test_invert_silence_is_silence(succeed, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((N_BINS, N_FRAMES), np.float32))
    succeed("invert", tmp_path / "zero.npy", "-o", tmp_path / "zero.wav", "-q")
    assert not load_audio(tmp_path / "zero.wav")[0].any()


def test_invert_takes_what_is_shorter_than_a_window_and_negative(succeed, tmp_path):
    np.save(tmp_path / "short.npy", magnitude()[:, :2])
    np.save(tmp_path / "negative.npy", magnitude() - 0.1)
    for name, n_frames in (("short", 2), ("negative", N_FRAMES)):
        source, output = tmp_path / f"{name}.npy", tmp_path / f"{name}.wav"
        succeed("invert", source, "--hop-length", 64, "-o", output, "-q")
        sound = load_audio(output)[0]
        assert len(sound) == (n_frames - 1) * 64
        assert np.isfinite(sound).all()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((N_BINS, 8), np.nan), "NaN"),
        (np.full((N_BINS, 8), np.inf), "NaN"),
        (np.zeros((N_BINS, 8), complex), "real numbers"),
        (np.zeros(8), "of shape (8,)"),
        (np.zeros((2, 8)), "3 at least"),
        (np.zeros((0, 8)), "of shape (0, 8)"),
        (np.array(["a"]), "real numbers"),
    ],
)
def test_what_cannot_be_inverted_is_told(fail, tmp_path, values, told):
    np.save(tmp_path / "m.npy", values)
    assert told in fail("invert", tmp_path / "m.npy", "-o", tmp_path / "m.wav", "-q")
    assert names_in(tmp_path) == {"m.npy"}


# --- wrong inputs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong(tmp_path_factory, pairs_file, spectrograms_file) -> Path:
    """A folder of things that are not what they seem; no test writes into it."""
    folder = tmp_path_factory.mktemp("wrong")
    noise = np.random.default_rng(0).bytes(20_000)
    (folder / "text.wav").write_text("no sound")
    (folder / "noise.wav").write_bytes(noise)
    (folder / "noise.h5").write_bytes(noise)
    (folder / "cut.h5").write_bytes(pairs_file.read_bytes()[:-5000])
    (folder / "cut-spectrograms.h5").write_bytes(spectrograms_file.read_bytes()[:9000])
    (folder / "folder").mkdir()
    (folder / "folder.h5").mkdir()
    (folder / "no-run").mkdir()
    (folder / "damaged-run" / "checkpoints").mkdir(parents=True)
    (folder / "damaged-run" / "checkpoints" / "last.pt").write_bytes(noise)
    (folder / "key.toml").write_text("[training]\nmax_step = 3\n")
    (folder / "type.toml").write_text('[segments]\nsample_rate = "24 kHz"\n')
    (folder / "nan.toml").write_text("[training]\nbeta = nan\n")
    (folder / "broken.toml").write_text("[[[\n")
    save_audio(folder / "silence.wav", np.zeros(RATE, np.float32), RATE)
    return folder


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("{wrong}/missing.wav",), "missing.wav: does not exist"),
        (("{wrong}/text.wav",), "text.wav: not a recording"),
        (("{wrong}/noise.wav",), "noise.wav: not a recording"),
        (("{wrong}/folder",), "holds no recordings"),
        (("{wrong}/silence.wav",), "no segment of the train recordings was louder"),
        (("{wet}", "--effect", "overdrive:drive=999"), "expected 0 to 60 dB"),
        (("{wet}", "--effect", "overdrive:drive=nan"), "expected 0 to 60 dB"),
        (("{wet}", "--effect", "overdriv"), "did you mean overdrive"),
        (("{wet}", "--effect", "overdrive:driv=20"), "did you mean drive"),
        (("{wet}", "--effect", "gain", "--effect", "gain"), "named twice"),
        (("{wet}", "--plugin", "{wrong}/missing.vst3"), "no plugin"),
        (("{wet}", "--plugin", "{wrong}/text.wav"), "not a VST3 plugin"),
        (("{wet}", "--config", "{wrong}/key.toml"), "did you mean max_steps"),
        (("{wet}", "--config", "{wrong}/type.toml"), "expected int"),
        (("{wet}", "--config", "{wrong}/nan.toml"), "beta: not a finite number"),
        (("{wet}", "--config", "{wrong}/broken.toml"), "not a TOML file"),
        (("{wet}", "--config", "{wrong}/missing.toml"), "does not exist"),
        (("{wet}", "--validation", 0.6, "--test", 0.6), "no recordings left for training"),
        (("{wet}", "--channel", "left"), "first, mean, or a number"),
        (("{wet}", "--channel", 3), "no channel 3"),
        (("{wet}", "--short", "skip", "--segment-seconds", 60), "--short join"),
        (("{wet}", "--settings", "grid", "--steps", 10**9), "expected at most 100,000"),
        (("{wet}", "--settings", "sweep", "--steps", 10**9), "expected at most 100,000"),
        (("{wet}", "--pairs-per-effect", 10**15), "out of range"),
        (("{wet}", "--pairs-per-effect", 50_000, "--segment-seconds", 900), "the disk has"),
    ],
)
def test_render_tells_what_is_wrong(fail, wrong, pluck, tmp_path, arguments, told):
    places = {"wrong": wrong, "wet": pluck}
    filled = [str(argument).format(**places) for argument in arguments]
    said = fail("render", *SMALL, *filled, "-o", tmp_path / "pairs.h5")
    assert told in said
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "--preset", "week7"),
        ("render", "--seed", "-1"),
        ("render", "--segment-seconds", "nan"),
        ("render", "--validation", "inf"),
        ("render", "-o", ""),
        ("train", "--learning-rate", "nan"),
        ("train", "--epochs", "nan"),
        ("train", "--seed", str(10**30)),
        ("spectrogram", "--n-fft", str(10**9)),
        ("interpolate",),
        ("interpolate", "a.wav", "--start-a", "nan"),
        ("interpolate", "a.wav", "--steps", "1"),
        ("invert", "--method", "magic"),
        ("map", "--method", "t-sne"),
    ],
)
def test_what_cannot_be_meant_is_usage(fail, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    fail(*arguments, status=2)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("spectrogram", "{wrong}/missing.h5"), "missing.h5 does not exist"),
        (("spectrogram", "{wrong}/noise.h5"), "not an HDF5 file that can be opened"),
        (("spectrogram", "{wrong}/cut.h5"), "not an HDF5 file that can be opened"),
        (("spectrogram", "{wrong}/folder.h5"), "is a folder"),
        (("spectrogram", "{spectrograms}"), "holds spectrograms, not pairs"),
        (("spectrogram", "{pairs}", "--hop-length", 9999), "hop_length: more than half"),
        (("train", "{wrong}/cut-spectrograms.h5"), "not an HDF5 file that can be opened"),
        (("train", "{wrong}/noise.h5"), "not an HDF5 file that can be opened"),
        (("train", "{wrong}/missing.h5"), "does not exist"),
        (("train", "{spectrograms}", "--device", "cuda:99"), "dafxtool doctor"),
        (("embed", "{wrong}/missing.wav", "--run", "{run}"), "does not exist"),
        (("embed", "{wrong}/text.wav", "--run", "{run}"), "not a recording"),
        (("embed", "{wrong}/silence.wav", "--run", "{run}"), "silent"),
        (("embed", "{wrong}/noise.h5", "--run", "{run}"), "not an HDF5 file that can be opened"),
        (("embed", "{pairs}", "--run", "{wrong}/nowhere"), "nowhere does not exist"),
        (("embed", "{pairs}", "--run", "{wrong}/no-run"), "holds no checkpoint"),
        (("embed", "{pairs}", "--run", "{wrong}/damaged-run"), "no checkpoint that can be read"),
        (("embed", "{pairs}", "--run", "{pairs}"), "no checkpoint that can be read"),
        (("embed", "{longer}", "--run", "{run}"), "render with the run's preset"),
        (("embed", "{pairs}"), "dafxtool train"),
        (("reconstruct", "{pairs}", "--run", "{run}", "--row", 999), "row 999 does not exist"),
        (("reconstruct", "{spectrograms}", "--run", "{run}"), "holds spectrograms, not pairs"),
        (("reconstruct", "{longer}", "--run", "{run}"), "render with the run's preset"),
        (("reconstruct", "{wrong}/folder", "--run", "{run}"), "holds no recordings"),
        (("reconstruct", "{pluck}", "--run", "{run}", "--csv", "r.txt"), ".csv"),
        (("interpolate", "{wrong}/text.wav", "--run", "{run}"), "not a recording"),
        (("interpolate", "{wrong}/missing.wav", "--run", "{run}"), "does not exist"),
        (("interpolate", "{pluck}", "--run", "{run}", "--start-a", 99), "1.50 s long"),
        (("interpolate", "{pluck}", "--run", "{run}", "-o", "i.jpg"), ".png, .svg or .pdf"),
        (("interpolate", "{pluck}", "--run", "{run}", "--audio", "{pairs}"), "is a file"),
        (("map", "{wrong}/noise.h5", "--run", "{run}"), "not an HDF5 file that can be opened"),
        (("map", "{pairs}", "--run", "{run}", "-o", "map"), ".png, .svg or .pdf"),
        (("invert", "{pairs}"), "holds pairs"),
        (("invert", "{wrong}/text.wav"), "nothing that can be inverted"),
        (("invert", "{spectrograms}", "--row", 999), "row 999 does not exist"),
        (("invert", "{spectrograms}", "-o", "i.mp3"), ".wav or .flac"),
        (("invert",), "dafxtool spectrogram"),
        (("demo", "-o", "{pairs}"), "is a file"),
        (("effects", "delai"), "did you mean delay"),
    ],
)
def test_commands_tell_what_is_wrong(
    *, fail, wrong, longer, pluck, pairs_file, spectrograms_file, run_folder, tmp_path, monkeypatch,
    arguments, told,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    places = {
        **{"wrong": wrong, "pluck": pluck, "run": run_folder, "longer": longer},
        **{"pairs": pairs_file, "spectrograms": spectrograms_file},
    }
    assert told in fail(*(str(argument).format(**places) for argument in arguments))
    assert names_in(tmp_path) == set()


@pytest.fixture(scope="module")
def longer(recordings, tmp_path_factory) -> Path:
    """Pairs of another segment length than the run's."""
    from datasets import SEGMENTS, SPLIT, chosen

    from dafxtool.config import SegmentConfig
    from dafxtool.dataset.render import render

    segments = SegmentConfig(sample_rate=RATE, n_samples=2 * SEGMENTS.n_samples)
    output = tmp_path_factory.mktemp("longer") / "pairs.h5"
    render([recordings], output, chosen("gain"), segments, SPLIT, 4)
    return output


def test_a_mixture_of_kinds_is_refused(fail, pairs_file, pluck, run_folder, tmp_path):
    for command in ("reconstruct", "map"):
        arguments = (pairs_file, pluck, "--run", run_folder, "-o", tmp_path / "x.png")
        assert "alone" in fail(command, *arguments, status=2)
    arguments = (pairs_file, pluck, "--run", run_folder, "-o", tmp_path / "x.csv")
    assert "one HDF5 file" in fail("embed", *arguments, status=2)


def test_one_effect_is_too_few_for_one_recording(fail, pluck, run_folder):
    arguments = ("interpolate", pluck, "--run", run_folder, "--effect", "delay")
    assert "1 effect for 1 recording (expected two" in fail(*arguments, status=2)


@pytest.mark.parametrize("name", ["folder.h5", "file/inside.h5", "x" * 300 + ".h5"])
def test_an_output_that_cannot_be_is_refused_before_the_work(fail, pluck, tmp_path, name):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "file").touch()
    for flags in ((), ("--overwrite",), ("--resume",)):
        said = fail("render", pluck, "-o", tmp_path / name, *SMALL, *flags)
        assert "rendering" not in said
    assert names_in(tmp_path) == {"folder.h5", "file"}


def test_figures_and_tables_are_not_replaced_unasked(
    succeed, fail, pairs_file, run_folder, tmp_path
):
    arguments = ("reconstruct", pairs_file, "--run", run_folder, "-q", "-o", tmp_path / "r.png")
    succeed(*arguments, "--csv", tmp_path / "r.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "--overwrite" in fail(*arguments)
    (tmp_path / "r.png").unlink()
    assert "r.csv: exists already" in fail(*arguments, "--csv", tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == before[tmp_path / "r.csv"]
    succeed(*arguments, "--csv", tmp_path / "r.csv", "--overwrite")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


NAMES = (
    "two\nlines.wav",
    "quote\"'s$HOME.wav",
    "Ünïcode 音.wav",
    b"bytes-\xff.wav",
    "\x1b[31m.wav",
)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_recordings_may_be_called_anything(
    *, succeed, fail, invoke, pluck, run_folder, tmp_path, name
):
    path = tmp_path / os.fsdecode(name)
    try:
        shutil.copy(pluck, path)
    except OSError:
        pytest.skip("this file system does not take such a name")
    output = tmp_path / "pairs.h5"
    succeed("render", path, "-o", output, "--effect", "gain", "--pairs-per-effect", 2, *SMALL)
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        assert reader.labels.path_of(0) == str(path)
        stored = reader.rows(slice(0, 1))[0]
    np.testing.assert_array_equal(rerender_row(output, 0), stored)
    folder = ("-o", tmp_path / "folder", "--effect", "gain", "--pairs-per-effect", 1)
    succeed("render", path, *folder, *SMALL)
    said = succeed("render", path, *folder, *SMALL, "--overwrite", "--json")
    assert said["n_pairs"] == 1
    run = ("--run", run_folder, "-q")
    for suffix in (".csv", ".npz", ".h5"):
        succeed("embed", path, *run, "-o", tmp_path / f"l{suffix}")
    shown = succeed("reconstruct", path, *run, "-o", tmp_path / "r.png", "--effect", "gain")
    assert "\x1b" not in shown
    succeed("interpolate", path, path, *run, "-o", tmp_path / "i.png", "--steps", 2)
    path.write_text("no sound")
    assert "not a recording" in fail("interpolate", path, *run, "-o", tmp_path / "j.png")
    pair = invoke("embed", pluck, path, *run, "-o", tmp_path / "m.csv")
    assert pair.exit_code == 0
    assert "1 recording skipped" in pair.stdout
    assert "\x1b" not in pair.stdout
    assert len(pair.stdout.splitlines()) == 3


# --- disks ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """small_disk("size=2m"): a disk of its own, to be filled; needs root."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
            pytest.skip("only root can mount a small disk")
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, n_free: int) -> None:
    """Leave n_free bytes and no more."""
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(bytes(max(0, free - n_free)))


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


FULL = "the disk is full|the disk has [0-9.]+ MB left"


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "{pluck}", "-o", "{disk}/p.h5", "--pairs-per-effect", "9", *map(str, SMALL)),
        ("render", "{pluck}", "-o", "{disk}/p", "--pairs-per-effect", "9", *map(str, SMALL)),
        ("spectrogram", "{pairs}", "-o", "{disk}/s.h5"),
        ("train", "{spectrograms}", "-o", "{disk}/run", "--steps", "3", "--device", "cpu"),
        ("embed", "{pairs}", "--run", "{run}", "-o", "{disk}/l.h5"),
        ("embed", "{pairs}", "--run", "{run}", "-o", "{disk}/l.csv"),
        ("embed", "{pairs}", "--run", "{run}", "-o", "{disk}/l.npz"),
        *(("reconstruct", "{pairs}", "--run", "{run}", "-o", f"{{disk}}/r{s}") for s in FIGURES),
        ("invert", "{spectrograms}", "-o", "{disk}/i.wav"),
        ("invert", "{spectrograms}", "-o", "{disk}/i.flac"),
    ],
    ids=lambda arguments: f"{arguments[0]}-{arguments[arguments.index('-o') + 1][7:]}",
)
def test_a_full_disk_is_a_sentence_and_leaves_nothing_half(
    *, invoke, small_disk, pluck, pairs_file, spectrograms_file, run_folder, arguments
):
    disk = small_disk("size=1m")
    fill(disk, 6_000)
    places = {
        **{"disk": disk, "pluck": pluck, "run": run_folder},
        **{"pairs": pairs_file, "spectrograms": spectrograms_file},
    }
    result = invoke(*(argument.format(**places) for argument in arguments))
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert re.search(FULL, sentence_of(result.exit_code, result.stderr))
    left = {disk / name for name in names_in(disk)} - {disk / "filler"}
    for path in left:  # small files that are complete: the start of a run
        assert path.is_dir() or path.suffix in (".toml", ".json", ".csv"), path
        assert path.is_dir() or not path.name.startswith("."), path


def test_a_disk_that_fills_up_while_rendering_is_met_before_the_first_row(small_disk, pluck):
    """HDF5 would crash: the place is taken at the start, in a process of its own."""
    disk = small_disk("size=1m")
    arguments = ("render", pluck, "-o", disk / "p.h5", "--pairs-per-effect", 20)
    code, _, stderr = finished(spawn(*arguments, *SMALL))
    assert "needs 1.4 MB" in sentence_of(code, stderr)
    assert names_in(disk) == set()


def test_a_folder_of_audio_goes_on_when_there_is_space_again(invoke, small_disk, pluck):
    disk = small_disk("size=300k")
    arguments = ("render", pluck, "-o", disk / "p", "--pairs-per-effect", 9, *SMALL)
    assert re.search(FULL, sentence_of(*outcome(invoke(*arguments))))
    assert not (disk / "p" / "pairs.csv").exists()
    subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
    assert invoke(*arguments, "--resume").exit_code == 0
    with (disk / "p" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(18))
    assert all(len(load_audio(disk / "p" / row["wet"])[0]) == N_SAMPLES for row in rows)


def outcome(result) -> tuple[int, str]:
    return result.exit_code, result.stderr


def test_a_training_survives_a_full_disk(invoke, small_disk, spectrograms_file):
    disk = small_disk("size=64m")
    arguments = ("train", spectrograms_file, "-o", disk / "run", "--device", "cpu", "-q")
    assert invoke(*arguments, "--steps", 2).exit_code == 0
    fill(disk, 4_000)
    more = (*arguments, "--resume", "--steps", 4)
    result = invoke(*more)
    assert re.search(FULL, sentence_of(*outcome(result))), result.stderr
    (disk / "filler").unlink()
    assert invoke(*more).exit_code == 0


def test_a_read_only_disk_is_told(invoke, small_disk, pluck, pairs_file, run_folder):
    disk = small_disk("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in (
        ("render", pluck, "-o", disk / "p.h5", *SMALL),
        ("render", pluck, "-o", disk / "p", *SMALL),
        ("embed", pairs_file, "--run", run_folder, "-o", disk / "l.h5"),
        ("embed", pairs_file, "--run", run_folder, "-o", disk / "l.csv"),
        ("reconstruct", pairs_file, "--run", run_folder, "-o", disk / "r.png"),
    ):
        assert "read-only" in sentence_of(*outcome(invoke(*arguments)))


# --- interruptions ----------------------------------------------------------------------------


def interrupted_when(condition, *arguments: object) -> tuple[int, str]:
    """Ctrl-C, to the whole group of processes as a terminal sends it, once condition() holds."""
    if not hasattr(os, "killpg"):
        pytest.skip("Windows sends Ctrl-C to all processes of a terminal, this one among them")
    process = spawn(*arguments, start_new_session=True)
    until = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code, _, stderr = finished(process)
    return code, stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_render_goes_on(succeed, recordings, tmp_path, workers):
    output = tmp_path / "pairs.h5"
    arguments = (
        *("render", recordings, "-o", output, "--effect", "reverb", "--pairs-per-effect", 2000),
        *("--sample-rate", RATE, "--segment-seconds", 0.5, "--workers", workers),
    )

    def begun() -> bool:
        partial = storage.partial_path(output)
        try:
            with h5py.File(partial, "r", locking=False) as file:
                return bool(file["done"][:].any())
        except (OSError, KeyError):
            return False

    code, stderr = interrupted_when(begun, *arguments)
    assert "--resume to continue" in sentence_of(code, stderr)
    assert not output.exists()
    succeed(*arguments, "--resume", "-q")
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        assert len(reader) == 2000
        stored = reader.rows(np.array([0, 1999]))
    np.testing.assert_array_equal(rerender_row(output, 1999), stored[1])


def test_an_interruption_while_workers_start_shows_no_traceback(recordings, tmp_path):
    """A spawned worker imports for a second, and Ctrl-C in a terminal reaches it as well."""
    output = tmp_path / "pairs.h5"
    partial = storage.partial_path(output)
    arguments = ("render", recordings, "-o", output, "--sample-rate", RATE, "--workers", 2)
    code, stderr = interrupted_when(partial.exists, *arguments)
    assert "--resume to continue" in sentence_of(code, stderr)
    assert names_in(tmp_path) <= {partial.name}


def test_an_interrupted_training_goes_on(succeed, spectrograms_file, tmp_path):
    run = tmp_path / "run"
    arguments = ("train", spectrograms_file, "-o", run, "--device", "cpu", "--validate-every", 5)
    metrics = run / "metrics.csv"

    def begun() -> bool:
        return metrics.exists() and len(metrics.read_text().splitlines()) > 1

    code, stderr = interrupted_when(begun, *arguments, "--steps", 100_000)
    assert "--resume to continue" in sentence_of(code, stderr)
    rows = metrics.read_text().splitlines()
    reached = int(rows[-1].split(",")[0])
    said = succeed(*arguments, "--resume", "--steps", reached + 10, "-q", "--json")
    assert said["steps"] == reached + 10
    steps = [int(row.split(",")[0]) for row in metrics.read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))


# --- real recordings and plugins --------------------------------------------------------------


@pytest.mark.corpus
def test_real_recordings_become_pairs(succeed, corpus, tmp_path):
    output = tmp_path / "pairs.h5"
    effects = ("overdrive", "delay", "reverb")
    said = succeed(
        *("render", corpus / "speech", corpus / "music", "-o", output, "--preset", "small"),
        *(word for name in effects for word in ("--effect", name)),
        *("--pairs-per-effect", 40, "--workers", 2, "-q", "--json"),
    )
    assert said["skipped"] == []
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        sound, labels = reader.rows(slice(None)), reader.labels
    assert len(sound) == 120
    assert np.isfinite(sound).all()
    np.testing.assert_allclose(np.abs(sound).max(axis=2), 10 ** (-12 / 20), rtol=1e-5)
    assert set(labels.effect_names) == set(effects)
    for row in range(0, 120, 17):
        np.testing.assert_array_equal(rerender_row(output, row), sound[row])


@pytest.mark.plugin
def test_a_plugin_renders_the_same_whatever_the_number_of_workers(
    succeed, plugin, recordings, tmp_path
):
    for workers in (1, 2):
        said = succeed(
            *("render", recordings, "--plugin", plugin, "-o", tmp_path / f"{workers}.h5"),
            *("--pairs-per-effect", 20, "--sample-rate", RATE, "--segment-seconds", 0.5),
            *("--workers", workers, "-q", "--json"),
        )
        assert said["pairs_per_effect"] == {"zamtube": 20}
    readers = [storage.Hdf5Reader(tmp_path / f"{workers}.h5", storage.PAIRS) for workers in (1, 2)]
    one, two = (reader.rows(slice(None)) for reader in readers)
    np.testing.assert_array_equal(one, two)
    assert np.abs(one[:, 0] - one[:, 1]).max() > 1e-3
    np.testing.assert_array_equal(rerender_row(tmp_path / "1.h5", 7), one[7])
    for reader in readers:
        reader.close()
