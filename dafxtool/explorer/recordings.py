"""Manage the recordings of a server: built-in ones, those of the command line, and uploads.

audio.reader reads all of them. The page addresses a recording by an identifier, never by a path.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.example_recordings import CLIPS, HELD_OUT
from dafxtool.audio.reader import AudioInfo, load_segment, read_info, resampled_length
from dafxtool.config import SegmentConfig
from dafxtool.errors import DafxError, InputError, RecordingError
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import shown_name

LARGEST_UPLOAD_BYTES = 200 << 20
MOST_UPLOADED_BYTES = 1 << 30  # of one tab
LONGEST_SECONDS = 1800.0  # of an upload
MOST_NAMED = 500  # recordings of the command line
N_OUTLINE = 1200  # spans of a waveform's outline
LEVEL_HOP_SECONDS = 0.1
BUILT_IN, NAMED, UPLOADED = "built-in", "file", "upload"


@dataclass(frozen=True)
class Source:
    """A recording and its kind: built-in, file (of the command line) or upload."""

    key: str
    name: str
    kind: str
    path: Path
    info: AudioInfo

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the page."""
        return {
            "key": self.key,
            "name": self.name,
            "kind": self.kind,
            "seconds": self.info.seconds,
            "sampleRate": self.info.sample_rate,
            "channels": self.info.n_channels,
        }


@dataclass(frozen=True)
class Outline:
    """Lowest and highest sample of n equal spans (2, n), and the start of the loudest segment."""

    extremes: NDArray[np.float32]
    n_samples: int  # at the rate of segments
    loudest_start: int


def built_in_sources(folder: Path) -> list[Source]:
    """Write the example recordings to a folder, because the package may be zipped."""
    sources: list[Source] = []
    for clip in (*HELD_OUT, *CLIPS):
        path = folder / clip.family / clip.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.resource.read_bytes())
        name = f"{clip.title.replace('-', ' ')} ({clip.family})"
        sources.append(Source(f"built-in-{len(sources)}", name, BUILT_IN, path, read_info(path)))
    return sources


def named_sources(paths: Sequence[Path], progress: Progress = SILENT) -> list[Source]:
    """Return the recordings of the command line, and report unreadable ones.

    RecordingError if none can be read.
    """
    sources: list[Source] = []
    for path in paths[:MOST_NAMED]:
        try:
            source = Source(f"file-{len(sources)}", shown_name(path), NAMED, path, read_info(path))
        except RecordingError as error:
            if len(paths) == 1:
                raise
            progress.message(f"{error} It is left out.")
        else:
            sources.append(source)
    if len(paths) > MOST_NAMED:
        progress.message(f"{len(paths)} recordings: using the first {MOST_NAMED}")
    if paths and not sources:
        raise RecordingError("none of the recordings can be read. Name others.")
    return sources


class Uploads:
    """Uploaded recordings of one tab, in their own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: dict[str, Source] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()

    def add(self, name: str, content: bytes, config: SegmentConfig) -> Source:
        """Store an upload and read all of it; RecordingError if it is not a complete recording.

        name  of the user's file; only its last part is used, for display
        """
        shown = PureWindowsPath(PurePosixPath(name).name).name[-120:] or "recording"
        if self._n_bytes + len(content) > MOST_UPLOADED_BYTES:
            raise InputError(
                f"{shown}: too much was uploaded (expected at most "
                f"{MOST_UPLOADED_BYTES >> 20} MiB). Restart the server."
            )
        key = f"upload-{hashlib.sha256(content).hexdigest()[:16]}"
        with self._lock:
            if key in self.sources:
                return self.sources[key]
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{key}{_safe_suffix(shown)}"
            path.write_bytes(content)
            try:
                info = read_info(path)
                if info.seconds > LONGEST_SECONDS:
                    raise RecordingError(
                        f"{path}: too long (found {info.seconds:.0f} s, expected at most "
                        f"{LONGEST_SECONDS:.0f} s). Cut it, or name it on the command line."
                    )
                read_samples(path, info, config)
            except DafxError as error:
                path.unlink()
                raise RecordingError(str(error).replace(str(path), shown)) from error
            self._n_bytes += len(content)
            self.sources[key] = Source(key, shown, UPLOADED, path, info)
            return self.sources[key]


def _safe_suffix(name: str) -> str:
    """Return the suffix of a file name if it is alphanumeric and short, else an empty one."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ""


@lru_cache(maxsize=4)  # half an hour at 24 kHz takes 170 MB
def read_samples(path: Path, info: AudioInfo, config: SegmentConfig) -> NDArray[np.float32]:
    """Read one channel of a recording at the rate of segments: (n_samples,).

    It is the loudest channel, even if the run was trained on first channels: the first channel of
    a recording may be silent.
    """
    n_samples = resampled_length(info, config.sample_rate)
    return load_segment(path, 0, n_samples, config.sample_rate, "loudest", info)


@lru_cache(maxsize=64)
def outline(path: Path, info: AudioInfo, config: SegmentConfig) -> Outline:
    """Compute the outline of a recording's waveform, and the start of its loudest segment."""
    samples = read_samples(path, info, config)
    edges = np.linspace(0, len(samples), N_OUTLINE + 1).astype(np.int64)
    starts = np.minimum(edges[:-1], len(samples) - 1)
    extremes = np.stack([ufunc.reduceat(samples, starts) for ufunc in (np.minimum, np.maximum)])
    return Outline(extremes.astype(np.float32), len(samples), _loudest_start(samples, config))


def _loudest_start(samples: NDArray[np.float32], config: SegmentConfig) -> int:
    """Return the start of the first segment with the largest energy."""
    hop = max(1, round(LEVEL_HOP_SECONDS * config.sample_rate))
    starts = np.arange(0, max(1, len(samples) - config.n_samples + 1), hop)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    ends = np.minimum(starts + config.n_samples, len(samples))
    return int(starts[np.argmax(energy[ends] - energy[starts])])


def read_segment(source: Source, start: int, config: SegmentConfig) -> NDArray[np.float32]:
    """Read a segment (n_samples,) at the level of the recording, padded with zeros at the end.

    InputError for a start outside of the recording.
    """
    samples = read_samples(source.path, source.info, config)
    if not 0 <= start < len(samples):
        raise InputError(
            f"{source.name}: a segment cannot start there (found {start}, expected 0 to "
            f"{len(samples) - 1} samples). Choose an earlier start."
        )
    segment = np.zeros(config.n_samples, dtype=np.float32)
    part = samples[start : start + config.n_samples]
    segment[: len(part)] = part
    return segment
