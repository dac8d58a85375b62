"""dafxtool doctor: what works here, what does not, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dafxtool.cli import _checks
from dafxtool.cli._options import (
    PATH,
    SAMPLE_RATE,
    json_option,
    plugin_option,
    quiet_option,
)
from dafxtool.cli._output import Table, progress_from, report

if TYPE_CHECKING:
    from dafxtool.effects.effect import Effect


@click.command(short_help="Examine this machine, and plugins.")
@_checks.checked(
    click.argument("files", nargs=-1, metavar="[PLUGIN]...", type=PATH), "files", _checks.plugins
)
@plugin_option
@click.option(
    "--sample-rate",
    type=SAMPLE_RATE,
    default=24_000,
    show_default=True,
    help="Rate in Hz at which plugins are tried; their ranges can depend on it.",
)
@json_option
@quiet_option
def command(
    files: tuple[Path, ...],
    plugins: tuple[Path, ...],
    sample_rate: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Examine this machine, and each PLUGIN named, and say how to mend what does not work.

    Every line tells what was looked at, its state (ok; warning: works, with less; missing: not
    here, and only needed for what the line says; broken: needed, and does not work) and what was
    found. The exit status is 1 only when something is broken.

    Of a plugin it tells the file's hash, the channels, the settings and their ranges, which of its
    parameters are left out and why, and whether it is repeatable: whether the same setting gave the
    same bits of the same sound, with another setting in between.

    \b
    Examples:
      dafxtool doctor
      dafxtool doctor ZamTube.vst3 ZamDelay.vst3
      dafxtool doctor ZamTube.vst3 --sample-rate 48000
      dafxtool doctor --json
    """
    from dafxtool.doctor import Check, examine

    def line(check: Check) -> str:
        found = f"{check.state:<8} {check.what:<{width}}  {check.found}"
        return f"{found}\n{'':<{width + 11}}-> {check.mend}" if check.mend else found

    checks = examine((*files, *plugins), progress_from(quiet), sample_rate)
    width = max(len(check.what) for check in checks)
    broken = [check.what for check in checks if check.state == "broken"]
    verdict = f"Broken: {', '.join(broken)}." if broken else "Everything needed works."
    shown: list[str | Table] = [line(check) for check in checks]
    for check in checks:
        for effect in check.effects:
            shown += ["", *_described(effect)]
    report({"ok": not broken, "checks": checks}, as_json, [*shown, "", verdict])
    if broken:
        raise click.exceptions.Exit(1)


def _described(effect: Effect) -> list[str | Table]:
    """All that is known of a plugin's effect."""
    file = effect.plugin
    assert file is not None
    rows = [(p.name, p.text(p.default), p.range_text()) for p in effect.parameters]
    channels = "mono" if file.n_channels == 1 else "stereo only: mono is given on both channels"
    shown: list[str | Table] = [
        f"{effect.name}: {effect.summary}, version {file.version}",
        f"  file        {file.path}",
        f"  SHA-256     {file.sha256}",
        f"  channels    {channels}",
        f"  repeatable  {'yes' if file.repeatable else 'no'}",
    ]
    if rows:
        shown.append(Table((f"setting at {file.sample_rate} Hz", "default", "range"), rows))
    if file.left_out:
        shown.append(Table(("no setting", "why"), file.left_out))
    return shown
