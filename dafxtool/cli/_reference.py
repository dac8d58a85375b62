"""Write the reference of all commands: python -m dafxtool.cli._reference > docs/cli.md"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import rich_click as click

from dafxtool.cli import GROUPS, main

HELP_OPTIONS = ["-h", "--help"]  # click caches those of the first context on a command
HEADING = """\
# Commands

`make docs` writes this page from the commands' own help.

## Shell completion

Names of commands, options, effects, parameters, presets and runs complete with the Tab key. Add
the line for your shell to its start file, and open a new shell:

```sh
eval "$(_DAFXTOOL_COMPLETE=bash_source dafxtool)"    # ~/.bashrc
eval "$(_DAFXTOOL_COMPLETE=zsh_source dafxtool)"     # ~/.zshrc
_DAFXTOOL_COMPLETE=fish_source dafxtool | source     # ~/.config/fish/config.fish
```
"""


def reference() -> str:
    """Return docs/cli.md."""
    top = click.Context(main, info_name="dafxtool", help_option_names=HELP_OPTIONS)
    parts = [HEADING]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        for name in names:
            command = main.get_command(top, name)
            if command:
                parts += _section(name, command, top)
    return "\n".join(parts)


def _section(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"### dafxtool {name}\n"
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\ndafxtool {name} {pieces}\n```\n"
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\n")
    yield text.rstrip() + "\n"
    if examples:
        lines = [line.strip() for line in examples.splitlines()[1:]]
        yield "```sh\n" + "\n".join(lines) + "\n```\n"
    yield "| option | description |\n|---|---|"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and parameter.name != "help":
            yield f"| {_cell(f'`{record[0]}`')} | {_cell(record[1])} |"
    yield ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
