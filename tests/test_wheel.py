"""A wheel of the source tree contains all that the commands need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from dafxtool.audio.reader import load_audio

pytestmark = pytest.mark.slow

TREE = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def run(folder: Path, *command: str, path: Path | None = None) -> str:
    """Run a command without network and away from the source tree; return its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PIP_NO_INDEX": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path or "")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build in a copy: setuptools leaves folders in the tree, and takes up what it finds there."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TREE / "dafxtool", folder / "tree" / "dafxtool", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TREE / name, folder / "tree" / name)
    run(folder, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", ".", "./tree")
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_contains_every_file_of_the_package(wheel):
    with ZipFile(wheel) as archive:
        result = {name for name in archive.namelist() if not name.split("/")[0].endswith("info")}
    assert result == {
        path.relative_to(TREE).as_posix()
        for path in (TREE / "dafxtool").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_an_installed_wheel_runs_the_pipeline(wheel, tmp_path):
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    run(tmp_path, *PIP, "install", "--no-deps", "--no-compile", "--target", "site", str(wheel))

    def dafxtool(*arguments: str) -> str:
        return run(here, sys.executable, "-m", "dafxtool", *arguments, path=site)

    where = "import dafxtool; print(dafxtool.__file__)"
    assert Path(run(here, sys.executable, "-c", where, path=site).strip()).is_relative_to(site)
    assert "render" in dafxtool("--help")
    assert "overdrive" in dafxtool("effects")
    assert "pairs.h5" in dafxtool("render", "--pairs-per-effect", "10", "--workers", "1", "-q")
    assert len(list(here.glob("built-in-recordings/*/*.flac"))) == 20
    dafxtool("train", "--steps", "2", "--device", "cpu", "-q")
    parts = ("map", "sweeps", "evaluation")  # what takes time
    leave_out = [word for part in parts for word in ("--without", part)]
    dafxtool("report", *leave_out, "-o", "report.html", "-q")
    assert "<html" in (here / "report.html").read_text("utf-8")


def test_recordings_are_read_from_a_zipped_package(wheel, tmp_path):
    code = (
        "import dafxtool; from pathlib import Path\n"
        "from dafxtool.audio.example_recordings import LUTE, write_clips\n"
        "LUTE.write_wav(Path('a.wav')); write_clips(Path('clips')); print(dafxtool.__file__)"
    )
    assert run(tmp_path, sys.executable, "-c", code, path=wheel).startswith(str(wheel))
    assert len(load_audio(tmp_path / "a.wav")[0]) == 144_000
    assert len(list(tmp_path.glob("clips/*/*.flac"))) == 20
