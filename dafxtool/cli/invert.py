"""Define the command `dafxtool invert`: reconstruct audio from magnitudes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    TRANSFORM_LENGTH,
    device_option,
    json_option,
    method_option,
    output_option,
    overwrite_option,
    progress_options,
    run_option,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report

STFT_OPTIONS = ("n_fft", "hop_length", "window_length", "sample_rate")
UNSTATED = "of an array that does not state it."


@click.command(short_help="Reconstruct audio from magnitude spectrograms.")
@click.argument("source", required=False, type=PATH)
@output_option("inverted.wav, or the folder inverted/ for several", "File ending in .wav or .flac.")
@click.option(
    "--row",
    "rows",
    type=click.IntRange(min=0),
    multiple=True,
    help="Row to invert, numbered as in the pairs file; repeat for more.  [default: the first]",
)
@click.option(
    "--channel",
    type=click.Choice(("dry", "wet", "both")),
    default="wet",
    show_default=True,
    help="Channel of a spectrograms or latents file.",
)
@run_option
@method_option
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    help="Number of iterations.  [default: the method's]",
)
@click.option(
    "--phase-from",
    type=PATH,
    metavar="FILE",
    help="Recording whose phase to start from: the dry one.",
)
@click.option(
    "--phase-channel",
    metavar="first|mean|loudest|N",
    default="first",
    show_default=True,
    help="Channel of the recording of --phase-from.",
)
@click.option("--n-fft", type=TRANSFORM_LENGTH, help=f"Transform length in samples, {UNSTATED}")
@click.option("--hop-length", type=click.IntRange(min=1), help=f"Hop in samples, {UNSTATED}")
@click.option("--window-length", type=TRANSFORM_LENGTH, help=f"Window in samples, {UNSTATED}")
@click.option(
    "--sample-rate", type=click.IntRange(min=1, max=768_000), help=f"Rate in Hz, {UNSTATED}"
)
@seed_option()
@device_option
@overwrite_option
@json_option
@progress_options
def command(source: Path | None, as_json: bool, **options: Any) -> None:
    """Reconstruct audio from SOURCE: a spectrograms or latents file, or magnitudes (.npy, .npz).

    Without SOURCE, the newest spectrograms file here. Prints the spectral convergence in dB of the
    result's own magnitudes against those given; lower is better. Where the dry recording is known,
    --phase-from improves the result more than any method. Arrays hold linear magnitudes, 0 or more,
    bins first. Settings that an array does not state are assumed and printed.

    \b
    Examples:
      dafxtool invert
      dafxtool invert spectrograms.h5 --row 0 --row 5 --channel both -o audio
      dafxtool invert latents.h5 --row 3 --method best -o decoded.wav
      dafxtool invert wet.npz --phase-from dry.wav -o wet.wav
    """
    import dafxtool

    stft = {name: options.pop(name) for name in STFT_OPTIONS}
    written = dafxtool.invert(
        source,
        stft={name: value for name, value in stft.items() if value},
        progress=progress_from(options),
        **options,
    )
    rows = [
        (str(each.path), f"{each.seconds:.2f} s", f"{each.sample_rate} Hz", each.convergence_text)
        for each in written
    ]
    numbers = ("length", "sample rate", "spectral convergence")
    notes = dict.fromkeys(f"{each.path.name}: {note}" for each in written for note in each.notes)
    table = Table(("audio", *numbers), rows, right=numbers)
    report({"audio_files": written}, as_json, [table, *notes])
