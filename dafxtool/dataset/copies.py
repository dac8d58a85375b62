"""Recognise copies: one content under several names, also in another format.

Recordings with the same digest are copies. Of the others, those of nearly the same duration and
with similar sketches are compared as waveforms. The limits were set on 8,117 recordings of speech
and music: short takes of one drum or chord reach a waveform similarity of 0.99, but their sketches
agree less than those of copies; takes of 3 s and longer reach 0.93. docs/reliability.md has the
figures. Excerpts, edits and other mixes are not recognised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dafxtool.audio.fingerprint import (
    MAX_DELAY_SECONDS,
    N_BITS,
    Fingerprint,
    fingerprint,
    signs,
    waveform_similarity,
)
from dafxtool.audio.reader import AudioInfo
from dafxtool.errors import RecordingError
from dafxtool.utils.device import usable_cores
from dafxtool.utils.progress import SILENT, Progress

CANDIDATE = 0.45  # agreement of sketches, from -1 to 1, above which waveforms are compared
SIMILAR_SKETCH = 0.6  # needed for recordings shorter than LONG_SECONDS
LONG_SECONDS = 3.0
SAME_WAVEFORM = 0.95
SAME_SKETCH = 0.86  # a copy without its waveform: one of the files is not here
ROWS_A_BLOCK = 256


@dataclass(frozen=True)
class Content:
    """A recording and its fingerprint."""

    path: str
    fingerprint: Fingerprint


def content_of(row: Mapping[str, object]) -> Content:
    """Read the content of a row of the table of recordings; empty where it is not stored."""
    rate = int(str(row.get("sample_rate", 0))) or 1
    seconds = int(str(row.get("n_samples_native", 0))) / rate
    digest, sketch = str(row.get("digest", "")), str(row.get("sketch", ""))
    return Content(str(row["path"]), Fingerprint(seconds, digest, sketch))


def known_contents(stored: object) -> list[Content]:
    """Read the fingerprints that a checkpoint stores, without the damaged ones."""
    contents = []
    for each in stored if isinstance(stored, (list, tuple)) else ():
        if not isinstance(each, Mapping):
            continue
        path, seconds = each.get("path"), each.get("seconds")
        digest, sketch = each.get("digest"), each.get("sketch")
        is_text = all(isinstance(value, str) for value in (path, digest, sketch))
        if is_text and isinstance(seconds, float) and np.isfinite(seconds):
            contents.append(Content(str(path), Fingerprint(seconds, str(digest), str(sketch))))
    return contents


def read_contents(
    recordings: Sequence[tuple[Path, AudioInfo]], progress: Progress = SILENT
) -> list[Content]:
    """Compute the fingerprint of each recording; empty for one that cannot be decoded."""
    contents = []
    progress.start("comparing recordings", len(recordings), "file")
    with ThreadPoolExecutor(usable_cores()) as pool:
        results = pool.map(lambda each: fingerprint(*each), recordings)
        for (path, info), result in zip(recordings, results, strict=True):
            empty = Fingerprint(info.seconds, "", "")
            contents.append(Content(str(path.absolute()), result or empty))
            progress.advance()
    progress.finish()
    return contents


def originals(contents: Sequence[Content]) -> list[int]:
    """Return the index of the first copy of each recording: its own if there is none before."""
    first = list(range(len(contents)))

    def root(index: int) -> int:
        while first[index] != index:
            index = first[index]
        return index

    for a, b in _copies(contents, contents):
        low, high = sorted((root(a), root(b)))
        first[high] = low
    return [root(index) for index in first]


def copies_among(contents: Sequence[Content], known: Sequence[Content]) -> dict[int, str]:
    """Return the path of a known recording for each index of a recording that is a copy of it."""
    found: dict[int, str] = {}
    for a, b in _copies(contents, known):
        found.setdefault(a, known[b].path)
    return found


def _copies(contents: Sequence[Content], known: Sequence[Content]) -> Iterator[tuple[int, int]]:
    """Yield the indices of a recording and of a known one with the same content.

    Each pair comes once where both are the same list.
    """
    is_same = contents is known
    by_digest: dict[str, int] = {}
    for index, each in enumerate(known):
        if each.fingerprint.digest:
            by_digest.setdefault(each.fingerprint.digest, index)
    for index, each in enumerate(contents):
        other = by_digest.get(each.fingerprint.digest)
        if other is not None and not (is_same and other == index):
            yield index, other
    for a, b, agreement in _candidates(contents, known):
        if is_same and not b < a:
            continue
        one, two = contents[a], known[b]
        if one.fingerprint.digest != two.fingerprint.digest and _is_copy(one, two, agreement):
            yield a, b


def _candidates(
    contents: Sequence[Content], known: Sequence[Content]
) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of about the same duration whose sketches agree, and how much they do."""
    ours = [i for i, each in enumerate(contents) if each.fingerprint.sketch]
    theirs = [i for i, each in enumerate(known) if each.fingerprint.sketch]
    ours.sort(key=lambda i: contents[i].fingerprint.seconds)
    theirs.sort(key=lambda i: known[i].fingerprint.seconds)
    seconds = np.array([contents[i].fingerprint.seconds for i in ours])
    other_seconds = np.array([known[i].fingerprint.seconds for i in theirs])
    values = signs([contents[i].fingerprint.sketch for i in ours])
    other_values = signs([known[i].fingerprint.sketch for i in theirs])
    for start in range(0, len(ours), ROWS_A_BLOCK):
        stop = min(start + ROWS_A_BLOCK, len(ours))
        low = np.searchsorted(other_seconds, seconds[start] - MAX_DELAY_SECONDS)
        high = np.searchsorted(other_seconds, seconds[stop - 1] + MAX_DELAY_SECONDS, "right")
        agreement = values[start:stop] @ other_values[low:high].T / N_BITS
        difference = np.abs(seconds[start:stop, None] - other_seconds[None, low:high])
        near = (agreement > CANDIDATE) & (difference <= MAX_DELAY_SECONDS)
        for i, j in zip(*np.nonzero(near), strict=True):
            yield ours[start + i], theirs[low + j], float(agreement[i, j])


def _is_copy(one: Content, two: Content, agreement: float) -> bool:
    if not (os.path.isfile(one.path) and os.path.isfile(two.path)):
        return agreement >= SAME_SKETCH
    shorter = min(one.fingerprint.seconds, two.fingerprint.seconds)
    if agreement < SIMILAR_SKETCH and shorter < LONG_SECONDS:
        return False
    try:
        return waveform_similarity(Path(one.path), Path(two.path)) >= SAME_WAVEFORM
    except (RecordingError, OSError):
        return False
