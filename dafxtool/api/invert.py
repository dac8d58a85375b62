"""Reconstruct audio from magnitude spectrograms in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool import storage
from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path
from dafxtool.errors import ArgumentError

if TYPE_CHECKING:
    from dafxtool.latents.invert import InvertedFile


def invert(
    source: PathLike | None = None,
    *,
    output: PathLike | None = None,
    rows: Sequence[int] = (),
    channel: str = "wet",
    run: PathLike | None = None,
    stft: Mapping[str, int] | None = None,
    method: str | None = None,
    iterations: int | None = None,
    phase_from: PathLike | None = None,
    phase_channel: str | int = "first",
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[InvertedFile]:
    """Reconstruct audio from a spectrograms or latents file, or magnitudes in .npy or .npz.

    source      None takes the newest spectrograms file in the working folder
    output      a .wav or .flac file, or a folder for several; None takes inverted.wav or inverted/
    rows        row numbers of the pairs file of the source, or indices of an array; without
                any, the first
    channel     "dry", "wet" or "both", of a spectrograms or latents file
    run         decodes latents; None takes the newest in runs/
    stft        n_fft, hop_length, window_length (samples) and sample_rate (Hz), of an array that
                does not state them
    method      "griffin-lim", "fast" (default) or "best"
    iterations  None takes the method's
    phase_from  a recording whose phase is the start: the dry one. An array that does not state its
                sample rate has that of the recording
    phase_channel
                of that recording: "first", "mean", "loudest" or a number from 1

    InputError, FormatError, RecordingError, OutputExistsError, DiskError.
    """
    checks.check_settings(device)
    checks.check_reading(phase_channel, None)
    checks.check_recordings(as_path(phase_from))
    if run is not None:
        checks.check_run(Path(run))
    path = as_path(source) or defaults.newest_file([storage.SPECTROGRAMS], progress=progress)
    is_array = path.suffix.lower() in (".npy", ".npz")
    if is_array:
        only = None if channel == "wet" else channel
        checks.check_unused("on an array of magnitudes", channel=only, run=run)
    else:
        checks.check_unused(f"on {path}, which states them", **dict(stft or {}))
        if storage.kind_of(path) == storage.SPECTROGRAMS:
            checks.check_unused("on spectrograms, which are not decoded", run=run)
    if phase_from is not None and len(set(rows)) > 1:
        raise ArgumentError(
            f"one recording for the phase of {len(set(rows))} rows. Invert them one by one."
        )
    from dafxtool.latents.invert import CHANNELS, invert_file

    channels = CHANNELS if channel == "both" else (channel,)
    is_single = max(1, len(set(rows))) * (1 if is_array else len(channels)) == 1
    return invert_file(
        path,
        as_path(output) or Path("inverted.wav" if is_single else "inverted"),
        rows,
        channels,
        as_path(run),
        dict(stft or {}),
        method or "fast",
        iterations,
        as_path(phase_from),
        seed,
        device,
        overwrite,
        progress,
        str(phase_channel),
    )
