"""Run every example as it stands, small."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dafxtool.audio.example_recordings import CLIPS, LUTE
from dafxtool.audio.reader import load_audio

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "notebook.ipynb"


def run_example(folder: Path, *command: str, **environment: str) -> str:
    """Run a command in a folder with one thread; return its standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            **{"PATH": path, "OMP_NUM_THREADS": "1"},
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_script(folder: Path, name: str, *arguments: str) -> str:
    return run_example(folder, sys.executable, str(EXAMPLES / name), *arguments)


def notebook_code() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def imported_modules(code: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.fixture
def folder(tmp_path):
    """A folder with a.wav, as `dafxtool render` leaves it."""
    LUTE.write_wav(tmp_path / "a.wav")
    return tmp_path


def test_every_example_is_run_by_a_test():
    tests = Path(__file__).read_text("utf-8")
    assert [path.name for path in EXAMPLES.iterdir() if path.name not in tests] == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_the_public_interface_only(path):
    modules = imported_modules(path.read_text("utf-8"))
    assert {name for name in modules if name.startswith("dafxtool")} == {"dafxtool"}


def test_the_notebook_imports_the_public_interface_only():
    assert imported_modules("\n".join(notebook_code())) == {"dafxtool", "IPython.display"}


def test_the_notebook_is_stored_without_outputs():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_render_and_listen(folder):
    output = run_script(folder, "render_and_listen.py")
    assert "delay of 250 ms" in output
    dry, rate = load_audio(folder / "a.wav")
    wet, _ = load_audio(folder / "a-delay-250ms.wav")
    assert (rate, len(wet)) == (24_000, len(dry))


def test_train_map_and_interpolate(folder):
    output = run_script(folder, "train_and_map.py", "12", "4")
    assert "held-out segments -> map.png" in output
    assert (folder / "map.png").stat().st_size > 10_000
    output = run_script(folder, "interpolate.py")
    assert "t0.50-wet.wav" in output
    assert (folder / "steps.png").exists()


def test_invert_magnitude_ranks_the_methods(folder):
    output = run_script(folder, "invert_magnitude.py")
    decibels = {line[:12].strip(): float(line[12:].split()[0]) for line in output.splitlines()}
    assert decibels["best"] < decibels["fast"] < decibels["griffin-lim"]
    assert decibels["known phase"] < decibels["griffin-lim"]


@pytest.mark.slow
def test_the_notebook_runs_to_an_interpolation_with_audio(tmp_path, monkeypatch):
    """Run notebook.ipynb with a kernel of this interpreter; nothing is registered in the home."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "test",
        "language": "python",
    }
    spec = tmp_path / "jupyter" / "kernels" / "dafxtool-test" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(kernel), "utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="dafxtool-test",
        resources={"metadata": {"path": str(work)}},
    )
    client.execute()
    html = notebook.cells[-1].outputs[-1].data["text/html"]
    assert html.count("<audio") == 7
    assert "data:image/png" in html
    assert (work / "a.wav").exists() and (work / "runs").is_dir()


@pytest.mark.slow
def test_the_study_writes_its_figures(tmp_path):
    for clip in CLIPS:
        if clip.family != "drums":
            clip.write_wav(tmp_path / "speakers" / clip.family / f"{clip.title}.wav")
    small = {"PAIRS": "16", "TRAIN": "--steps 2", "PRESET": "small", "MAP": "--method pca"}
    command = ("bash", str(EXAMPLES / "study.sh"), "speakers", "out")
    output = run_example(tmp_path, *command, **small)
    assert output.rstrip().endswith("figures in out")
    figures = {path.name for path in (tmp_path / "out").glob("figure-*.png")}
    assert figures == {
        "figure-map-two.png",
        "figure-map-four.png",
        "figure-reconstruction.png",
        "figure-effects.png",
        "figure-recordings.png",
    }
