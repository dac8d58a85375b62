"""Check commands on full and read-only disks."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_runs import FIGURES, SMALL, error_sentence, names_in, spawn, wait_for
from datasets import N_SAMPLES

from dafxtool.audio.reader import load_audio


@pytest.fixture
def small_disk(tmp_path):
    """Mount an empty disk, as root: `small_disk("size=2m")`."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
            pytest.skip("only root can mount a small disk")
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, n_free: int) -> None:
    """Fill a disk, except for n_free bytes."""
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(bytes(max(0, free - n_free)))


def outcome(result) -> tuple[int, str]:
    return result.exit_code, result.stderr


FULL = "the disk is full|the disk has [0-9.]+ MB left"


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "{pluck}", "-o", "{disk}/p.h5", "--pairs-per-effect", "9", *map(str, SMALL)),
        ("render", "{pluck}", "-o", "{disk}/p", "--pairs-per-effect", "9", *map(str, SMALL)),
        ("spectrogram", "{pairs}", "-o", "{disk}/s.h5"),
        ("train", "{spectrograms}", "-o", "{disk}/run", "--steps", "3", "--device", "cpu"),
        ("embed", "{pairs}", "--run", "{run}", "-o", "{disk}/l.h5"),
        ("embed", "{pairs}", "--run", "{run}", "-o", "{disk}/l.csv"),
        ("embed", "{pairs}", "--run", "{run}", "-o", "{disk}/l.npz"),
        *(("reconstruct", "{pairs}", "--run", "{run}", "-o", f"{{disk}}/r{s}") for s in FIGURES),
        ("invert", "{spectrograms}", "-o", "{disk}/i.wav"),
        ("invert", "{spectrograms}", "-o", "{disk}/i.flac"),
    ],
    ids=lambda arguments: f"{arguments[0]}-{arguments[arguments.index('-o') + 1][7:]}",
)
def test_a_full_disk_is_one_sentence_and_leaves_no_partial_file(
    *, invoke, small_disk, pluck, pairs_file, spectrograms_file, run_folder, arguments
):
    disk = small_disk("size=1m")
    fill(disk, 6_000)
    paths = {
        **{"disk": disk, "pluck": pluck, "run": run_folder},
        **{"pairs": pairs_file, "spectrograms": spectrograms_file},
    }
    result = invoke(*(argument.format(**paths) for argument in arguments))
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert re.search(FULL, error_sentence(result.exit_code, result.stderr))
    left = {disk / name for name in names_in(disk)} - {disk / "filler"}
    for path in left:  # complete small files, such as those of a started run
        assert path.is_dir() or path.suffix in (".toml", ".json", ".csv"), path
        assert path.is_dir() or not path.name.startswith("."), path


def test_a_disk_without_enough_space_is_refused_before_the_first_row(small_disk, pluck):
    """HDF5 would crash, so the space is reserved first; tested in a separate process."""
    disk = small_disk("size=1m")
    arguments = ("render", pluck, "-o", disk / "p.h5", "--pairs-per-effect", 20)
    code, _, stderr = wait_for(spawn(*arguments, *SMALL))
    assert "needs 1.4 MB" in error_sentence(code, stderr)
    assert names_in(disk) == set()


def test_a_folder_of_audio_is_resumed_once_there_is_space(invoke, small_disk, pluck):
    disk = small_disk("size=300k")
    arguments = ("render", pluck, "-o", disk / "p", "--pairs-per-effect", 9, *SMALL)
    assert re.search(FULL, error_sentence(*outcome(invoke(*arguments))))
    assert not (disk / "p" / "pairs.csv").exists()
    subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
    assert invoke(*arguments, "--resume").exit_code == 0
    with (disk / "p" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(18))
    assert all(len(load_audio(disk / "p" / row["wet"])[0]) == N_SAMPLES for row in rows)


def test_a_training_is_resumed_after_a_full_disk(invoke, small_disk, spectrograms_file):
    disk = small_disk("size=64m")
    arguments = ("train", spectrograms_file, "-o", disk / "run", "--device", "cpu", "-q")
    assert invoke(*arguments, "--steps", 2).exit_code == 0
    fill(disk, 4_000)
    more = (*arguments, "--resume", "--steps", 4)
    result = invoke(*more)
    assert re.search(FULL, error_sentence(*outcome(result))), result.stderr
    (disk / "filler").unlink()
    assert invoke(*more).exit_code == 0


def test_a_read_only_disk_is_reported(invoke, small_disk, pluck, pairs_file, run_folder):
    disk = small_disk("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in (
        ("render", pluck, "-o", disk / "p.h5", *SMALL),
        ("render", pluck, "-o", disk / "p", *SMALL),
        ("embed", pairs_file, "--run", run_folder, "-o", disk / "l.h5"),
        ("embed", pairs_file, "--run", run_folder, "-o", disk / "l.csv"),
        ("reconstruct", pairs_file, "--run", run_folder, "-o", disk / "r.png"),
    ):
        assert "read-only" in error_sentence(*outcome(invoke(*arguments)))
