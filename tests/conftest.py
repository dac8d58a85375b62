"""Define the fixtures of all tests: recordings, plugins, datasets, runs and commands."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from browsers import find_browser

# One thread per process: parallel test processes would wait for each other. Set this before numpy
# or torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

# No test reads or writes what dafxtool remembers for the user.
os.environ["DAFXTOOL_CACHE"] = tempfile.mkdtemp(prefix="dafxtool-tests-")
atexit.register(shutil.rmtree, os.environ["DAFXTOOL_CACHE"], ignore_errors=True)

PLUGIN_FOLDERS = (Path("/usr/lib/vst3"), Path("/usr/local/lib/vst3"), Path.home() / ".vst3")


def corpus_folder() -> Path | None:
    named = os.environ.get("DAFXTOOL_CORPUS")
    return Path(named) if named and Path(named).is_dir() else None


def find_plugin(name: str) -> Path | None:
    """Find the VST3 bundle of a name, such as ZamTube, in the system's plugin folders."""
    bundles = (folder / f"{name}.vst3" for folder in PLUGIN_FOLDERS)
    return next((bundle for bundle in bundles if bundle.exists()), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-cases", action="store_true", help="run all cases of the tests marked robustness"
    )


@pytest.fixture(scope="session")
def amount(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """Choose a number of cases: `amount(20, 2000)` is 20, or 2000 with --all-cases."""
    return lambda quick, complete: complete if pytestconfig.getoption("all_cases") else quick


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """Record a number for the table that --all-cases prints: `figure("files tried", 2000)`."""
    return record_property


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not config.getoption("all_cases"):
        return
    terminalreporter.section("figures")
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in getattr(report, "user_properties", []):
            terminalreporter.write_line(f"{report.nodeid}: {name}: {value}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_corpus = pytest.mark.skip(reason="no recordings: DAFXTOOL_CORPUS names no folder")
    no_browser = pytest.mark.skip(reason="no browser: chromium or playwright is not installed")
    no_plugin = pytest.mark.skip(reason="no plugins: the package zam-plugins is not installed")
    for item in items:
        expected = {mark.name for mark in item.iter_markers()} | set(
            getattr(item, "fixturenames", ())
        )
        if "corpus" in expected and corpus_folder() is None:
            item.add_marker(no_corpus)
        if "browser" in expected and find_browser() is None:
            item.add_marker(no_browser)
        if expected & {"plugin", "plugin_named"} and find_plugin("ZamTube") is None:
            item.add_marker(no_plugin)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Return a folder of real recordings: speech/SPEAKER/* and music/SOURCE/*."""
    folder = corpus_folder()
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def plugin_named() -> Callable[[str], Path]:
    """Find the file of a plugin of zam-plugins: `plugin_named("ZamDelay")`."""

    def named(name: str) -> Path:
        bundle = find_plugin(name)
        assert bundle is not None, f"{name} is missing from zam-plugins"
        return bundle

    return named


@pytest.fixture(scope="session")
def plugin(plugin_named: Callable[[str], Path]) -> Path:
    """Return the file of ZamTube, which is mono and quick to load."""
    return plugin_named("ZamTube")


@pytest.fixture
def invoke():
    """Run a command in this process: `invoke("render", "a.wav").exit_code`."""
    from click.testing import CliRunner

    from dafxtool.cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    """Render 12 pairs each of overdrive and delay from seeded audio; return pairs.h5."""
    from datasets import SEGMENTS, SPLIT, chosen, write_recordings

    from dafxtool.dataset.render import render

    folder = tmp_path_factory.mktemp("dataset")
    recordings = write_recordings(folder / "recordings")
    effects = chosen("overdrive", "delay")
    render([recordings], folder / "pairs.h5", effects, SEGMENTS, SPLIT, 16, seed=3)
    return folder / "pairs.h5"


@pytest.fixture(scope="session")
def spectrograms_file(pairs_file):
    from datasets import SPECTROGRAM

    from dafxtool.spectrogram.compute import compute_spectrograms

    compute_spectrograms(pairs_file, pairs_file.with_name("spectrograms.h5"), SPECTROGRAM)
    return pairs_file.with_name("spectrograms.h5")


@pytest.fixture(scope="session")
def run_folder(spectrograms_file, tmp_path_factory):
    """Train a run of a dozen steps, enough for the tests of tools."""
    from datasets import CONFIGURATION

    from dafxtool.training.train import train

    folder = tmp_path_factory.mktemp("runs") / "small-1"
    train(spectrograms_file, folder, CONFIGURATION, "cpu")
    return folder


@pytest.fixture(scope="session")
def run(run_folder):
    from dafxtool.models.run import load_run

    return load_run(run_folder, "cpu")


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory):
    """Run commands in forked processes, with small disks where these can be mounted."""
    if not hasattr(os, "fork") or not Path("/proc").is_dir():
        pytest.skip("killed commands are forked and counted in /proc: on Linux only")
    from forked_commands import ForkServer, can_mount

    server = ForkServer(tmp_path_factory.mktemp("fork-server"), mounts=can_mount())
    yield server
    server.close()


@pytest.fixture(scope="session")
def output_cases(fork_server, tmp_path_factory):
    """Define the long commands with their outputs, and make their inputs."""
    from outputs import make_output_cases

    return make_output_cases(tmp_path_factory.mktemp("inputs"), fork_server)
