"""Analyse audio effects with a joint-spectrogram variational autoencoder.

The names below are functions, one for each command of the command line, in the order of the data.
They are imported on first use, so `import dafxtool` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenMP threads that wait by spinning slow down everything else on the machine: a decoding of
# 0.03 s took 1.4 s on two busy cores. torch reads the setting when it is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"

_HOMES = {
    "load_audio": "dafxtool.api.audio",
    "save_audio": "dafxtool.api.audio",
    "list_effects": "dafxtool.api.effects",
    "apply_effect": "dafxtool.api.effects",
    "render": "dafxtool.api.render",
    "import_pairs": "dafxtool.api.import_pairs",
    "compute_spectrograms": "dafxtool.api.spectrogram",
    "train": "dafxtool.api.train",
    "load_run": "dafxtool.api.train",
    "embed": "dafxtool.api.embed",
    "reconstruct": "dafxtool.api.reconstruct",
    "interpolate": "dafxtool.api.interpolate",
    "latent_map": "dafxtool.api.latent_map",
    "sweep": "dafxtool.api.sweep",
    "evaluate": "dafxtool.api.evaluate",
    "train_matcher": "dafxtool.api.train_matcher",
    "match": "dafxtool.api.match",
    "invert": "dafxtool.api.invert",
    "report": "dafxtool.api.report",
    "explore": "dafxtool.api.explore",
}
__all__ = list(_HOMES)

if TYPE_CHECKING:
    from dafxtool.api.audio import load_audio as load_audio
    from dafxtool.api.audio import save_audio as save_audio
    from dafxtool.api.effects import apply_effect as apply_effect
    from dafxtool.api.effects import list_effects as list_effects
    from dafxtool.api.embed import embed as embed
    from dafxtool.api.evaluate import evaluate as evaluate
    from dafxtool.api.explore import explore as explore
    from dafxtool.api.import_pairs import import_pairs as import_pairs
    from dafxtool.api.interpolate import interpolate as interpolate
    from dafxtool.api.invert import invert as invert
    from dafxtool.api.latent_map import latent_map as latent_map
    from dafxtool.api.match import match as match
    from dafxtool.api.reconstruct import reconstruct as reconstruct
    from dafxtool.api.render import render as render
    from dafxtool.api.report import report as report
    from dafxtool.api.spectrogram import compute_spectrograms as compute_spectrograms
    from dafxtool.api.sweep import sweep as sweep
    from dafxtool.api.train import load_run as load_run
    from dafxtool.api.train import train as train
    from dafxtool.api.train_matcher import train_matcher as train_matcher


def __getattr__(name: str) -> Any:
    """Import a public function on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dafxtool' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
