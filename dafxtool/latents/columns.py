"""Name the columns of latents and settings in CSV and NPZ files.

Latents are named by their part: content_0000 (the recording), change_0000 (the effect over time)
and style_00 (the effect of the whole segment). Every parameter of every effect has a column with
its unit, such as setting_delay_time_ms.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.parameter import Parameter
from dafxtool.storage import Labels
from dafxtool.utils.text import slug

UNIT_NAMES = {"%": "percent", "st": "semitones", "bit": "bits", ":1": ""}  # others in lower case


def part_bounds(n_latent: int, n_content: int, n_style: int) -> dict[str, tuple[int, int]]:
    """Return first and last column (exclusive) of each part; one part if the model has none."""
    if not n_content and not n_style:
        return {"undivided": (0, n_latent)}
    end = n_latent - n_style
    return {"content": (0, n_content), "change": (n_content, end), "style": (end, n_latent)}


def latent_names(n_latent: int, n_content: int, n_style: int) -> list[str]:
    """Return the name of each latent; latent_0000 for a model that does not divide them."""
    names = []
    for part, (start, stop) in part_bounds(n_latent, n_content, n_style).items():
        prefix = "latent" if part == "undivided" else part
        digits = 2 if part == "style" else 4
        names += [f"{prefix}_{index:0{digits}d}" for index in range(stop - start)]
    return names


def setting_columns(labels: Labels) -> dict[str, NDArray[Any]]:
    """Return a column (n,) for each parameter of each effect.

    Numbers are in the parameter's unit, NaN for rows of other effects. A parameter with choices is
    text, empty for rows of other effects.
    """
    columns: dict[str, NDArray[Any]] = {}
    for index, effect in enumerate(labels.effects):
        is_own = labels.effect == index
        for number, described in enumerate(effect["parameters"]):
            parameter = Parameter.from_dict(described)
            values = np.where(is_own, labels.setting[:, number], np.nan)
            column: NDArray[Any] = values
            if parameter.choices:
                column = np.array([_choice(parameter, value) for value in values.tolist()])
            columns[_unused(column_name(effect["name"], parameter), columns)] = column
    return columns


def csv_cells(column: NDArray[Any]) -> list[Any]:
    """Return the values of a column (n,) for a CSV file, where NaN is an empty cell."""
    return ["" if value != value else value for value in column.tolist()]


def column_name(effect: str, parameter: Parameter) -> str:
    """Name the column of a parameter: setting_EFFECT_PARAMETER_UNIT, in lower case."""
    unit = "" if parameter.choices else UNIT_NAMES.get(parameter.unit, parameter.unit.lower())
    own = slug(parameter.name)
    words = ("setting", slug(effect), own, "" if unit == own else unit)
    return "_".join(filter(None, (re.sub(r"[^a-z0-9]+", "_", word).strip("_") for word in words)))


def _choice(parameter: Parameter, value: float) -> str:
    return "" if np.isnan(value) else parameter.choices[round(value)]


def _unused(name: str, names: dict[str, Any]) -> str:
    """Return the name, with a number if another column has it."""
    number, unused = 2, name
    while unused in names:
        unused, number = f"{name}_{number}", number + 1
    return unused
