"""Read each part of a recording once for all segments of a batch that need it.

Decoding and resampling are most of the work of rendering. Rows are rendered in the order of their
locations, so neighbouring segments can share one read. The samples of a part are the same to the
bit, however much is read with it: no result depends on what is rendered together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SegmentConfig
from dafxtool.dataset.recordings import RecordingSet, Track
from dafxtool.dataset.segments import file_reader, spans_of
from dafxtool.errors import RecordingError

GAP_SECONDS = 1.0  # decoding this much is cheaper than to open the file and seek again


@dataclass
class _Span:
    """Samples start to stop of a recording, and how many segments still need them."""

    start: int
    stop: int
    n_waiting: int
    samples: NDArray[np.float32] | None = None
    is_damaged: bool = False


class SpanCache:
    """Reader of recordings that keeps what the following segments share.

    segments  (track, start in samples) of the segments that will be cut, in any order; others can
              be read too, but are not shared
    """

    def __init__(
        self,
        catalogue: RecordingSet,
        config: SegmentConfig,
        segments: Sequence[tuple[Track, int]],
    ) -> None:
        self._read = file_reader(catalogue, config)
        parts: dict[int, list[tuple[int, int]]] = {}
        for track, start in segments:
            for index, low, high, _ in spans_of(catalogue, track, start, config):
                parts.setdefault(index, []).append((low, high))
        gap = round(GAP_SECONDS * config.sample_rate)
        self._spans = {index: _merge(sorted(part), gap) for index, part in parts.items()}

    def read(self, index: int, start: int, n_samples: int) -> NDArray[np.float32]:
        """Read samples (n_samples,) of the recording with this index."""
        stop = start + n_samples
        for span in self._spans.get(index, ()):
            if span.start <= start and stop <= span.stop:
                return self._slice(span, index, start, stop)
        return self._read(index, start, n_samples)

    def _slice(self, span: _Span, index: int, start: int, stop: int) -> NDArray[np.float32]:
        span.n_waiting -= 1
        if span.samples is None and span.n_waiting > 0 and not span.is_damaged:
            try:
                span.samples = self._read(index, span.start, span.stop - span.start)
            except RecordingError:  # the requested part may still be readable
                span.is_damaged = True
        if span.samples is None:
            return self._read(index, start, stop - start)
        samples = span.samples[start - span.start : stop - span.start]
        if span.n_waiting <= 0:
            span.samples = None  # free the memory
        return samples


def _merge(parts: Sequence[tuple[int, int]], gap: int) -> list[_Span]:
    """Merge sorted parts (start, stop) that overlap or lie at most `gap` samples apart."""
    spans: list[_Span] = []
    for low, high in parts:
        if spans and low <= spans[-1].stop + gap:
            spans[-1].stop = max(spans[-1].stop, high)
            spans[-1].n_waiting += 1
        else:
            spans.append(_Span(low, high, 1))
    return spans
