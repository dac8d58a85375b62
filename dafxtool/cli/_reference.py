"""The reference of all commands, as a page: python -m dafxtool.cli.reference > docs/cli.md"""

from __future__ import annotations

import click

from dafxtool.cli import main

WIDTH = 96  # columns, whatever the terminal of whoever makes the page

HEADING = """\
# The command line

Made by `make docs` from the commands' own help; do not edit it.
"""


def reference() -> str:
    """docs/cli.md, whole."""
    top = _context("dafxtool")
    parts = [HEADING, _section("dafxtool", main, top)]
    for name in main.list_commands(top):
        command = main.get_command(top, name)
        assert command is not None
        parts.append(_section(f"dafxtool {name}", command, top))
    return "\n".join(parts)


def _section(name: str, command: click.Command, parent: click.Context) -> str:
    context = parent if command is main else _context(name.split()[-1], command, parent)
    return f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"


def _context(
    name: str, command: click.Command = main, parent: click.Context | None = None
) -> click.Context:
    # context_settings are what click itself would pass: among them that -h means help.
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
