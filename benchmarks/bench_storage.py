"""Measure layouts of spectrograms in HDF5: size, writing, and reading as train reads.

    python benchmarks/bench_storage.py                   # the built-in recordings
    python benchmarks/bench_storage.py --recordings FOLDER

Each layout stores the same spectrograms, batch by batch, and is read in random batches of 16 rows
from files in the system's cache. That of `dafxtool.storage` is float16, one row a chunk, not
compressed, past HDF5's chunk cache. The compressed ones are those that every h5py reads: lzf, and
gzip with the shuffle filter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common import Timings, check, emptied, options, print_header, print_table, recordings_in
from common import side_by_side as timed
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms

CONFIG = PRESETS["default"].spectrogram
BATCH = 16
EFFECTS = [Effect("none").to_dict()]  # for labels, which are all zeros
RECORDINGS = [{"path": "none", "folder": "", "split": "train", "track": 0}]
OURS = "dafxtool: one row a chunk, past the cache"


@dataclass(frozen=True)
class Layout:
    """Options of h5py for an array of rows."""

    rows_per_chunk: int | None = 1  # None: not in chunks
    dtype: str = "float16"
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path, values: NDArray[np.float16]) -> None:
        with h5py.File(path, "w") as file:
            n_rows = self.rows_per_chunk
            chunks = None if n_rows is None else (n_rows, *values.shape[1:])
            array = file.create_dataset(
                "spectrogram", values.shape, self.dtype, chunks=chunks, **self.settings
            )
            for start in range(0, len(values), BATCH):
                array[start : start + BATCH] = values[start : start + BATCH]

    def read(self, path: Path, batches: list[NDArray[np.int64]]) -> None:
        with h5py.File(path) as file:
            array = file["spectrogram"]
            for rows in batches:
                np.stack([array[row] for row in np.sort(rows)])


LAYOUTS = {
    "one row a chunk": Layout(),
    "16 rows a chunk": Layout(16),
    "no chunks": Layout(None),
    "float32, one row a chunk": Layout(dtype="float32"),
    "lzf": Layout(settings={"compression": "lzf", "shuffle": True}),
    "gzip, level 1": Layout(
        settings={"compression": "gzip", "compression_opts": 1, "shuffle": True}
    ),
}


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--pairs", type=int, default=64, help="number of pairs [64]")
    chosen = parser.parse_args()
    print_header("storage", "h5py")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        values = some_spectrograms(recordings_in(chosen.recordings, scratch), scratch, chosen.pairs)
        measure(values, scratch / "files", chosen.rounds)


def some_spectrograms(recordings: Path, scratch: Path, n_pairs: int) -> NDArray[np.float16]:
    known = builtin_effects()
    effects: list[Any] = [(known[name], {}) for name in ("overdrive", "delay")]
    render([recordings], scratch / "pairs.h5", effects, pairs_per_effect=n_pairs // 2)
    result = scratch / "spectrograms.h5"
    compute_spectrograms(scratch / "pairs.h5", result, CONFIG, device="cpu")
    with storage.Hdf5Reader(result, storage.SPECTROGRAMS) as reader:
        values: NDArray[np.float16] = reader.rows(slice(None))
    return values


def measure(values: NDArray[np.float16], folder: Path, rounds: int) -> None:
    rng = np.random.default_rng(0)
    batches = [rng.choice(len(values), BATCH, replace=False) for _ in range(8)]
    paths = {name: folder / f"{number}.h5" for number, name in enumerate((OURS, *LAYOUTS))}
    writing: dict[str, Callable[[], object]] = {OURS: partial(write_ours, paths[OURS], values)}
    reading: dict[str, Callable[[], object]] = {OURS: partial(read_ours, paths[OURS], batches)}
    for name, layout in LAYOUTS.items():
        writing[name] = partial(layout.write, paths[name], values)
        reading[name] = partial(layout.read, paths[name], batches)
    emptied(folder)()
    written = timed(writing, rounds, before=None)
    with storage.Hdf5Reader(paths[OURS], storage.SPECTROGRAMS) as reader:
        check(
            np.array_equal(reader.rows(batches[0]), values[batches[0]]),
            "rows differ",
        )
    show(values, paths, written, timed(reading, rounds), len(batches) * BATCH)


def show(
    values: NDArray[np.float16],
    paths: dict[str, Path],
    written: Timings,
    read: Timings,
    n_read: int,
) -> None:
    shape = " x ".join(map(str, values.shape[1:]))
    print(f"{len(values)} spectrograms of {shape}; rows at random, {BATCH} a batch.\n")
    rows = []
    for name, path in paths.items():
        rows.append(
            (
                name,
                f"{path.stat().st_size / len(values) / 1e6:.2f}",
                f"{len(values) / written.median(name):.0f}",
                f"{n_read / read.median(name):.0f}",
                f"{read.speed(name, 'one row a chunk'):.2f}",
            )
        )
    print_table(
        (
            "method",
            "MB per row",
            "rows/s written",
            "rows/s read",
            "read, relative to one row a chunk",
        ),
        rows,
    )


def write_ours(path: Path, values: NDArray[np.float16]) -> None:
    """Write rows as `spectrogram` does, with empty labels."""
    columns = {"spectrogram": (values.shape[1:], values.dtype)}
    described = {"spectrogram": asdict(CONFIG), "mean": 0.0, "std": 1.0, "pairs": {}}
    with storage.open_writer(
        path,
        storage.SPECTROGRAMS,
        columns,
        np.zeros(len(values), np.int64),
        described,
        EFFECTS,
        RECORDINGS,
        overwrite=True,
    ) as writer:
        for start in range(0, len(values), BATCH):
            writer.put(start, spectrogram=values[start : start + BATCH])


def read_ours(path: Path, batches: list[NDArray[np.int64]]) -> None:
    with storage.Hdf5Reader(path, storage.SPECTROGRAMS) as reader:
        for rows in batches:
            reader.rows(rows)


if __name__ == "__main__":
    main()
