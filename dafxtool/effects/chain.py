"""Combine effects in series to chains.

A chain is an effect whose parameters are those of its stages, with the stage before their name:
`overdrive.drive`, `delay.time`, and `delay2.time` for a second delay. So settings, files and scores
treat it as any other effect. Levels are not changed between stages.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from dafxtool.effects.effect import (
    Effect,
    EffectChoice,
    Stage,
    series_name,
    stage_parameters,
    stage_settings,
)
from dafxtool.errors import EffectError

MOST_STAGES = 8
BETWEEN_STAGES = ">"


def make_chain(stages: Sequence[EffectChoice], name: str = "") -> EffectChoice:
    """Put effects in series; a chain among them contributes its stages.

    stages  effects with their fixed values
    name    of the chain; by default the names of the stages, "overdrive > delay"

    EffectError for more than MOST_STAGES stages, and for stages with a parameter of the same
    qualified name.
    """
    choices = [each for stage in stages for each in _flat(stage)]
    if len(choices) > MOST_STAGES:
        raise EffectError(
            f"the chain has too many stages (found {len(choices)}, expected at most "
            f"{MOST_STAGES}). Leave some out."
        )
    labels: list[str] = []
    for effect, _ in choices:
        numbered = (f"{effect.name}{number}" for number in itertools.count(2))
        free = itertools.chain([effect.name], numbered)
        labels.append(next(label for label in free if label not in labels))
    parts = tuple(Stage(label, effect) for label, (effect, _) in zip(labels, choices, strict=True))
    parameters = stage_parameters(parts)
    names = [parameter.name for parameter in parameters]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise EffectError(
            f"{series_name(parts)}: two stages have a parameter of the same name ({twice[0]}). "
            "Use another order, or one of them alone."
        )
    summary = f"{len(parts)} effects in series" if len(parts) > 1 else parts[0].effect.summary
    chain = Effect(name or series_name(parts), parameters, summary, stages=parts)
    fixed = {
        f"{label}.{key}": value
        for label, (_, values) in zip(labels, choices, strict=True)
        for key, value in values.items()
    }
    return EffectChoice(chain, fixed)


def _flat(choice: EffectChoice) -> list[EffectChoice]:
    """Return the stages of a chain with their fixed values; a single effect as it is."""
    effect, fixed = choice
    if not effect.stages:
        return [choice]
    parts = zip(effect.stages, stage_settings(effect, fixed), strict=True)
    return [EffectChoice(stage.effect, values) for stage, values in parts]


def split_text(text: str) -> tuple[str, list[str]]:
    """Split "lead=overdrive > delay:mix=50" into its name, here "lead", and the stages' texts.

    The name is empty where there is none. EffectError for an empty stage.
    """
    stages = [each.strip() for each in text.split(BETWEEN_STAGES)]
    before, equals, after = stages[0].partition("=")
    name = ""
    if equals and ":" not in before:
        name, stages[0] = before.strip().lower().replace("_", "-"), after.strip()
    if (len(stages) > 1 or equals) and "" in stages:
        raise EffectError(
            f"{text!r}: stage {stages.index('') + 1} is empty. Write an effect on both sides of "
            f"'{BETWEEN_STAGES}'."
        )
    return name, stages


def check_name(name: str, known: Mapping[str, Effect]) -> None:
    """Raise EffectError for a name that a chain cannot have."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise EffectError(
            f"{name!r} cannot be the name of a chain. Use letters, digits and hyphens."
        )
    if name in known:
        raise EffectError(
            f"{name!r} is the name of an effect. Choose another name for the chain, or write "
            f"{name}:parameter=value to set a parameter."
        )
