"""Files from strangers: they run no code, write nowhere else, and say nothing that is obeyed."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import unicodedata
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import torch
from browsers import opened
from datasets import RATE, SEGMENTS, SPLIT, chosen, write_recordings
from numpy.lib.recfunctions import repack_fields

import dafxtool
from dafxtool import storage
from dafxtool.dataset.render import render
from dafxtool.errors import DafxError, FormatError, OutputExistsError
from dafxtool.latents.embed import embed
from dafxtool.latents.invert import invert_file
from dafxtool.latents.latent_map import latent_map
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.storage.layout import TABLES, checksum, label_columns
from dafxtool.storage.tables import make_table
from dafxtool.web.latent_map import write_map_page
from dafxtool.web.report import write_report

MARKUP = "<script>document.title='harmed'<\\script><img src=x onerror=document.title='harmed'>"
ENDING = "</script><script>document.title='harmed'</script>{{ 7 * 7 }}<!-- & \"'"
ESCAPE = "\x1b]0;harmed\x07\x1b[2J\x9b31m"
OUTSIDE = "x/../../../../outside/harmed"


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.place}'",)


@pytest.fixture
def harmed(tmp_path):
    """A file that is there once somebody's code has run."""
    place = tmp_path / "harmed"
    yield place
    assert not place.exists()


def refused(result) -> str:
    """One sentence and no traceback."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr


# --- code in data ---------------------------------------------------------------------------------

SAVED = ("weights", "configuration", "effects", "data", "step", "optimizer")


def evil_checkpoint(path: Path, kind: str, run_folder: Path, place: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = read_checkpoint(run_folder / "checkpoints" / "last.pt")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(place)))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Evil(place)))
            archive.writestr("archive/version", "3\n")
    elif kind == "before tensors":
        torch.save(contents, path, _use_new_zipfile_serialization=False)
        path.write_bytes(pickle.dumps(Evil(place)) + path.read_bytes())
    else:
        torch.save({**contents, kind: Evil(place)}, path)


@pytest.mark.parametrize("kind", ["pickle", "zip", "before tensors", *SAVED])
def test_no_command_runs_code_in_a_checkpoint(
    *, invoke, pairs_file, spectrograms_file, run_folder, harmed, tmp_path, kind
):
    run = tmp_path / "run"
    for name in ("best", "last"):
        evil_checkpoint(run / "checkpoints" / f"{name}.pt", kind, run_folder, harmed)
    file = run / "checkpoints" / "best.pt"
    for command in (
        ("embed", pairs_file, "--run", run, "-o", tmp_path / "l.csv"),
        ("embed", pairs_file, "--run", file, "-o", tmp_path / "l.csv"),
        ("evaluate", run, "--pairs", pairs_file, "-o", tmp_path / "e.png"),
        ("reconstruct", pairs_file, "--run", run, "-o", tmp_path / "r.png"),
        ("report", run, "-o", tmp_path / "r.html"),
        ("train", spectrograms_file, "-o", run, "--resume", "--device", "cpu"),
    ):
        assert "no checkpoint that can be read" in refused(invoke(*command)), command
        assert not harmed.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_objects_are_not_read(invoke, harmed, tmp_path, suffix):
    path = tmp_path / f"evil{suffix}"
    values = np.empty((3, 4), dtype=object)
    values[:] = Evil(harmed)
    if suffix == ".npy":
        np.save(path, values, allow_pickle=True)
    else:
        np.savez(path, magnitude=values)
    with pytest.raises(FormatError, match="cannot be read"):
        invert_file(path, tmp_path / "x.wav")
    assert "cannot be read" in refused(invoke("invert", path, "-o", tmp_path / "x.wav"))


ODD_TYPES = {
    "text": h5py.string_dtype(),
    "rows of any length": h5py.vlen_dtype(np.float32),
    "references": h5py.ref_dtype,
    "opaque": np.dtype("V16"),
    "compound": np.dtype([("a", "f4"), ("b", "f4")]),
}


@pytest.mark.parametrize("name", ["audio", "effect", "settings/delay", "offset", "recordings"])
@pytest.mark.parametrize("kind", ODD_TYPES)
def test_arrays_of_odd_types_are_refused(pairs_file, tmp_path, name, kind):
    path = copied(pairs_file, tmp_path)
    with h5py.File(path, "r+") as file:
        shape = file[name].shape[:1]
        del file[name]
        file.create_dataset(name, shape, dtype=ODD_TYPES[kind])
    with pytest.raises(DafxError):
        storage.Reader(path, storage.PAIRS)


def copied(path: Path, folder: Path) -> Path:
    made = folder / path.name
    made.write_bytes(path.read_bytes())
    return made


@pytest.mark.parametrize("way", ["external link", "soft link", "raw file", "virtual", "link in"])
def test_a_file_that_leads_to_other_files_is_refused(pairs_file, tmp_path, way):
    """Else a stranger's file could take what is on this disk into a report, or write over it."""
    path, secret = copied(pairs_file, tmp_path), tmp_path / "secret"
    with h5py.File(secret, "w") as other:
        other["audio"] = np.zeros((32, 2, 4096), np.float32)
    with h5py.File(path, "r+") as file:
        shape = file["audio"].shape
        name = "effect" if way == "link in" else "audio"
        file.move(name, "kept")
        if way in ("external link", "link in"):
            file[name] = h5py.ExternalLink(str(secret), "audio")
        elif way == "soft link":
            file[name] = h5py.SoftLink("/kept")
        elif way == "raw file":
            size = int(np.prod(shape)) * 4
            file.create_dataset(name, shape, "f4", external=[(str(secret), 0, size)])
        else:
            layout = h5py.VirtualLayout(shape, "f4")
            layout[:] = h5py.VirtualSource(str(secret), "audio", shape)
            file.create_virtual_dataset(name, layout)
    with pytest.raises(FormatError, match="leads to another"):
        storage.Reader(path, storage.PAIRS)
    before = secret.read_bytes()
    os.rename(path, storage.partial_path(path))
    with h5py.File(storage.partial_path(path), "r+") as file:
        saved, n_rows = json.loads(file["configuration"][()]), len(file["done"])
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        effects, effect = reader.labels.effects, reader.labels.effect
    assert len(effect) == n_rows
    columns = {"audio": (shape[1:], np.float32)}
    with pytest.raises(FormatError, match="leads to another"):
        with storage.writing_rows(
            path, storage.PAIRS, columns, effect, saved, effects, [], resume=True
        ) as writer:
            writer.put(0, audio=np.ones((1, *shape[1:]), np.float32))
    assert secret.read_bytes() == before


def in_segments(**values):
    return lambda configuration, tables: configuration["segments"].update(values)


def without(table, column):
    def change(configuration, tables):
        kept = [name for name in tables[table].dtype.names if name != column]
        tables[table] = repack_fields(tables[table][kept])

    return change


def with_column(table, column, values, dtype):
    """The column's type and values become others, in every line."""

    def change(configuration, tables):
        old = tables[table]
        types = [(name, dtype if name == column else old.dtype[name]) for name in old.dtype.names]
        new = np.zeros(len(old), types)
        for name in old.dtype.names:
            new[name] = values if name == column else old[name]
        tables[table] = new

    return change


def with_choices(*choices):
    lines = [{"effect": "delay", "parameter": "time", "choice": c, "position": 0} for c in choices]
    return lambda configuration, tables: tables.update(choices=make_table("choices", lines))


def without_lines(table):
    return lambda configuration, tables: tables.update({table: tables[table][1:]})


FORGERIES = {
    "no segments": lambda configuration, tables: configuration.pop("segments"),
    "segments of text": in_segments(n_samples="many"),
    "another length": in_segments(n_samples=4095),
    "a channel that is none": in_segments(channel="left"),
    "an effect without a name": without("effects", "name"),
    "a name that is a number": with_column("effects", "name", 7, "i4"),
    "another name": with_column("effects", "name", b"relay", "S5"),
    "a plugin that is none": with_column("effects", "is_plugin", 1, "u1"),
    "a minimum of text": with_column("parameters", "minimum", b"x", "S1"),
    "no minimum": without("parameters", "minimum"),
    "an unending maximum": with_column("parameters", "maximum", np.inf, "f8"),
    "a default out of range": with_column("parameters", "default", 1e9, "f8"),
    "an unknown scale": with_column("parameters", "scale", b"x", "S1"),
    "a nameless parameter": with_column("parameters", "name", b"", "S1"),
    "a parameter too few": without_lines("parameters"),
    "an effect too few": without_lines("effects"),
    "a recording too few": without_lines("recordings"),
    "one choice": with_choices("only"),
    "a curve that is none": lambda configuration, tables: tables.update(
        curves=make_table("parts", [{"name": "x", "start": 0, "stop": 1}])
    ),
    "no path": without("recordings", "path"),
    "a folder of numbers": with_column("recordings", "folder", 1.0, "f8"),
    "a length of text": with_column("recordings", "n_samples", b"x", "S1"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_tables_of_a_strangers_file_are_checked_when_it_is_opened(
    pairs_file, tmp_path, forgery
):
    """The checksum is right: whoever writes a file writes that too."""
    path = copied(pairs_file, tmp_path)
    with h5py.File(path, "r+") as file:
        configuration = json.loads(file["configuration"][()])
        tables = {name: file[name][:] for name in TABLES if name in file}
        FORGERIES[forgery](configuration, tables)
        text = json.dumps(configuration).encode()
        for name in (*tables, "configuration"):
            if name in file:
                del file[name]
        for name, table in tables.items():
            file.create_dataset(name, data=table)
        file.create_dataset("configuration", data=np.bytes_(text))
        tables = {name: tables[name] for name in TABLES if name in tables}
        file.attrs["checksum"] = checksum([text, *tables.values()])
    with pytest.raises(FormatError, match="Make it again with 'dafxtool render'") as refusal:
        storage.Hdf5Reader(path, storage.PAIRS)
    assert "checksum" not in str(refusal.value) and "\n" not in str(refusal.value)


# Data of these go from one of our own processes to another, and never through a file.
OWN_PROCESSES = {"dask_cluster.py", "child_process.py", "workers.py"}
UNPICKLING = {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}


def test_nothing_is_unpickled_or_executed_anywhere():
    package = Path(dafxtool.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and path.name not in OWN_PROCESSES:
                names = {alias.name.split(".")[0] for alias in node.names}
                module = getattr(node, "module", None) or ""
                assert not (names | {module.split(".")[0]}) & UNPICKLING, path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called not in ("eval", "exec", "os.system", "os.popen"), (path, called)
            assert given.get("shell", "False") == "False", (path, called)
            if called == "torch.load":
                assert given.get("weights_only") == "True", path
            if called in ("np.load", "numpy.load"):
                assert given.get("allow_pickle") == "False", path


# --- names that lead elsewhere --------------------------------------------------------------------


def renamed(
    pairs: Path, folder: Path, change: Callable[[dict, dict], None], setting_text: str = "x"
) -> Path:
    """The pairs in a file that is in order but for its texts.

    change(effect, recording) is called with each of them
    """
    with storage.Reader(pairs, storage.PAIRS) as reader:
        labels, configuration = reader.labels, reader.configuration
        audio = reader.rows(slice(None))
    effects, recordings = deepcopy(labels.effects), deepcopy(labels.recordings)
    for number in range(max(len(effects), len(recordings))):
        change(effects[number % len(effects)], recordings[number % len(recordings)])
    columns = {"audio": (audio.shape[1:], np.float32)}
    made = (storage.PAIRS, columns, labels.effect, configuration, effects, recordings)
    rows = storage.label_rows(labels, slice(None))
    room = label_columns(effects, storage.PAIRS)["setting_text"][1].itemsize
    rows["setting_text"] = storage.encode_texts([setting_text] * len(audio), room)
    with storage.writing_rows(folder / pairs.name, *made) as writer:
        writer.put(0, audio=audio, **rows)
    return folder / pairs.name


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def changed_run(run_folder: Path, folder: Path, name: str) -> Path:
    """A run whose effects have names of a stranger's choosing."""
    contents = read_checkpoint(run_folder / "checkpoints" / "best.pt")
    for number, effect in enumerate(contents["effects"]):
        effect["name"] = f"{name}{number}"
    path = folder / "stranger.pt"
    torch.save(contents, path)
    return path


def test_names_of_effects_lead_to_no_other_folder(invoke, pairs_file, run_folder, tmp_path):
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


def test_a_table_leads_to_no_other_folder(tmp_path):
    """Whatever a folder holds, only files in it are read, replaced or removed."""
    recordings = write_recordings(tmp_path / "recordings")
    folder, outside = tmp_path / "pairs", tmp_path / "outside"
    outside.mkdir()
    (outside / "000001_dry.wav").write_bytes(b"keep")

    def again(**options):
        render([recordings], folder, chosen("gain"), SEGMENTS, SPLIT, 4, **options)

    again()
    table = (folder / "pairs.csv").read_text()
    (folder / "pairs.csv").write_text(table.replace("000001_dry", "../outside/000001_dry"))
    with pytest.raises(OutputExistsError, match="holds other pairs"):
        again(resume=True)
    (folder / ".dafxtool-export-1").symlink_to(outside)
    again(overwrite=True)
    assert (folder / "pairs.csv").read_text() == table
    assert [path.read_bytes() for path in outside.iterdir()] == [b"keep"]


@pytest.mark.parametrize("text", ['preset = "../../x"', '[split]\nby = "../../x"'])
def test_a_configuration_names_no_folder(invoke, pairs_file, tmp_path, monkeypatch, text):
    inside = tmp_path / "a" / "b" / "here"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "c.toml").write_text(text)
    refused(invoke("train", pairs_file, "--config", "c.toml", "--steps", 1))
    assert names_in(tmp_path) == {"a", "a/b", "a/b/here", "a/b/here/c.toml"}


# --- pages and figures ----------------------------------------------------------------------------


@pytest.fixture
def marked_up(pairs_file, tmp_path):
    """Pairs whose every text is markup, under a name that is markup too."""

    def change(effect, recording):
        recording["path"] = f"/home/{ENDING.replace('/', '')}/{MARKUP}.wav"
        recording["folder"] = ENDING
        effect["summary"] = ENDING
        for parameter in effect["parameters"]:
            parameter["description"] = ENDING
            parameter["unit"] = MARKUP

    return renamed(pairs_file, tmp_path, change, ENDING).rename(tmp_path / f"{MARKUP}.h5")


def read_page(path: Path) -> str:
    """The page, once it has been looked at: no script of theirs, no attribute that is one."""
    text = path.read_text("utf-8")
    assert MARKUP not in text and ENDING not in text
    elements = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", elements)
    return text


@pytest.fixture
def pages(marked_up, run, tmp_path):
    """report.html and map.html of it."""
    made = tmp_path / "pages"
    latents = embed([marked_up], run)
    for effect in latents.labels.effects:
        effect["name"] = ENDING + effect["name"]
    projection = latent_map(latents, "pca")
    shown = {"title": MARKUP, "silent_reason": ENDING}
    write_map_page(made / "map.html", latents, projection, **shown)
    without = ["map", "sweeps", "evaluation"]
    write_report(made / "report.html", run, marked_up, without=without, title=ENDING)
    return made


def test_pages_escape_what_files_say(pages):
    for name in ("report", "map"):
        assert "&lt;script&gt;" in read_page(pages / f"{name}.html")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["report", "map"])
def test_a_browser_runs_nothing_that_a_file_says(pages, name):
    with opened(pages / f"{name}.html") as (page, complaints):
        page.wait_for_timeout(500)
        assert page.evaluate("document.title") != "harmed"
        assert page.evaluate("document.querySelectorAll('img[onerror], [src=x]').length") == 0
        assert complaints == []


def test_a_figure_escapes_what_files_say(invoke, marked_up, run_folder, tmp_path):
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


# --- the one kind of code that is loaded ----------------------------------------------------------


@pytest.mark.plugin
def test_a_file_names_the_plugin_that_made_it(invoke, plugin, tmp_path):
    recording = write_recordings(tmp_path / "recordings") / "plucks" / "0.wav"
    done = invoke(
        *("render", recording, "--plugin", plugin, "-o", tmp_path / "p.h5", "--workers", 1),
        *("--pairs-per-effect", 1, "--sample-rate", RATE, "--segment-seconds", 0.5),
    )
    assert done.exit_code == 0, done.output
    with storage.Reader(tmp_path / "p.h5", storage.PAIRS) as reader:
        named = reader.labels.effects[0]["plugin"]
    assert named["path"] == str(plugin)
    assert re.fullmatch("[0-9a-f]{64}", named["sha256"]) and named["version"]
