"""What all tests share: real recordings and plugins where there are some, and the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from browsers import find_browser

# Tests run in processes side by side: a thread for each, or they wait for each other. Set before
# anything imports numpy or torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

PLUGIN_FOLDERS = (Path("/usr/lib/vst3"), Path("/usr/local/lib/vst3"), Path.home() / ".vst3")


def corpus_folder() -> Path | None:
    named = os.environ.get("DAFXTOOL_CORPUS")
    return Path(named) if named and Path(named).is_dir() else None


def find_plugin(name: str) -> Path | None:
    """The VST3 bundle of that name, such as ZamTube, where the system keeps them."""
    bundles = (folder / f"{name}.vst3" for folder in PLUGIN_FOLDERS)
    return next((bundle for bundle in bundles if bundle.exists()), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--torture", action="store_true", help="whole amounts in the tests marked torture"
    )


@pytest.fixture(scope="session")
def amount(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """amount(20, 2000): how many of something to try, quickly or with --torture."""
    return lambda quick, whole: whole if pytestconfig.getoption("torture") else quick


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """figure("files tried", 2000): a number for the table that --torture prints at the end."""
    return record_property


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not config.getoption("torture"):
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
        wanted = {mark.name for mark in item.iter_markers()} | set(
            getattr(item, "fixturenames", ())
        )
        if "corpus" in wanted and corpus_folder() is None:
            item.add_marker(no_corpus)
        if "browser" in wanted and find_browser() is None:
            item.add_marker(no_browser)
        if wanted & {"plugin", "plugin_named"} and find_plugin("ZamTube") is None:
            item.add_marker(no_plugin)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """A folder of real recordings, speech/SPEAKER/* and music/SOURCE/*."""
    folder = corpus_folder()
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def plugin_named() -> Callable[[str], Path]:
    """plugin_named("ZamDelay"): the file of that plugin of zam-plugins."""

    def named(name: str) -> Path:
        bundle = find_plugin(name)
        assert bundle is not None, f"{name} is missing from zam-plugins"
        return bundle

    return named


@pytest.fixture(scope="session")
def plugin(plugin_named: Callable[[str], Path]) -> Path:
    """ZamTube: mono, quick to load."""
    return plugin_named("ZamTube")


@pytest.fixture
def invoke():
    """invoke("render", "a.wav"): the result of the command, with exit_code, stdout and stderr."""
    from click.testing import CliRunner

    from dafxtool.cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    """pairs.h5: 12 pairs each of overdrive and delay, made of seeded sound."""
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
    """A run of a dozen steps: it has learnt little, which the tests of tools do not mind."""
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
