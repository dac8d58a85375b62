"""What the pairs that a plugin spoilt have in common, so that the next render can do without it.

A knob may silence a plugin whatever the rest of it is set to: a freeze that is switched on before
anything was heard, an output that is muted. Which one it is shows when all pairs are looked at
together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dafxtool.dataset.pair import Pair
from dafxtool.effects.effect import Effect

FEWEST_LOST = 2  # of one alone, every choice that it had would be to blame


class FailureSummary:
    """Counts the choices of pairs that were made and of pairs that were lost."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self._effects = effects
        self._made: Counter[tuple[int, str, float]] = Counter()
        self._lost: Counter[tuple[int, str, float]] = Counter()
        self._n_lost: Counter[int] = Counter()

    def count(self, made: Iterable[Pair], lost: Iterable[Pair]) -> None:
        """Take note of pairs that were made and of what is known of lost ones."""
        for pair in made:
            self._made.update(self._choices(pair))
        for pair in lost:
            self._lost.update(self._choices(pair))
            self._n_lost[pair.effect] += 1

    def remarks(self) -> list[str]:
        """For each choice that all lost pairs of an effect have and no other pair has, a sentence.

        None where everything was lost: then nothing can be told apart.
        """
        told = []
        for (effect, name, value), count in self._lost.items():
            n_lost = self._n_lost[effect]
            if count < max(FEWEST_LOST, n_lost) or self._made[effect, name, value]:
                continue
            found = self._effects[effect]
            parameter = next(p for p in found.parameters if p.name == name)
            others = [v for v in range(len(parameter.choices)) if self._made[effect, name, v]]
            if others:
                told.append(
                    f"All {n_lost} lost pairs of {found.name} have "
                    f"{name}={parameter.value_text(value)}, and no other pair has: hold it with "
                    f"--effect {found.name}:{name}={parameter.value_text(others[0])}."
                )
        return told

    def _choices(self, pair: Pair) -> list[tuple[int, str, float]]:
        return [
            (pair.effect, p.name, float(pair.setting[p.name]))
            for p in self._effects[pair.effect].parameters
            if p.choices
        ]


@dataclass(frozen=True)
class FailedPair:
    """A pair that could not be made, and why."""

    row: int
    pair: Pair
    reason: str
