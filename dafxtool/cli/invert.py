"""dafxtool invert: magnitudes in, sound out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli._checks import checked, recording
from dafxtool.cli._options import (
    PATH,
    TRANSFORM_LENGTH,
    device_option,
    json_option,
    method_option,
    output_option,
    overwrite_option,
    quiet_option,
    run_option,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report


@click.command(short_help="Make sound from magnitudes.")
@click.argument("source", required=False, type=PATH)
@output_option("inverted.wav, or the folder inverted/ for several", "A .wav or .flac file.")
@click.option("--row", "rows", type=int, multiple=True, help="Rows to invert.  [default: 0]")
@click.option(
    "--channel",
    type=click.Choice(("dry", "wet", "both")),
    default="wet",
    show_default=True,
    help="Of a spectrograms or latents file.",
)
@run_option
@method_option
@click.option("--iterations", type=click.IntRange(min=0), help="More are better and slower.")
@checked(
    click.option(
        "--phase-from",
        type=PATH,
        metavar="FILE",
        help="Start from this recording's phase: the dry one.",
    ),
    "phase_from",
    recording,
)
@click.option("--n-fft", type=TRANSFORM_LENGTH, help="Of an array that does not say.")
@click.option("--hop-length", type=click.IntRange(min=1), help="Of an array that does not say.")
@click.option("--window-length", type=TRANSFORM_LENGTH, help="Of an array that does not say.")
@click.option(
    "--sample-rate", type=click.IntRange(min=1, max=768_000), help="Of an array that does not say."
)
@seed_option()
@device_option
@overwrite_option
@json_option
@quiet_option
def command(source: Path | None, **options: Any) -> None:
    """Make sound from SOURCE: a spectrograms or latents file, or magnitudes as .npy or .npz.

    Without SOURCE, the newest spectrograms file here. Says how far the sound's own spectrogram is
    from the one asked for: spectral convergence in dB, the lower the better. Where the dry
    recording is known, --phase-from is worth more than any method.

    \b
    Examples:
      dafxtool invert
      dafxtool invert spectrograms.h5 --row 0 --row 5 --channel both -o sounds
      dafxtool invert latents.h5 --row 3 --method best -o decoded.wav
      dafxtool invert wet.npz --phase-from dry.wav -o wet.wav
    """
    from dafxtool import storage
    from dafxtool.api.defaults import newest_file
    from dafxtool.latents.invert import CHANNELS, STFT_KEYS, invert_file

    progress = progress_from(options["quiet"])
    path = source or newest_file([storage.SPECTROGRAMS])
    rows = options["rows"] or (0,)
    channels = CHANNELS if options["channel"] == "both" else (options["channel"],)
    is_array = path.suffix.lower() in (".npy", ".npz")
    one = len(set(rows)) * (1 if is_array else len(channels)) == 1
    written = invert_file(
        path,
        options["output"] or Path("inverted.wav" if one else "inverted"),
        rows,
        channels,
        options["run"],
        {key: options[key] for key in STFT_KEYS if options.get(key)},
        options["method"],
        options["iterations"],
        options["phase_from"],
        options["seed"],
        options["device"],
        options["overwrite"],
        progress,
    )
    table = [
        (str(each.path), f"{each.seconds:.2f} s", f"{each.convergence_db:.1f} dB")
        for each in written
    ]
    numbers = ("length", "spectral convergence")
    report(
        {"sounds": written}, options["as_json"], [Table(("sound", *numbers), table, right=numbers)]
    )
