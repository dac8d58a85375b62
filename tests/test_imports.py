"""Modules import only from those upstream, and each third-party library has its homes."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import dafxtool

PACKAGE = Path(dafxtool.__file__).parent

# From upstream to downstream.
ORDER = (
    "errors",
    "interrupts",
    "progress",
    "supervision",
    "cluster",
    "files",
    "locks",
    "devices",
    "threads",
    "distributed",
    "resampling",
    "audio_writer",
    "frame_checks",
    "header_checks",
    "av_reader",
    "audio",
    "find_recordings",
    "outputs",
    "checkpoint",
    "example_recordings",
    "parameters",
    "plugin_parameters",
    "plugin_audit",
    "effects",
    "plugins",
    "segments",
    "stretches",
    "stft",
    "phase",
    "inversion",
    "displacement",
    "store",
    "presets",
    "plan",
    "losses",
    "workers",
    "sinks",
    "pairs",
    "spectrograms",
    "principal",
    "descriptors",
    "joint_vae",
    "convolutional",
    "dry_predictor",
    "model",
    "runs",
    "pretrained",
    "rows",
    "trainer",
    "run_folder",
    "training",
    "latents",
    "projection",
    "drawing",
    "spectrogram_figures",
    "miniatures",
    "map_figures",
    "pair_figures",
    "curve_figures",
    "evaluation_figures",
    "pages",
    "boards",
    "magnitudes",
    "sheets",
    "interpolation",
    "maps",
    "map_audio",
    "interactive_map",
    "sweeps",
    "probes",
    "distances",
    "matching",
    "judged",
    "ways",
    "evaluation",
    "report",
    "workplace",
    "demo",
    "doctor",
    "cli",
)

PACKAGES = {"cli", "store", "matching"}
FIGURES = {
    "drawing",
    "spectrogram_figures",
    "map_figures",
    "pair_figures",
    "curve_figures",
    "evaluation_figures",
}

# doctor looks at everything, each in a check of its own.
HOMES = {
    "pedalboard": {"effects", "plugins", "doctor"},
    "soundfile": {"audio", "audio_writer", "doctor"},
    "soxr": {"resampling"},
    "av": {"av_reader"},
    "h5py": {"store", "doctor"},
    "matplotlib": FIGURES | {"doctor"},
    "PIL": FIGURES,
    "click": {"cli"},
    "rich": {"cli"},
    "tqdm": {"progress"},
    "umap": {"projection"},
    "threadpoolctl": {"projection", "matching"},
    "sklearn": {"projection", "probes", "miniatures"},
    "jinja2": {"pages"},
    "markupsafe": {"pages", "report"},
    "tensorboard": {"run_folder"},
    "wandb": {"boards"},
    "distributed": {"cluster"},
}


def owner(path: Path) -> str:
    """The module's name in ORDER; all of cli/ is one, all of store/ another."""
    package = path.relative_to(PACKAGE).parts[0]
    if package in PACKAGES:
        return package
    return "cli" if path.stem == "__main__" else path.stem


def sources() -> list[Path]:
    files = PACKAGE.rglob("*.py")
    return [path for path in sorted(files) if path != PACKAGE / "__init__.py"]


@cache
def imports(path: Path) -> frozenset[tuple[str, ...]]:
    """Every import in the file, in functions too, as a dotted name in parts."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the whole name of the module"
            base = tuple((node.module or "").split("."))
            found.update((*base, alias.name) for alias in node.names)
    return frozenset(found)


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{owner(path)}-{path.stem}")
def test_imports_point_upstream(path):
    position = ORDER.index(owner(path))
    own = {parts[1] for parts in imports(path) if parts[0] == "dafxtool" and len(parts) > 1}
    beside = {owner(path)} & PACKAGES
    upstream = {*ORDER[:position], "__version__", *beside}
    assert own <= upstream


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_used_in_its_homes_only(library):
    users = {owner(path) for path in sources() if library in {i[0] for i in imports(path)}}
    assert users <= HOMES[library]


def test_every_module_has_its_place():
    assert {owner(path) for path in sources()} <= set(ORDER)


def test_everything_imports_where_pedalboard_is_not_installed():
    """A machine that only trains needs no audio library."""
    names = [f"dafxtool.{path.stem}" for path in sources() if path.parent == PACKAGE]
    program = (
        "import sys, importlib\n"
        "sys.modules['pedalboard'] = sys.modules['pedalboard.io'] = None\n"
        f"for name in {[n for n in names if n != 'dafxtool.__main__']!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
