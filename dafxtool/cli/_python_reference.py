"""Write the reference of the Python interface: python -m dafxtool.cli._python_reference."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import dafxtool
from dafxtool.utils.progress import Progress

HEADING = """\
# Python

`make docs` writes this page from the docstrings.

`import dafxtool` offers one function for each command, in the order of the data. torch and
matplotlib are loaded on first use.

- Paths are text or `os.PathLike`. Where several are accepted, one alone is accepted too.
- Effects are text, such as `"delay:time=300,mix=50"`, with values in ms, dB, Hz or %.
- Options are keyword-only. An omitted option has the command's default.
- `render`, `compute_spectrograms`, `train`, `invert` and `report` write to a default output if none
  is named. The other functions write only the outputs that are named.
- `progress` receives messages and rates. The default is silent.
- Errors are subclasses of `dafxtool.errors.DafxError`. The message names the file, the problem and
  what to do.
- Results show figures, tables and audio players in a notebook.
"""
NAMES = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: {2,}(\S.*))?")


def python_reference() -> str:
    """Return docs/python.md."""
    parts = [HEADING]
    results: dict[str, type] = {}
    for name in dafxtool.__all__:
        function = getattr(dafxtool, name)
        parts += [f"## {name}\n", _signature(name, function), *_paragraphs(function)]
        result = _result(function)
        if result:
            results[result.__name__] = result
    parts.append("## Results\n")
    for name, result in results.items():
        parts += [f"### {name}\n", *_paragraphs(result), *_members(result)]
    return "\n".join(parts).rstrip() + "\n"


def _signature(name: str, function: Callable[..., Any]) -> str:
    """Return the signature as a code block, one parameter on each line."""
    signature = inspect.signature(function)
    lines = []
    is_keyword_only = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            lines.append("    *,")
        default = "" if parameter.default is parameter.empty else f" = {_text(parameter.default)}"
        lines.append(f"    {parameter.name}: {parameter.annotation}{default},")
    head = f"```python\ndafxtool.{name}(\n"
    return head + "\n".join(lines) + f"\n) -> {signature.return_annotation}\n```\n"


def _text(default: object) -> str:
    if isinstance(default, Progress):
        return "SILENT"
    return f'"{default}"' if isinstance(default, str) else repr(default)


def _paragraphs(documented: object) -> Iterator[str]:
    """Convert a docstring to Markdown: lists of arguments and errors become bullets."""
    for paragraph in (inspect.getdoc(documented) or "").split("\n\n"):
        items = _items(paragraph.splitlines())
        if items:
            yield "".join(f"- `{names}`: {text}\n" for names, text in items)
        else:
            yield re.sub(r"\b(\w+Error)\b", r"`\1`", paragraph) + "\n"


def _items(lines: list[str]) -> list[tuple[str, str]]:
    """Return names and descriptions of a list of arguments; empty for running text."""
    items: list[list[str]] = []
    for line in lines:
        match = NAMES.fullmatch(line)
        if line.startswith(" ") and items:
            items[-1].append(line.strip())
        elif match:
            items.append([match[1], match[2] or ""])
        else:
            return []
    if any(not "".join(texts) for _, *texts in items):
        return []
    return [(names, " ".join(filter(None, texts))) for names, *texts in items]


def _result(function: Callable[..., Any]) -> type | None:
    """Return the class of the project that a function returns, also inside a list."""
    annotation = str(inspect.signature(function).return_annotation)
    module = sys.modules[function.__module__]
    for name in re.findall(r"\w+", annotation):
        value = _resolved(name, module)
        if inspect.isclass(value) and value.__module__.startswith("dafxtool."):
            return value
    return None


def _resolved(name: str, module: ModuleType) -> Any:
    """Resolve a name in an annotation, also one that only type checkers import."""
    if hasattr(module, name):
        return getattr(module, name)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return getattr(import_module(str(node.module)), name)
    return None


def _members(result: type) -> Iterator[str]:
    """List the fields, properties and methods of a result."""
    lines = [f"| `{each.name}` | `{each.type}` |" for each in _fields(result)]
    if lines:
        yield "\n".join(["| field | type |", "|---|---|", *lines]).replace(" | None", " \\| None")
        yield ""
    methods = [
        f"| `{name}{'' if isinstance(value, property) else '()'}` | {_first_line(value)} |"
        for name, value in vars(result).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    ]
    if methods:
        yield "\n".join(["| method or property | description |", "|---|---|", *methods])
        yield ""


def _fields(result: type) -> tuple[Any, ...]:
    return fields(result) if is_dataclass(result) else ()


def _first_line(documented: object) -> str:
    text = (inspect.getdoc(documented) or "").partition("\n\n")[0]
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(python_reference())
