"""Damage files, and read them in a separate process.

A C library may crash or hang its process. Mutants are therefore read one after another by a child
process, so that each crash belongs to one file.

    python mutants.py MODULE:FUNCTION    reads a JSON list of arguments from each line of standard
                                         input, calls the function and prints a line of JSON
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
TESTS = HERE.parent / "robustness"  # where the readers are
LARGEST_GROWTH = 1 << 30  # bytes of memory for reading one file
LONGEST_SECONDS = 120.0  # limit for a hang, on a busy machine
POLL_SECONDS = 0.05
EXTREMES = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1_000_000)
LARGE = tuple((1 << bits) - less for bits in (24, 31, 32, 48, 63, 64) for less in (1, 0))

Generator = np.random.Generator


# Mutations


def flip_bits(data: bytes, rng: Generator, header: int) -> bytes:
    mutated = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), header)
    for _ in range(2 ** int(rng.integers(0, 7))):
        mutated[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    return bytes(mutated)


def truncate(data: bytes, rng: Generator, header: int) -> bytes:
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
    """Replace a number in the header, of any size and either byte order."""
    size = int(rng.choice([1, 2, 4, 8]))
    reach = min(len(data), header if rng.random() < 0.8 else len(data))
    at = int(rng.integers(max(1, reach - size)))
    value = int(rng.choice(EXTREMES)) if rng.random() < 0.5 else LARGE[rng.integers(len(LARGE))]
    order = "little" if rng.random() < 0.5 else "big"
    number = (value % (1 << 8 * size)).to_bytes(size, order)
    return data[:at] + number + data[at + size :]


MUTATIONS = (
    *(flip_bits, truncate, insert_block, delete_block, repeat_block, overwrite_block),
    *(change_number, change_number, change_number),
)


def mutant(
    originals: Sequence[bytes], others: Sequence[bytes], seed: Sequence[int], header: int = 256
) -> bytes:
    """Make a damaged copy of one of `originals`; 10 % are joined or spliced with one of `others`.

    header  length of the header in bytes, which is damaged more often
    """
    rng = np.random.default_rng(seed)
    data = originals[rng.integers(len(originals))]
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
    """Read each file that standard input names."""
    from dafxtool.errors import DafxError

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the output of libraries apart
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        _reset_peak()
        before, start = _memory("VmRSS"), time.monotonic()
        try:
            status, detail = "read", str(reader(*json.loads(line)) or "")
        except DafxError as error:
            status, detail = "refused", str(error)
        except BaseException:
            status, detail = "escaped", traceback.format_exc()
        seconds = time.monotonic() - start
        growth = _memory("VmHWM") - before
        print(json.dumps([status, detail, seconds, growth]), file=answers, flush=True)


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str, process: int | str = "self") -> int:
    """Return VmRSS, the memory of a process, or VmHWM, its peak, in bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if process == "self" else 0


# The parent


@dataclass(frozen=True)
class Outcome:
    """Result of reading one file.

    status  read, refused (a DafxError), escaped (another exception), crashed or hung
    detail  what the reader returned, or the error
    growth  of memory, in bytes
    """

    status: str
    detail: str
    seconds: float
    growth: int


@dataclass
class Tally:
    """Counts of outcomes, and the failures among them.

    known          what the reader returns for undamaged files
    has_checksums  the format has checksums: to read anything else is a failure
    n_other        files that were read, but not as an undamaged one
    """

    known: frozenset[str] = frozenset()
    has_checksums: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    n_other: int = 0

    def add(self, name: str, outcome: Outcome) -> None:
        """Count an outcome."""
        self.outcomes.append(outcome)
        is_other = outcome.status == "read" and outcome.detail not in self.known
        self.n_other += is_other and bool(self.known)
        is_unnoticed = self.has_checksums and is_other
        is_large = outcome.growth > LARGEST_GROWTH
        if outcome.status not in ("read", "refused") or is_large or is_unnoticed:
            self.failures.append(
                f"{name}: {outcome.status}, {outcome.growth / 2**20:.0f} MiB, {outcome.detail}"
            )

    def summary(self) -> str:
        """Return all counts as one line."""
        count = {status: 0 for status in ("read", "refused", "escaped", "crashed", "hung")}
        for outcome in self.outcomes:
            count[outcome.status] += 1
        return (
            f"{len(self.outcomes)} tried: "
            + ", ".join(f"{number} {status}" for status, number in count.items())
            + f" ({self.n_other} with other samples)" * bool(self.known)
            + f"; at most {max(o.seconds for o in self.outcomes):.1f} s and "
            f"{max(o.growth for o in self.outcomes) / 2**20:.0f} MiB"
        )


class ReaderProcess:
    """Process that reads files. It is started again after a crash or a hang."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, *arguments: str) -> Outcome:
        """Call the reader with these arguments; one is the path."""
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
        start, before = time.monotonic(), _memory("VmRSS", process.pid)
        while not select.select([process.stdout], [], [], POLL_SECONDS)[0]:
            seconds, growth = time.monotonic() - start, _memory("VmRSS", process.pid) - before
            if seconds > LONGEST_SECONDS or growth > 2 * LARGEST_GROWTH:
                self._end()
                return Outcome("hung", "was killed", seconds, growth)
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self._end()
            return Outcome("crashed", f"exit status {status}", time.monotonic() - start, 0)
        return Outcome(*json.loads(line))

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


if __name__ == "__main__":
    sys.path.append(str(TESTS))
    module, _, function = sys.argv[1].partition(":")
    answer_all(getattr(import_module(module), function))
