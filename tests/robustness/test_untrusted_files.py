"""Untrusted files run no code and read or change no other file."""

from __future__ import annotations

import ast
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.lib.recfunctions import repack_fields
from refusals import assert_refused

import dafxtool
from dafxtool import storage
from dafxtool.errors import DafxError, FormatError
from dafxtool.latents.invert import invert_file
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.storage.layout import TABLES, checksum
from dafxtool.storage.tables import make_table


class Evil:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def harmed(tmp_path):
    """Yield a path that Evil objects create, and assert that none did."""
    path = tmp_path / "harmed"
    yield path
    assert not path.exists()


# --- code in data ---------------------------------------------------------------------------------

SAVED = ("weights", "configuration", "effects", "data", "step", "optimizer")


def evil_checkpoint(path: Path, kind: str, run_folder: Path, harmed: Path) -> None:
    """Write a checkpoint that creates a file when it is unpickled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = read_checkpoint(run_folder / "checkpoints" / "last.pt")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(harmed)))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Evil(harmed)))
            archive.writestr("archive/version", "3\n")
    elif kind == "before tensors":
        torch.save(contents, path, _use_new_zipfile_serialization=False)
        path.write_bytes(pickle.dumps(Evil(harmed)) + path.read_bytes())
    else:
        torch.save({**contents, kind: Evil(harmed)}, path)


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
        assert "not a checkpoint" in assert_refused(invoke(*command)), command
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
    assert "cannot be read" in assert_refused(invoke("invert", path, "-o", tmp_path / "x.wav"))


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
        storage.Hdf5Reader(path, storage.PAIRS)


def copied(path: Path, folder: Path) -> Path:
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize("kind", ["external link", "soft link", "raw file", "virtual", "link in"])
def test_a_file_with_links_to_other_files_is_refused(pairs_file, tmp_path, kind):
    """Links could copy other files of the disk into a report, or overwrite them."""
    path, secret = copied(pairs_file, tmp_path), tmp_path / "secret"
    with h5py.File(secret, "w") as other:
        other["audio"] = np.zeros((32, 2, 4096), np.float32)
    with h5py.File(path, "r+") as file:
        shape = file["audio"].shape
        name = "effect" if kind == "link in" else "audio"
        file.move(name, "kept")
        if kind in ("external link", "link in"):
            file[name] = h5py.ExternalLink(str(secret), "audio")
        elif kind == "soft link":
            file[name] = h5py.SoftLink("/kept")
        elif kind == "raw file":
            size = int(np.prod(shape)) * 4
            file.create_dataset(name, shape, "f4", external=[(str(secret), 0, size)])
        else:
            layout = h5py.VirtualLayout(shape, "f4")
            layout[:] = h5py.VirtualSource(str(secret), "audio", shape)
            file.create_virtual_dataset(name, layout)
    with pytest.raises(FormatError, match="leads to another"):
        storage.Hdf5Reader(path, storage.PAIRS)
    before = secret.read_bytes()
    os.rename(path, storage.partial_path(path))
    with h5py.File(storage.partial_path(path), "r+") as file:
        saved, n_rows = json.loads(file["configuration"][()]), len(file["done"])
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        effects, effect = reader.labels.effects, reader.labels.effect
    assert len(effect) == n_rows
    columns = {"audio": (shape[1:], np.float32)}
    with pytest.raises(FormatError, match="leads to another"):
        with storage.open_writer(
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
    """Replace the type and the values of a column, in every line."""

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
    "an unknown channel": in_segments(channel="left"),
    "an effect without a name": without("effects", "name"),
    "a name that is a number": with_column("effects", "name", 7, "i4"),
    "another name": with_column("effects", "name", b"relay", "S5"),
    "a plugin that is not a plugin": with_column("effects", "is_plugin", 1, "u1"),
    "a minimum of text": with_column("parameters", "minimum", b"x", "S1"),
    "no minimum": without("parameters", "minimum"),
    "an infinite maximum": with_column("parameters", "maximum", np.inf, "f8"),
    "a default out of range": with_column("parameters", "default", 1e9, "f8"),
    "an unknown scale": with_column("parameters", "scale", b"x", "S1"),
    "a nameless parameter": with_column("parameters", "name", b"", "S1"),
    "a parameter too few": without_lines("parameters"),
    "an effect too few": without_lines("effects"),
    "a recording too few": without_lines("recordings"),
    "one choice": with_choices("only"),
    "an invalid curve": lambda configuration, tables: tables.update(
        curves=make_table("parts", [{"name": "x", "start": 0, "stop": 1}])
    ),
    "no path": without("recordings", "path"),
    "a folder of numbers": with_column("recordings", "folder", 1.0, "f8"),
    "a length of text": with_column("recordings", "n_samples", b"x", "S1"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_tables_of_a_file_are_checked_when_it_is_opened(pairs_file, tmp_path, forgery):
    """The checksum of the forged file is valid, as an attacker would write it."""
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


# These modules pass objects between processes of one run, never through a file.
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
            named = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called not in ("eval", "exec", "os.system", "os.popen"), (path, called)
            assert named.get("shell", "False") == "False", (path, called)
            if called == "torch.load":
                assert named.get("weights_only") == "True", path
            if called in ("np.load", "numpy.load"):
                assert named.get("allow_pickle") == "False", path
