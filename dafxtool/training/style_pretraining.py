"""Fit the style encoder to labels first."""

from __future__ import annotations

STYLE_BATCH, STYLE_RATE = 64, 2e-3  # of the fit of the style to the labels
STYLE_NOISE = 0.3  # in deviations of each descriptor
STYLE_DECAY = 1.0
SETTING_SHARE = 1.0  # weight of a setting's error against its effect's name
STYLE_PRIOR = 0.3  # keeps the style near the prior, whose deviation is 1
