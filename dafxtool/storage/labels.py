"""Read the labels of rows: effect, setting, recording, offset and split.

Files that other software wrote may lack some of them. Missing settings, offsets, setting texts and
columns of recordings are completed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SPLITS
from dafxtool.effects.effect import Effect
from dafxtool.storage.layout import (
    GAINS,
    MANY_PARAMETERS,
    ROW,
    SETTINGS,
    FileProblem,
    Labels,
    column_name,
    table_name,
)
from dafxtool.storage.tables import read_effects, read_recordings, read_table
from dafxtool.storage.validation import Arrays


def read_labels(
    arrays: Arrays, tables: Mapping[str, NDArray[Any]], sample_rate: int, n_samples: int
) -> Labels:
    """Read the labels of all rows. FileProblem where they do not fit together.

    sample_rate, n_samples  of a row, in Hz and samples
    """
    names, effect = _read_enum(arrays.find("effect"), _effect_names(tables))
    split_names, split = _read_enum(arrays.find("split"), SPLITS)
    n_rows = len(effect)
    row = _read_row_numbers(arrays, n_rows)
    unknown = sorted(set(split_names) - set(SPLITS))
    if unknown:
        raise FileProblem(f"'split' names {unknown[0]!r}, expected {', '.join(SPLITS)}")
    split = np.array([SPLITS.index(name) for name in split_names])[split]
    settings = _read_settings(arrays, names, row, effect, tables)
    effects = read_effects(
        names, tables, {name: (columns, values) for name, (columns, _, values) in settings.items()}
    )
    setting = _setting_matrix(effects, effect, settings)
    offset = np.asarray(arrays.read("offset") if "offset" in arrays else np.zeros(n_rows), np.int64)
    recording = np.asarray(arrays.read("recording"), np.int64)
    if "recordings" not in tables:
        raise FileProblem("the table 'recordings' is missing")
    n_recordings = len(tables["recordings"])
    if n_rows and not 0 <= recording.min() <= recording.max() < n_recordings:
        wrong = np.flatnonzero((recording < 0) | (recording >= n_recordings))[0]
        raise FileProblem(
            f"'recording' of row {wrong} is {recording[wrong]}, expected 0 to {n_recordings - 1}"
        )
    return Labels(
        row=row,
        effect=effect,
        setting=setting,
        setting_text=_setting_texts(arrays, effects, effect, setting),
        recording=recording,
        offset=offset,
        split=split,
        effects=effects,
        recordings=read_recordings(
            tables["recordings"],
            [SPLITS[code] for code in _first_split(recording, split, n_recordings)],
            sample_rate,
            _lengths(recording, offset + n_samples, n_recordings),
        ),
        gains_db=_read_gains(arrays, n_rows),
    )


def _read_gains(arrays: Arrays, n_rows: int) -> NDArray[np.float64]:
    """Read the gains (n, 2) of dry and wet in dB; NaN in a file without them."""
    unknown = np.full(n_rows, np.nan)
    return np.stack([arrays.read(name) if name in arrays else unknown for name in GAINS], axis=1)


def _effect_names(tables: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names in the table of effects; none without a table."""
    lines = read_table("effects", tables["effects"]) if "effects" in tables else []
    return [str(line.get("name", "")) for line in lines]


def _read_enum(array: h5py.Dataset, names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Read names, and the index of the name of each row. `names` are those of plain integers."""
    members = h5py.check_enum_dtype(array.dtype)
    if members is None and array.name != "/effect":
        raise FileProblem(f"{array.name[1:]!r} holds {array.dtype}, expected an enum of names")
    if members is None:
        if not names:
            raise FileProblem(
                f"'effect' holds {array.dtype}, expected an enum of the effects' names"
            )
        members = {name: code for code, name in enumerate(names)}
    ordered = sorted(members, key=lambda name: members[name])
    codes = np.array([members[name] for name in ordered], np.int64)
    values = np.asarray(array[:], np.int64)
    indices = np.searchsorted(codes, values)
    wrong = np.flatnonzero(codes[np.minimum(indices, len(codes) - 1)] != values)
    if len(wrong):
        raise FileProblem(
            f"{array.name[1:]!r} of row {wrong[0]} is {values[wrong[0]]}, expected "
            f"{', '.join(map(str, codes[:5]))}{', ...' if len(codes) > 5 else ''}"
        )
    return ordered, indices


def _read_row_numbers(arrays: Arrays, n_rows: int) -> NDArray[np.int64]:
    """Read the number of each row in the pairs file. Without it, rows are numbered from 0."""
    if ROW not in arrays:
        return np.arange(n_rows)
    row = np.asarray(arrays.read(ROW), np.int64)
    if n_rows and (row[0] < 0 or (np.diff(row) <= 0).any()):
        raise FileProblem(f"{ROW!r} does not increase from 0 or more")
    return row


# effect -> (names of the parameters, indices of the rows (n,), values (n, n_parameters))
Settings = dict[str, tuple[list[str], NDArray[np.int64], NDArray[np.float64]]]


def _read_settings(
    arrays: Arrays,
    names: Sequence[str],
    row: NDArray[np.int64],
    effect: NDArray[np.int64],
    tables: Mapping[str, NDArray[Any]],
) -> Settings:
    """Read the settings tables of the file."""
    described = read_table("parameters", tables["parameters"]) if "parameters" in tables else []
    settings: Settings = {}
    for index, name in enumerate(names):
        path = f"{SETTINGS}/{table_name(name)}"
        if path not in arrays:
            continue
        table = arrays.read(path)
        columns = table.dtype.names or ()
        if not columns or columns[0] != ROW or table.dtype[ROW].kind not in "iu":
            raise FileProblem(f"the first column of {path!r} is not the integer {ROW!r}")
        rows = np.asarray(table[ROW], np.int64)
        expected_rows = row[effect == index]
        if not np.array_equal(np.sort(rows), expected_rows):
            raise FileProblem(
                f"{path!r} has {len(rows)} rows, expected one for each of the "
                f"{len(expected_rows)} rows of {name!r}"
            )
        parameters = [str(line.get("name")) for line in described if line.get("effect") == name]
        is_array = columns[1:] == (MANY_PARAMETERS,) and table.dtype[MANY_PARAMETERS].shape
        values = table[MANY_PARAMETERS] if is_array else [table[each] for each in columns[1:]]
        matrix = np.asarray(values, np.float64)
        expected = [column_name(each) for each in parameters] or list(columns[1:])
        matrix = matrix if is_array else matrix.reshape(len(columns) - 1, len(rows)).T
        if (not is_array and expected != list(columns[1:])) or matrix.shape[1:] != (len(expected),):
            raise FileProblem(
                f"{path!r} has the columns {', '.join(columns[1:])}, expected {', '.join(expected)}"
            )
        settings[name] = (parameters or list(columns[1:]), np.searchsorted(row, rows), matrix)
    return settings


def _setting_matrix(
    effects: Sequence[Mapping[str, Any]], effect: NDArray[np.int64], settings: Settings
) -> NDArray[np.float64]:
    """Arrange the settings as (n, max_parameters), NaN after the last parameter of an effect."""
    widths = [len(described["parameters"]) for described in effects]
    matrix = np.full((len(effect), max(1, *widths, 1)), np.nan)
    for index, described in enumerate(effects):
        name = described["name"]
        if not widths[index] or not (effect == index).any():
            continue
        if name not in settings:
            raise FileProblem(f"the array '{SETTINGS}/{table_name(name)}' is missing")
        _, rows, values = settings[name]
        matrix[rows, : widths[index]] = values
    return matrix


def _setting_texts(
    arrays: Arrays,
    effects: Sequence[Mapping[str, Any]],
    effect: NDArray[np.int64],
    setting: NDArray[np.float64],
) -> list[str]:
    """Read or compose the text of each setting, as `--effect` takes it."""
    if "setting_text" in arrays:
        stored = arrays.read("setting_text").tolist()
        return [text.decode("utf-8", "replace") for text in stored]
    described = [Effect.from_dict(each) for each in effects]
    texts = []
    for index, values in zip(effect.tolist(), setting.tolist(), strict=True):
        names = [parameter.name for parameter in described[index].parameters]
        texts.append(described[index].setting_text(dict(zip(names, values, strict=False))))
    return texts


def _first_split(
    recording: NDArray[np.int64], split: NDArray[np.int64], n_recordings: int
) -> list[int]:
    """Return the first split among the rows of each recording, in the order of SPLITS."""
    first = np.full(n_recordings, len(SPLITS))
    np.minimum.at(first, recording, split)
    return np.where(first == len(SPLITS), 0, first).tolist()


def _lengths(recording: NDArray[np.int64], ends: NDArray[np.int64], n_recordings: int) -> list[int]:
    """Return the end of the last row of each recording, in samples."""
    lengths = np.zeros(n_recordings, np.int64)
    np.maximum.at(lengths, recording, ends)
    return lengths.tolist()
