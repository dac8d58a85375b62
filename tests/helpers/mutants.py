"""Damaged files from whole ones, and a process of its own that reads them.

A C library that crashes takes its process with it, and one that hangs keeps it: so mutants are read
by a child, one after another, and what goes wrong is put down to the very one that was being read.

    python mutants.py MODULE:FUNCTION      reads the paths that come on standard input, a JSON list
                                           a line, and answers each with a line of JSON
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LARGEST_GROWTH = 1 << 30  # bytes of memory that reading one file may take
LONGEST_SECONDS = 120.0  # a hang, on a machine that has much else to do
POLL_SECONDS = 0.05
EXTREMES = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1_000_000)
LARGE = tuple((1 << bits) - less for bits in (24, 31, 32, 48, 63, 64) for less in (1, 0))

Generator = np.random.Generator


# Mutations


def flip_bits(data: bytes, rng: Generator, header: int) -> bytes:
    made = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), header)
    for _ in range(2 ** int(rng.integers(0, 7))):
        made[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    return bytes(made)


def cut_off(data: bytes, rng: Generator, header: int) -> bytes:
    reach = len(data) if rng.random() < 0.5 else min(len(data), header)
    return data[: int(rng.integers(reach))]


def insert_block(data: bytes, rng: Generator, header: int) -> bytes:
    at, size = int(rng.integers(len(data) + 1)), 2 ** int(rng.integers(0, 13))
    block = rng.bytes(size) if rng.random() < 0.5 else bytes([int(rng.integers(256))]) * size
    return data[:at] + block + data[at:]


def delete_block(data: bytes, rng: Generator, header: int) -> bytes:
    at, size = int(rng.integers(len(data))), 2 ** int(rng.integers(0, 13))
    return data[:at] + data[at + size :]


def repeat_block(data: bytes, rng: Generator, header: int) -> bytes:
    at, size = int(rng.integers(len(data))), 2 ** int(rng.integers(0, 13))
    return data[: at + size] + data[at:]


def overwrite_block(data: bytes, rng: Generator, header: int) -> bytes:
    at, size = int(rng.integers(len(data))), 2 ** int(rng.integers(0, 10))
    block = rng.bytes(size) if rng.random() < 0.5 else bytes(size)
    return (data[:at] + block + data[at + size :])[: len(data)]


def change_number(data: bytes, rng: Generator, header: int) -> bytes:
    """A number in the header becomes another, of any size and either order of bytes."""
    size = int(rng.choice([1, 2, 4, 8]))
    reach = min(len(data), header if rng.random() < 0.8 else len(data))
    at = int(rng.integers(max(1, reach - size)))
    value = int(rng.choice(EXTREMES)) if rng.random() < 0.5 else LARGE[rng.integers(len(LARGE))]
    order = "little" if rng.random() < 0.5 else "big"
    number = (value % (1 << 8 * size)).to_bytes(size, order)
    return data[:at] + number + data[at + size :]


MUTATIONS = (
    *(flip_bits, cut_off, insert_block, delete_block, repeat_block, overwrite_block),
    *(change_number, change_number, change_number),
)


def mutant(
    wholes: Sequence[bytes], others: Sequence[bytes], seed: Sequence[int], header: int = 256
) -> bytes:
    """A damaged one of `wholes`; one in ten is joined to, or spliced with, any of `others`.

    header  bytes at the beginning where the numbers are that decide most
    """
    rng = np.random.default_rng(seed)
    data = wholes[rng.integers(len(wholes))]
    kind = rng.random()
    if kind < 0.1:
        other = others[rng.integers(len(others))]
        at = len(data) if kind < 0.04 else int(rng.integers(len(data)))
        data = data[:at] + other[at if kind > 0.07 else 0 :]
        if rng.random() < 0.5:
            return data
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        if data:
            data = MUTATIONS[rng.integers(len(MUTATIONS))](data, rng, header)
    return data


# The child


def answer_all(reader: Callable[..., object]) -> None:
    """Read whatever is named on standard input until it ends."""
    from dafxtool.errors import DafxError

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        _forget_peak()
        before, began = _memory("VmRSS"), time.monotonic()
        try:
            outcome, told = "read", str(reader(*json.loads(line)) or "")
        except DafxError as error:
            outcome, told = "refused", str(error)
        except BaseException:
            outcome, told = "escaped", traceback.format_exc()
        seconds = time.monotonic() - began
        grown = _memory("VmHWM") - before
        print(json.dumps([outcome, told, seconds, grown]), file=answers, flush=True)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str, process: int | str = "self") -> int:
    """VmRSS, the memory of a process now, or VmHWM, the most that it had, in bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if process == "self" else 0


# The parent


@dataclass(frozen=True)
class Outcome:
    """Result of reading one file: read, refused, escaped (no DafxError), crashed, hung or too large

    told  what the reader returned, or the error
    """

    what: str
    told: str
    seconds: float
    grown: int  # bytes


@dataclass
class Tally:
    """Figures of many outcomes, and those that may not be.

    known           what the reader returns for undamaged files
    has_checksums   anything else is a failure: wrong samples that nobody notices
    """

    known: frozenset[str] = frozenset()
    has_checksums: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    n_other: int = 0  # read, but not as an undamaged file

    def add(self, name: str, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.n_other += (
            outcome.what == "read" and bool(self.known) and outcome.told not in self.known
        )
        is_wrong = self.has_checksums and outcome.what == "read" and outcome.told not in self.known
        if outcome.what not in ("read", "refused") or outcome.grown > LARGEST_GROWTH or is_wrong:
            self.wrong.append(
                f"{name}: {outcome.what}, {outcome.grown / 2**20:.0f} MiB, {outcome.told}"
            )

    def told(self) -> str:
        count = {what: 0 for what in ("read", "refused", "escaped", "crashed", "hung")}
        for outcome in self.outcomes:
            count[outcome.what] += 1
        return (
            f"{len(self.outcomes)} tried: "
            + ", ".join(f"{number} {what}" for what, number in count.items())
            + f" ({self.n_other} with other samples)" * bool(self.known)
            + f"; at most {max(o.seconds for o in self.outcomes):.1f} s and "
            f"{max(o.grown for o in self.outcomes) / 2**20:.0f} MiB"
        )


class Child:
    """Reads files for us; `read` tells what became of it, whatever that is."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, *arguments: str) -> Outcome:
        if self._process is None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "mutants.py"), self._reader],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n", f"{self._reader} did not start"
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(arguments).encode() + b"\n")
        process.stdin.flush()
        began, first = time.monotonic(), _memory("VmRSS", process.pid)
        while not select.select([process.stdout], [], [], POLL_SECONDS)[0]:
            seconds, grown = time.monotonic() - began, _memory("VmRSS", process.pid) - first
            if seconds > LONGEST_SECONDS or grown > 2 * LARGEST_GROWTH:
                self._end()
                return Outcome("hung", "was ended", seconds, grown)
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self._end()
            return Outcome("crashed", f"exit status {status}", time.monotonic() - began, 0)
        return Outcome(*json.loads(line))

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    answer_all(getattr(import_module(module), function))
