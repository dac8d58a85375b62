"""Check that the keys of --json are those that docs/formats.md lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from datasets import N_SAMPLES, RATE, write_recordings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
PAGE_KEYS = {"n_points_with_audio", "interpolation_error_db"}  # of a map that is a page


def documented_keys(command: str) -> set[str]:
    """Return the keys of a command's row in the table, without those of nested objects."""
    section = DOCUMENT.partition("## Results as JSON")[2].partition("\n## ")[0]
    row = re.search(rf"^\| `{command}` \| (.*) \|$", section, re.M).group(1)
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row)))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (
            "render",
            (
                *("{recordings}", "--effect", "gain", "--pairs-per-effect", 2, "--workers", 1),
                *("--sample-rate", RATE, "--segment-seconds", N_SAMPLES / RATE),
            ),
        ),
        ("spectrogram", ("{pairs}", "--n-fft", 256, "--hop-length", 64, "--window-length", 256)),
        ("embed", ("{pairs}", "--run", "{run}")),
        ("map", ("{pairs}", "--run", "{run}", "--method", "pca")),
        ("sweep", ("{pairs}", "--run", "{run}", "--effect", "low-pass", "--values", 2)),
        ("interpolate", ("{recordings}/plucks/1.wav", "--run", "{run}", "--steps", 2)),
        ("reconstruct", ("{pairs}", "--run", "{run}")),
        ("invert", ("{spectrograms}",)),
        ("effects", ()),
        ("doctor", ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_json_has_the_documented_keys(
    invoke,
    tmp_path,
    monkeypatch,
    recordings,
    pairs_file,
    spectrograms_file,
    run_folder,
    command,
    arguments,
):
    monkeypatch.chdir(tmp_path)
    paths = {"recordings": recordings, "pairs": pairs_file, "run": run_folder}
    paths["spectrograms"] = spectrograms_file
    filled = [str(argument).format(**paths) for argument in arguments]
    result = invoke(command, *filled, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == documented_keys(command) - PAGE_KEYS


def test_nested_objects_have_names_for_their_values(invoke, tmp_path, pairs_file, run_folder):
    output = ("-o", tmp_path / "r.png", "--audio", tmp_path / "audio")
    result = invoke("reconstruct", pairs_file, "--run", run_folder, *output, "--json", "-q")
    answer = json.loads(result.stdout)
    assert [each["effect"] for each in answer["errors"]] == ["overdrive", "delay"]
    assert set(answer["errors"][0]) == {"effect", "n_segments", "dry_error", "wet_error"}
    assert {each["convergence_db"] is None for each in answer["audio_files"]} == {True, False}
    assert all(Path(each["path"]).exists() for each in answer["audio_files"])
