"""dafxtool explore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    SECONDS,
    device_option,
    plugin_option,
    progress_options,
    run_option,
)
from dafxtool.cli._output import progress_from, report


@click.command(short_help="Explore effects and the latent map in a browser.")
@click.argument("recordings", nargs=-1, type=PATH)
@run_option
@click.option(
    "--effect",
    metavar="NAME[:PARAMETER=VALUE,...]",
    help="Effect and setting to open with.",
)
@click.option(
    "--start", type=SECONDS, help="Start in s of the segment to open with.  [default: the loudest]"
)
@plugin_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen at; 0.0.0.0 lets other machines on the network connect.",
)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    default=0,
    help="Port to listen at.  [default: a free one]",
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@device_option
@progress_options
def command(recordings: tuple[Path, ...], no_browser: bool, **options: Any) -> None:
    """Explore effects in a browser: change settings, and play, draw and locate the result.

    RECORDINGS are files and folders, in addition to the built-in recordings. The page accepts more
    by drop, dialog and microphone, and shows each setting on the latent map of a run. The server
    listens on this machine only, unless --host is given. Ctrl-C ends it. Needs
    'dafxtool[explore]'.

    \b
    Examples:
      dafxtool explore
      dafxtool explore guitar.wav --effect delay:time=300 --start 1.5
      dafxtool explore --plugin /usr/lib/vst3/ZamDelay.vst3 --run runs/default-1
    """
    progress = progress_from(options)
    import dafxtool

    def show(url: str) -> None:
        report({"url": url}, False, [url, "Ctrl-C ends the explorer."])

    dafxtool.explore(recordings, browser=not no_browser, ready=show, progress=progress, **options)
