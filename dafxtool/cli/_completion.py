"""Complete effect names and runs in a shell; docs/cli.md says how to switch it on."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from click.shell_completion import CompletionItem


def effects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of built-in effects, and parameter names after a colon or comma.

    In a chain, the stage after the last ">" is completed.
    """
    from dafxtool.effects.builtin import builtin_effects

    known = builtin_effects()
    before, arrow, stage = incomplete.rpartition(">")
    before += arrow + stage[: len(stage) - len(stage.lstrip())]
    stage = stage.lstrip()
    own_name, equals, effect = stage.partition("=")
    if not arrow and equals and ":" not in own_name:  # "lead=overdrive"
        before, stage = f"{own_name}=", effect
    name, colon, listed = stage.partition(":")
    if not colon:
        return [
            CompletionItem(before + each, help=effect.summary)
            for each, effect in known.items()
            if each.startswith(name)
        ]
    if name not in known:
        return []
    done, comma, last = listed.rpartition(",")
    return [
        CompletionItem(
            f"{before}{name}:{done}{comma}{parameter.name}=", help=parameter.range_text()
        )
        for parameter in known[name].parameters
        if parameter.name.startswith(last)
    ]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete run folders below runs/, then any path."""
    runs_here = [str(file.parent.parent) for file in Path("runs").glob("*/checkpoints/last.pt")]
    items = [CompletionItem(run) for run in sorted(runs_here) if run.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]
