"""Every command calls exactly one public function, which Python callers use as well."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dafxtool
from dafxtool.cli import COMMANDS, module_of

FOLDER = Path(dafxtool.__file__).parent / "cli"
# Commands whose function is not part of the interface: they serve people at a terminal.
OTHERS = {"demo": "dafxtool.demo.demo", "doctor": "dafxtool.doctor.examine"}


def public_calls(tree: ast.AST) -> list[str]:
    """Return the names f of all calls dafxtool.f(...) of public functions."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute)
        and isinstance(call.value, ast.Name)
        and call.value.id == "dafxtool"
        and call.attr in dafxtool.__all__
    ]


def imported_calls(tree: ast.AST) -> list[str]:
    """Return the full names of called functions that were imported from a module."""
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [
        f"{homes[call.id]}.{call.id}"
        for call in calls
        if isinstance(call, ast.Name) and call.id in homes
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_calls_one_public_function(name):
    tree = ast.parse((FOLDER / f"{module_of(name)}.py").read_text("utf-8"))
    if name in OTHERS:
        assert imported_calls(tree).count(OTHERS[name]) == 1
        assert public_calls(tree) == []
    else:
        assert len(public_calls(tree)) == 1


def test_every_public_function_of_the_pipeline_has_a_command():
    called = {
        call
        for name in COMMANDS
        for call in public_calls(ast.parse((FOLDER / f"{module_of(name)}.py").read_text("utf-8")))
    }
    assert set(dafxtool.__all__) - called == {
        "load_audio",
        "save_audio",
        "apply_effect",
        "load_run",
    }
