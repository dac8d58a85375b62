"""Store the rendered points of a map in the user's cache, because embedding them takes longest.

An entry belongs to the weights of the model, the effects, the recordings and the version.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dafxtool import __version__
from dafxtool.effects.effect import EffectChoice
from dafxtool.explorer.recordings import Source
from dafxtool.models.run import Run
from dafxtool.utils import cache

KIND = "maps"
Points = tuple[list[tuple[int, int, int, dict[str, float]]], NDArray[np.float32]]


def cached_points(
    run: Run,
    chosen: Sequence[EffectChoice],
    built_in: Sequence[Source],
    n_points: int,
    render: Callable[[], Points],
) -> Points:
    """Return what `render` returned for the same model, effects, recordings and number of points.

    returns  (recording, offset, index of the effect, setting) of each point, and latents
             (n, n_latent). Points of plugins are rendered each time.
    """
    if any(effect.plugins for effect, _ in chosen):
        return render()
    key = {
        "version": __version__,
        "model": _model_digest(run),
        "effects": [effect.to_dict() for effect, _ in chosen],
        "recordings": [hashlib.sha256(each.path.read_bytes()).hexdigest() for each in built_in],
        "points": n_points,
    }
    saved = cache.read_entry(KIND, key)
    if saved is None:
        rows, latents = render()
        packed = base64.b64encode(latents.astype("<f4").tobytes()).decode("ascii")
        cache.write_entry(KIND, key, {"rows": [list(row) for row in rows], "latents": packed})
        return rows, latents
    latents = np.frombuffer(base64.b64decode(saved["latents"]), "<f4").astype(np.float32)
    return [tuple(row) for row in saved["rows"]], latents.reshape(len(saved["rows"]), -1)


def _model_digest(run: Run) -> str:
    """Return the SHA-256 of everything that decides latents: weights, analysis and level."""
    digest = hashlib.sha256(repr((run.configuration, run.mean, run.std)).encode())
    for name, values in sorted(run.model.state_dict().items()):
        digest.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
