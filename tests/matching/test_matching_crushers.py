"""Check how bit-crushers in chains are found: by coherence in front, by held samples at the end."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.hints import bit_crusher
from dafxtool.matching.hints.crusher_coherence import LocalCoherence, crusher_in_front
from dafxtool.matching.objective import Objective
from dafxtool.matching.pair import Pair
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared
from dafxtool.matching.search.candidate import Candidate, coordinates_of
from dafxtool.matching.search.held_samples import HeldSamples

RATE = 24_000
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}
CRUSHER = "bit-crusher:bits=5.3,rate=4321"


def stages(text):
    parsed = [parse_effect(each, EFFECTS) for each in text.split(" > ")]
    return [Stage(effect, effect.complete(values)) for effect, values in parsed]


def pair_of(text, seconds=3.0):
    dry = synthetic_notes(seconds)
    return Pair(dry, render_chain(stages(text), dry, RATE), RATE)


@pytest.mark.parametrize(
    "behind",
    [
        "overdrive:drive=25,tone=3000",
        "compressor:threshold=-40,ratio=4 > flanger:rate=0.4,depth=20,delay=3,mix=50",
    ],
)
def test_rate_and_bits_are_found_in_front_of_other_effects(behind):
    pair = pair_of(f"{CRUSHER} > {behind}")
    starts = bit_crusher.starts(pair, EFFECTS["bit-crusher"])
    assert abs(starts[-1].setting["bits"] - 5.3) < 0.01
    assert abs(starts[-1].setting["rate"] / 4321 - 1) < 1e-5


def test_no_bit_crusher_is_proposed_where_none_is():
    pair = pair_of("overdrive:drive=25,tone=3000")
    assert crusher_in_front(pair, EFFECTS["bit-crusher"], [4321.0, 2000.0]) is None


def test_local_coherence_ignores_a_slow_change_of_level():
    dry = synthetic_notes(2.0)
    coherence = LocalCoherence((dry * np.linspace(0.2, 1.0, dry.size)).astype(np.float32))
    assert coherence(dry) > 0.99
    noise = np.random.default_rng(0).standard_normal(dry.size).astype(np.float32)
    assert coherence(noise) < 0.5


def test_the_input_of_a_bit_crusher_is_within_the_bounds_of_its_held_samples():
    chain = f"peak:cutoff=900,gain=9 > {CRUSHER}"
    pair = pair_of(chain)
    held = HeldSamples.of(pair, EFFECTS["bit-crusher"], 4321.0)
    assert held is not None
    assert abs(held.bits - 5.3) < 1e-3
    true_input = render_chain(stages(chain)[:1], pair.dry, RATE)
    assert np.square(held.excess(true_input)).sum() < 1e-6 * held.excess_of_dry


def test_audio_without_held_samples_has_no_bounds():
    pair = pair_of("peak:cutoff=900,gain=9")
    assert HeldSamples.of(pair, EFFECTS["bit-crusher"], 4321.0) is None


def test_a_stage_in_front_of_a_bit_crusher_is_fitted_to_its_held_samples():
    truth = stages(f"overdrive:drive=30,tone=2500,output=-8 > {CRUSHER}")
    dry = synthetic_notes(3.0)
    pair = Pair(dry, render_chain(truth, dry, RATE), RATE)
    start = stages(f"overdrive:drive=26,tone=1800,output=-5 > {CRUSHER}")
    coordinates = coordinates_of(start[0].effect, 0, {}, is_last=False)
    candidate = Candidate(dry, RATE, Objective(pair.wet), start, coordinates)
    held = HeldSamples.of(pair, EFFECTS["bit-crusher"], 4321.0)
    assert held is not None
    candidate.meet_bounds(held, with_bits=True)
    for name, value in truth[0].setting.items():
        assert abs(candidate.best[0].setting[name] / value - 1) < 0.01


def test_bits_that_the_user_fixed_are_kept():
    dry = synthetic_notes(3.0)
    wet = render_chain(stages(f"low-pass:cutoff=1500 > {CRUSHER}"), dry, RATE)
    effect, fixed = parse_effect("low-pass > bit-crusher:bits=7", EFFECTS)
    prepared = Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)
    answer = match_pair(prepared, Options(effects=[(effect, fixed)]))
    bits = [s.setting["bits"] for s in answer.best.stages if s.effect.name == "bit-crusher"]
    assert bits == [7.0]
