"""Recordings read once for all the segments of a batch that lie in the same part of them.

Decoding and resampling are most of the work of rendering. Segments that are rendered one after the
other are put in the order of where they lie, so what neighbours share is read for all of them at
once. A part of a recording is the same to the bit however much of it is read, so nothing depends on
what is rendered together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SegmentConfig
from dafxtool.dataset.recordings import RecordingSet, Track
from dafxtool.dataset.segments import reading, stretches_of
from dafxtool.errors import RecordingError

GAP_SECONDS = 1.0  # cheaper to decode than to open the file and enter it once more


@dataclass
class _Stretch:
    """Samples start to end of a recording, wanted by so many segments that were not cut yet."""

    start: int
    end: int
    wanted: int
    samples: NDArray[np.float32] | None = None
    damaged: bool = False


class SpanCache:
    """Reads for segments that are known beforehand, and for others too.

    segments  (track, start in samples) of those that will be cut, in any order
    """

    def __init__(
        self,
        catalogue: RecordingSet,
        config: SegmentConfig,
        segments: Sequence[tuple[Track, int]],
    ) -> None:
        self._read = reading(catalogue, config)
        parts: dict[int, list[tuple[int, int]]] = {}
        for track, start in segments:
            for index, low, high, _ in stretches_of(catalogue, track, start, config):
                parts.setdefault(index, []).append((low, high))
        gap = round(GAP_SECONDS * config.sample_rate)
        self._stretches = {index: _merged(sorted(part), gap) for index, part in parts.items()}

    def read(self, index: int, start: int, n_samples: int) -> NDArray[np.float32]:
        """(n_samples,) of a recording, by its index, from start on. RecordingError as of audio."""
        end = start + n_samples
        for stretch in self._stretches.get(index, ()):
            if stretch.start <= start and end <= stretch.end:
                return self._slice(stretch, index, start, end)
        return self._read(index, start, n_samples)

    def _slice(self, stretch: _Stretch, index: int, start: int, end: int) -> NDArray[np.float32]:
        stretch.wanted -= 1
        if stretch.samples is None and stretch.wanted > 0 and not stretch.damaged:
            try:
                stretch.samples = self._read(index, stretch.start, stretch.end - stretch.start)
            except RecordingError:  # the part that is asked for may still be whole
                stretch.damaged = True
        if stretch.samples is None:
            return self._read(index, start, end - start)
        found = stretch.samples[start - stretch.start : end - stretch.start]
        if stretch.wanted <= 0:
            stretch.samples = None  # nobody else asks for it
        return found


def _merged(parts: Sequence[tuple[int, int]], gap: int) -> list[_Stretch]:
    merged: list[_Stretch] = []
    for low, high in parts:
        if merged and low <= merged[-1].end + gap:
            merged[-1].end = max(merged[-1].end, high)
            merged[-1].wanted += 1
        else:
            merged.append(_Stretch(low, high, 1))
    return merged
