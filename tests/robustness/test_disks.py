"""Disks that are full, fill up, become read-only, or take no file of such a size."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from forked_commands import Ended, Nursery, can_mount
from outputs import Writing, chosen, names_in, reported

pytestmark = pytest.mark.torture

KEYS = ("render", "folder", "spectrogram", "train", "embed")
LARGE = "size=256m"
PAGE = 4096
FULL = "the disk is full|the disk has [0-9.,]+ MB left"
needs_mounts = pytest.mark.skipif(not can_mount(), reason="no small disk can be mounted here")


@dataclass(frozen=True)
class Undisturbed:
    writing: Writing
    output: Path
    seconds: float
    n_bytes: int  # on the disk, of all files together
    largest: int  # of them


class Workshop:
    """Runs commands on a disk that others cannot see, but in `here`."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        self.nursery, self.folder, self.count = nursery, folder, 0

    def disk(self, options: str) -> tuple[Path, Path]:
        """A new empty disk: its folder as commands name it, and as this process reaches it."""
        self.count += 1
        folder = self.folder / f"disk{self.count}"
        assert self.nursery.mount(folder, options)
        return folder, self.nursery.seen(folder)


@pytest.fixture(scope="module")
def undisturbed(nursery, writings, tmp_path_factory):
    """undisturbed("train"): each output of the command as it is when nothing happens."""

    def run(writing: Writing) -> Undisturbed:
        output = tmp_path_factory.mktemp("whole") / writing.name
        ended = nursery.run(*writing.words(output))
        assert ended.status == 0, ended
        found = [output, *output.rglob("*")] if output.is_dir() else [output]
        sizes = [path.stat().st_size for path in found if path.is_file()]
        taken = sum(-(-size // PAGE) * PAGE for size in sizes)
        return Undisturbed(writing, output, ended.seconds, taken, max(sizes))

    made: dict[str, list[Undisturbed]] = {}

    def of(key: str) -> list[Undisturbed]:
        if key not in made:
            made[key] = [run(writing) for writing in chosen(writings, key)]
        return made[key]

    return of


def check_again(
    nursery: Nursery, whole: Undisturbed, output: Path, here: Path, ended: Ended
) -> None:
    """Nothing half bears a name; and once it can be written the end is as if nothing had been."""
    whole.writing.check(here, whole.output, reported(ended.stderr))
    if here.exists() and not whole.writing.resumes:
        return  # whole, as was seen, and nothing is left to do
    again = nursery.run(*whole.writing.again(output))
    assert again.status == 0, again
    assert whole.writing.contents(here) == whole.writing.contents(whole.output)
    assert {name.split("/")[0] for name in names_in(here.parent)} == {here.name}
    if here.is_dir():
        assert not [name for name in names_in(here) if "partial" in name or "lock" in name]


@needs_mounts
@pytest.mark.parametrize("key", KEYS)
def test_a_disk_of_any_size(nursery, undisturbed, amount, figure, tmp_path, key):
    """Full from the start, or filled up by somebody else at some moment."""
    rng = np.random.default_rng([11, KEYS.index(key)])
    wholes, shop, full = undisturbed(key), Workshop(nursery, tmp_path), 0
    began = time.monotonic()
    for moment in range(amount(2, 50)):
        whole = wholes[moment % len(wholes)]
        n_free = int(rng.integers(2 * PAGE, 1.1 * whole.n_bytes + 4 * PAGE))
        disk, here = shop.disk(LARGE if moment % 2 else f"size={n_free}")
        output = disk / whole.writing.name
        child = nursery.start(*whole.writing.words(output))
        if moment % 2:
            time.sleep(rng.random() * whole.seconds)
            left = int(rng.integers(0, n_free))
            fill(here, left)
        ended = child.wait()
        if ended.status:
            full += 1
            assert ended.status == 1
            assert re.search(FULL, ended.sentence)
            assert child.left_behind() == []
        assert nursery.mount(disk, f"remount,{LARGE}")
        (here / "filler").unlink(missing_ok=True)
        check_again(nursery, whole, output, here / whole.writing.name, ended)
        shutil.rmtree(here, ignore_errors=True)
    figure(f"{key}: disks that were full, of {amount(2, 50)}", full)
    figure(f"{key}: seconds", round(time.monotonic() - began, 1))


def fill(folder: Path, n_free: int) -> None:
    """Leave about n_free bytes and no more."""
    size = max(0, shutil.disk_usage(folder).free - n_free)
    descriptor = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError:
        pass  # the command has been quicker; then it is full all the same
    finally:
        os.close(descriptor)


@needs_mounts
@pytest.mark.parametrize("key", KEYS)
def test_a_disk_that_is_or_becomes_read_only(nursery, undisturbed, amount, figure, tmp_path, key):
    """It can become so only while no file on it is open for writing: where one is, afterwards."""
    rng = np.random.default_rng([13, KEYS.index(key)])
    wholes, shop, refused, began = (
        undisturbed(key),
        Workshop(nursery, tmp_path),
        0,
        time.monotonic(),
    )
    for moment in range(amount(1, 50)):
        whole = wholes[moment % len(wholes)]
        disk, here = shop.disk(LARGE)
        output = disk / whole.writing.name
        if moment % 3 == 0:
            assert nursery.mount(disk, "remount,ro")
        child = nursery.start(*whole.writing.words(output))
        if moment % 3:
            time.sleep(rng.random() * whole.seconds)
            child.wait_for(lambda: nursery.mount(disk, "remount,ro"))  # noqa: B023
        ended = child.wait()
        if ended.status:
            refused += 1
            assert ended.status == 1
            assert "read-only" in ended.sentence
        if moment % 3 == 0:
            assert ended.status == 1
            assert names_in(here) == set()
        nursery.mount(disk, "remount,rw")
        check_again(nursery, whole, output, here / whole.writing.name, ended)
        shutil.rmtree(here, ignore_errors=True)
    figure(f"{key}: read-only disks that were met, of {amount(1, 50)}", refused)
    figure(f"{key}: seconds", round(time.monotonic() - began, 1))


@pytest.mark.parametrize("key", KEYS)
def test_a_file_system_without_room_for_large_files(
    nursery, undisturbed, amount, figure, tmp_path, key
):
    """RLIMIT_FSIZE, which anybody can set: a write beyond it fails as on a small file system."""
    rng = np.random.default_rng([17, KEYS.index(key)])
    wholes, refused, began = undisturbed(key), 0, time.monotonic()
    for moment in range(amount(1, 20)):
        whole = wholes[moment % len(wholes)]
        output = tmp_path / str(moment) / whole.writing.name
        most = int(rng.integers(64, 1.05 * whole.largest))
        ended = nursery.run(*whole.writing.words(output, "-q"), most_bytes=most)
        if ended.status:
            refused += 1
            assert ended.status == 1
            assert "cannot be written (larger than" in ended.sentence
        check_again(nursery, whole, output, output, ended)
    figure(f"{key}: files that were too large, of {amount(1, 20)}", refused)
    figure(f"{key}: seconds", round(time.monotonic() - began, 1))
