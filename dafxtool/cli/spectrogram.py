"""dafxtool spectrogram: pairs in, standardised spectrograms out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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
    quiet_option,
    resume_option,
)
from dafxtool.cli._output import cluster_at, progress_from, report


@click.command(short_help="Compute the spectrograms of pairs.")
@click.argument("pairs", required=False, type=PATH)
@output_option("spectrograms.h5")
@click.option("--n-fft", type=TRANSFORM_LENGTH, help="Length of the transform in samples.")
@click.option("--hop-length", type=click.IntRange(min=1), help="Samples from frame to frame.")
@click.option("--window-length", type=TRANSFORM_LENGTH, help="Length of the Hann window.")
@click.option(
    "--exponent",
    type=Number(min=0, min_open=True, max=1),
    help="Power that the magnitude is raised to.",
)
@click.option(
    "--standardisation",
    type=click.Choice(("dataset", "segment")),
    help="By constants of the training split, or each segment by its own.",
)
@click.option(
    "--dtype",
    type=click.Choice(("float16", "float32")),
    default="float16",
    show_default=True,
    help="As which they are stored.",
)
@preset_option
@config_option
@device_option
@dask_option
@resume_option
@overwrite_option
@json_option
@quiet_option
def command(pairs: Path | None, **options: Any) -> None:
    """Compute the spectrograms of every pair in PAIRS, by default the newest pairs file here.

    STFT (Hann, centred), magnitude, power law, standardisation. The file tells how to go back to
    linear magnitude.

    \b
    Examples:
      dafxtool spectrogram
      dafxtool spectrogram pairs.h5 --preset week6 -o week6.h5
      dafxtool spectrogram pairs.h5 --n-fft 1024 --hop-length 256 --window-length 1024
    """
    from dafxtool import presets, storage
    from dafxtool.api.defaults import configuration_for, newest_file
    from dafxtool.spectrogram.compute import compute_spectrograms, segment_size

    progress = progress_from(options["quiet"])
    source = pairs or newest_file([storage.PAIRS])
    keys = ("n_fft", "hop_length", "window_length", "exponent", "standardisation")
    configuration = configuration_for(
        options["preset"],
        options["config"],
        {"spectrogram": {key: options[key] for key in keys}},
        progress,
    )
    with storage.Reader(source, storage.PAIRS) as reader:
        configuration = presets.with_segments_of(configuration, *segment_size(reader))
    with cluster_at(options["dask"], progress) as cluster:
        result = compute_spectrograms(
            source,
            options["output"] or Path("spectrograms.h5"),
            configuration.spectrogram,
            options["dtype"],
            options["device"],
            options["resume"],
            options["overwrite"],
            progress,
            cluster,
        )
    if result.hint:
        progress.say(result.hint)
    report(
        vars(result),
        options["as_json"],
        [
            f"{result.n_pairs} spectrograms of {' x '.join(map(str, result.shape))} "
            f"(channels x bins x frames), mean {result.mean:.4f}, "
            f"deviation {result.deviation:.4f}, {result.n_bytes / 1e6:.0f} MB -> {result.path}"
        ],
    )
