"""Commands work without the functions that Windows lacks; the hosted CI's workflow is complete."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import h5py
import psutil
import pytest
from datasets import CONFIGURATION, HELPERS, write_recordings

import dafxtool
from dafxtool import presets
from dafxtool.models.checkpoint import read_checkpoint

PACKAGE = Path(dafxtool.__file__).parent
WINDOWS = Path(HELPERS) / "windows"
WORKFLOW = Path(__file__).parents[2] / ".github" / "workflows" / "tests.yml"
SHORT = ("--segment-seconds", "0.512", "--short", "pad", "--seed", "3")

needs_proc = pytest.mark.skipif(
    sys.platform != "linux", reason="the imitation of Windows finds open files in /proc"
)


class Folder:
    """A folder in which commands run with an imitation of Windows."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path, path / "processes"
        paths = [WINDOWS, PACKAGE.parent, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(str(each) for each in paths),
            "DAFXTOOL_WINDOWS_LOG": str(self.log),
            "DAFXTOOL_FAULTY_PLUGINS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dafxtool", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        """Return the output of a command, and check its exit status."""
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == status, err
        assert "Traceback" not in err
        return out + err

    def processes(self) -> list[int]:
        return [int(line) for line in self.log.read_text("utf-8").split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("windows"))
    write_recordings(folder.path / "recordings")
    for plugin in ("crash", "well"):
        # Different content: audits are remembered by the hash of the file.
        (folder.path / f"{plugin}.vst3").write_text(plugin)
    (folder.path / "small.toml").write_text(presets.to_toml(CONFIGURATION), "utf-8")
    return folder


@pytest.fixture(scope="module")
def rendered(folder):
    """Render p.h5 with two workers: an effect, a plugin and a plugin that crashes."""
    plugins = ("--plugin", "well.vst3", "--plugin", "crash.vst3", "--effect", "well")
    return folder.run(
        *("render", "recordings", *plugins, "--effect", "crash", "--effect", "overdrive", *SHORT),
        *("--config", "small.toml", "--pairs-per-effect", "8", "--workers", "2", "-o", "p.h5"),
    )


@needs_proc
def test_plugins_and_two_workers_render_without_posix_only_functions(folder, rendered):
    assert "16 pairs" in rendered and "crash          0" in rendered
    assert len(set(folder.processes())) > 3, "children ran without the imitation"
    with h5py.File(folder.path / "p.h5") as file:
        assert (file["lost"][:] == b"").sum() == 16
    assert sorted(each.name for each in folder.path.glob(".*")) == []


@needs_proc
def test_a_plugin_is_loaded_and_the_bits_do_not_depend_on_workers(folder, rendered):
    arguments = ("render", "recordings", "--effect", "overdrive", *SHORT, "--config", "small.toml")
    for n_workers in ("1", "2"):
        folder.run(*arguments, "--workers", n_workers, "-o", f"{n_workers}.h5")
    one, two = ((folder.path / f"{n}.h5").read_bytes() for n in (1, 2))
    assert one == two
    assert "well" in folder.run("effects", "--plugin", "well.vst3", "well")


@needs_proc
def test_a_model_is_trained_and_resumed_and_embeds(folder, rendered):
    folder.run("spectrogram", "p.h5", "-o", "s.h5", "--config", "small.toml")
    train = ("train", "s.h5", "-o", "run", "--config", "small.toml", "--device", "cpu")
    folder.run(*train, "--steps", "2")
    folder.run(*train, "--steps", "4", "--resume")
    last = folder.path / "run" / "checkpoints" / "last.pt"
    assert read_checkpoint(last)["step"] == 4
    folder.run("embed", "p.h5", "--run", "run", "-o", "latents.csv", "--device", "cpu")
    lines = (folder.path / "latents.csv").read_text("utf-8").splitlines()
    assert len(lines) > 1


@needs_proc
def test_a_killed_render_ends_its_workers_and_is_resumed(folder, rendered):
    """While the parent runs, another command on its output is refused; then it is killed."""
    arguments = ("render", "recordings", "--effect", "overdrive", "--effect", "delay", *SHORT)
    arguments += ("--config", "small.toml", "--pairs-per-effect", "600", "--workers", "2")
    folder.run(*arguments, "-o", "whole.h5")
    process = folder.start(*arguments, "-o", "killed.h5")
    children = []
    while not ((folder.path / ".killed.h5.partial").exists() and len(children) == 2):
        assert process.poll() is None, process.communicate()
        children = psutil.Process(process.pid).children()
        time.sleep(0.01)
    psutil.Process(process.pid).suspend()  # so that it cannot end before the other command starts
    refusal = folder.run(*arguments, "-o", "killed.h5", "--overwrite", status=1)
    assert f"is being written by another process (process ID {process.pid})" in refusal
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert len(gone) == 2 and not alive
    assert not (folder.path / "killed.h5").exists()
    folder.run(*arguments, "-o", "killed.h5", "--resume")
    same = [(folder.path / f"{name}.h5").read_bytes() for name in ("whole", "killed")]
    assert same[0] == same[1]
    assert not list(folder.path.glob(".*"))


@needs_proc
def test_the_imitation_of_windows_refuses_posix_only_functions(tmp_path):
    """Each line fails in code of the package, but not in libraries."""
    lines = {
        "os.killpg": "AttributeError",
        "os.fork()": "AttributeError",
        "signal.SIGKILL": "AttributeError",
        "import fcntl": "ModuleNotFoundError",
        "subprocess.Popen(['true'], pass_fds=(1,))": "AssertionError",
        "os.replace('open', 'other')": "PermissionError",
        "pathlib.Path('open').unlink()": "PermissionError",
        "open('/proc/meminfo')": "FileNotFoundError",
        "signal.SIGINT": "",
    }
    program = f"""
import os, pathlib, signal, subprocess
file = open("open", "w")
names = dict(os=os, pathlib=pathlib, signal=signal, subprocess=subprocess)
exec("import fcntl; os.killpg, signal.SIGKILL", names | dict(__name__="elsewhere"))
for line in {list(lines)!r}:
    try:
        exec(line, names | dict(__name__="dafxtool.anything"))
        print()
    except BaseException as error:
        print(type(error).__name__)
"""
    environment = os.environ | {
        "PYTHONPATH": str(WINDOWS),
        "DAFXTOOL_WINDOWS_LOG": str(tmp_path / "log"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == list(lines.values())


# --- the source code of the package --------------------------------------------------------------

# Allowed uses of functions that only POSIX has: each has an alternative for other systems.
GUARDED = {
    ("files.py", "posix_fallocate"),  # else zeros are written
    ("child_process.py", "SIGKILL"),  # with killpg; with prctl on Linux
    ("child_process.py", "killpg"),  # else psutil
    ("child_process.py", "fork"),  # only its existence is checked
}


def test_posix_only_functions_are_used_in_listed_modules():
    hidden = runpy.run_path(str(WINDOWS / "sitecustomize.py"))
    names = {*hidden["OF_OS"].split(), *hidden["OF_SIGNAL"].split()}
    used = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in names:
                if ast.unparse(node.value) in ("os", "signal"):
                    used.add((path.name, node.attr))
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                modules = [getattr(node, "module", None), *(each.name for each in node.names)]
                assert not {*modules} & hidden["MODULES"], path
            elif isinstance(node, ast.keyword):
                assert node.arg not in ("pass_fds", "preexec_fn"), path
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"/(proc|dev)/", node.value), (path, node.value)
    assert used <= GUARDED


def test_text_files_are_opened_with_an_encoding():
    """Windows has another default encoding, and other line ends in tables."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            of_module = ast.unparse(node.func) in ("os.open", "h5a.open", "h5py.h5a.open")
            keywords = {each.arg for each in node.keywords}
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            location = (path.name, node.lineno, ast.unparse(node))
            if name == "open" and not of_module:
                is_method = isinstance(node.func, ast.Attribute)
                mode = node.args[0 if is_method else 1 :][:1]
                text = ast.unparse(mode[0]).strip("'") if mode else "r"
                if not is_method or re.fullmatch("[rwaxb+t]+", text):
                    assert "b" in text or keywords & {"encoding", None}, location
            if name in ("read_text", "write_text"):
                assert "encoding" in keywords or {"utf-8", "ascii"} & {*texts}, location


# --- the hosted CI -------------------------------------------------------------------------------


def workflow():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(WORKFLOW.read_text("utf-8"))


def test_the_workflow_names_three_systems_and_the_oldest_python():
    (job,) = workflow()["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert {each.split("-")[0] for each in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert "3.10" in matrix["python"] and all(isinstance(each, str) for each in matrix["python"])
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert not any(re.search(r"\bmake\b", each) for each in commands), "Windows has no make"
    assert any("constraints.txt" in each for each in commands)
    assert any("pytest" in each for each in commands)
    for step in job["steps"]:
        assert ("run" in step) != ("uses" in step)
