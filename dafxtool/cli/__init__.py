"""The command line: one short file a command; it parses, calls the library once, reports.

A command is the attribute `command` of the module with its name, imported only when it is asked
for. Command modules import nothing but click and `common` at their top, so that help is quick.
Whatever a user can do wrong ends here as one sentence and an exit status of 1, a wrong usage as 2;
anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import re
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any

import click

from dafxtool import __version__
from dafxtool.cli._options import printable
from dafxtool.errors import DafxError, ElsewhereError
from dafxtool.utils import signals
from dafxtool.utils.files import disk_sentence

# In the order in which a day's work uses them, which is the order that help shows.
COMMANDS = (
    "effects",
    "render",
    "spectrogram",
    "train",
    "embed",
    "reconstruct",
    "interpolate",
    "map",
    "sweep",
    "match",
    "evaluate",
    "report",
    "invert",
    "demo",
    "doctor",
)

# The user's disk, not our mistake, wherever it happens.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PATH_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EIO, errno.EMFILE, errno.ENFILE),
)
OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


class Interrupted(click.ClickException):
    """Ctrl-C or SIGTERM has ended the command."""

    def show(self, file: IO[Any] | None = None) -> None:
        super().show(file)
        signals.leave(told=True)


class DafxGroup(click.Group):
    """Imports a command when it is needed, and turns errors into sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if find_spec(f"{__name__}.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click knows imported commands only
            names = self.list_commands(ctx)
            name = error.command_name
            raise click.exceptions.NoSuchCommand(name, possibilities=names, ctx=ctx) from error

    def invoke(self, ctx: click.Context) -> object:
        signals.watch()
        try:
            return self._invoke_or_tell(ctx)
        except KeyboardInterrupt as interrupt:  # a second one, just before the first was told
            raise self._interruption(ctx) from interrupt

    def _invoke_or_tell(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ElsewhereError as error:
            raise click.exceptions.Exit(1) from error
        except DafxError as error:
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt as interrupt:
            raise self._interruption(ctx) from interrupt
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise click.ClickException(printable(disk_sentence(error))) from error
            if error.errno not in PATH_ERRORS or not error.filename:
                raise
            told = f"{error.filename}: {error.strerror}: look at the name, and at who may use it."
            raise click.ClickException(printable(told)) from error
        except (MemoryError, RuntimeError) as error:
            if signals.is_behind(error):
                raise self._interruption(ctx) from error
            if isinstance(error, RuntimeError) and not OUT_OF_MEMORY.search(str(error)):
                raise
            raise click.ClickException(
                "the memory does not suffice: take a smaller --batch-size, fewer --workers, "
                "shorter segments or fewer inputs."
            ) from error

    def _interruption(self, ctx: click.Context) -> Interrupted:
        signals.leave(told=False)
        return Interrupted(self._what_is_kept(ctx))

    def _what_is_kept(self, ctx: click.Context) -> str:
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        if command and any(parameter.name == "resume" for parameter in command.params):
            return "interrupted: the same command with --resume goes on from what is done."
        return "interrupted: nothing half-written was kept."


@click.group(
    name="dafxtool",
    cls=DafxGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """See, hear and learn what audio effects do.

    Recordings are rendered through effects, a variational autoencoder is trained on the
    spectrograms of both sides, and what it learnt is shown and made heard. Commands say what they
    do without arguments, and each explains itself: dafxtool COMMAND --help.

    \b
    Examples:
      dafxtool render                     # no recordings named: the built-in ones
      dafxtool train                      # on the newest pairs.h5 here
      dafxtool interpolate a.wav b.wav    # with the newest run here
      dafxtool demo                       # all of it, small
    """
