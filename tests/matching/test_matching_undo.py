"""Check that the last stages of a chain are undone, and that hints use it."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.pair import Pair
from dafxtool.matching.search.hint_cache import HintCache
from dafxtool.matching.search.undo_stages import undo

RATE = 24_000
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}


def stage(text):
    effect, values = parse_effect(text, EFFECTS)
    return Stage(effect, effect.complete(values))


@pytest.mark.parametrize(
    "text",
    [
        "low-pass:cutoff=900",
        "peak:cutoff=1000,gain=12,q=2",
        "delay:time=210,feedback=30,mix=40",
        "reverb:size=40,damping=30,width=80,mix=25",
        "tremolo:rate=6,depth=70",
    ],
)
def test_a_stage_is_undone(text):
    dry = synthetic_notes(2.0)
    wet = render_chain([stage(text)], dry, RATE)
    undone = undo([stage(text)], wet, RATE)
    assert undone.dtype == np.float32
    inner = slice(0, -RATE // 5)  # the wet audio ends suddenly, so its end is not exact
    # A low-pass filter removes the highest frequency, which does not come back.
    assert np.linalg.norm((undone - dry)[inner]) < 0.06 * np.linalg.norm(dry)


def test_a_compressor_is_not_undone():
    wet = synthetic_notes(1.0)
    assert undo([stage("compressor:threshold=-40,ratio=5")], wet, RATE) is None


def test_the_hint_in_front_of_a_filter_is_exact():
    front, last = stage("bit-crusher:bits=6,rate=5000"), stage("low-pass:cutoff=900")
    dry = synthetic_notes(3.0)
    hints = HintCache(Pair(dry, render_chain([front, last], dry, RATE), RATE))
    starts = hints.starts(front.effect, (), (last,))
    rates = [start.setting["rate"] for start in starts if "rate" in start.setting]
    assert min(abs(rate / 5000 - 1) for rate in rates) < 1e-4
