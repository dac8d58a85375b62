"""Check what each command writes and prints."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_runs import FIGURES, SMALL, is_figure, names_in
from datasets import N_SAMPLES, RATE

from dafxtool import storage
from dafxtool.audio.reader import load_audio


def test_render_writes_pairs_and_reports_them_as_json(succeed, recordings, tmp_path):
    output = tmp_path / "pairs.h5"
    arguments = ("--effect", "delay:mix=50", "--effect", "gain", "--pairs-per-effect", 5)
    answer = succeed("render", recordings, "-o", output, *arguments, *SMALL, "--json")
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        assert reader.row_shape == (2, N_SAMPLES)
        assert answer["n_pairs"] == len(reader) == 10
        assert answer["pairs_per_effect"] == {"delay": 5, "gain": 5}
        assert reader.configuration["segments"]["sample_rate"] == RATE
        rows = np.flatnonzero(reader.labels.effect == 0)
        assert all(reader.labels.setting_of(row)["mix"] == 50 for row in rows)
        audio = reader.rows(slice(None))
    np.testing.assert_allclose(np.abs(audio).max(axis=2), 10 ** (-12 / 20), rtol=1e-5)
    assert answer["skipped"] == []


def test_a_length_in_seconds_is_converted_at_the_configured_rate(succeed, recordings, tmp_path):
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
    audio, rate = load_audio(tmp_path / "wet" / rows[0]["wet"])
    assert (len(audio), rate) == (N_SAMPLES, RATE)


def test_bad_recordings_are_skipped_and_listed_or_refused(
    succeed, fail, invoke, recordings, tmp_path
):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    arguments = (recordings, tmp_path, "-o", tmp_path / "p.h5", "--pairs-per-effect", 1, *SMALL)
    assert "text.wav" in fail("render", *arguments, "--strict") or "empty.wav" in fail(
        "render", *arguments, "--strict"
    )
    printed = succeed("render", *arguments)
    assert "2 recordings skipped:" in printed
    assert "empty.wav: empty (0 bytes)" in printed
    assert "text.wav: not a recording" in printed


def test_files_skipped_for_one_reason_share_a_line(succeed, recordings, tmp_path, monkeypatch):
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
    answer = succeed("spectrogram", pairs_file, "-o", output, *sizes, "-q", "--json")
    with storage.Hdf5Reader(output, storage.SPECTROGRAMS) as reader:
        assert answer["shape"] == [2, *reader.row_shape[1:]] == [2, 65, N_SAMPLES // 32 + 1]
        values = reader.rows(slice(None))
        training = reader.labels.rows_of(("train",))
    assert answer["n_pairs"] == len(values)
    assert abs(values[training].mean()) < 1e-3
    assert abs(values[training].std() - 1) < 1e-3


def test_no_command_replaces_its_own_input(fail, pairs_file, run_folder, tmp_path):
    copy = shutil.copy(pairs_file, tmp_path / "pairs.h5")
    before = copy.read_bytes()
    assert "hoose another" in fail("spectrogram", copy, "-o", copy, "--overwrite")
    assert "hoose another" in fail("embed", copy, "--run", run_folder, "-o", copy, "--overwrite")
    assert copy.read_bytes() == before


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".npz"])
def test_embed_writes_latents(succeed, pairs_file, run, run_folder, tmp_path, suffix):
    output = tmp_path / f"l{suffix}"
    answer = succeed("embed", pairs_file, "--run", run_folder, "-o", output, "-q", "--json")
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        expected = run.embed(run.analyse(reader.rows(slice(0, 4)))[0])
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
        latent = np.array([row[-answer["n_latent"] :] for row in rows[1:]], float)
    assert (
        np.shape(latent)
        == (n_rows, answer["n_latent"])
        == (answer["n_segments"], expected.shape[1])
    )
    np.testing.assert_allclose(np.asarray(latent)[:4], expected, atol=1e-4)


def test_embed_takes_recordings_with_effects(succeed, recordings, run_folder, tmp_path):
    output = tmp_path / "l.csv"
    arguments = ("--effect", "gain", "--effect", "delay:time=250")
    printed = succeed("embed", recordings, "--run", run_folder, "-o", output, *arguments, "-q")
    with output.open(newline="") as file:
        effects = [row["effect"] for row in csv.DictReader(file)]
    assert effects == ["gain", "delay"] * (len(effects) // 2)
    assert f"{len(effects)} segments" in printed


@pytest.mark.parametrize("suffix", FIGURES)
def test_reconstruct_writes_a_figure_and_a_table(succeed, pairs_file, run_folder, tmp_path, suffix):
    output, table = tmp_path / f"r{suffix}", tmp_path / "r.csv"
    arguments = (pairs_file, "--run", run_folder, "-o", output, "--csv", table)
    answer = succeed("reconstruct", *arguments, "--json", "-q")
    assert is_figure(output)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        [row["effect"] for row in rows]
        == [each["effect"] for each in answer["errors"]]
        == ["overdrive", "delay"]
    )
    assert [float(row["wet_error"]) for row in rows] == [
        each["wet_error"] for each in answer["errors"]
    ]


def test_reconstruct_takes_folders_of_recordings_and_writes_audio(
    succeed, recordings, run_folder, tmp_path
):
    arguments = ("--effect", "gain", "-o", tmp_path / "r.png", "--audio", tmp_path / "sounds")
    answer = succeed(
        "reconstruct", recordings / "plucks", "--run", run_folder, *arguments, "--json", "-q"
    )
    assert [each["n_segments"] for each in answer["errors"]] == [4]
    assert len(answer["audio_files"]) == len(list((tmp_path / "sounds").iterdir())) == 16
    for path in (each["path"] for each in answer["audio_files"]):
        audio, rate = load_audio(Path(path))
        assert (len(audio), rate) == (N_SAMPLES, RATE)


@pytest.mark.parametrize("arguments", [(), ("--spherical",), ("--start-a", 0.5, "--start-b", 0)])
def test_interpolate_between_two_recordings(succeed, pluck, other, run_folder, tmp_path, arguments):
    outputs = ("-o", tmp_path / "i.svg", "--csv", tmp_path / "i.csv", "--audio", tmp_path / "steps")
    answer = succeed(
        *("interpolate", pluck, other, "--run", run_folder, "--effect", "gain", "--steps", 3),
        *(*outputs, *arguments, "--json", "-q"),
    )
    assert is_figure(tmp_path / "i.svg")
    assert [end["recording"] for end in answer["ends"]] == [pluck.name, other.name]
    if "--start-a" in arguments:
        assert [end["start_seconds"] for end in answer["ends"]] == [0.5, 0]
    with (tmp_path / "i.csv").open(newline="") as file:
        assert [float(row["t"]) for row in csv.DictReader(file)] == [0, 0.5, 1]
    audio_files = [Path(each["path"]) for each in answer["audio_files"]]
    assert len(audio_files) == 2 * 5 + 1
    for path in audio_files[:-1]:
        audio, rate = load_audio(path)
        assert (len(audio), rate) == (N_SAMPLES, RATE)
        assert np.abs(audio).max() > 1e-3


def test_interpolate_between_two_effects_on_one_recording(succeed, pluck, run_folder, tmp_path):
    arguments = ("interpolate", pluck, "--run", run_folder, "--steps", 2, "-q", "--json")
    named = succeed(*arguments, "-o", tmp_path / "a.pdf", "--effect", "gain", "--effect", "delay")
    assert is_figure(tmp_path / "a.pdf")
    assert [end["effect"].split()[0] for end in named["ends"]] == ["gain", "delay"]
    assert len({end["start_seconds"] for end in named["ends"]}) == 1
    default = succeed(*arguments, "-o", tmp_path / "b.png")
    assert [end["effect"].split()[0] for end in default["ends"]] == ["overdrive,", "delay"]


def test_a_detailed_interpolation_needs_no_run(succeed, fail, pluck, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("--steps", 3, "--detailed", "-q", "-o", tmp_path / "d.png")
    effects = ("--effect", "delay:time=50", "--effect", "delay:time=200")
    answer = succeed(
        *("interpolate", pluck, *arguments, *effects, "--audio", tmp_path / "s", "--json")
    )
    assert is_figure(tmp_path / "d.png")
    assert len(answer["audio_files"]) == 2 * 5 + 1 + 3  # and the three rendered settings
    assert [end["wet_error"] for end in answer["ends"]] == [None, None]
    assert len(answer["rendered_errors"]) == 3
    repeated = (*arguments, "--overwrite")
    assert "found 2 recordings" in fail("interpolate", pluck, other, *repeated, status=2)
    assert "spherical does" in fail("interpolate", pluck, *repeated, "--spherical", status=2)
    table = ("--csv", tmp_path / "t.csv")
    assert "csv does" in fail("interpolate", pluck, *repeated, *table, status=2)
    starts = ("--start-a", 0, "--start-b", 0.5)
    assert "one start" in fail("interpolate", pluck, *repeated, *effects, *starts)


def test_interpolate_takes_wet_recordings(succeed, fail, pluck, other, run_folder, tmp_path):
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
    outputs = ("-o", figure, "--csv", table, "--method", "pca", "--split", "all")
    answer = succeed("map", latents, *outputs, "-q", "--json")
    assert is_figure(figure)
    with table.open(newline="") as file:
        effects = [row["effect"] for row in csv.DictReader(file)]
    assert answer["segments_per_effect"] == {
        name: effects.count(name) for name in ("overdrive", "delay")
    }
    printed = succeed(
        *("map", pairs_file, "--run", run_folder, "-o", tmp_path / "m.png", "--method", "pca"),
        *("--split", "all", "-q"),
    )
    assert f"{len(effects)} segments" in printed


def test_a_map_has_one_point_for_identical_recordings(succeed, recordings, run_folder, tmp_path):
    shutil.copytree(recordings, tmp_path / "copy")
    arguments = (recordings, tmp_path / "copy", "--run", run_folder, "--csv", tmp_path / "m.csv")
    printed = succeed("map", *arguments, "-o", tmp_path / "m.svg", "-q")
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} of {len(rows)} points" in printed
    points: dict[tuple[str, ...], set] = {}
    for row in rows:
        segment = (*Path(row["recording"]).parts[-2:], row["offset"])
        points.setdefault(segment, set()).add((row["x"], row["y"]))
    assert len(points) == len(rows) / 2 >= 3
    assert all(len(each) == 1 for each in points.values())


def test_effects_and_doctor_print_json(succeed, invoke):
    effects = succeed("effects", "overdrive", "--json")["effects"]
    assert [effect["name"] for effect in effects] == ["overdrive"]
    answer = json.loads(invoke("doctor", "--json", "-q").stdout)
    assert answer["ok"] == all(check["state"] != "broken" for check in answer["checks"])
