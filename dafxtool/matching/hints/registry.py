"""Select the function that estimates starting points for each effect."""

from __future__ import annotations

from collections.abc import Callable

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints import (
    bit_crusher,
    delay,
    dynamics,
    filters,
    gain_over_time,
    oscillating_delay,
    phaser,
    pitch,
    reverb,
)
from dafxtool.matching.hints.start import Start
from dafxtool.matching.pair import Pair

Hint = Callable[[Pair, Effect], list[Start]]


def _driven(pair: Pair, effect: Effect) -> list[Start]:
    return filters.driven_starts(pair, effect, "drive")


HINTS: dict[str, Hint] = {
    "overdrive": _driven,
    "distortion": _driven,
    "combo": _driven,
    "bit-crusher": bit_crusher.starts,
    "delay": delay.starts,
    "reverb": reverb.starts,
    "chorus": oscillating_delay.starts,
    "flanger": oscillating_delay.starts,
    "vibrato": oscillating_delay.starts,
    "phaser": phaser.starts,
    "tremolo": gain_over_time.tremolo_starts,
    "ring-modulator": gain_over_time.ring_modulator_starts,
    "pitch-shift": pitch.starts,
    "compressor": dynamics.compressor_starts,
    "limiter": dynamics.limiter_starts,
    "gate": dynamics.gate_starts,
    "multiband": dynamics.multiband_starts,
    "low-pass": filters.filter_starts,
    "high-pass": filters.filter_starts,
    "low-shelf": filters.filter_starts,
    "high-shelf": filters.filter_starts,
    "peak": filters.filter_starts,
}
# Hints that take long. They are computed only if the others do not explain the wet recording.
SLOW = frozenset(
    {"chorus", "flanger", "vibrato", "phaser", "ring-modulator", "bit-crusher", "pitch-shift"}
)


def starts_for(pair: Pair, effect: Effect, any_phase: bool = False) -> list[Start]:
    """Propose starting points for an effect; its defaults if it has no hint.

    any_phase  whether the oscillator may have any phase at the start of the audio
    """
    if effect.plugin is not None or effect.name not in HINTS:
        return [Start(effect)]
    if any_phase and effect.name in ("chorus", "flanger", "vibrato"):
        return oscillating_delay.starts(pair, effect, any_phase=True)
    if any_phase and effect.name == "phaser":
        return phaser.starts(pair, effect, any_phase=True)
    return HINTS[effect.name](pair, effect) or [Start(effect)]
