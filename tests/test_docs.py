"""Check the documents: commands, options and links, generated pages, the site."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from dafxtool.cli import main
from dafxtool.cli._python_reference import python_reference
from dafxtool.cli._reference import HELP_OPTIONS, reference

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SITE_PACKAGES = ("mkdocs", "material", "mkdocs_include_markdown_plugin")
FIRST_COMMANDS = [
    "dafxtool interpolate a.wav b.wav",  # with the pretrained model
    "dafxtool render",
    "dafxtool train",
    "dafxtool interpolate a.wav b.wav",
]
# Where another program or a file takes over.
SEPARATORS = re.compile(r"^(\||\|\||&&|;|[12&]?>>?.*|<)$")


def command_lines(text: str) -> list[str]:
    """Return the lines in fenced blocks, except those marked text, that start with dafxtool."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    typed = [block for language, block in blocks if language != "text"]
    lines = "\n".join(typed).replace("\\\n", " ").splitlines()
    stripped = [re.sub(r"^\s*(\$ )?", "", line) for line in lines]
    return [line for line in stripped if re.match(r"dafxtool [a-z-]", line)]


def check_command_line(line: str) -> None:
    """Parse a command line without running it; raise click.UsageError if it is wrong."""
    words = shlex.split(line, comments=True)
    end = next((i for i, word in enumerate(words) if SEPARATORS.match(word)), len(words))
    context = click.Context(main, info_name="dafxtool", help_option_names=HELP_OPTIONS)
    name, command, arguments = main.resolve_command(context, words[1:end])
    if command and not {"--help", "-h"} & set(arguments):
        command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("name, generate", [("cli.md", reference), ("python.md", python_reference)])
def test_a_generated_page_is_fresh(name, generate):
    assert (ROOT / "docs" / name).read_text("utf-8") == generate(), "run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_the_documents_is_accepted(page):
    for line in command_lines(page.read_text("utf-8")):
        try:
            check_command_line(line)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: {line!r}: {error.format_message()}")


def test_a_wrong_command_line_is_noticed():
    text = "```sh\n$ dafxtool effects \\\n    --jsn | less\ndafxtool doctor > out.txt  # all\n```\n"
    wrong, right = command_lines(text)
    with pytest.raises(click.UsageError, match="--jsn"):
        check_command_line(wrong)
    with pytest.raises(click.UsageError, match="No such command 'rendr'"):
        check_command_line("dafxtool rendr")
    check_command_line(right)


def test_the_readme_starts_with_the_three_commands():
    lines = command_lines((ROOT / "README.md").read_text("utf-8"))
    assert [line.partition("#")[0].strip() for line in lines[:4]] == FIRST_COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_is_in_fenced_blocks(page):
    """Indented blocks are checked by no test and highlighted by no browser."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n    \S.*", text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, SITE_PACKAGES)), reason="mkdocs is not installed")
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "python.html").exists()
