"""Write and read files: order, resume, overwrite, kills and errors."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import HELPERS

from dafxtool import storage
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import (
    ConfigError,
    DiskError,
    FormatError,
    InputError,
    OutputExistsError,
)

N_ROWS = 20
GAIN = Effect("gain", (Parameter("level", "dB", 0.0, 100.0, 1.0),))
EFFECTS = [Effect("clean").to_dict(), GAIN.to_dict()]
CONFIGURATION = {"run": "r", "seed": 0}
RECORDINGS = [{"path": "/x/a.wav", "folder": "x", "split": "train", "track": 0}]
COLUMNS = {"latent": ((3,), np.float32)}
PARTS = [{"name": "content", "start": 0, "stop": 1}, {"name": "change", "start": 1, "stop": 3}]
TABLES = {"parts": storage.make_table("parts", PARTS), "scale": np.ones(3, np.float32)}


def open_writer(path, configuration=None, **options):
    return storage.open_writer(
        path,
        storage.LATENTS,
        COLUMNS,
        np.arange(N_ROWS) % 2,
        configuration or CONFIGURATION,
        EFFECTS,
        RECORDINGS,
        tables=TABLES,
        **options,
    )


def put(writer, start, stop):
    put_rows(writer, np.arange(start, stop), start)


def put_rows(writer, values, rows):
    writer.put(
        rows,
        latent=values[:, None] + np.array([0.0, 0.25, 0.5]),
        effect=values % 2,
        setting=np.where(values % 2 == 1, values / 2, np.nan)[:, None],
        setting_text=storage.encode_texts([f"gain:level={value / 2}" for value in values]),
        recording=np.zeros(len(values), int),
        offset=values * 10,
        split=values % 3,
    )


@pytest.mark.parametrize("by_chunk", [True, False])
def test_rows_are_written_in_any_order(tmp_path, by_chunk):
    """As direct chunks and as selections."""
    path, order = tmp_path / "scattered.h5", np.random.default_rng(1).permutation(N_ROWS)
    with open_writer(path) as writer:
        writer._by_row = {"latent"} if by_chunk else set()
        for rows in np.split(order, [3, 4, 11]):
            put_rows(writer, rows, rows)
    with storage.Hdf5Reader(path, storage.LATENTS) as reader:
        np.testing.assert_array_equal(reader.rows(slice(None))[:, 0], np.arange(N_ROWS))
        assert reader.labels.offset.tolist() == [10 * row for row in range(N_ROWS)]
        assert reader.labels.setting[1::2, 0].tolist() == [row / 2 for row in range(1, N_ROWS, 2)]
        assert np.isnan(reader.labels.setting[::2]).all()  # clean has no parameters
        assert reader.labels.setting_text[7] == "gain:level=3.5"


def test_a_symbolic_link_is_kept_and_leads_to_the_new_file(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "target.h5")
    for _ in range(2):
        with open_writer(tmp_path / "link.h5", overwrite=True) as writer:
            put(writer, 0, N_ROWS)
        assert (tmp_path / "link.h5").is_symlink()
        with storage.Hdf5Reader(tmp_path / "target.h5", storage.LATENTS) as reader:
            assert len(reader) == N_ROWS


def test_overwrite_takes_precedence_over_resume(tmp_path):
    path = tmp_path / "latents.h5"
    with pytest.raises(KeyError), open_writer(path) as writer:
        put(writer, 0, 8)
        raise KeyError
    with open_writer(path, {**CONFIGURATION, "seed": 1}, resume=True, overwrite=True) as writer:
        assert not writer.done().any()
        put(writer, 0, N_ROWS)
    with storage.Hdf5Reader(path, storage.LATENTS) as reader:
        assert reader.configuration["seed"] == 1


@pytest.mark.parametrize("rows, error", [([3, 3], ValueError), ([N_ROWS], IndexError)])
def test_repeated_rows_and_rows_out_of_range_are_refused(tmp_path, rows, error):
    with pytest.raises(error), open_writer(tmp_path / "x.h5") as writer:
        put_rows(writer, np.array(rows), np.array(rows))
    assert not (tmp_path / "x.h5").exists()


def test_columns_of_another_length_are_refused(tmp_path):
    with pytest.raises(ValueError, match="split"), open_writer(tmp_path / "x.h5") as writer:
        writer.put(0, latent=np.zeros((2, 3)), split=np.zeros(3))


def test_written_rows_are_read_back(tmp_path):
    path = tmp_path / "latents.h5"
    with open_writer(path) as writer:
        put(writer, 10, N_ROWS)
        put(writer, 0, 10)
        assert not path.exists()
    with storage.Hdf5Reader(path, storage.LATENTS) as reader:
        assert len(reader) == N_ROWS
        labels = reader.labels
        assert [labels.effect_of(row) for row in (0, 1)] == ["clean", "gain"]
        assert labels.setting_of(3) == {"level": 1.5}
        assert labels.setting_text[3] == "gain:level=1.5"
        assert labels.split_of(4) == "validation"
        assert labels.rows_of(("test",)).tolist() == [2, 5, 8, 11, 14, 17]
        assert labels.path_of(0) == "/x/a.wav"
        expected = [7, 3, 4, 19, 3]
        np.testing.assert_array_equal(reader.rows(np.array(expected))[:, 1], np.add(expected, 0.25))
        np.testing.assert_array_equal(reader.rows(slice(2, 4))[:, 0], [2, 3])
        assert labels.take(np.array([5])).offset.tolist() == [50]
        with pytest.raises(InputError, match="has indices 0 to 19, not 3 to 20"):
            reader.rows(np.array([3, 20]))
    with h5py.File(path) as file:
        assert file["latent"].maxshape[0] is None  # growable
        assert file["settings/gain"].maxshape == (None,)
        assert file.attrs["h5py_version"].decode() == h5py.__version__


def test_an_unfinished_file_keeps_its_temporary_name_and_is_resumed(tmp_path):
    path = tmp_path / "latents.h5"
    with pytest.raises(KeyError, match="stop"), open_writer(path) as writer:
        put(writer, 0, 8)
        raise KeyError("stop")
    assert not path.exists()
    with pytest.raises(OutputExistsError, match="is not finished"), open_writer(path):
        pass
    with pytest.raises(ConfigError, match="started with another seed"):
        with open_writer(path, {**CONFIGURATION, "seed": 1}, resume=True):
            pass
    with open_writer(path, resume=True) as writer:
        assert writer.done().nonzero()[0].tolist() == list(range(8))
        put(writer, 8, N_ROWS)
    assert path.exists()
    assert not storage.partial_path(path).exists()
    with pytest.raises(OutputExistsError, match="exists already"), open_writer(path):
        pass
    before = path.read_bytes()
    with open_writer(path, resume=True) as writer:  # complete: nothing to do
        assert writer.done().all()
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="another seed"):
        with open_writer(path, {**CONFIGURATION, "seed": 1}, resume=True):
            pass


def test_a_second_interrupt_during_the_first_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "latents.h5"

    def interrupted(self):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_writer(path) as writer:
        put(writer, 0, 8)
        monkeypatch.setattr(storage.Hdf5Writer, "done", interrupted)
        raise KeyboardInterrupt
    monkeypatch.undo()
    with open_writer(path, resume=True) as writer:
        assert writer.done().nonzero()[0].tolist() == list(range(8))
        put(writer, 8, N_ROWS)


def test_a_partial_file_that_the_disk_cannot_read_is_not_removed(tmp_path, monkeypatch):
    path = tmp_path / "latents.h5"
    with pytest.raises(KeyError), open_writer(path) as writer:
        put(writer, 0, 8)
        raise KeyError

    def fails(*arguments, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(h5py, "File", fails)
    for more in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(DiskError, match=r"latents\.h5"), open_writer(path, **more):
            pass
    monkeypatch.undo()
    with open_writer(path, resume=True) as writer:
        assert writer.done().sum() == 8
        put(writer, 8, N_ROWS)


def test_the_bytes_do_not_depend_on_the_order_of_writing_nor_on_a_resume(tmp_path):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    with open_writer(one) as writer:
        put(writer, 0, N_ROWS)
    with pytest.raises(KeyError), open_writer(two) as writer:
        put(writer, 5, 9)
        raise KeyError
    with open_writer(two, resume=True) as writer:
        put(writer, 9, N_ROWS)
        put(writer, 0, 5)
    assert one.read_bytes() == two.read_bytes()


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
import numpy as np
from test_storage import open_writer, put, N_ROWS
with open_writer(Path({path!r})) as writer:
    for row in range(N_ROWS):
        put(writer, row, row + 1)
        print(row, flush=True)
        time.sleep(0.005)
    time.sleep(60)
"""


@pytest.mark.parametrize("after", [1, 7, 19])
def test_a_killed_writer_keeps_the_reported_rows(tmp_path, after):
    path = tmp_path / "latents.h5"
    code = KILLED.format(tests=[str(Path(__file__).parent), HELPERS], path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline()) < after:
        pass
    time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with open_writer(path, resume=True) as writer:
        assert writer.done()[: after + 1].all()
        put(writer, 0, N_ROWS)
    with storage.Hdf5Reader(path, storage.LATENTS) as reader:
        np.testing.assert_array_equal(reader.rows(slice(None))[:, 0], np.arange(N_ROWS))


def test_two_writers_of_one_file_refuse_each_other(tmp_path):
    path = tmp_path / "latents.h5"
    code = KILLED.format(tests=[str(Path(__file__).parent), HELPERS], path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OutputExistsError, match="being written by another process"):
            with open_writer(path, resume=True):
                pass
        with pytest.raises(OutputExistsError, match="being written by another process"):
            with open_writer(path, overwrite=True):
                pass
    finally:
        process.kill()
        process.wait()


def test_an_incomplete_file_is_not_renamed(tmp_path):
    path = tmp_path / "latents.h5"
    with pytest.raises(InputError, match="not every row was written"), open_writer(path) as writer:
        put(writer, 0, 5)
    assert not path.exists()


def test_errors_name_the_wrong_kind_of_file(tmp_path):
    path = tmp_path / "latents.h5"
    with open_writer(path) as writer:
        put(writer, 0, N_ROWS)
    with pytest.raises(
        FormatError, match=r"holds latents, not pairs\. Make it with 'dafxtool render'"
    ):
        storage.Hdf5Reader(path, storage.PAIRS)
    text = tmp_path / "text.h5"
    text.write_text("hello")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        storage.Hdf5Reader(text, storage.PAIRS)
    with pytest.raises(InputError, match="does not exist"):
        storage.Hdf5Reader(tmp_path / "absent.h5", storage.PAIRS)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="unknown data"):
        storage.Hdf5Reader(other, storage.SPECTROGRAMS)
    assert storage.kind_of(path) == "latents"
    assert storage.kind_of(text) is None
    with h5py.File(other, "r+") as file:
        file.attrs["kind"], file.attrs["format_version"] = np.bytes_("paires"), 2
    assert storage.kind_of(other) is None
    with pytest.raises(FormatError, match="holds paires, not pairs"):
        storage.Hdf5Reader(other, storage.PAIRS)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(FormatError, match="format version 99"):
        storage.Hdf5Reader(path, storage.LATENTS)


def test_a_file_without_labels_is_a_format_error(tmp_path):
    path = tmp_path / "latents.h5"
    with open_writer(path) as writer:
        put(writer, 0, N_ROWS)
    with h5py.File(path, "r+") as file:
        del file["effect"]
    with pytest.raises(FormatError, match="the array 'effect' is missing"):
        storage.Hdf5Reader(path, storage.LATENTS)


@pytest.mark.parametrize(("n_rows", "most"), [(8000, 4000), (1024, 512), (184, 24), (10, 24)])
def test_some_positions_include_every_effect(n_rows, most):
    """Effects alternate in a file: steps of 4 rows would include one effect of four."""
    rows = storage.some_positions(n_rows, most)
    assert len(rows) == len(set(rows.tolist())) == min(n_rows, most)
    assert (rows[1:] > rows[:-1]).all() and rows[0] >= 0 and rows[-1] < n_rows
    counts = np.bincount(rows % 4, minlength=4)
    assert counts.min() > 0.5 * counts.mean() or (most == 24 and counts.min() > 0)
    assert (rows == storage.some_positions(n_rows, most)).all()


def test_chunked_rows_are_read_in_any_order_and_repeatedly(pairs_file):
    with h5py.File(pairs_file) as file:
        stored = file["audio"][:]
    expected = [7, 3, 4, 11, 3, 7]
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        np.testing.assert_array_equal(reader.rows(np.array(expected)), stored[expected])
        np.testing.assert_array_equal(reader.rows(slice(2, 5)), stored[2:5])
        assert reader.rows(np.array([], int)).shape == (0, *stored.shape[1:])
        with pytest.raises(InputError, match="not 0 to 1000"):
            reader.rows(np.array([0, 1000]))


def test_a_configuration_may_be_longer_than_an_attribute(tmp_path):
    long = {**CONFIGURATION, "notes": ["x" * 1000] * 1000}
    with open_writer(tmp_path / "long.h5", long) as writer:
        put(writer, 0, N_ROWS)
    with storage.Hdf5Reader(tmp_path / "long.h5", storage.LATENTS) as reader:
        assert reader.configuration == long


def test_long_text_is_refused_and_reasons_are_truncated_at_a_character(tmp_path):
    with (
        pytest.raises(ValueError, match="expected at most"),
        open_writer(tmp_path / "x.h5") as writer,
    ):
        writer.put(0, setting_text=storage.encode_texts(["x" * 10_000]))
    (reason,) = storage.encode_texts(["é" * 400], 479).tolist()
    assert reason.decode() == "é" * 239


def test_a_row_of_another_effect_than_planned_is_refused(tmp_path):
    with pytest.raises(ValueError, match="differs"), open_writer(tmp_path / "x.h5") as writer:
        writer.put(0, effect=np.array([1]))


def test_a_partial_file_of_another_version_is_not_resumed(tmp_path):
    path = tmp_path / "latents.h5"
    with pytest.raises(KeyError), open_writer(path) as writer:
        put(writer, 0, 8)
        raise KeyError
    with h5py.File(storage.partial_path(path), "r+") as file:
        file.attrs["format_version"] = 1
    with pytest.raises(ConfigError, match="another version of dafxtool"):
        with open_writer(path, resume=True):
            pass
    with open_writer(path, overwrite=True) as writer:
        put(writer, 0, N_ROWS)
