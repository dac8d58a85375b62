"""Define the command `dafxtool doctor`: check the machine and plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from dafxtool.cli._options import (
    PATH,
    SAMPLE_RATE,
    json_option,
    plugin_option,
    progress_options,
)
from dafxtool.cli._output import Table, progress_from, report

if TYPE_CHECKING:
    from dafxtool.doctor import Check
    from dafxtool.effects.effect import Effect


@click.command(short_help="Check this machine, and plugins.")
@click.argument("files", nargs=-1, metavar="[PLUGIN]...", type=PATH)
@plugin_option
@click.option(
    "--sample-rate",
    type=SAMPLE_RATE,
    default=24_000,
    show_default=True,
    help="Sample rate in Hz at which plugins are tried; their ranges can depend on it.",
)
@json_option
@progress_options
def command(
    files: tuple[Path, ...],
    plugins: tuple[Path, ...],
    sample_rate: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Check this machine, and each PLUGIN, and say how to fix what does not work.

    Every line has a state and a result. ok: works. warning: works with restrictions. missing: not
    installed, and needed only for the purpose in the line. broken: needed, and does not work. The
    exit status is 1 if something is broken.

    For a plugin, it prints hash, channels, parameters with ranges, and what was left out and why.
    It also checks whether the same setting gives the same bits after another setting.

    \b
    Examples:
      dafxtool doctor
      dafxtool doctor ZamTube.vst3 ZamDelay.vst3
      dafxtool doctor ZamTube.vst3 --sample-rate 48000
      dafxtool doctor --json
    """
    from dafxtool.api.checks import check_effects

    check_effects((), (*files, *plugins))
    from dafxtool.doctor import examine

    checks = examine((*files, *plugins), progress_from(options), sample_rate)
    width = max(len(check.what) for check in checks)
    broken = [check.what for check in checks if check.state == "broken"]
    verdict = f"Broken: {', '.join(broken)}." if broken else "Everything needed works."
    shown: list[str | Table] = [_line(check, width) for check in checks]
    for check in checks:
        if check.details:
            shown += ["", f"{check.what}:", *(f"  {line}" for line in check.details)]
        for effect in check.effects:
            shown += ["", *_described(effect)]
    report({"ok": not broken, "checks": list(map(_json, checks))}, as_json, [*shown, "", verdict])
    if broken:
        raise Exit(1)


def _json(check: Check) -> dict[str, Any]:
    values = dict(vars(check))
    return {"subject": values.pop("what"), "result": values.pop("found"), **values}


def _line(check: Check, width: int) -> str:
    found = f"{check.state:<8} {check.what:<{width}}  {check.found}"
    return f"{found}\n{'':<{width + 11}}-> {check.fix}" if check.fix else found


def _described(effect: Effect) -> list[str | Table]:
    """Describe a plugin's effect: file, channels, repeatability, parameters, what was left out."""
    file = effect.plugin
    assert file is not None
    rows = [(p.name, p.text(p.default), p.range_text()) for p in effect.parameters]
    stereo = f"stereo only: mono is given on both channels, the {file.output_channel} one is kept"
    channels = "mono" if file.n_channels == 1 else stereo
    shown: list[str | Table] = [
        f"{effect.name}: {effect.summary}, version {file.version}",
        f"  file        {file.path}",
        f"  SHA-256     {file.sha256}",
        f"  channels    {channels}",
        f"  repeatable  {'yes' if file.repeatable else 'no'}",
        *(f"  remark      {remark}" for remark in file.remarks),
    ]
    if rows:
        shown.append(Table((f"parameter at {file.sample_rate} Hz", "default", "range"), rows))
    if file.left_out:
        shown.append(Table(("left out", "reason"), file.left_out))
    return shown
