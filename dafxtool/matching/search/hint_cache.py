"""Compute hints on the signals inside a chain, each only once.

Several tasks of a search need the same hints: those of an effect behind a chain are also starts for
the same effect in front of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.hints.registry import starts_for
from dafxtool.matching.hints.start import Start
from dafxtool.matching.objective import Array
from dafxtool.matching.pair import Pair
from dafxtool.matching.search.held_samples import HeldSamples
from dafxtool.matching.search.undo_stages import undo

N_PAIRS = 6  # kept with their features, some 5 MB each


class HintCache:
    """Starts of effects between the stages of chains, for one pair."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._pairs: OrderedDict[Hashable, Pair] = OrderedDict()
        self._starts: dict[Hashable, list[Start]] = {}
        self._held: dict[float, HeldSamples | None] = {}

    def dry(self, before: Sequence[Stage]) -> Array:
        """Render the dry audio through the stages in front."""
        return self._inside(before, ()).dry

    def starts(
        self,
        effect: Effect,
        before: Sequence[Stage],
        behind: Sequence[Stage],
        any_phase: bool = False,
    ) -> list[Start]:
        """Propose starts for an effect between stages.

        With stages behind there are two estimates. One undoes these stages, where possible. The
        other one assumes that the effect would sound the same behind them.
        """
        starts = self._once(effect, before, behind, any_phase)
        if not behind:
            return starts
        swapped = self._once(effect, [*before, *behind], (), any_phase)
        return [*map(_widen, [*starts, *swapped]), Start(effect)]

    def held_samples(self, stages: Sequence[Stage]) -> HeldSamples | None:
        """Return the samples that the last stage holds; None if that is no bit-crusher."""
        if not stages or stages[-1].effect.name != "bit-crusher":
            return None
        rate = stages[-1].setting["rate"]
        if rate not in self._held:
            self._held[rate] = HeldSamples.of(self._pair, stages[-1].effect, rate)
        return self._held[rate]

    def _once(
        self, effect: Effect, before: Sequence[Stage], behind: Sequence[Stage], any_phase: bool
    ) -> list[Start]:
        key = (_key(before), _key(behind), effect.name, any_phase)
        if key not in self._starts:
            self._starts[key] = starts_for(self._inside(before, behind), effect, any_phase)
        return self._starts[key]

    def _inside(self, before: Sequence[Stage], behind: Sequence[Stage]) -> Pair:
        """Return the pair of signals between the stages; the wet one if they cannot be undone."""
        if not before and not behind:
            return self._pair
        key = (_key(before), _key(behind))
        if key not in self._pairs:
            rate = self._pair.sample_rate
            dry = render_chain(before, self._pair.dry, rate)
            try:
                wet = undo(behind, self._pair.wet, rate)
            except EffectError:
                wet = None
            wet = self._pair.wet if wet is None else wet
            self._pairs[key] = Pair(dry, wet, rate, self._pair.start)
            if len(self._pairs) > N_PAIRS:
                self._pairs.popitem(last=False)
        self._pairs.move_to_end(key)
        return self._pairs[key]


def _key(stages: Sequence[Stage]) -> Hashable:
    return tuple((s.effect.name, tuple(sorted(s.setting.items())), s.phase) for s in stages)


def _widen(start: Start) -> Start:
    """Increase the standard deviations of a start, except those of rates and frequencies."""
    wide = {name: max(3 * d, 0.05) if d else d for name, d in start.deviations.items()}
    tight = {name: start.deviations[name] for name in ("rate", "frequency") if name in wide}
    return replace(start, deviations=wide | tight)
