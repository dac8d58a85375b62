"""Build the latent map of a run, and locate new pairs on it.

The points are held-out pairs of the run. If their file is not here, they are built-in recordings
with the run's effects at random settings. A new pair lies at the weighted mean of its nearest
points, because t-SNE has no formula for new latents. The inverse, from a location to a latent, is
the weighted mean of the latents of the nearest points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect, EffectChoice, sample_setting
from dafxtool.errors import DafxError, EffectError, FormatError, InputError
from dafxtool.explorer.map_cache import Points, cached_points
from dafxtool.explorer.recordings import Source, read_segment
from dafxtool.latents.embed import embed
from dafxtool.latents.latent_map import latent_map
from dafxtool.latents.projection import Projection
from dafxtool.latents.table import Latents, held_out_of, labels_of, latent_parts
from dafxtool.models.run import Run
from dafxtool.utils.progress import Progress
from dafxtool.web.map_audio import ReadAudio, audio_reader

MOST_POINTS = 1500
N_RENDERED = 360  # rendered points, if there is no pairs file
N_NAMED = 5  # neighbours that are listed
N_VOTING = 15  # neighbours whose effects are counted
N_WEIGHTED = 6  # neighbours in a weighted mean


@dataclass(frozen=True)
class Location:
    """Coordinates on the map, the nearest points, and the shares of effects among N_VOTING."""

    x: float
    y: float
    neighbours: list[int]
    shares: list[tuple[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "x": self.x,
            "y": self.y,
            "neighbours": self.neighbours,
            "shares": [[name, share] for name, share in self.shares],
            "voting": N_VOTING,
        }


class LatentMap:
    """The points of a map, their latents and audio."""

    def __init__(
        self, run: Run, latents: Latents, projection: Projection, read_audio: ReadAudio
    ) -> None:
        self.run, self.latents, self.projection = run, latents, projection
        self._read_audio = read_audio
        self._part = latents.effect_part.astype(np.float32)

    def locate(self, latent: NDArray[np.float32]) -> Location:
        """Return the location of a latent (n_latent,) on the map."""
        part = replace(self.latents, latent=latent[None]).effect_part[0]
        distances = np.linalg.norm(self._part - part, axis=1)
        nearest = np.argsort(distances, kind="stable")
        weights = _weights(distances[nearest[:N_WEIGHTED]])
        x, y = weights @ self.projection.points[nearest[:N_WEIGHTED]]
        names = [self.latents.labels.effect_of(row) for row in nearest[:N_VOTING].tolist()]
        shares = [(name, n / len(names)) for name, n in Counter(names).most_common(3)]
        return Location(float(x), float(y), nearest[:N_NAMED].tolist(), shares)

    def latent_at(self, x: float, y: float) -> NDArray[np.float32]:
        """Return the latent (n_latent,) of a location: the weighted mean of the nearest points."""
        distances = np.linalg.norm(self.projection.points - np.array([x, y], np.float32), axis=1)
        nearest = np.argsort(distances, kind="stable")[:N_WEIGHTED]
        weights = _weights(distances[nearest])
        return np.asarray(weights @ self.latents.latent[nearest], dtype=np.float32)

    def audio(self, row: int) -> NDArray[np.float32]:
        """Return dry and wet audio (2, n_samples) of a point."""
        if not 0 <= row < len(self.latents):
            raise InputError(
                f"point {row} is not on the map (found {len(self.latents)} points). Reload the "
                "page."
            )
        return np.asarray(self._read_audio(np.array([row]))[0], dtype=np.float32)


def setting_at(latents: Latents, row: int) -> dict[str, Any]:
    """Return the effect and setting of a point."""
    labels = latents.labels
    return {"effect": labels.effect_of(row), "setting": labels.setting_of(row)}


def _weights(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights that sum to 1, inversely proportional to the fourth power of the distance.

    Shepard 1968, "A two-dimensional interpolation function for irregularly-spaced data".
    """
    scale = max(float(np.median(distances)), 1e-12)
    weights = np.maximum(distances / scale, 1e-4) ** -4.0
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def build_map(
    run: Run, pairs: Path | None, built_in: Sequence[Source], progress: Progress
) -> LatentMap:
    """Embed and project the points of a map.

    pairs     pairs file of the run; None renders built-in recordings
    progress  shows the progress of embedding, and messages
    """
    if pairs is not None:
        splits = held_out_of(pairs)
        latents = embed([pairs], run, splits=splits, progress=progress)
        read_audio = audio_reader(pairs, latents, run, splits)
        assert read_audio is not None
        if len(latents) > MOST_POINTS:
            rows = np.sort(np.random.default_rng(0).permutation(len(latents))[:MOST_POINTS])
            latents, read_all = latents.take(rows), read_audio

            def read_audio(chosen: NDArray[np.int64]) -> NDArray[np.float32]:
                return read_all(rows[chosen])
    else:
        latents = _rendered_latents(run, built_in, progress)
        read_audio = audio_reader(built_in[0].path, latents, run, ())
        assert read_audio is not None
    progress.message(f"projecting {len(latents)} points")
    return LatentMap(run, latents, latent_map(latents), read_audio)


def pairs_file_of(run: Run, folder: Path = Path()) -> Path | None:
    """Find the pairs file of a run here or beside its spectrograms; None if there is none."""
    spectrograms = str(run.data.get("spectrograms") or "")
    folders = dict.fromkeys((folder, *([Path(spectrograms).parent] if spectrograms else [])))
    for path in sorted(path for each in folders for path in each.glob("*.h5")):
        if path.name.startswith(".") or not path.is_file():
            continue
        if storage.kind_of(path) != storage.PAIRS:
            continue
        try:
            with storage.Hdf5Reader(path, storage.PAIRS) as reader:
                if reader.configuration == run.data.get("pairs"):
                    return path
        except FormatError:
            continue
    return None


def _rendered_latents(run: Run, built_in: Sequence[Source], progress: Progress) -> Latents:
    """Embed built-in recordings with the run's effects at random settings."""
    config = run.configuration.segments
    chosen = []
    for described in run.effects:
        try:
            effect = Effect.from_dict(dict(described)).at(config.sample_rate)
        except EffectError as error:
            progress.message(str(error))
        else:
            chosen.append(EffectChoice(effect, {}))
    rows, latents = cached_points(
        run, chosen, built_in, N_RENDERED, lambda: _render_points(run, chosen, built_in, progress)
    )
    table = [_table_row(each, number, run) for number, each in enumerate(built_in)]
    return Latents(latents, labels_of(rows, table, chosen), *latent_parts(run))


def _render_points(
    run: Run, chosen: Sequence[EffectChoice], built_in: Sequence[Source], progress: Progress
) -> Points:
    """Render and embed N_RENDERED pairs; return the label and the latent of each."""
    config = run.configuration.segments
    count = max(1, N_RENDERED // max(1, len(chosen)))
    rng = np.random.default_rng(0)
    rows, latents = [], []
    progress.start("embedding", count * len(chosen), "segment")
    for number in range(count):
        pairs = []
        for index, (effect, _) in enumerate(chosen):
            source = (number * len(chosen) + index) * 7 % len(built_in)
            setting = sample_setting(effect, rng)
            try:
                dry = read_segment(built_in[source], 0, config)
                pair, effective = render_pair(dry, effect, setting, config)
            except DafxError:  # a plugin that fails here
                continue
            pairs.append(pair)
            rows.append((source, 0, index, effective))
        if pairs:
            latents.append(run.embed_audio(np.stack(pairs)))
        progress.advance(len(chosen))
    progress.finish()
    if not latents:
        raise InputError(
            "no map, because none of the run's effects can be rendered here. Name their plugins "
            "with --plugin."
        )
    return rows, np.concatenate(latents)


def _table_row(source: Source, track: int, run: Run) -> dict[str, Any]:
    from dafxtool.audio.reader import resampled_length

    return {
        "path": str(source.path),
        "folder": source.path.parent.name,
        "split": "test",
        "sample_rate": source.info.sample_rate,
        "n_channels": source.info.n_channels,
        "n_samples_native": source.info.n_samples,
        "n_samples": resampled_length(source.info, run.configuration.segments.sample_rate),
        "track": track,
    }
