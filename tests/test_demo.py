"""The demo resumes an earlier call and leaves other files unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import CONFIGURATION

from dafxtool import demo as demo_module
from dafxtool.demo import STATE, demo
from dafxtool.errors import OutputExistsError
from dafxtool.latents import latent_map, projection
from dafxtool.utils.progress import Progress

STEPS = (
    *("recordings", "render", "spectrogram", "train", "embed", "map", "reconstruct"),
    *("interpolate",) * 4,
    "invert",
)


class Log(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)

    @property
    def steps(self) -> list[str]:
        return [line[3:] for line in self.lines if line.startswith("-- ")]


class Stop(Exception):
    pass


def stop(*_, **__):
    raise Stop


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Shorten the demo to seconds: short segments, few training steps, a map by PCA."""
    small, project = replace(CONFIGURATION, pairs_per_effect=12), projection.project
    monkeypatch.setattr(demo_module, "_configuration", lambda seed: small)
    monkeypatch.setattr(latent_map, "project", lambda latents, *_: project(latents, "pca", 0))


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return the modification time and bytes of every visible file except the list of steps."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("[!.]*")
        if path.is_file() and path.name != STATE
    }


@pytest.mark.slow
def test_a_demo_resumes_at_the_step_that_was_interrupted(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    for name, n_steps in (("compute_spectrograms", 3), ("train", 2), ("_map", 3)):
        log = Log()
        owner = demo_module._Demo if name == "_map" else demo_module
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(Stop):
                demo(folder, device="cpu", progress=log)
        assert len(log.steps) == n_steps, name
    log = Log()
    result = demo(folder, device="cpu", progress=log)
    assert log.steps == list(STEPS[5:])
    assert [step for step, *_ in result.written] == list(STEPS)
    removed = {path for _, _, path, _ in result.written if not path.exists()}
    assert removed == {folder / "spectrograms.h5"}
    assert {path.name for path in folder.glob("*.h5")} == {"latents.h5", "pairs.h5"}
    sizes = [path.stat().st_size for path in folder.rglob("[!.]*") if path.is_file()]
    assert result.n_bytes == sum(sizes)

    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    log = Log()
    assert demo(folder, device="cpu", progress=log).written == result.written
    assert (log.steps, contents(folder)) == ([], before)
    assert f"{folder}: complete" in log.lines[0]

    # spectrograms.h5 was removed, so the demo resumes at the step that writes it.
    (folder / "interpolation-effects.png").unlink()
    log = Log()
    demo(folder, device="cpu", progress=log)
    assert log.steps == list(STEPS[2:])
    assert (folder / "notes.txt").read_text() == "mine"

    log = Log()
    demo(folder, seed=1, device="cpu", progress=log)
    assert "starting from scratch" in log.lines[0]
    assert log.steps == list(STEPS)
    assert json.loads((folder / STATE).read_text())["seed"] == 1
    log = Log()
    with monkeypatch.context() as patch:
        patch.setattr(demo_module, "render", stop)
        with pytest.raises(Stop):
            demo(folder, seed=1, device="cpu", overwrite=True, progress=log)
    assert log.steps == list(STEPS[:2])
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("state", [None, "not JSON", "[]", '{"seed": 0}'])
def test_a_folder_with_other_files_is_refused(tmp_path, state, overwrite):
    (tmp_path / "pairs.h5").write_bytes(b"mine")
    if state:
        (tmp_path / STATE).write_text(state)
    before = contents(tmp_path)
    with pytest.raises(OutputExistsError, match="files that are not from a demo"):
        demo(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == before
    with pytest.raises(OutputExistsError, match="is a file"):
        demo(tmp_path / "pairs.h5", overwrite=overwrite)


def test_two_demos_in_one_folder_refuse_each_other(tmp_path, monkeypatch):
    def refuse(path, is_folder):
        raise OutputExistsError(f"{path} is being written by another process")

    monkeypatch.setattr(demo_module, "sole_writer", refuse)
    with pytest.raises(OutputExistsError, match="written by another"):
        demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []
