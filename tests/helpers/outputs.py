"""What the four long commands write, and what may be said of it at any moment.

A `Writing` is one command with one kind of output: how it is called, how far it is, what must hold
of whatever it leaves, and what its output is when it is complete, but for clocks and dates.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from arrays import row_arrays, take_rows
from datasets import RATE, with_training, write_recordings
from forked_commands import Nursery

from dafxtool import presets, storage
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.models.run import load_run
from dafxtool.training.run_writer import METRICS

N_STEPS = 24
CHECKPOINT_EVERY = 3
REPORTED = re.compile(r"^(?:rendering|analysing|training): (\d+)/\d+ \w+s,", re.MULTILINE)
CLOCKS = ("seconds", "checkpoint_version")


@dataclass(frozen=True)
class Writing:
    """One command and one output.

    arguments  of the command, without -o and its output
    name       of the output
    resumes    it knows --resume; else it is begun again
    reached    of the output: how much of the work is done there, 0 where nothing can be seen
    check      AssertionError where anything half bears a final name: (output, complete one, n)
               with n what was reported as done last
    contents   of a complete output: what has to be the same each time
    """

    key: str
    arguments: tuple[str, ...]
    name: str
    resumes: bool
    reached: Callable[[Path], int]
    check: Callable[[Path, Path, int], None]
    contents: Callable[[Path], Any]

    def words(self, output: Path, *more: str) -> tuple[str, ...]:
        return (*self.arguments, "-o", str(output), *more)

    def again(self, output: Path) -> tuple[str, ...]:
        """The way to take it up where it was."""
        return self.words(output, *(["--resume"] if self.resumes else []))


def reported(stderr: str) -> int:
    """The last count that the command told of; 0 before the first."""
    found = REPORTED.findall(stderr)
    return int(found[-1]) if found else 0


def names_in(folder: Path) -> set[str]:
    """Everything in a folder, hidden or not."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- HDF5 -----------------------------------------------------------------------------------------


def rows_done(output: Path) -> int:
    """Rows that are done in the file or in the one that is being written."""
    for path in (output, storage.partial_path(output)):
        try:
            with h5py.File(path, "r", locking=False) as file:
                return int(np.count_nonzero(file["done"][:]))
        except (OSError, KeyError, RuntimeError):
            continue
    return 0


def check_rows(output: Path, whole: Path, n_reported: int) -> None:
    if output.exists():
        assert output.read_bytes() == whole.read_bytes()
        return
    partial = storage.partial_path(output)
    if n_reported:
        assert rows_done(output) >= n_reported, "what was told is not there"
    if rows_done(output):
        done = np.flatnonzero(row_arrays(partial)["done"])
        complete = row_arrays(whole)
        stored = take_rows(row_arrays(partial), done, complete)
        wanted = take_rows(complete, done, complete)
        for name in set(wanted) - {"done"}:
            np.testing.assert_array_equal(stored[name], wanted[name])


# --- a folder of audio ----------------------------------------------------------------------------


def pairs_done(output: Path) -> int:
    """Pairs in the table, or in the pairs file that the folder will be exported from."""
    table = output / "pairs.csv"
    if table.exists():
        return len([line for line in table.read_bytes().splitlines() if line[:1].isdigit()])
    return rows_done(output / ".pairs.h5")


def check_pairs(output: Path, whole: Path, n_reported: int) -> None:
    assert pairs_done(output) >= n_reported, "what was told is not there"
    for path in output.glob("*") if output.exists() else ():
        if not path.name.startswith("."):
            assert path.read_bytes() == (whole / path.name).read_bytes(), path


def tree(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in sorted(names_in(output))}


# --- runs -----------------------------------------------------------------------------------------


def steps_logged(run: Path) -> int:
    path = run / "metrics.csv"
    return max(0, len(path.read_bytes().splitlines()) - 1) if path.exists() else 0


def check_run(run: Path, whole: Path, n_reported: int) -> None:
    if not run.exists():
        assert not n_reported
        return
    for name in ("config.toml", "environment.json"):
        if (run / name).exists() and name == "config.toml":
            assert (run / name).read_bytes() == (whole / name).read_bytes()
    if (run / "metrics.csv").exists():
        with (run / "metrics.csv").open(newline="") as file:
            text = file.read()
        assert text.endswith("\r\n")
        assert {line.count(",") for line in text.splitlines()} == {len(METRICS) - 1}
    read = {path.stem: read_checkpoint(path) for path in run.glob("checkpoints/[!.]*.pt")}
    reached = read["last"]["step"] if "last" in read else 0
    assert reached >= (n_reported - 1) // CHECKPOINT_EVERY * CHECKPOINT_EVERY
    for state in read.values():
        assert load_run(run, "cpu").model is not None
        assert all(bool(weight.isfinite().all()) for weight in state["weights"].values())


def run_contents(run: Path) -> dict[str, Any]:
    """Everything but clocks, dates, the words of the command and TensorBoard's log."""
    names = {name for name in names_in(run) if not name.startswith("tensorboard/")}
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    found = {"names": sorted(names), "metrics": rows, "config": (run / "config.toml").read_bytes()}
    for name in ("last", "best"):
        state = read_checkpoint(run / "checkpoints" / f"{name}.pt")
        found[name] = _plain({k: v for k, v in state.items() if k not in CLOCKS})
    return found


def _plain(value: Any) -> Any:
    """Tensors as bytes, so that == is to the bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.cpu().contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


# --- latents --------------------------------------------------------------------------------------


def check_latents(output: Path, whole: Path, n_reported: int) -> None:
    if output.exists():
        assert output.read_bytes() == whole.read_bytes()


# --- all of them ----------------------------------------------------------------------------------


def begin(folder: Path, nursery: Nursery) -> list[Writing]:
    """Recordings, pairs, spectrograms and a run to work on, and the commands that do."""

    def words(*arguments: str) -> None:
        ended = nursery.run(*arguments)
        assert ended.status == 0, ended

    recordings = write_recordings(folder / "recordings")
    sizes = ("--preset", "small", "--sample-rate", str(RATE), "--segment-seconds", "0.512")
    render = ("render", str(recordings), "--effect", "overdrive", "--effect", "delay")
    render = (*render, *sizes, "--validation", "0.25", "--test", "0.25", "--workers", "1")
    analysis = ("--n-fft", "256", "--hop-length", "32", "--window-length", "256")
    pairs, spectrograms, run = (folder / name for name in ("pairs.h5", "spectrograms.h5", "run"))
    small = with_training(
        max_steps=N_STEPS,
        checkpoint_every=CHECKPOINT_EVERY,
        log_every=2,
        validate_every=12,
        seed=1,
    )
    small = replace(small, model=replace(small.model, n_components=6))
    toml = folder / "small.toml"
    toml.write_text(presets.to_toml(small))
    words(*render, "--pairs-per-effect", "100", "-o", str(pairs))
    words("spectrogram", str(pairs), *analysis, "-o", str(folder / "many.h5"))
    words(*render, "--pairs-per-effect", "16", "-o", str(folder / "few.h5"))
    words("spectrogram", str(folder / "few.h5"), "--config", str(toml), "-o", str(spectrograms))
    train = ("train", str(spectrograms), "--config", str(toml), "--device", "cpu")
    words(*train, "-o", str(run))
    embed = ("embed", str(pairs), "--run", str(run), "--device", "cpu")
    spectrogram = ("spectrogram", str(pairs), *analysis, "--preset", "small")
    render_one = (*render, "--pairs-per-effect")
    as_bytes = Path.read_bytes
    return [
        Writing("render", (*render_one, "80"), "p.h5", True, rows_done, check_rows, as_bytes),
        Writing("folder", (*render_one, "20"), "p", True, pairs_done, check_pairs, tree),
        Writing("spectrogram", spectrogram, "s.h5", True, rows_done, check_rows, as_bytes),
        Writing("train", train, "run", True, steps_logged, check_run, run_contents),
        *(
            Writing(
                f"embed{suffix}",
                embed,
                f"l{suffix}",
                False,
                lambda output: int(output.exists()),
                check_latents,
                as_bytes,
            )
            for suffix in (".h5", ".csv", ".npz")
        ),
    ]


def chosen(writings: Sequence[Writing], key: str) -> list[Writing]:
    """Those of a command: embed writes three kinds of file."""
    return [writing for writing in writings if writing.key.split(".")[0] == key]
