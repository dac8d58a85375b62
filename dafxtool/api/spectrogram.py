"""Compute the standardised spectrograms of pairs."""

from __future__ import annotations

from pathlib import Path

from dafxtool import presets, storage
from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path
from dafxtool.spectrogram.compute import SpectrogramResult, segment_size
from dafxtool.spectrogram.compute import compute_spectrograms as compute
from dafxtool.utils.dask_cluster import cluster_at


def compute_spectrograms(
    pairs: PathLike | None = None,
    *,
    output: PathLike = "spectrograms.h5",
    n_fft: int | None = None,
    hop_length: int | None = None,
    window_length: int | None = None,
    exponent: float | None = None,
    standardisation: str | None = None,
    dtype: str = "float16",
    preset: str | None = None,
    config: PathLike | None = None,
    device: str = "auto",
    dask: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> SpectrogramResult:
    """Compute STFT (Hann, centred), magnitude, power law and standardisation of every pair.

    pairs            a pairs file; None takes the newest one in the working folder
    n_fft, hop_length, window_length
                     samples; None takes the preset's
    exponent         of the power law, above 0 and at most 1
    standardisation  "dataset": mean and standard deviation of the training split;
                     "segment": each segment's own
    dtype            "float16" or "float32", as stored

    InputError, FormatError, ConfigError, OutputExistsError, DiskError.
    """
    checks.check_resume(resume, overwrite)
    if dask and device != "auto":
        checks.check_unused("with a Dask cluster, whose CPUs compute", device=device)
    checks.check_settings(device, as_path(config))
    source = as_path(pairs) or defaults.newest_file([storage.PAIRS], progress=progress)
    checks.check_no_folder(source)
    values = {
        "n_fft": n_fft,
        "hop_length": hop_length,
        "window_length": window_length,
        "exponent": exponent,
        "standardisation": standardisation,
    }
    configuration = defaults.configuration_for(
        preset, as_path(config), {"spectrogram": values}, progress
    )
    with storage.Hdf5Reader(source, storage.PAIRS) as reader:
        configuration = presets.with_segments_of(configuration, *segment_size(reader))
    with cluster_at(dask, progress) as cluster:
        return compute(
            source,
            Path(output),
            configuration.spectrogram,
            dtype,
            device,
            resume,
            overwrite,
            progress,
            cluster,
        )
