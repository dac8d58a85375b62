"""Run the code blocks of docs/formats.md on files of each kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from datasets import CONFIGURATION

from dafxtool import storage
from dafxtool.dataset.pair import effect_level_db
from dafxtool.dataset.render import rerender_row
from dafxtool.errors import FormatError, InputError
from dafxtool.latents.embed import embed
from dafxtool.latents.table import write_latents
from dafxtool.models.run import load_run
from dafxtool.spectrogram.compute import read_magnitudes
from dafxtool.storage.layout import BULK, decode_text
from dafxtool.training.train import train

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.M | re.S)
HELPERS, PAIRS, SPECTROGRAMS, LATENTS, WRITING, SETTINGS, LEVEL, LATENTS_CSV = BLOCKS


def execute(*blocks: str) -> dict:
    names: dict = {}
    for block in (HELPERS, *blocks):
        exec(compile(block, str(DOCUMENT), "exec"), names)
    return names


@pytest.fixture
def here(pairs_file, spectrograms_file, run, tmp_path, monkeypatch) -> Path:
    for path in (pairs_file, spectrograms_file):
        shutil.copy(path, tmp_path)
    write_latents(embed([pairs_file], run), tmp_path / "latents.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_pairs_file_is_read_as_documented(here):
    names = execute(PAIRS)
    with storage.Hdf5Reader(here / "pairs.h5", storage.PAIRS) as reader:
        labels, stored = reader.labels, reader.rows(slice(None))
    rows, settings, parameters = names["rows"], names["settings"], names["parameters"]
    assert rows.effect.tolist() == [labels.effect_of(row) for row in range(len(labels))]
    assert rows.split.tolist() == [labels.split_of(row) for row in range(len(labels))]
    assert names["recordings"].path.tolist() == [each["path"] for each in labels.recordings]
    assert names["effects"].name.tolist() == ["overdrive", "delay"]
    assert settings.index.tolist() == np.flatnonzero(rows.effect == "delay").tolist()
    for row, setting in settings.iterrows():
        assert setting.to_dict() == labels.setting_of(row)
    units = parameters[parameters.effect == "delay"].set_index("name").unit
    assert list(units.index) == list(settings.columns) and units["time"] == "ms"
    np.testing.assert_array_equal([names["dry"], names["wet"]], stored[settings.index[0]])


def test_the_level_of_an_effect_is_computed_as_documented(here):
    names = execute(PAIRS, "import numpy as np\n" + LEVEL)
    with storage.Hdf5Reader(here / "pairs.h5", storage.PAIRS) as reader:
        expected = effect_level_db(reader.rows(slice(None)), reader.labels.gains_db)
    np.testing.assert_allclose(names["level"], expected, atol=1e-4)


def test_a_spectrograms_file_is_read_as_documented(here):
    names = execute(SPECTROGRAMS)
    expected = read_magnitudes(here / "spectrograms.h5", np.array([0]))[0][0]
    np.testing.assert_allclose(names["magnitude"], expected, rtol=1e-4, atol=1e-6)


def test_a_latents_file_is_read_as_documented(here, run):
    names = execute(LATENTS)
    latents = embed([here / "pairs.h5"], run)
    assert list(names["effect"]) == latents.effects()
    np.testing.assert_array_equal(names["style"], latents.effect_part)
    assert names["parts"].index.tolist() == ["content", "change", "style"]


def test_a_csv_of_latents_is_read_as_documented(here, run):
    latents = embed([here / "pairs.h5"], run)
    write_latents(latents, here / "latents.csv")
    names = execute(LATENTS_CSV)
    rows = np.flatnonzero([effect == "delay" for effect in latents.effects()])
    np.testing.assert_allclose(
        names["style"].to_numpy(), latents.latent[rows, -latents.n_style :], rtol=1e-6
    )
    expected = [latents.labels.setting_of(row)["time"] for row in rows]
    assert names["time_ms"].tolist() == expected


@pytest.mark.parametrize("blocks", [(WRITING,), (WRITING, SETTINGS)], ids=["without", "settings"])
def test_a_pairs_file_written_by_hand_goes_through_the_pipeline(invoke, here, blocks):
    names = execute(*blocks)
    result = invoke(
        *("spectrogram", "mine.h5", "-o", "s.h5", "--device", "cpu"),
        *("--n-fft", 256, "--hop-length", 64, "--window-length", 256),
    )
    assert result.exit_code == 0, result.output
    with storage.Hdf5Reader(here / "mine.h5", storage.PAIRS) as reader:
        np.testing.assert_array_equal(reader.rows(slice(None)), names["audio"])
        labels = reader.labels
    with storage.Hdf5Reader(here / "s.h5", storage.SPECTROGRAMS) as reader:
        assert reader.labels.effects == labels.effects
        assert reader.labels.recordings == labels.recordings
    assert labels.effect_names == ["fuzz", "tape"]
    assert [labels.split_of(row) for row in range(6)] == ["train"] * 4 + ["validation", "test"]
    assert [each["split"] for each in labels.recordings] == ["train", "validation", "test"]
    assert labels.path_of(5) == "c.wav" and labels.offset.tolist() == [0] * 6
    with_settings = len(blocks) == 2
    assert labels.setting_text[2] == ("fuzz:drive=20,tone=900" if with_settings else "fuzz")
    assert labels.setting_of(2) == ({"drive": 20.0, "tone": 900.0} if with_settings else {})
    assert labels.setting_of(1) == {}
    with pytest.raises(InputError, match="not written by 'dafxtool render'"):
        rerender_row(here / "mine.h5", 0)


def test_a_model_is_trained_on_pairs_written_by_hand(invoke, here):
    execute(WRITING, SETTINGS)
    arguments = ("--n-fft", 256, "--hop-length", 64, "--window-length", 256)
    assert invoke("spectrogram", "mine.h5", "-o", "s.h5", *arguments).exit_code == 0
    train(here / "s.h5", here / "run", CONFIGURATION, "cpu")
    latents = embed([here / "mine.h5"], load_run(here / "run", "cpu"))
    assert latents.effects() == ["fuzz", "tape"] * 3
    write_latents(latents, here / "again.h5")
    assert pd.DataFrame(h5py.File("again.h5")["settings/fuzz"][:]).drive.tolist() == [12, 20, 31]


def renamed(name):
    return lambda file: file.move(name, "something else")


def replaced(name, data, dtype=None):
    def change(file):
        del file[name]
        file.create_dataset(name, data=data, dtype=dtype)

    return change


MISTAKES = {
    "no audio": (renamed("audio"), "the array 'audio' is missing"),
    "no effect": (renamed("effect"), "the array 'effect' is missing"),
    "no split": (renamed("split"), "the array 'split' is missing"),
    "no recording": (renamed("recording"), "the array 'recording' is missing"),
    "no recordings": (renamed("recordings"), "the table 'recordings' is missing"),
    "one channel": (
        replaced("audio", np.zeros((6, 8192), "f4")),
        r"'audio' has shape \(6, 8192\), expected \(n, 2, n_samples\)",
    ),
    "integers": (
        replaced("audio", np.zeros((6, 2, 8192), "i2")),
        "'audio' has type int16, expected float32",
    ),
    "a row too few": (
        replaced("recording", [0, 0, 0, 0, 1]),
        r"'recording' has shape \(5,\), expected \(6,\): one for each row of 'audio'",
    ),
    "effect numbers without names": (
        replaced("effect", [0, 1] * 3),
        "an enum of the effects' names",
    ),
    "other splits": (
        replaced("split", [0, 0, 0, 0, 1, 1], h5py.enum_dtype({"train": 0, "valid": 1})),
        "'split' names 'valid', expected train, validation, test",
    ),
    "a recording too few": (
        replaced("recordings", np.array([("a.wav",)], dtype=[("path", "S5")])),
        "'recording' of row 4 is 1, expected 0 to 0",
    ),
    "recordings without a path": (
        replaced("recordings", np.array([(1,)] * 3, dtype=[("track", "i8")])),
        "the table 'recordings' has no column 'path'",
    ),
    "variable-length text": (
        replaced("effect", ["fuzz", "tape"] * 3),
        "'effect' is variable-length text, expected integers or an enum of effect names",
    ),
    "a variable-length text attribute": (
        lambda file: file.attrs.create("kind", "pairs"),
        r"numpy.bytes_\(...\)",
    ),
    "no sample rate": (
        lambda file: file["audio"].attrs.pop("sample_rate"),
        r"the attribute 'sample_rate' \(Hz\) of the array 'audio' is missing",
    ),
    "no row number": (
        replaced("settings/fuzz", np.zeros(3, [("drive", "f8")])),
        "the first column of 'settings/fuzz' is not the integer 'row'",
    ),
    "a setting too few": (
        replaced("settings/fuzz", np.zeros(1, [("row", "i8"), ("drive", "f8")])),
        "'settings/fuzz' has 1 rows, expected one for each of the 3 rows of 'fuzz'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file_written_by_hand_is_named(here, mistake):
    execute(WRITING, SETTINGS)
    change, message = MISTAKES[mistake]
    with h5py.File("mine.h5", "r+") as file:
        change(file)
    with pytest.raises(FormatError, match=message) as raised:
        storage.Hdf5Reader(here / "mine.h5", storage.PAIRS)
    assert str(raised.value).startswith(str(here / "mine.h5"))


def test_compressed_audio_is_read(here):
    execute(WRITING)
    with h5py.File("mine.h5", "r+") as file:
        audio, rate = np.zeros((6, 2, 8192), "f8"), file["audio"].attrs["sample_rate"]
        audio[:, :, ::64] = 0.5
        del file["audio"]
        file.create_dataset("audio", data=audio, chunks=(2, 1, 8192), compression="gzip")
        file["audio"].attrs["sample_rate"] = rate
    with storage.Hdf5Reader(here / "mine.h5", storage.PAIRS) as reader:
        np.testing.assert_array_equal(reader.rows(np.array([5, 0])), audio[[5, 0]])


# Text


def variable_length(path: Path) -> list[str]:
    """List the arrays, columns and attributes of variable length in a file."""
    names = []

    def is_variable(kind):
        if kind.get_class() == h5py.h5t.COMPOUND:
            return any(is_variable(kind.get_member_type(i)) for i in range(kind.get_nmembers()))
        return kind.get_class() == h5py.h5t.VLEN or (
            kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
        )

    def check(name, item):
        names.extend(
            f"{name}:{each}"
            for each in item.attrs
            if is_variable(h5py.h5a.open(item.id, each.encode()).get_type())
        )
        if isinstance(item, h5py.Dataset) and is_variable(item.id.get_type()):
            names.append(name)

    with h5py.File(path) as file:
        check("/", file)
        file.visititems(check)
    return names


def test_no_file_has_text_of_variable_length(here):
    for name in ("pairs.h5", "spectrograms.h5", "latents.h5"):
        assert variable_length(here / name) == []


@pytest.mark.parametrize("kind", BULK)
def test_a_file_of_version_1_is_refused(tmp_path, kind):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["kind"], file.attrs["format_version"] = kind, 1
        file[BULK[kind]] = np.zeros(3)
    command = {"pairs": "render", "spectrograms": "spectrogram", "latents": "embed"}[kind]
    message = f"{path}: has format version 1, this dafxtool reads version 2. Make it again with "
    with pytest.raises(FormatError) as raised:
        storage.Hdf5Reader(path, storage.PAIRS)
    assert str(raised.value) == message + f"'dafxtool {command}'."
    assert storage.kind_of(path) is None


def test_paths_that_are_not_utf8_are_read_back_unchanged(pairs_file, tmp_path):
    """The longest path has 4096 bytes, some of them invalid UTF-8."""
    names = [b"/\xff\xfe/" + b"x" * 4090 + b"/y", "/ä/é.wav".encode(), b"/plain"]
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        labels, audio = reader.labels, reader.rows(slice(None))
        configuration = reader.configuration
    recordings = [
        {**each, "path": decode_text(names[index % 3])}
        for index, each in enumerate(labels.recordings)
    ]
    columns = {"audio": (audio.shape[1:], np.float32)}
    arguments = (storage.PAIRS, columns, labels.effect, configuration, labels.effects, recordings)
    with storage.open_writer(tmp_path / "named.h5", *arguments) as writer:
        writer.put(0, audio=audio, **storage.label_rows(labels, slice(None)))
    with storage.Hdf5Reader(tmp_path / "named.h5", storage.PAIRS) as reader:
        assert reader.labels.recordings == recordings
    with h5py.File(tmp_path / "named.h5") as file:
        assert file["recordings"]["path"][:3].tolist() == names
