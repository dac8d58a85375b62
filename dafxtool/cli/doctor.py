"""dafxtool doctor: what works here, what does not, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import click

from dafxtool.cli.common import json_option, plugin_option, progress_from, quiet_option, report

COLOURS = {"ok": "green", "warning": "yellow", "missing": "yellow", "broken": "red"}


@click.command()
@click.argument("files", nargs=-1, metavar="[PLUGIN]...", type=click.Path(path_type=Path))
@plugin_option
@json_option
@quiet_option
def command(files: tuple[Path, ...], plugins: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Examine this machine, and each PLUGIN named, and say how to mend what does not work.

    Every line tells what was looked at, its state (ok; warning: works, with less; missing: not
    here, and only needed for what the line says; broken: needed, and does not work) and what was
    found. The exit status is 1 only when something is broken.

    \b
    Examples:
      dafxtool doctor
      dafxtool doctor ZamTube.vst3 ZamDelay.vst3
      dafxtool doctor --json
    """
    from dafxtool.doctor import Check, examine

    def line(check: Check) -> str:
        state = click.style(f"{check.state:<8}", fg=COLOURS[check.state])
        found = f"{state} {check.what:<{width}}  {check.found}"
        return f"{found}\n{'':<{width + 11}}-> {check.mend}" if check.mend else found

    checks = examine((*files, *plugins), progress_from(quiet))
    width = max(len(check.what) for check in checks)
    broken = [check.what for check in checks if check.state == "broken"]
    verdict = f"Broken: {', '.join(broken)}." if broken else "Everything needed works."
    lines = [*(line(check) for check in checks), "", verdict]
    report({"ok": not broken, "checks": checks}, as_json, lines)
    if broken:
        raise click.exceptions.Exit(1)
