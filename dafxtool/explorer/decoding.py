"""Decode locations on the map, and interpolations from setting A to setting B."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from dafxtool.explorer.images import Images, magnitude_images
from dafxtool.explorer.map_points import LatentMap
from dafxtool.explorer.renderer import Rendered
from dafxtool.latents.examples import Example, analyse_pair
from dafxtool.latents.interpolate import Interpolation, interpolate
from dafxtool.latents.interpolation_results import (
    draw_interpolation,
    step_audio,
)
from dafxtool.models.run import Run
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.transform import linear_magnitude

N_STEPS = 9
# From coarse to fine, so that the slider can be used early.
STEP_ORDER = (0, 8, 4, 2, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Decoded:
    """Decoded wet audio (n_samples,), its images and its latent (n_latent,)."""

    audio: NDArray[np.float32]
    images: Images
    latent: NDArray[np.float32]


def decode_at(latent_map: LatentMap, x: float, y: float, rendered: Rendered) -> Decoded:
    """Decode a location on the map for the dry segment of a pair.

    Content latents are those of the segment, all other latents those of the location.
    """
    run = latent_map.run
    segments, config = run.configuration.segments, run.spectrogram_config
    spectrogram, constants = run.analyse(rendered.pair(segments.level_dbfs)[None])
    latent = run.embed(spectrogram)
    first = run.model.n_content
    latent[0, first:] = latent_map.latent_at(x, y)[first:]
    decoded = run.decode(latent, spectrogram[:, 0])
    dry = linear_magnitude(spectrogram, constants, config)[0, 0]
    wet = linear_magnitude(decoded, constants, config)[0, 1]
    audio = invert(
        wet, config, len(rendered.dry), "fast", phase_from=rendered.dry, consistent=False
    )
    return Decoded(audio.audio, magnitude_images(dry, wet, config), latent[0])


def example_of(rendered: Rendered, run: Run, recording: str, start: int) -> Example:
    """Analyse a rendered pair as an end of an interpolation."""
    segments = run.configuration.segments
    return analyse_pair(
        run,
        rendered.pair(segments.level_dbfs),
        rendered.effect.name,
        rendered.effect.label(rendered.setting),
        recording,
        start / segments.sample_rate,
        (rendered.effect, rendered.setting),
    )


def path_between(a: Example, b: Example, run: Run, detailed: bool) -> Interpolation:
    """Interpolate in N_STEPS steps. A detailed path needs two settings on one segment."""
    return interpolate(a, b, run, N_STEPS, detailed=detailed)


def path_steps(path: Interpolation, run: Run) -> Iterator[tuple[int, NDArray[np.float32], Images]]:
    """Yield index, wet audio and images of each step, from coarse to fine.

    The audio of the ends is rendered, not decoded.
    """
    for index in STEP_ORDER:
        if index in (0, N_STEPS - 1):
            audio = (path.a if index == 0 else path.b).audio[1]
        else:
            audio = step_audio(path, run, index).audio
        dry, wet = path.magnitudes[index]
        yield index, audio, magnitude_images(dry, wet, run.spectrogram_config)


def path_sheet(path: Interpolation, run: Run) -> bytes:
    """Draw the sheet of a path as a PNG."""
    with TemporaryDirectory(prefix="dafxtool-") as folder:
        file = Path(folder) / "sheet.png"
        draw_interpolation(file, path, run)
        return file.read_bytes()
