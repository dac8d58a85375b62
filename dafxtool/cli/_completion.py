"""Complete effect names and runs in a shell; docs/cli.md says how to switch it on."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from click.shell_completion import CompletionItem


def effects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of built-in effects, and parameter names after a colon or comma."""
    from dafxtool.effects.builtin import builtin_effects

    known = builtin_effects()
    name, colon, listed = incomplete.partition(":")
    if not colon:
        return [
            CompletionItem(each, help=effect.summary)
            for each, effect in known.items()
            if each.startswith(name)
        ]
    if name not in known:
        return []
    done, comma, last = listed.rpartition(",")
    return [
        CompletionItem(f"{name}:{done}{comma}{parameter.name}=", help=parameter.range_text())
        for parameter in known[name].parameters
        if parameter.name.startswith(last)
    ]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete run folders below runs/, then any path."""
    found = [str(file.parent.parent) for file in Path("runs").glob("*/checkpoints/last.pt")]
    items = [CompletionItem(run) for run in sorted(found) if run.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]
