"""Define the command line; each command has a short file that calls one library function.

A command is the attribute `command` of the module of its name, imported only when it is invoked.
Command modules import nothing slow at their top, so that help is quick. Errors of the user end here
as one sentence and exit status 1, wrong usage as 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import re
from importlib import import_module
from importlib.util import find_spec
from keyword import iskeyword
from typing import IO, Any

import rich_click as click
from click import Group
from click.exceptions import Exit, NoSuchCommand

from dafxtool import __version__
from dafxtool.errors import ArgumentError, DafxError, ElsewhereError
from dafxtool.utils import signals
from dafxtool.utils.files import disk_sentence
from dafxtool.utils.text import printable

GROUPS = {
    "Dataset": ("effects", "render", "import", "spectrogram"),
    "Model": ("train", "evaluate", "train-matcher", "report"),
    "Look and listen": (
        *("explore", "interpolate", "reconstruct", "map", "sweep", "match", "embed", "invert"),
    ),
    "Start here": ("demo", "doctor"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


def module_of(command: str) -> str:
    """Return the name of a command's module; a keyword of Python gets an underscore."""
    name = command.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


HELP_STYLE = click.RichHelpConfiguration(
    width=100,
    style_option="bold cyan",
    style_command="bold cyan",
    style_options_panel_border="dim",
    style_commands_panel_border="dim",
    command_groups={
        "dafxtool": [{"name": group, "commands": list(names)} for group, names in GROUPS.items()]
    },
)

# The user's disk, not our mistake, wherever it happens.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PATH_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EIO, errno.EMFILE, errno.ENFILE),
)
OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


class Interrupted(click.ClickException):
    """Ctrl-C or SIGTERM ended the command: no error, but a status of its own."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=True)
        signals.leave(is_reported=True)


class DafxGroup(click.RichGroup):
    """Import a command when it is needed, and turn errors into sentences."""

    # Errors as one plain line, "Error: ...": programs and logs read them too.
    main = Group.main

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if find_spec(f"{__name__}.{module_of(name)}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{__name__}.{module_of(cmd_name)}").command
        command.name = cmd_name  # its function is called `command` in every module
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # click knows imported commands only
            names = self.list_commands(ctx)
            name = error.command_name
            raise NoSuchCommand(name, possibilities=names, ctx=ctx) from error

    def invoke(self, ctx: click.Context) -> object:
        signals.watch()
        try:
            return self._invoke_and_report(ctx)
        except KeyboardInterrupt as interrupt:  # a second one, before the first was reported
            raise self._interruption(ctx, interrupt) from interrupt

    def _invoke_and_report(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ElsewhereError as error:
            raise Exit(1) from error
        except ArgumentError as error:
            raise click.UsageError(printable(str(error))) from error
        except DafxError as error:
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt as interrupt:
            raise self._interruption(ctx, interrupt) from interrupt
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise click.ClickException(printable(disk_sentence(error))) from error
            if error.errno not in PATH_ERRORS or not error.filename:
                raise
            text = f"{error.filename}: {error.strerror}. Check the name and its permissions."
            raise click.ClickException(printable(text)) from error
        except (MemoryError, RuntimeError) as error:
            if signals.is_caused_by_interrupt(error):
                raise self._interruption(ctx, KeyboardInterrupt()) from error
            if isinstance(error, RuntimeError) and not OUT_OF_MEMORY.search(str(error)):
                raise
            raise click.ClickException(
                "out of memory. Use a smaller --batch-size, fewer --workers, shorter segments or "
                "fewer inputs."
            ) from error

    def _interruption(self, ctx: click.Context, interrupt: KeyboardInterrupt) -> Interrupted:
        signals.leave(is_reported=False)
        interrupted = Interrupted(printable(str(interrupt) or self._after_interruption(ctx)))
        vars(interrupted)["exit_code"] = signals.exit_status()
        return interrupted

    def _after_interruption(self, ctx: click.Context) -> str:
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        if command and any(parameter.name == "resume" for parameter in command.params):
            return "Interrupted. Use the same command with --resume to continue."
        return "Interrupted. No incomplete output was kept."


@click.group(
    name="dafxtool",
    cls=DafxGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.rich_config(help_config=HELP_STYLE)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Analyse what audio effects do to recordings.

    Render recordings through effects, train a variational autoencoder on dry and wet spectrograms,
    and inspect its latent space by figures and audio. Every command works without arguments.
    dafxtool COMMAND --help describes it.

    \b
    Examples:
      dafxtool render                     # the built-in recordings
      dafxtool train                      # on the newest pairs.h5 here
      dafxtool interpolate a.wav b.wav    # with the newest run here
      dafxtool demo                       # the complete pipeline, in small
    """
