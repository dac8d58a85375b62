"""Describe effects that were recorded, not rendered, by the settings of their recordings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter, split_number
from dafxtool.errors import InputError
from dafxtool.utils.text import slug, unique_slugs

SUMMARY = "recorded; cannot be applied"


class RecordedEffect(NamedTuple):
    """Name and settings of one recording, as they are written: "gain [dB]" -> "5"."""

    name: str
    values: Mapping[str, str]


def parse_recorded(text: str) -> RecordedEffect:
    """Read "my-amp[:gain=5 dB,channel=lead]"; InputError for other text."""
    name, colon, listed = text.partition(":")
    if not name.strip() or re.search(r"[>=]", name):
        raise InputError(f"{text!r}: does not name an effect. Write NAME or NAME:parameter=value.")
    items = [item for item in listed.split(",") if item.strip()]
    values: dict[str, str] = {}
    for item in items:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key or not value or key in values:
            raise InputError(f"{text!r}: cannot read {item.strip()!r}. Write parameter=value.")
        values[key] = value
    if colon and not items:
        raise InputError(f"{text!r}: ends at the colon. Write NAME:parameter=value, or NAME.")
    return RecordedEffect(slug(name), values)


def recorded_effects(
    rows: Sequence[RecordedEffect],
) -> tuple[list[Effect], list[tuple[int, dict[str, float]]]]:
    """Describe the effects of recordings by all of their values.

    A parameter ranges from its smallest to its largest value. Text values are choices.

    Returns the effects, and the index of the effect and the setting of each recording. InputError
    for a parameter that some recordings of an effect do not give, and for one in two units.
    """
    names = list(dict.fromkeys(row.name for row in rows))
    effects, settings = [], []
    for name in names:
        own = [_plain(name, row.values) for row in rows if row.name == name]
        keys = list(dict.fromkeys(key for values in own for key in values))
        for key in keys:
            n_missing = sum(key not in values for values in own)
            if n_missing:
                raise InputError(
                    f"{name}: {n_missing} of {len(own)} recordings have no value of {key!r}. Give "
                    "it for all of them, or use another name for those without it."
                )
        parameters, columns = [], []
        for key in keys:
            parameter, column = _describe(name, key, [values[key] for values in own])
            parameters.append(parameter)
            columns.append(column)
        effects.append(Effect(name, tuple(parameters), SUMMARY, is_recorded=True))
        settings.append(
            [dict(zip(keys, line, strict=True)) for line in zip(*columns, strict=True)]
            if keys
            else [{} for _ in own]
        )
    taken = [0] * len(names)
    choices = []
    for row in rows:
        index = names.index(row.name)
        choices.append((index, settings[index][taken[index]]))
        taken[index] += 1
    return effects, choices


Value = tuple[str, str]  # as it is written, and the unit of its heading


def _plain(effect: str, values: Mapping[str, str]) -> dict[str, Value]:
    """Return values by the name of the parameter; InputError where two names become one."""
    plain: dict[str, Value] = {}
    for heading, value in values.items():
        name, unit = split_heading(heading)
        if name in plain:
            raise InputError(f"{effect}: two settings are called {name!r}. Rename one.")
        plain[name] = (value, unit)
    return plain


def split_heading(heading: str) -> tuple[str, str]:
    """Split "Gain [dB]" or "Gain (dB)" into the name, "gain", and the unit."""
    match = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*", heading)
    name, unit = (match[1], match[2].strip()) if match else (heading, "")
    return slug(name), unit


def _describe(effect: str, name: str, values: Sequence[Value]) -> tuple[Parameter, list[float]]:
    """Describe a parameter by its values, and return them as numbers."""
    read = [(*split_number(text.replace(",", ".")), unit) for text, unit in values]
    if any(number is None for number, _, _ in read):
        texts = [text for text, _ in values]
        choices = tuple(sorted(dict.fromkeys(texts)))
        slugs = unique_slugs(choices)
        column = [float(choices.index(text)) for text in texts]
        last = float(len(choices) - 1)
        return Parameter(name, "", 0, last, column[0], choices=tuple(slugs)), column
    units = {heading or own for _, own, heading in read}
    units = units - {""} or units
    wrong = [own for _, own, heading in read if own and heading and own.lower() != heading.lower()]
    if len(units) > 1 or wrong:
        found = sorted(units | set(wrong))
        raise InputError(
            f"{effect}: {name} has values in {' and '.join(map(repr, found))}. "
            "Write all of them in one unit."
        )
    numbers = [float(np.float32(number or 0.0)) for number, _, _ in read]
    default = float(np.sort(numbers)[len(numbers) // 2])
    return Parameter(name, units.pop(), min(numbers), max(numbers), default), numbers
