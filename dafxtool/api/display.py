"""Show results in a notebook: tables, figures, and players for arrays of audio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dafxtool.utils.notebook import Displayed, audio_player, figure, paragraph, table

__all__ = ["Displayed", "figure", "paragraph", "player", "table"]


def player(title: str, audio: NDArray[np.float32], sample_rate: int) -> str:
    """Return an audio player with a title; audio is (n_samples,)."""
    from dafxtool.audio.writer import encode

    return audio_player(title, encode(audio, sample_rate, "mp3"), "audio/mpeg")
