"""Disks that are full, fill up, become read-only, or limit the size of a file."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from forked_commands import CommandResult, ForkServer, can_mount
from outputs import OutputCase, cases_of, names_in, reported

pytestmark = pytest.mark.robustness

KEYS = ("render", "folder", "spectrogram", "train", "embed")
LARGE = "size=256m"
PAGE = 4096
FULL = "the disk is full|the disk has [0-9.,]+ MB left"
needs_mounts = pytest.mark.skipif(not can_mount(), reason="no small disk can be mounted here")


@dataclass(frozen=True)
class Undisturbed:
    case: OutputCase
    output: Path
    seconds: float
    n_bytes: int  # of all files on the disk
    largest: int  # size of the largest file in bytes


class DiskFactory:
    """Maker of small disks that only the fork server can see."""

    def __init__(self, fork_server: ForkServer, folder: Path) -> None:
        self.fork_server, self.folder, self.count = fork_server, folder, 0

    def make(self, options: str) -> tuple[Path, Path]:
        """Make an empty disk. Returns its folder for commands, and for this process."""
        self.count += 1
        folder = self.folder / f"disk{self.count}"
        assert self.fork_server.mount(folder, options)
        return folder, self.fork_server.visible_path(folder)


@pytest.fixture(scope="module")
def undisturbed(fork_server, output_cases, tmp_path_factory):
    """undisturbed("train"): each output of a command that is not disturbed."""

    def run(case: OutputCase) -> Undisturbed:
        output = tmp_path_factory.mktemp("complete") / case.name
        result = fork_server.run(*case.command(output))
        assert result.status == 0, result
        paths = [output, *output.rglob("*")] if output.is_dir() else [output]
        sizes = [path.stat().st_size for path in paths if path.is_file()]
        n_bytes = sum(-(-size // PAGE) * PAGE for size in sizes)
        return Undisturbed(case, output, result.seconds, n_bytes, max(sizes))

    outputs: dict[str, list[Undisturbed]] = {}

    def of(key: str) -> list[Undisturbed]:
        if key not in outputs:
            outputs[key] = [run(case) for case in cases_of(output_cases, key)]
        return outputs[key]

    return of


def check_and_resume(
    fork_server: ForkServer, complete: Undisturbed, output: Path, here: Path, result: CommandResult
) -> None:
    """Check the partial output, resume the command, and compare with the undisturbed output."""
    complete.case.check(here, complete.output, reported(result.stderr))
    if here.exists() and not complete.case.can_resume:
        return  # complete, as checked above
    resumed = fork_server.run(*complete.case.resume_command(output))
    assert resumed.status == 0, resumed
    assert complete.case.contents(here) == complete.case.contents(complete.output)
    assert {name.split("/")[0] for name in names_in(here.parent)} == {here.name}
    if here.is_dir():
        assert not [name for name in names_in(here) if "partial" in name or "lock" in name]


@needs_mounts
@pytest.mark.parametrize("key", KEYS)
def test_a_disk_of_any_size(fork_server, undisturbed, amount, figure, tmp_path, key):
    """It is full from the start, or another process fills it at some moment."""
    rng = np.random.default_rng([11, KEYS.index(key)])
    complete_outputs, disks, n_full = undisturbed(key), DiskFactory(fork_server, tmp_path), 0
    start = time.monotonic()
    for moment in range(amount(2, 50)):
        complete = complete_outputs[moment % len(complete_outputs)]
        n_free = int(rng.integers(2 * PAGE, 1.1 * complete.n_bytes + 4 * PAGE))
        disk, here = disks.make(LARGE if moment % 2 else f"size={n_free}")
        output = disk / complete.case.name
        command = fork_server.start(*complete.case.command(output))
        if moment % 2:
            time.sleep(rng.random() * complete.seconds)
            fill(here, int(rng.integers(0, n_free)))
        result = command.wait()
        if result.status:
            n_full += 1
            assert result.status == 1
            assert re.search(FULL, result.error)
            assert command.leftover_processes() == []
        assert fork_server.mount(disk, f"remount,{LARGE}")
        (here / "filler").unlink(missing_ok=True)
        check_and_resume(fork_server, complete, output, here / complete.case.name, result)
        shutil.rmtree(here, ignore_errors=True)
    figure(f"{key}: disks that were full, of {amount(2, 50)}", n_full)
    figure(f"{key}: seconds", round(time.monotonic() - start, 1))


def fill(folder: Path, n_free: int) -> None:
    """Fill the disk of a folder until about n_free bytes are free."""
    size = max(0, shutil.disk_usage(folder).free - n_free)
    descriptor = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError:
        pass  # the command was faster, and the disk is full
    finally:
        os.close(descriptor)


@needs_mounts
@pytest.mark.parametrize("key", KEYS)
def test_a_disk_that_is_or_becomes_read_only(
    fork_server, undisturbed, amount, figure, tmp_path, key
):
    """A disk with a file open for writing becomes read-only after the file is closed."""
    rng = np.random.default_rng([13, KEYS.index(key)])
    complete_outputs, disks = undisturbed(key), DiskFactory(fork_server, tmp_path)
    n_refused, start = 0, time.monotonic()
    for moment in range(amount(1, 50)):
        complete = complete_outputs[moment % len(complete_outputs)]
        disk, here = disks.make(LARGE)
        output = disk / complete.case.name
        if moment % 3 == 0:
            assert fork_server.mount(disk, "remount,ro")
        command = fork_server.start(*complete.case.command(output))
        if moment % 3:
            time.sleep(rng.random() * complete.seconds)
            command.wait_for(lambda: fork_server.mount(disk, "remount,ro"))  # noqa: B023
        result = command.wait()
        if result.status:
            n_refused += 1
            assert result.status == 1
            assert "read-only" in result.error
        if moment % 3 == 0:
            assert result.status == 1
            assert names_in(here) == set()
        fork_server.mount(disk, "remount,rw")
        check_and_resume(fork_server, complete, output, here / complete.case.name, result)
        shutil.rmtree(here, ignore_errors=True)
    figure(f"{key}: refused read-only disks, of {amount(1, 50)}", n_refused)
    figure(f"{key}: seconds", round(time.monotonic() - start, 1))


@pytest.mark.parametrize("key", KEYS)
def test_a_file_system_without_room_for_large_files(
    fork_server, undisturbed, amount, figure, tmp_path, key
):
    """RLIMIT_FSIZE simulates it: a larger write fails in the same manner."""
    rng = np.random.default_rng([17, KEYS.index(key)])
    complete_outputs, n_refused, start = undisturbed(key), 0, time.monotonic()
    for moment in range(amount(1, 20)):
        complete = complete_outputs[moment % len(complete_outputs)]
        output = tmp_path / str(moment) / complete.case.name
        max_bytes = int(rng.integers(64, 1.05 * complete.largest))
        result = fork_server.run(*complete.case.command(output, "-q"), max_bytes=max_bytes)
        if result.status:
            n_refused += 1
            assert result.status == 1
            assert "cannot be written (larger than" in result.error
        check_and_resume(fork_server, complete, output, output, result)
    figure(f"{key}: refused large files, of {amount(1, 20)}", n_refused)
    figure(f"{key}: seconds", round(time.monotonic() - start, 1))
