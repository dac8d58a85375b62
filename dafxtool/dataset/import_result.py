"""Report what an import did with each pair of recordings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dafxtool.utils import notebook
from dafxtool.utils.text import counted, shown_name


@dataclass(frozen=True)
class ImportedPair:
    """One pair of recordings.

    latency      samples at the dry recording's rate, `latency_ms` in ms
    n_segments   that were imported; n_silent were dropped
    remarks      on polarity, drift and the like
    """

    dry: Path
    wet: Path
    setting: str
    split: str
    latency: int
    latency_ms: float
    drift_ppm: float
    is_inverted: bool
    n_segments: int
    n_silent: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class ImportResult(notebook.Displayed):
    """Summary of an import; skipped has (path, reason) of recordings that were not imported."""

    path: Path
    n_pairs: int
    pairs_per_effect: dict[str, int]
    pairs_per_split: dict[str, int]
    seconds: float
    recordings: list[ImportedPair]
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"ImportResult({str(self.path)!r}, {counted(self.n_pairs, 'pair')})"

    def rows(self) -> list[tuple[str, ...]]:
        """Return a line for each pair of recordings: names, setting, latency, segments, split."""
        return [
            (
                shown_name(each.dry),
                shown_name(each.wet),
                each.setting,
                f"{each.latency} ({each.latency_ms:.2f} ms)",
                str(each.n_segments),
                each.split,
            )
            for each in self.recordings
        ]

    def remarks(self) -> list[str]:
        """Return the remarks on the recordings."""
        return [
            f"{shown_name(each.wet)}: {text}." for each in self.recordings for text in each.remarks
        ]

    def _parts(self) -> Iterator[str]:
        yield notebook.paragraph(f"{counted(self.n_pairs, 'pair')} in {self.path}")
        heading = ("dry", "wet", "setting", "latency", "segments", "split")
        yield notebook.table(heading, self.rows())
        for text in self.remarks():
            yield notebook.paragraph(text)
