"""Render small datasets in tests, completely or until an interruption."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, chosen

from dafxtool.dataset.pair import render_row
from dafxtool.dataset.render import render
from dafxtool.dataset.workers import Batch


def render_small(recordings, output, effects=("overdrive", "delay"), **options):
    """Render 12 pairs of each effect."""
    options = {"pairs_per_effect": 12, "seed": 3, **options}
    return render([recordings], output, chosen(*effects), SEGMENTS, SPLIT, **options)


class Stop(Exception):
    """The interruption of a render."""


def contents(folder):
    """Read all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(monkeypatch, n_rows, *arguments, **options):
    """Render n_rows rows and raise Stop."""

    def render_then_stop(plan, *_):
        yield from (Batch(np.array([row]), [render_row(plan, row)[0]]) for row in range(n_rows))
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("dafxtool.dataset.render.render_batches", render_then_stop)
        with pytest.raises(Stop):
            render_small(*arguments, **options)
