"""Locks: one process at a time writes an output, and a lock ends with its process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from dafxtool.errors import DiskError, OutputExistsError
from dafxtool.utils.locks import _is_alive, check_unlocked, sole_writer

HOLDER = """
import sys, time
from pathlib import Path
from dafxtool.utils.locks import sole_writer
with sole_writer(Path(sys.argv[1]), sys.argv[2] == "folder"):
    print("locked", flush=True)
    time.sleep(3600)
"""
KINDS = pytest.mark.parametrize("is_folder", [False, True])


@pytest.fixture
def hold():
    """Return hold(path, is_folder), which starts another process that locks path."""
    holders = []

    def start(path, is_folder):
        command = [sys.executable, "-c", HOLDER, str(path), "folder" if is_folder else "file"]
        holders.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert holders[-1].stdout.readline().strip() == b"locked"
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


@KINDS
def test_another_process_is_refused_until_the_holder_is_killed(tmp_path, hold, is_folder):
    output = tmp_path / "output"
    holder = hold(output, is_folder)
    message = rf"output: is being written by another process \(process ID {holder.pid}\)"
    with pytest.raises(OutputExistsError, match=message), sole_writer(output, is_folder):
        pass
    with pytest.raises(OutputExistsError, match=message):
        check_unlocked(output, is_folder)
    holder.kill()
    holder.wait()
    check_unlocked(output, is_folder)
    with sole_writer(output, is_folder):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@KINDS
def test_only_the_thread_that_owns_a_lock_may_enter_again(tmp_path, is_folder):
    output, refusals = tmp_path / "output", []

    def enter():
        try:
            with sole_writer(output, is_folder):
                pass
        except OutputExistsError as error:
            refusals.append(error)

    with sole_writer(output, is_folder):
        with sole_writer(output, is_folder):
            check_unlocked(output, is_folder)  # this process owns it
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert len(refusals) == 1, "the inner one has not released the lock"
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(refusals) == 1


def test_lock_files_and_empty_new_folders_are_removed(tmp_path):
    output = tmp_path / "new" / "folder" / "output.h5"
    with sole_writer(output):
        assert output.parent.is_dir()
    assert os.listdir(tmp_path) == []
    with sole_writer(output):
        output.touch()
    assert os.listdir(output.parent) == ["output.h5"]
    check_unlocked(tmp_path / "missing" / "output.h5")
    assert os.listdir(tmp_path) == ["new"]


def test_the_check_removes_the_lock_file_of_a_killed_process(tmp_path, hold):
    holder = hold(tmp_path / "output", False)
    holder.kill()
    holder.wait()
    assert os.listdir(tmp_path) == [".output.lock"]
    check_unlocked(tmp_path / "output")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_nothing_is_locked_on_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        (tmp_path / ".output.lock").touch()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    (tmp_path / ".output.lock").touch()
    check_unlocked(tmp_path / "output")
    with sole_writer(tmp_path / "output"):
        (tmp_path / "output").touch()
    assert os.listdir(tmp_path) == ["output"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    """Another user's link in a shared folder must not redirect the write."""
    victim = tmp_path / "victim"
    victim.write_text("before", "utf-8")
    (tmp_path / ".output.lock").symlink_to(victim)
    with pytest.raises((DiskError, OSError)), sole_writer(tmp_path / "output"):
        pass
    assert victim.read_text("utf-8") == "before"


def test_only_partial_files_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    huge = 10**30  # larger than any process ID
    removed = [f".output.partial-{number}.csv" for number in (ended.pid, huge)]
    others = [f".output.partial-{os.getpid()}.csv", f".other.partial-{ended.pid}.csv", "mine.csv"]
    for name in removed + others:
        (tmp_path / name).touch()
    with sole_writer(tmp_path / "output.csv"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_checking_whether_a_process_is_alive_does_not_end_it():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert _is_alive(process.pid)
        assert process.poll() is None
        process.communicate(b"\n")
    assert process.returncode == 0
    assert not _is_alive(process.pid)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is a file system of Linux")
def test_a_folder_that_refuses_a_lock_file_is_not_reported_as_locked():
    """filelock tries again, as if the owner of the lock had removed the file."""
    with (
        pytest.raises(DiskError, match=r"^/proc: cannot be written"),
        sole_writer(Path("/proc/x.h5")),
    ):
        pass
