"""Run the first commands of the README in an empty folder."""

from __future__ import annotations

from pathlib import Path

from command_runs import is_figure

from dafxtool import storage


def test_the_first_three_lines_work_in_an_empty_folder(
    succeed, fail, invoke, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = invoke("render", "--pairs-per-effect", 6, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "pairs.h5" in result.stdout
    assert "using the built-in ones in built-in-recordings/" in result.stderr
    assert "using overdrive and delay" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("pairs.h5", "built-in-recordings", "a.wav", "b.wav")
    }
    assert len(list(Path("built-in-recordings").glob("*/*.flac"))) == 20
    with storage.Hdf5Reader(Path("pairs.h5"), storage.PAIRS) as reader:
        assert len(reader) == 12
        assert reader.labels.effect_names == ["overdrive", "delay"]

    result = invoke("train", "--steps", 3, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "pairs.h5 -> spectrograms.h5" in result.stderr
    assert "run -> runs/small-1" in result.stdout
    assert {"config.toml", "metrics.csv", "checkpoints"} <= {
        path.name for path in Path("runs/small-1").iterdir()
    }

    result = invoke("interpolate", "a.wav", "b.wav", "--steps", 3)
    assert result.exit_code == 0, result.output
    assert "using overdrive" in result.stderr
    assert "interpolation.png" in result.stdout
    assert is_figure(Path("interpolation.png"))

    resumed = succeed("train", "--resume", "--steps", 5, "--device", "cpu", "--json")
    assert (resumed["run"], resumed["steps"]) == ("runs/small-1", 5)
    assert "complete before" in succeed("train", "--resume", "--device", "cpu")

    assert "pairs.h5: exists already" in fail("render", "--pairs-per-effect", 6)
    before = Path("pairs.h5").read_bytes()
    succeed("render", "--pairs-per-effect", 2, "--workers", 1, "--overwrite")
    assert Path("pairs.h5").read_bytes() != before
