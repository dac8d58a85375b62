"""Load one pair as an example to draw, decode and listen to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.reader import read_info
from dafxtool.config import SegmentConfig
from dafxtool.dataset.pair import level_recordings, render_pair
from dafxtool.dataset.segments import (
    consecutive_segments,
    cut_recording,
    is_loud,
    padding_warning,
)
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import InputError, RecordingError
from dafxtool.models.run import Run
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress
from dafxtool.utils.text import shown_name

CHANNELS = ("dry", "wet")


@dataclass(frozen=True)
class Example:
    """A pair as the model sees it.

    audio        (2, n_samples), dry first
    spectrogram  (2, n_bins, n_frames), standardised
    constants    (2,) mean and standard deviation that the spectrogram was standardised with
    magnitude    (2, n_bins, n_frames), linear
    choice       the effect and its complete setting; None for a wet recording or a stored pair
    row          row in the pairs file; None for a pair from elsewhere
    """

    audio: NDArray[np.float32]
    spectrogram: NDArray[np.float32]
    constants: NDArray[np.float32]
    magnitude: NDArray[np.float32]
    effect: str
    label: str
    recording: str
    offset_seconds: float
    choice: tuple[Effect, dict[str, float]] | None = None
    row: int | None = None


def warn_of_padding(
    segments: Iterable[tuple[Path, float | None]], run: Run, progress: Progress
) -> None:
    """Report `padding_warning` for recordings with the start of their segment in seconds."""
    seconds = {path: read_info(path).seconds - (start or 0.0) for path, start in segments}
    warning = padding_warning(seconds, run.configuration.segments)
    if warning:
        progress.message(warning)


def load_example(
    path: Path,
    run: Run,
    chosen: EffectChoice | None = None,
    wet: Path | None = None,
    start_seconds: float | None = None,
) -> Example:
    """Load one segment of a recording, and apply an effect to it.

    chosen         the effect; parameters that are not fixed get their default
    wet            wet recording, in place of an effect
    start_seconds  start of the segment; None takes the loudest segment

    RecordingError; InputError without an effect and a wet recording.
    """
    config = run.configuration.segments
    offset, dry = _segment(path, config, start_seconds)
    choice = None
    if wet is not None:
        pair, _ = level_recordings(dry, _cut(wet, offset, config), config)
        effect, label = "wet file", shown_name(wet)
    elif chosen is not None:
        at_rate = chosen[0].at(config.sample_rate)
        pair, setting = render_pair(dry, at_rate, at_rate.complete(chosen[1]), config)
        effect, label, choice = at_rate.name, at_rate.label(setting), (at_rate, setting)
    else:
        raise InputError(f"{path}: no effect and no wet recording. Name one of them.")
    seconds = offset / config.sample_rate
    return analyse_pair(run, pair, effect, label, shown_name(path), seconds, choice)


def _segment(
    path: Path, config: SegmentConfig, start_seconds: float | None
) -> tuple[int, NDArray[np.float32]]:
    """Return the offset and the audio of the segment at a time, or of the loudest one."""
    if start_seconds is not None:
        offset = round(start_seconds * config.sample_rate)
        return offset, _cut(path, offset, config)
    info = read_info(path)
    segments = consecutive_segments(path, config, info)
    # All have the same peak level, so the mean square decides.
    loudest = max(segments, key=lambda segment: float(np.mean(np.square(segment.audio))))
    return loudest.offset, loudest.audio


def _cut(path: Path, offset: int, config: SegmentConfig) -> NDArray[np.float32]:
    """Cut the segment that starts at an offset; RecordingError if it is silent."""
    audio = cut_recording(path, offset, config)
    if not is_loud(audio, config):
        raise RecordingError(
            f"{path}: the segment at {offset / config.sample_rate:.2f} s is silent (mean square "
            f"below {config.min_mean_square:g}). Choose another start, --channel loudest or a "
            "lower --min-mean-square."
        )
    return audio


def analyse_pair(
    run: Run,
    pair: NDArray[np.float32],
    effect: str,
    label: str,
    recording: str,
    offset: float,
    choice: tuple[Effect, dict[str, float]] | None = None,
    row: int | None = None,
) -> Example:
    """Analyse a pair (2, n_samples) and return it as an example; offset in seconds."""
    spectrogram, constants = run.analyse(pair[None])
    magnitude = linear_magnitude(spectrogram, constants, run.spectrogram_config)
    return Example(
        audio=pair,
        spectrogram=spectrogram[0],
        constants=constants[0],
        magnitude=magnitude[0],
        effect=effect,
        label=label,
        recording=recording,
        offset_seconds=offset,
        choice=choice,
        row=row,
    )


def stored_example(reader: storage.Hdf5Reader, index: int, run: Run) -> Example:
    """Load a pair of a pairs file; `index` counts the rows that have audio."""
    labels = reader.labels
    effect = Effect.from_dict(labels.effects[labels.effect[index]])
    return analyse_pair(
        run,
        np.asarray(reader.rows(np.array([index]))[0]),
        effect.name,
        effect.label(labels.setting_of(index)),
        shown_name(Path(labels.path_of(index))),
        float(labels.offset[index]) / run.configuration.segments.sample_rate,
        row=int(labels.row[index]),
    )
