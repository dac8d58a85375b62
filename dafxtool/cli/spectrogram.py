"""Define the command `dafxtool spectrogram`: compute spectrograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    TRANSFORM_LENGTH,
    Number,
    config_option,
    dask_option,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    preset_value_option,
    progress_options,
    resume_option,
)
from dafxtool.cli._output import progress_from, report
from dafxtool.utils.text import counted


@click.command(short_help="Compute the spectrograms of pairs.")
@click.argument("pairs", required=False, type=PATH)
@output_option("spectrograms.h5")
@preset_value_option("--n-fft", TRANSFORM_LENGTH, "Length of the transform in samples.")
@preset_value_option("--hop-length", click.IntRange(min=1), "Samples from frame to frame.")
@preset_value_option("--window-length", TRANSFORM_LENGTH, "Length of the Hann window in samples.")
@click.option(
    "--exponent",
    type=Number(min=0, min_open=True, max=1),
    help="Exponent of the power law on magnitudes.  [default: 0.3]",
)
@click.option(
    "--standardisation",
    type=click.Choice(("dataset", "segment")),
    help="Mean and standard deviation: of the training split, or of each segment.  "
    "[default: dataset]",
)
@click.option(
    "--dtype",
    type=click.Choice(("float16", "float32")),
    default="float16",
    show_default=True,
    help="Data type of the stored spectrograms.",
)
@preset_option
@config_option
@device_option
@dask_option
@resume_option
@overwrite_option
@json_option
@progress_options
def command(pairs: Path | None, as_json: bool, **options: Any) -> None:
    """Compute the spectrogram of every pair in PAIRS, by default the newest pairs file here.

    STFT (Hann, centred), magnitude, power law, standardisation. The file stores what converts a
    spectrogram back to linear magnitude.

    \b
    Examples:
      dafxtool spectrogram
      dafxtool spectrogram pairs.h5 --preset week6 -o week6.h5
      dafxtool spectrogram pairs.h5 --n-fft 1024 --hop-length 256 --window-length 1024
    """
    import dafxtool

    options["output"] = options["output"] or Path("spectrograms.h5")
    progress = progress_from(options)
    result = dafxtool.compute_spectrograms(pairs, progress=progress, **options)
    if result.hint:
        progress.message(result.hint)
    report(
        {
            "output": result.path,
            "n_pairs": result.n_pairs,
            "shape": result.shape,
            "mean": result.mean,
            "std": result.std,
            "n_bytes": result.n_bytes,
            "warning": result.hint,
        },
        as_json,
        [
            f"{counted(result.n_pairs, 'spectrogram')} of {' x '.join(map(str, result.shape))} "
            f"(channels x bins x frames), mean {result.mean:.4f}, "
            f"standard deviation {result.std:.4f}, {result.n_bytes / 1e6:.0f} MB "
            f"-> {result.path}"
        ],
    )
