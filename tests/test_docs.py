"""The documents tell the truth: commands, options and links in them exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from dafxtool.cli import main
from dafxtool.cli._reference import reference

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OTHERS = re.compile(r"^(\||\|\||&&|;|[12&]?>>?.*|<)$")  # where another program takes over


def command_lines(text: str) -> list[str]:
    """What a reader would type: the lines in blocks of code that begin with dafxtool."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    stripped = [re.sub(r"^\s*(\$ )?", "", line) for line in lines]
    return [line for line in stripped if re.match(r"dafxtool [a-z-]", line)]


def check_command_line(line: str) -> None:
    """Parse it as the command would, without running it; a click.UsageError says what is wrong."""
    words = shlex.split(line, comments=True)
    end = next((i for i, word in enumerate(words) if OTHERS.match(word)), len(words))
    context = click.Context(main, info_name="dafxtool")
    if words[1] == "COMMAND":
        return
    name, command, arguments = main.resolve_command(context, words[1:end])
    if command and not {"--help", "-h"} & set(arguments):
        command.make_context(name, arguments, parent=context)


def test_the_reference_is_fresh():
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == reference(), "run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_the_documents_is_accepted(page):
    for line in command_lines(page.read_text("utf-8")):
        try:
            check_command_line(line)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: {line!r}: {error.format_message()}")


def test_a_wrong_command_line_would_be_noticed():
    text = "```sh\n$ dafxtool effects \\\n    --jsn | less\ndafxtool doctor > out.txt  # all\n```\n"
    wrong, right = command_lines(text)
    with pytest.raises(click.UsageError, match="--jsn"):
        check_command_line(wrong)
    with pytest.raises(click.UsageError, match="No such command 'rendr'"):
        check_command_line("dafxtool rendr")
    check_command_line(right)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []
