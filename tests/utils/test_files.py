"""Files are written atomically, and disk errors name the output."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dafxtool.errors import DiskError, OutputExistsError
from dafxtool.utils import files
from dafxtool.utils.files import atomic_write, disk_errors, unused_name

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such thing")


def test_the_name_is_given_to_the_complete_file(tmp_path):
    path = tmp_path / "new" / "folder" / "sound.take1.wav"
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".wav"
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["sound.take1.wav"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, failure):
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(failure), atomic_write(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_an_output_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before")
    message = r"table\.csv: exists already.*--overwrite"
    with pytest.raises(OutputExistsError, match=message), atomic_write(path) as temporary:
        temporary.write_text("after")
    assert path.read_text() == "before"
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text("after")
    assert path.read_text() == "after"


def test_an_output_of_another_process_is_kept(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(OutputExistsError), atomic_write(path) as temporary:
        temporary.write_text("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"


@posix_only
def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("before")
    link.symlink_to(target)
    with atomic_write(link, overwrite=True) as temporary:
        temporary.write_text("after")
    assert link.is_symlink()
    assert target.read_text() == "after"


@posix_only
def test_a_folder_or_a_device_is_refused(tmp_path):
    with pytest.raises(DiskError, match="is a folder"), atomic_write(tmp_path, overwrite=True):
        pass
    device = Path("/dev/null")
    with pytest.raises(DiskError, match="ordinary file"), atomic_write(device, overwrite=True):
        pass
    assert device.is_char_device()


def test_a_parent_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "table.csv"
    message = r"table\.csv: cannot be written.*a file, not a folder"
    with pytest.raises(DiskError, match=message), atomic_write(path):
        pass


@pytest.mark.parametrize(
    ("number", "problem"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_a_disk_error_names_the_output(tmp_path, number, problem):
    path = tmp_path / "table.csv"
    message = rf"table\.csv: cannot be written .*{problem}"
    with pytest.raises(DiskError, match=message), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert os.listdir(tmp_path) == []


@posix_only
def test_a_size_limit_of_the_system_is_reported_and_leaves_nothing(tmp_path):
    """Limit files to 1000 bytes and write 2000."""
    program = f"""
import resource, signal
from pathlib import Path
from dafxtool.errors import DiskError
from dafxtool.utils.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_write(Path({str(tmp_path / "table.csv")!r})) as temporary:
        temporary.write_bytes(bytes(2000))
except DiskError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "table.csv: cannot be written (larger than the file system allows)" in done.stdout
    assert os.listdir(tmp_path) == []


def test_an_error_about_another_file_does_not_name_the_output(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"input\.csv"),
        atomic_write(tmp_path / "table.csv"),
    ):
        (tmp_path / "input.csv").read_text()
    folder = tmp_path / "folder"
    with pytest.raises(DiskError, match="folder: cannot be written"), disk_errors(folder):
        (folder / "inside.csv").write_text("")


def test_an_unused_name_has_a_number_before_the_suffix(tmp_path):
    path = tmp_path / "map.png"
    assert unused_name(path) == path
    path.write_text("")
    assert unused_name(path) == tmp_path / "map-2.png"
    (tmp_path / "map-2.png").symlink_to(tmp_path / "nowhere")
    assert unused_name(path) == tmp_path / "map-3.png"


def in_use(path: Path, winerror: int) -> PermissionError:
    """Return the error of Windows for a file that another program has open."""
    error = PermissionError(errno.EACCES, "in use", str(path))
    error.winerror = winerror  # type: ignore[attr-defined]
    return error


def test_a_file_that_is_in_use_is_replaced_later(tmp_path, monkeypatch):
    path, calls, replace = tmp_path / "table.csv", [], os.replace

    def busy(source, target):
        calls.append(target)
        if len(calls) < 4:
            raise in_use(target, 32)
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(files, "SECONDS_BETWEEN_TRIES", 0.0)
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole" and len(calls) == 4


@pytest.mark.parametrize(("winerror", "n_calls"), [(32, files.MOST_TRIES), (1, 1), (None, 1)])
def test_a_file_that_stays_in_use_is_reported(tmp_path, monkeypatch, winerror, n_calls):
    calls = []

    def busy(source, target):
        calls.append(target)
        raise in_use(target, winerror)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(files, "SECONDS_BETWEEN_TRIES", 0.0)
    with (
        pytest.raises(DiskError, match="no permission"),
        atomic_write(tmp_path / "a.csv") as temporary,
    ):
        temporary.write_text("whole")
    assert len(calls) == n_calls and os.listdir(tmp_path) == []


@pytest.mark.parametrize("is_portable", [False, True])
def test_reserved_bytes_are_zeros_and_the_content_stays(tmp_path, monkeypatch, is_portable):
    if is_portable:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(files, "RESERVED_BYTES", 1000)
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"start")
        file.seek(2500)
        file.write(b"end")  # after a hole
    content = path.read_bytes()
    files.reserve(path)
    assert path.read_bytes() == content
    files.reserve(path, 9999)
    assert path.read_bytes() == content + bytes(9999 - len(content))
    if is_portable and sys.platform != "win32":
        assert path.stat().st_blocks * 512 >= 9999, "the hole has no space on the disk"
