"""Damaged HDF5 files, checkpoints, configurations and tables.

Each is read, or refused with exit status 1 and one sentence that names it. Mutants are read in a
separate process, because libhdf5 may crash.
"""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import SPECTROGRAM
from mutants import ReaderProcess, Tally, mutant

from dafxtool import presets, storage
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.latents.embed import embed
from dafxtool.latents.table import read_latents, write_latents
from dafxtool.models.run import load_run

pytestmark = pytest.mark.robustness

HERE = Path(__file__).stem
HDF5_HEADER = 8192  # bytes that hold most of the structure


def read_hdf5(path: str) -> None:
    """Read everything that commands read from a file of its kind."""
    file = Path(path)
    kind = storage.kind_of(file) or storage.PAIRS
    if kind == storage.LATENTS:
        read_latents(file)
    with storage.Hdf5Reader(file, kind) as reader:
        reader.rows(slice(None))
        reader.rows(np.array([len(reader) - 1, 0]))
        labels = reader.labels
        for row in range(len(reader)):
            labels.path_of(row), labels.folder_of(row), labels.split_of(row)
            labels.effect_of(row), labels.setting_of(row)
        if kind == storage.SPECTROGRAMS:
            reader.column("mean"), reader.column("std")
            type(SPECTROGRAM)(**reader.configuration["spectrogram"])


def read_run(path: str) -> None:
    load_run(Path(path), "cpu")


def read_configuration(path: str) -> None:
    presets.configure(file=Path(path))


def read_metrics(path: str) -> None:
    from dafxtool.training.run_writer import read_metrics

    list(read_metrics(Path(path)))


def read_array(path: str) -> None:
    from dafxtool.latents.invert import _read

    list(_read(Path(path), [0], ["wet"], None, {}, {"sample_rate": 24_000}))


@pytest.fixture(scope="session")
def files(pairs_file, spectrograms_file, run_folder, run, tmp_path_factory) -> dict[str, Path]:
    """Make an undamaged file of each kind."""
    folder = tmp_path_factory.mktemp("undamaged")
    write_latents(embed([pairs_file], run), folder / "latents.h5")
    np.save(folder / "magnitude.npy", np.ones((129, 8), np.float32))
    np.savez(folder / "magnitude.npz", magnitude=np.ones((129, 8), np.float32), n_fft=256)
    return {
        "pairs": pairs_file,
        "spectrograms": spectrograms_file,
        "latents": folder / "latents.h5",
        "checkpoint": run_folder / "checkpoints" / "best.pt",
        "configuration": run_folder / "config.toml",
        "metrics": run_folder / "metrics.csv",
        "npy": folder / "magnitude.npy",
        "npz": folder / "magnitude.npz",
    }


READERS = {
    "pairs": "read_hdf5",
    "spectrograms": "read_hdf5",
    "latents": "read_hdf5",
    "checkpoint": "read_run",
    "configuration": "read_configuration",
    "metrics": "read_metrics",
    "npy": "read_array",
    "npz": "read_array",
}


def is_sentence(text: str, path: Path) -> bool:
    """Check for one line that names the file and ends as a sentence or question."""
    return str(path) in text and text[-1] in ".?" and "\n" not in text and len(text) < 700


@pytest.mark.parametrize("kind", READERS)
def test_mutants_are_read_or_refused(tmp_path, files, amount, figure, kind):
    original = files[kind].read_bytes()
    others = [each.read_bytes() for each in files.values()]
    header = HDF5_HEADER if files[kind].suffix == ".h5" else 1024
    path = tmp_path / f"mutant{files[kind].suffix}"
    tally = Tally()
    with ReaderProcess(f"{HERE}:{READERS[kind]}") as process:
        for number in range(amount(20, 2000 if path.suffix == ".h5" else 500)):
            data = mutant([original], others, [3, list(READERS).index(kind), number], header)
            path.write_bytes(data)
            outcome = process.read(str(path))
            n_failures = len(tally.failures)
            tally.add(f"mutant {number}", outcome)
            if outcome.status == "refused" and not is_sentence(outcome.detail, path):
                tally.failures.append(f"mutant {number}: {outcome.detail}")
            if len(tally.failures) > n_failures:
                path.with_name(f"wrong-{number}{path.suffix}").write_bytes(data)
    figure(f"mutants of {kind}", tally.summary())
    assert not tally.failures, "\n".join(tally.failures)
    if kind != "metrics":  # a table whose rows are damaged is read without them
        assert any(outcome.status == "refused" for outcome in tally.outcomes)


@pytest.mark.parametrize("kind", READERS)
def test_random_bytes_are_refused(tmp_path, files, amount, figure, kind):
    """Every other file starts with the first bytes of an undamaged one."""
    original = files[kind].read_bytes()
    path = tmp_path / f"random{files[kind].suffix}"
    tally = Tally()
    with ReaderProcess(f"{HERE}:{READERS[kind]}") as process:
        for number in range(amount(10, 200)):
            rng = np.random.default_rng([4, number])
            start = original[: int(rng.integers(64))] if number % 2 else b""
            path.write_bytes(start + rng.bytes(2 ** int(rng.integers(0, 16))))
            outcome = process.read(str(path))
            tally.add(f"random bytes {number}", outcome)
            if outcome.status == "refused":
                assert is_sentence(outcome.detail, path), outcome.detail
    figure(f"random bytes as {kind}", tally.summary())
    assert not tally.failures, "\n".join(tally.failures)
    if kind != "metrics":
        assert {outcome.status for outcome in tally.outcomes} == {"refused"}


# Weak points of HDF5


@pytest.fixture
def latents(files, tmp_path) -> Path:
    return Path(shutil.copy(files["latents"], tmp_path / "latents.h5"))


def test_a_changed_letter_in_a_name_is_refused(latents):
    """Neither libhdf5 nor JSON detects it: the checksum does."""
    data = latents.read_bytes()
    offsets = [match.start() for match in re.finditer(b"delay", data)]
    assert len(offsets) > 3
    refused = 0
    for offset in offsets:
        latents.write_bytes(data[:offset] + b"r" + data[offset + 1 :])
        try:
            read_latents(latents)
        except FormatError as error:
            refused += 1
            assert is_sentence(str(error), latents), error
    # Only the setting texts are not in the checksum.
    assert refused >= len(offsets) - len(setting_texts(latents, data, b"delay:"))


def setting_texts(path, data, start):
    """Read the setting texts that begin with start."""
    path.write_bytes(data)
    with h5py.File(path) as file:
        return [text for text in file["setting_text"][:] if text.startswith(start)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("effect", 2, "'effect' of row 1 is 2, expected 0, 1"),
        ("effect", -1, "'effect' of row 1 is -1, expected 0, 1"),
        ("recording", 99, "'recording' of row 1 is 99, expected 0 to 7"),
        ("split", 3, "'split' of row 1 is 3, expected 0, 1, 2"),
    ],
)
def test_labels_out_of_range_are_refused(latents, name, value, message):
    with h5py.File(latents, "r+") as file:
        file[name][1] = value
    with pytest.raises(FormatError, match=message):
        storage.Hdf5Reader(latents, storage.LATENTS)


def test_a_setting_of_another_row_is_refused(latents):
    with h5py.File(latents, "r+") as file:
        table = file["settings/delay"][:]
        table["row"][0] = 0  # a row of overdrive
        file["settings/delay"][:] = table
    with pytest.raises(FormatError, match="'settings/delay' has 16 rows, expected one for each"):
        storage.Hdf5Reader(latents, storage.LATENTS)


def test_unsupported_types_and_shapes_are_refused(latents):
    with h5py.File(latents, "r+") as file:
        n_rows = len(file["effect"])
        del file["offset"]
        file.create_dataset("offset", (n_rows, 2**40), "i8", chunks=(1, 1024))
    with pytest.raises(FormatError, match=r"'offset' of shape .* more than the file has"):
        storage.Hdf5Reader(latents, storage.LATENTS)
    for dtype, message in (
        (h5py.vlen_dtype("i8"), "'offset' has an unsupported type"),
        (h5py.string_dtype(), "'offset' is variable-length text"),
        ("f8", "'offset' has type float64, expected integers"),
    ):
        with h5py.File(latents, "r+") as file:
            del file["offset"]
            file.create_dataset("offset", (n_rows,), dtype)
        with pytest.raises(FormatError, match=message):
            storage.Hdf5Reader(latents, storage.LATENTS)
    with h5py.File(latents, "r+") as file:
        del file["offset"]
        file.create_dataset("offset", (n_rows - 1,), "i8")
    message = rf"'offset' has shape \({n_rows - 1},\), expected \({n_rows},\)"
    with pytest.raises(FormatError, match=message):
        storage.Hdf5Reader(latents, storage.LATENTS)


def test_latents_that_are_not_finite_are_refused(latents):
    with h5py.File(latents, "r+") as file:
        file["latent"][3, 2] = np.nan
    with pytest.raises(FormatError, match="NaN or infinite"):
        read_latents(latents)


# On the command line


def truncated(path: Path, data: bytes) -> None:
    path.write_bytes(data[: len(data) // 2])


def zeroed(path: Path, data: bytes) -> None:
    path.write_bytes(data[:1000] + bytes(3000) + data[4000:])


def text(path: Path, data: bytes) -> None:
    path.write_text("To be, or not to be\n" * 100)


def empty(path: Path, data: bytes) -> None:
    path.write_bytes(b"")


COMMANDS = {
    "pairs": (
        ("spectrogram", "{file}", "-o", "{out}/s.h5"),
        ("train", "{file}", "-o", "{out}/run", "--steps", "1", "--device", "cpu"),
        ("embed", "{file}", "--run", "{run}", "-o", "{out}/l.h5"),
        ("sweep", "{file}", "--run", "{run}", "--effect", "delay", "-o", "{out}/s.png"),
        ("evaluate", "{run}", "--pairs", "{file}"),
    ),
    "spectrograms": (
        ("train", "{file}", "-o", "{out}/run", "--steps", "1", "--device", "cpu"),
        ("invert", "{file}", "-o", "{out}/i.wav"),
    ),
    "latents": (
        ("map", "{file}", "--run", "{run}", "-o", "{out}/m.png"),
        ("invert", "{file}", "--run", "{run}", "-o", "{out}/i.wav"),
    ),
    "checkpoint": (("embed", "{pairs}", "--run", "{file}", "-o", "{out}/l.h5"),),
    "configuration": (("render", "{pairs}", "--config", "{file}", "-o", "{out}/p.h5"),),
    "npz": (("invert", "{file}", "-o", "{out}/i.wav"),),
}


@pytest.mark.parametrize(
    ("kind", "arguments", "damage"),
    [
        (kind, arguments, damage)
        for kind, commands in COMMANDS.items()
        for arguments in commands
        for damage in (truncated, zeroed, text, empty)
        # a truncated or empty configuration is a valid one with fewer keys
        if kind != "configuration" or damage in (zeroed, text)
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else getattr(value, "__name__", value),
)
def test_a_damaged_file_gives_one_error_line(
    *, invoke, files, run_folder, tmp_path, monkeypatch, kind, arguments, damage
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"dam\naged{files[kind].suffix}"
    damage(path, files[kind].read_bytes())
    paths = {"file": path, "out": tmp_path, "run": run_folder, "pairs": files["pairs"]}
    result = invoke(*(argument.format(**paths) for argument in arguments), "-q")
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: ") and lines[0].endswith(".")
    assert "dam\\naged" in lines[0]
    assert not list(tmp_path.glob("[slmipr].*"))


# Tables and configurations


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\0",
        b"preset = 'small'\n\0",
        b"[[[[[[",
        b"a = " + b"[" * 5000 + b"]" * 5000,
        b"seed = " + b"9" * 10_000,
        b"[training]\nseed = 99999999999999999999\n",
        b"[training]\nlearning_rate = nan\n",
        b"[training]\nlearning_rate = 1e400\n",
        b"[segments]\nn_samples = true\n",
        b"[segments]\nn_samples = -5\n",
        b"[split]\ntest_match = [1, 2]\n",
        b"[model]\nchannels = ['a']\n",
        b"[model]\nchannels = [1.5]\n",
        b"pairs_per_effect = -1\n",
        b"preset = ['small']\n",
        b"[training]\nbatch_size = 2026-01-01\n",
    ],
)
def test_impossible_configurations_are_refused(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises((ConfigError, InputError)) as raised:
        presets.configure(file=path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0\n", b"\0" * 50, b'"' + b"x" * 200_000, b"step\n1\n", b""]
)
def test_a_damaged_table_of_metrics_is_refused_or_has_fewer_rows(tmp_path, content):
    from dafxtool.training.run_writer import METRICS, read_metrics

    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    try:
        assert list(read_metrics(path)) == []
    except FormatError as error:
        assert is_sentence(str(error), path)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([METRICS, [1] * len(METRICS), [2, 3]])
    assert [row["step"] for row in read_metrics(path)] == ["1"]


def test_a_checkpoint_of_another_shape_is_refused(files, tmp_path):
    import torch

    contents = torch.load(files["checkpoint"], weights_only=True)
    path = tmp_path / "other.pt"
    with ReaderProcess(f"{HERE}:read_run") as process:
        for name, value in (
            ("shape", [2, 2**20, 2**20]),
            ("shape", [2, -1, 5]),
            ("configuration", {}),
            ("effects", 5),
            ("mean", "loud"),
            ("weights", {}),
        ):
            torch.save(contents | {name: value}, path)
            outcome = process.read(str(path))
            assert outcome.status == "refused", (name, value, outcome)
            assert is_sentence(outcome.detail, path)
