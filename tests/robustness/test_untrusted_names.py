"""Untrusted names write no other file, run no script in pages and reach no terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from browsers import opened
from datasets import RATE, SEGMENTS, SPLIT, chosen, write_recordings
from refusals import assert_refused

from dafxtool import storage
from dafxtool.dataset.render import render
from dafxtool.errors import OutputExistsError
from dafxtool.latents.embed import embed
from dafxtool.latents.latent_map import latent_map
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.storage.layout import label_columns
from dafxtool.web.latent_map import write_map_page
from dafxtool.web.report import write_report

MARKUP = "<script>document.title='harmed'<\\script><img src=x onerror=document.title='harmed'>"
ENDING = "</script><script>document.title='harmed'</script>{{ 7 * 7 }}<!-- & \"'"
ESCAPE = "\x1b]0;harmed\x07\x1b[2J\x9b31m"
OUTSIDE = "x/../../../../outside/harmed"


# --- names as paths -------------------------------------------------------------------------------


def renamed(
    pairs: Path, folder: Path, change: Callable[[dict, dict], None], setting_text: str = "x"
) -> Path:
    """Copy a pairs file with other texts.

    change(effect, recording) edits the texts of each effect and recording in place
    """
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        labels, configuration = reader.labels, reader.configuration
        audio = reader.rows(slice(None))
    effects, recordings = deepcopy(labels.effects), deepcopy(labels.recordings)
    for number in range(max(len(effects), len(recordings))):
        change(effects[number % len(effects)], recordings[number % len(recordings)])
    columns = {"audio": (audio.shape[1:], np.float32)}
    contents = (storage.PAIRS, columns, labels.effect, configuration, effects, recordings)
    rows = storage.label_rows(labels, slice(None))
    n_bytes = label_columns(effects, storage.PAIRS)["setting_text"][1].itemsize
    rows["setting_text"] = storage.encode_texts([setting_text] * len(audio), n_bytes)
    with storage.open_writer(folder / pairs.name, *contents) as writer:
        writer.put(0, audio=audio, **rows)
    return folder / pairs.name


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def changed_run(run_folder: Path, folder: Path, name: str) -> Path:
    """Copy a checkpoint with another name for every effect."""
    contents = read_checkpoint(run_folder / "checkpoints" / "best.pt")
    for number, effect in enumerate(contents["effects"]):
        effect["name"] = f"{name}{number}"
    path = folder / "stranger.pt"
    torch.save(contents, path)
    return path


def test_names_of_effects_write_to_no_other_folder(invoke, pairs_file, run_folder, tmp_path):
    inside = tmp_path / "a" / "b" / "c" / "here"
    inside.mkdir(parents=True)
    before = names_in(tmp_path)

    def change(effect, recording):
        if not effect["name"].startswith(OUTSIDE):
            effect["name"] = OUTSIDE + effect["name"]

    pairs = renamed(pairs_file, inside, change)
    done = invoke(
        "reconstruct", pairs, "--run", run_folder, "-o", inside / "r.png", "--audio", inside / "s"
    )
    assert done.exit_code == 0, done.output
    assert len(list((inside / "s").glob("*.wav"))) >= 4
    run = changed_run(run_folder, inside, OUTSIDE)
    swept = invoke("sweep", pairs_file, "--run", run, "-o", inside / "sweep.png", "--values", 2)
    assert swept.exit_code in (0, 1) and not isinstance(swept.exception, ValueError), swept.output
    new = names_in(tmp_path) - before
    assert all(name.startswith("a/b/c/here/") for name in new), new


def test_paths_in_a_table_write_to_no_other_folder(tmp_path):
    """Only files inside the folder are read, replaced or removed."""
    recordings = write_recordings(tmp_path / "recordings")
    folder, outside = tmp_path / "pairs", tmp_path / "outside"
    outside.mkdir()
    (outside / "000001_dry.wav").write_bytes(b"keep")

    def render_again(**options):
        render([recordings], folder, chosen("gain"), SEGMENTS, SPLIT, 4, **options)

    render_again()
    table = (folder / "pairs.csv").read_text()
    (folder / "pairs.csv").write_text(table.replace("000001_dry", "../outside/000001_dry"))
    with pytest.raises(OutputExistsError, match="holds other pairs"):
        render_again(resume=True)
    (folder / ".dafxtool-export-1").symlink_to(outside)
    render_again(overwrite=True)
    assert (folder / "pairs.csv").read_text() == table
    assert [path.read_bytes() for path in outside.iterdir()] == [b"keep"]


@pytest.mark.parametrize("text", ['preset = "../../x"', '[split]\nby = "../../x"'])
def test_a_configuration_writes_to_no_other_folder(invoke, pairs_file, tmp_path, monkeypatch, text):
    inside = tmp_path / "a" / "b" / "here"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "c.toml").write_text(text)
    assert_refused(invoke("train", pairs_file, "--config", "c.toml", "--steps", 1))
    assert names_in(tmp_path) == {"a", "a/b", "a/b/here", "a/b/here/c.toml"}


# --- pages and figures ----------------------------------------------------------------------------


@pytest.fixture
def marked_up(pairs_file, tmp_path):
    """Write pairs whose file name and texts are all HTML markup."""

    def change(effect, recording):
        recording["path"] = f"/home/{ENDING.replace('/', '')}/{MARKUP}.wav"
        recording["folder"] = ENDING
        effect["summary"] = ENDING
        for parameter in effect["parameters"]:
            parameter["description"] = ENDING
            parameter["unit"] = MARKUP

    return renamed(pairs_file, tmp_path, change, ENDING).rename(tmp_path / f"{MARKUP}.h5")


def read_page(path: Path) -> str:
    """Read a page, and assert that it has no markup of the data and no event attributes."""
    text = path.read_text("utf-8")
    assert MARKUP not in text and ENDING not in text
    elements = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", elements)
    return text


@pytest.fixture
def pages(marked_up, run, tmp_path):
    """Write report.html and map.html of the marked-up pairs; return their folder."""
    folder = tmp_path / "pages"
    latents = embed([marked_up], run)
    for effect in latents.labels.effects:
        effect["name"] = ENDING + effect["name"]
    projection = latent_map(latents, "pca")
    shown = {"title": MARKUP, "silent_reason": ENDING}
    write_map_page(folder / "map.html", latents, projection, **shown)
    without = ["map", "sweeps", "evaluation"]
    write_report(folder / "report.html", run, marked_up, without=without, title=ENDING)
    return folder


def test_pages_escape_texts_of_files(pages):
    for name in ("report", "map"):
        assert "&lt;script&gt;" in read_page(pages / f"{name}.html")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["report", "map"])
def test_a_browser_runs_no_script_of_a_file(pages, name):
    with opened(pages / f"{name}.html") as (page, complaints):
        page.wait_for_timeout(500)
        assert page.evaluate("document.title") != "harmed"
        assert page.evaluate("document.querySelectorAll('img[onerror], [src=x]').length") == 0
        assert complaints == []


def test_a_figure_escapes_texts_of_files(invoke, marked_up, run_folder, tmp_path):
    output = tmp_path / "m.svg"
    done = invoke("map", marked_up, "--run", run_folder, "--method", "pca", "-o", output)
    assert done.exit_code == 0, done.output
    done = invoke("reconstruct", marked_up, "--run", run_folder, "-o", tmp_path / "r.svg")
    assert done.exit_code == 0, done.output
    for path in (output, tmp_path / "r.svg"):
        for element in ElementTree.parse(path).iter():
            assert not str(element.tag).endswith(("}script", "}a", "}foreignObject"))
            assert not [name for name in element.attrib if name.startswith("on")]


# --- terminals ------------------------------------------------------------------------------------


def harmless(text: str) -> bool:
    return not [c for c in text if unicodedata.category(c) == "Cc" and c != "\n"]


def test_no_escape_sequence_reaches_a_terminal(invoke, pairs_file, run_folder, tmp_path):
    run = changed_run(run_folder, tmp_path, ESCAPE)

    def change(effect, recording):
        if not effect["name"].startswith(ESCAPE):
            effect["name"] = ESCAPE + effect["name"]
        effect["summary"] = recording["folder"] = ESCAPE
        recording["path"] = f"/home/{ESCAPE}.wav"
        for parameter in effect["parameters"]:
            parameter["unit"] = ESCAPE

    pairs = renamed(pairs_file, tmp_path, change)
    recording = write_recordings(tmp_path / "recordings") / "plucks" / "0.wav"
    for command in (
        ("embed", pairs, "--run", run, "-o", tmp_path / "l.h5"),
        ("map", pairs, "--run", run, "--method", "pca", "-o", tmp_path / "m.png"),
        ("reconstruct", pairs, "--run", run, "-o", tmp_path / "r.png"),
        ("evaluate", run, "--pairs", pairs, "-o", tmp_path / "e.png"),
        ("interpolate", recording, recording, "--run", run, "-o", tmp_path / "i.png"),
        ("sweep", recording, "--run", run, "-o", tmp_path / "s.png"),
        ("spectrogram", pairs, "-o", tmp_path / "s.h5", "--preset", "small"),
    ):
        slow = command[0] in ("evaluate", "sweep")
        for more in ((),) if slow else ((), ("--json", "--overwrite")):
            done = invoke(*command, *more)
            assert done.exit_code == 0 or isinstance(done.exception, SystemExit), done.exception
            assert harmless(done.stdout) and harmless(done.stderr), command


# --- plugins --------------------------------------------------------------------------------------


@pytest.mark.plugin
def test_a_file_records_path_hash_and_version_of_a_plugin(invoke, plugin, tmp_path):
    recording = write_recordings(tmp_path / "recordings") / "plucks" / "0.wav"
    done = invoke(
        *("render", recording, "--plugin", plugin, "-o", tmp_path / "p.h5", "--workers", 1),
        *("--pairs-per-effect", 1, "--sample-rate", RATE, "--segment-seconds", 0.5),
    )
    assert done.exit_code == 0, done.output
    with storage.Hdf5Reader(tmp_path / "p.h5", storage.PAIRS) as reader:
        named = reader.labels.effects[0]["plugin"]
    assert named["path"] == str(plugin)
    assert re.fullmatch("[0-9a-f]{64}", named["sha256"]) and named["version"]
