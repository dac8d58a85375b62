"""Median, largest value and share of lists that may be empty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def worst(values: Sequence[float]) -> float:
    return max(values, default=float("nan"))


def share(values: Sequence[bool]) -> str:
    return f"{np.mean(values):.3f}" if values else "-"
