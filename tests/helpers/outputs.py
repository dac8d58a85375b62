"""Define the outputs of the long commands, and check them at any moment.

An `OutputCase` is one command with one kind of output. It gives the arguments, the progress, the
conditions for a partial output, and the contents of a complete one without times and dates.
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
from forked_commands import ForkServer

from dafxtool import presets, storage
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.models.run import load_run
from dafxtool.training.run_writer import METRICS

N_STEPS = 24
CHECKPOINT_EVERY = 3
REPORTED = re.compile(r"^(?:rendering|analysing|training): (\d+)/\d+ \w+s,", re.MULTILINE)
CLOCKS = ("seconds", "setup_seconds", "checkpoint_version")


@dataclass(frozen=True)
class OutputCase:
    """One command and one output.

    arguments    of the command, without -o and its output
    name         of the output
    can_resume   the command has --resume; else it starts from scratch
    progress     amount of work that is done in an output, 0 where nothing is visible
    check        AssertionError for an invalid partial output, or a partial one with a final name;
                 called with the output, a complete output and the last reported progress
    contents     of a complete output, which must be the same for every run
    """

    key: str
    arguments: tuple[str, ...]
    name: str
    can_resume: bool
    progress: Callable[[Path], int]
    check: Callable[[Path, Path, int], None]
    contents: Callable[[Path], Any]

    def command(self, output: Path, *more: str) -> tuple[str, ...]:
        """Return all arguments of the command."""
        return (*self.arguments, "-o", str(output), *more)

    def resume_command(self, output: Path) -> tuple[str, ...]:
        """Return the arguments that continue an interrupted command, or start it again."""
        return self.command(output, *(["--resume"] if self.can_resume else []))


def reported(stderr: str) -> int:
    """Return the last progress that a command printed; 0 before the first."""
    counts = REPORTED.findall(stderr)
    return int(counts[-1]) if counts else 0


def names_in(folder: Path) -> set[str]:
    """Return the relative paths of everything in a folder, also hidden files."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- HDF5 -----------------------------------------------------------------------------------------


def rows_done(output: Path) -> int:
    """Count the rows that are done in a file or its partial file."""
    for path in (output, storage.partial_path(output)):
        try:
            with h5py.File(path, "r", locking=False) as file:
                return int(np.count_nonzero(file["done"][:]))
        except (OSError, KeyError, RuntimeError):
            continue
    return 0


def check_rows(output: Path, complete: Path, n_reported: int) -> None:
    if output.exists():
        assert output.read_bytes() == complete.read_bytes()
        return
    partial = storage.partial_path(output)
    if n_reported:
        assert rows_done(output) >= n_reported, "reported rows are missing"
    if rows_done(output):
        done = np.flatnonzero(row_arrays(partial)["done"])
        complete_arrays = row_arrays(complete)
        stored = take_rows(row_arrays(partial), done, complete_arrays)
        expected = take_rows(complete_arrays, done, complete_arrays)
        for name in set(expected) - {"done"}:
            np.testing.assert_array_equal(stored[name], expected[name])


# --- a folder of audio ----------------------------------------------------------------------------


def pairs_done(output: Path) -> int:
    """Count the pairs in the table, or in the pairs file that the folder is exported from."""
    table = output / "pairs.csv"
    if table.exists():
        return len([line for line in table.read_bytes().splitlines() if line[:1].isdigit()])
    return rows_done(output / ".pairs.h5")


def check_pairs(output: Path, complete: Path, n_reported: int) -> None:
    assert pairs_done(output) >= n_reported, "reported pairs are missing"
    for path in output.glob("*") if output.exists() else ():
        if not path.name.startswith("."):
            assert path.read_bytes() == (complete / path.name).read_bytes(), path


def folder_contents(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in sorted(names_in(output))}


# --- runs -----------------------------------------------------------------------------------------


def steps_logged(run: Path) -> int:
    path = run / "metrics.csv"
    return max(0, len(path.read_bytes().splitlines()) - 1) if path.exists() else 0


def check_run(run: Path, complete: Path, n_reported: int) -> None:
    if not run.exists():
        assert not n_reported
        return
    for name in ("config.toml", "environment.json"):
        if (run / name).exists() and name == "config.toml":
            assert (run / name).read_bytes() == (complete / name).read_bytes()
    if (run / "metrics.csv").exists():
        with (run / "metrics.csv").open(newline="") as file:
            text = file.read()
        assert text.endswith("\r\n")
        assert {line.count(",") for line in text.splitlines()} == {len(METRICS) - 1}
    checkpoints = {path.stem: read_checkpoint(path) for path in run.glob("checkpoints/[!.]*.pt")}
    last_step = checkpoints["last"]["step"] if "last" in checkpoints else 0
    assert last_step >= (n_reported - 1) // CHECKPOINT_EVERY * CHECKPOINT_EVERY
    for state in checkpoints.values():
        assert load_run(run, "cpu").model is not None
        assert all(bool(weight.isfinite().all()) for weight in state["weights"].values())


def run_contents(run: Path) -> dict[str, Any]:
    """Read everything but times, dates, the command line and the TensorBoard log."""
    names = {name for name in names_in(run) if not name.startswith("tensorboard/")}
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    contents = {
        "names": sorted(names),
        "metrics": rows,
        "config": (run / "config.toml").read_bytes(),
    }
    for name in ("last", "best"):
        state = read_checkpoint(run / "checkpoints" / f"{name}.pt")
        contents[name] = _plain({k: v for k, v in state.items() if k not in CLOCKS})
    return contents


def _plain(value: Any) -> Any:
    """Convert tensors to bytes, so that == compares every bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.cpu().contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


# --- latents --------------------------------------------------------------------------------------


def check_latents(output: Path, complete: Path, n_reported: int) -> None:
    if output.exists():
        assert output.read_bytes() == complete.read_bytes()


# --- all outputs ----------------------------------------------------------------------------------


def make_output_cases(folder: Path, fork_server: ForkServer) -> list[OutputCase]:
    """Make recordings, pairs, spectrograms and a run as inputs, and define all cases."""

    def run_command(*arguments: str) -> None:
        result = fork_server.run(*arguments)
        assert result.status == 0, result

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
    run_command(*render, "--pairs-per-effect", "100", "-o", str(pairs))
    run_command("spectrogram", str(pairs), *analysis, "-o", str(folder / "many.h5"))
    run_command(*render, "--pairs-per-effect", "16", "-o", str(folder / "few.h5"))
    run_command(
        "spectrogram", str(folder / "few.h5"), "--config", str(toml), "-o", str(spectrograms)
    )
    train = ("train", str(spectrograms), "--config", str(toml), "--device", "cpu")
    run_command(*train, "-o", str(run))
    embed = ("embed", str(pairs), "--run", str(run), "--device", "cpu")
    spectrogram = ("spectrogram", str(pairs), *analysis, "--preset", "small")
    render_one = (*render, "--pairs-per-effect")
    as_bytes = Path.read_bytes
    return [
        OutputCase("render", (*render_one, "80"), "p.h5", True, rows_done, check_rows, as_bytes),
        OutputCase(
            "folder", (*render_one, "20"), "p", True, pairs_done, check_pairs, folder_contents
        ),
        OutputCase("spectrogram", spectrogram, "s.h5", True, rows_done, check_rows, as_bytes),
        OutputCase("train", train, "run", True, steps_logged, check_run, run_contents),
        *(
            OutputCase(
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


def cases_of(cases: Sequence[OutputCase], key: str) -> list[OutputCase]:
    """Select the cases of a command: embed writes three kinds of file."""
    return [case for case in cases if case.key.split(".")[0] == key]
