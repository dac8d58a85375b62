"""Packages import only from packages below them, and each third-party library has its homes."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dafxtool

PACKAGE = Path(dafxtool.__file__).parent

# From the bottom to the top. Packages of one layer do not import each other, except the pairs in
# WITHIN.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"utils"}),
    frozenset({"audio", "effects", "plots"}),
    frozenset({"config", "presets", "storage"}),
    frozenset({"spectrogram", "dataset"}),
    frozenset({"models"}),
    frozenset({"training", "latents"}),
    frozenset({"evaluation", "matching"}),
    frozenset({"web", "explorer"}),
    frozenset({"api"}),
    frozenset({"demo", "doctor"}),
    frozenset({"cli"}),
)
WITHIN = {
    ("effects", "audio"),
    ("presets", "config"),
    ("storage", "config"),
    ("dataset", "spectrogram"),
    ("training", "latents"),
    ("evaluation", "matching"),
    ("explorer", "web"),
    ("demo", "doctor"),
}

# Packages that may import a library. doctor imports each library in a separate check.
USERS = {
    "pedalboard": {"effects", "doctor"},
    "soundfile": {"audio", "doctor"},
    "av": {"audio", "doctor"},
    "soxr": {"audio"},
    "h5py": {"storage", "doctor"},
    "matplotlib": {"plots", "doctor"},
    "PIL": {"plots"},
    "click": {"cli"},
    "rich": {"cli"},
    "tqdm": {"utils"},
    "filelock": {"utils"},
    "psutil": {"utils"},
    "sklearn": {"latents", "evaluation", "web"},
    "umap": {"latents"},
    "jinja2": {"web"},
    "markupsafe": {"web"},
    "tensorboard": {"training"},
    "wandb": {"training"},
    "distributed": {"utils"},
    "starlette": {"explorer"},
    "uvicorn": {"explorer"},
}


def part_of(path: Path) -> str:
    """Return the package or top-level module that a file belongs to."""
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "cli" if part == "__main__" else part


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def module_name(path: Path) -> str:
    parts = ("dafxtool", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> frozenset[tuple[str, ...]]:
    """Return every import in a file, also in functions, as the parts of a dotted name."""
    return frozenset(_imports(path, ast.walk(ast.parse(path.read_text("utf-8")))))


def imports_on_loading(path: Path) -> set[tuple[str, ...]]:
    """Return the imports that run when a module is imported, without those in functions."""
    return _imports(path, ast.parse(path.read_text("utf-8")).body)


def _imports(path: Path, nodes) -> set[tuple[str, ...]]:
    result: set[tuple[str, ...]] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            result.update(tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            base = tuple((node.module or "").split("."))
            result.update((*base, alias.name) for alias in node.names)
    return result


def layer_of(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_downward(path):
    here = part_of(path)
    for parts in imports(path):
        if parts[0] != "dafxtool" or len(parts) == 1 or parts[1] == "__version__":
            continue
        there = parts[1]
        assert there == here or layer_of(there) < layer_of(here) or (here, there) in WITHIN, (
            f"{module_name(path)} imports {'.'.join(parts)}, which is not below it"
        )


def test_there_are_no_import_cycles():
    names = {module_name(path) for path in sources()}
    graph = {}
    for path in sources():
        imported = {".".join(parts) for parts in imports_on_loading(path)}
        parents = {name.rpartition(".")[0] for name in imported}
        graph[module_name(path)] = (imported | parents) & names
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("library", USERS)
def test_a_library_is_imported_only_in_its_packages(library):
    users = {part_of(path) for path in sources() if library in {i[0] for i in imports(path)}}
    assert users <= USERS[library]


def test_every_package_has_a_layer():
    assert {part_of(path) for path in sources()} == set().union(*LAYERS)


def test_all_modules_can_be_imported_without_pedalboard():
    """A machine that only trains does not need pedalboard."""
    names = [module_name(path) for path in sources() if path.name != "__main__.py"]
    program = (
        "import sys, importlib\n"
        "sys.modules['pedalboard'] = sys.modules['pedalboard.io'] = None\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
