"""Files of figures and tables: suffixes, repeatability, threads, exact numbers."""

from __future__ import annotations

import csv
import threading

import matplotlib
import numpy as np
import pytest
from figures import noise, sheet_of

from dafxtool.errors import InputError, OutputExistsError
from dafxtool.plots.curves import draw_curves
from dafxtool.plots.scatter import draw_map
from dafxtool.plots.spectrograms import draw_sheet
from dafxtool.utils.outputs import write_table


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")],
)
def test_the_suffix_selects_the_file_format(tmp_path, suffix, start):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, second):
        draw_sheet(path, sheet_of(noise()))
        assert path.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(OutputExistsError):
        draw_sheet(first, sheet_of(noise()))
    draw_sheet(first, sheet_of(noise()), overwrite=True)


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet", "sheet.png.txt"])
def test_other_suffixes_are_refused(tmp_path, name):
    for draw in (
        lambda path: draw_sheet(path, sheet_of(noise())),
        lambda path: draw_map(path, np.zeros((3, 2)), ["a", "b", "c"]),
        lambda path: draw_curves(path, {"loss": {"train": ([1], [1])}}),
    ):
        with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
            draw(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_drawing_neither_uses_nor_changes_matplotlib_settings(tmp_path):
    with matplotlib.rc_context({"font.size": 21, "axes.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        draw_sheet(tmp_path / "odd.png", sheet_of(noise()))
        assert dict(matplotlib.rcParams) == before
    draw_sheet(tmp_path / "plain.png", sheet_of(noise()))
    assert (tmp_path / "odd.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_threads_draw_the_same_file(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    threads = [
        threading.Thread(target=draw_sheet, args=(path, sheet_of(noise()))) for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_table_reads_back_exactly(tmp_path):
    path = tmp_path / "table.csv"
    doubles = [0.1, 1 / 3, 1e-300, -2.5]
    singles = np.array([0.1, 1 / 3, 1e-30, 7], dtype=np.float32)
    names = ["plain", 'with "quotes"', "a, comma", "Ünïcode\nand a line"]
    write_table(path, {"double": doubles, "single": singles, "name": names, "n": [1, 2, 3, 4]})
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["double", "single", "name", "n"]
    assert [float(row["double"]) for row in rows] == doubles
    assert [np.float32(row["single"]) for row in rows] == singles.tolist()
    assert [row["name"] for row in rows] == names
    assert [row["n"] for row in rows] == ["1", "2", "3", "4"]


def test_columns_of_unequal_length_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match="differ in length"):
        write_table(tmp_path / "t.csv", {"a": [1, 2], "b": [1]})
    with pytest.raises(InputError, match=r"\.csv"):
        write_table(tmp_path / "t.png", {"a": [1]})
    assert list(tmp_path.iterdir()) == []
