"""Find settings shared by all failed pairs, and effects that leave the audio unchanged.

One choice may silence a plugin, whatever its other parameters are: a freeze before the first audio,
or a muted output. Only a comparison of all pairs identifies this choice.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dafxtool.dataset.pair import Pair
from dafxtool.effects.effect import Effect
from dafxtool.utils.text import counted

MIN_FAILED_PAIRS = 2  # a single failed pair would blame each of its choices


@dataclass(frozen=True)
class FailedPair:
    """A pair that could not be rendered, and the reason."""

    row: int
    pair: Pair
    reason: str


def reason_of(error: Exception, effect: Effect) -> str:
    """Return the message of an error without the setting at its start.

    The setting is stored and shown beside the reason, and equal reasons are listed once.
    """
    start, colon, rest = str(error).partition(": ")
    names = {effect.name, *(stage.effect.name for stage in effect.stages)}
    is_setting = start in names or start.startswith(tuple(f"{name}:" for name in names))
    return rest if colon and is_setting else str(error)


class FailureSummary:
    """Counts of the choices in rendered and in failed pairs."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self._effects = effects
        self._rendered: Counter[tuple[int, str, float]] = Counter()
        self._failed: Counter[tuple[int, str, float]] = Counter()
        self._n_failed: Counter[int] = Counter()  # by effect

    def count(self, rendered: Iterable[Pair], failed: Iterable[Pair]) -> None:
        """Add rendered pairs and failed pairs to the counts."""
        for pair in rendered:
            self._rendered.update(self._choices(pair))
        for pair in failed:
            self._failed.update(self._choices(pair))
            self._n_failed[pair.effect] += 1

    def warnings(self) -> list[str]:
        """Return a sentence for each choice shared by all failed pairs of an effect and no other.

        An effect without a rendered pair gives none, because there is nothing to compare with.
        """
        sentences = []
        for (index, name, value), count in self._failed.items():
            n_failed = self._n_failed[index]
            if count < max(MIN_FAILED_PAIRS, n_failed) or self._rendered[index, name, value]:
                continue
            effect = self._effects[index]
            parameter = next(p for p in effect.parameters if p.name == name)
            working = [v for v in range(len(parameter.choices)) if self._rendered[index, name, v]]
            if working:
                option = effect.setting_text({name: float(working[0])})
                sentences.append(
                    f"All {n_failed} failed pairs of {effect.name} have "
                    f"{name}={parameter.value_text(value)}, and no rendered pair has it. Avoid it "
                    f"with --effect {shlex.quote(option) if effect.stages else option}."
                )
        return sentences

    def _choices(self, pair: Pair) -> list[tuple[int, str, float]]:
        """Return (effect, parameter, value) for each parameter that has choices."""
        return [
            (pair.effect, p.name, float(pair.setting[p.name]))
            for p in self._effects[pair.effect].parameters
            if p.choices
        ]


def unchanged_warnings(
    effects: Sequence[Effect], unchanged: Mapping[str, int], n_pairs: Mapping[str, int]
) -> list[str]:
    """Return a sentence for each effect with pairs whose wet segment is the dry one.

    unchanged, n_pairs  such pairs, and all pairs, by name of the effect

    Effects without parameters, such as `clean`, are left out.
    """
    sentences = []
    for effect in effects:
        count, total = unchanged[effect.name], n_pairs[effect.name]
        if not count or (not effect.parameters and not effect.plugins):
            continue
        is_stereo = any(file.n_channels == 2 for file in effect.plugins)
        others = "other settings or another --plugin-channel" if is_stereo else "other settings"
        sentences.append(
            f"{effect.name}: in {count} of {counted(total, 'pair')} the wet segment is the dry one "
            f"within -80 dB, apart from its level. Choose {others}, or leave it out."
        )
    return sentences
