"""Check paired matching: effect, setting, intervals, and the distance of the answer."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import outer_distance, rms
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared

RATE = 24_000
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}


def stages_of(*texts):
    chain = []
    for text in texts:
        effect, values = parse_effect(text, EFFECTS)
        chain.append(Stage(effect, effect.complete(values)))
    return tuple(chain)


def pair_of(*texts, seconds=4.0, gain=1.0):
    dry = synthetic_notes(seconds)
    wet = render_chain(stages_of(*texts), dry, RATE) * np.float32(gain)
    return Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)


def check_reported_distance(answer, prepared):
    matched = render_chain(answer.best.stages, prepared.dry, RATE)
    assert outer_distance(matched, prepared.wet) == pytest.approx(answer.distance, abs=1e-6)
    assert answer.distance <= answer.distance_unprocessed


SETTINGS = [
    "overdrive:drive=30,tone=2500,output=-9",
    "distortion:drive=38,tone=3000,output=-4",
    "bit-crusher:bits=6,rate=5000",
    "delay:time=310,feedback=35,mix=40",
    "reverb:size=70,damping=30,width=80,mix=35",
    "chorus:rate=1.3,depth=30,delay=12,mix=50",
    "flanger:rate=0.6,depth=15,delay=3,feedback=40,mix=45",
    "phaser:rate=0.9,depth=60,centre=900,feedback=30,mix=50",
    "vibrato:rate=5.5,depth=10",
    "tremolo:rate=6,depth=70",
    "ring-modulator:frequency=330,mix=70",
    "compressor:threshold=-40,ratio=5,attack=5,release=100,makeup=6",
    "limiter:drive=24,ceiling=-9,release=100",
    "gate:threshold=-28,ratio=6,attack=2,release=80",
    "multiband:low-crossover=250,high-crossover=2500,threshold=-38,ratio=5,makeup=6",
    "low-pass:cutoff=900",
    "high-pass:cutoff=1500",
    "low-shelf:cutoff=300,gain=10",
    "high-shelf:cutoff=2500,gain=-12",
    "peak:cutoff=1000,gain=12,q=2",
    "combo:drive=20,bass=4,treble=-3,speaker=3000,output=-6",
]


@pytest.mark.slow
@pytest.mark.parametrize("text", SETTINGS, ids=lambda text: text.partition(":")[0])
def test_every_effect_is_found_with_its_setting(text):
    prepared = pair_of(text)
    answer = match_pair(prepared, Options())
    truth = stages_of(text)[0]
    assert answer.best.name == truth.effect.name
    assert answer.distance < 0.05 * answer.distance_unprocessed
    for parameter in truth.effect.parameters:
        result, true = (
            parameter.to_normalised(stage.setting[parameter.name])
            for stage in (answer.best.stages[0], truth)
        )
        assert result == pytest.approx(true, abs=0.02), parameter.name
    check_reported_distance(answer, prepared)


FEW = tuple((EFFECTS[name], {}) for name in ("delay", "low-pass", "tremolo", "peak", "gate"))


def test_the_setting_lies_in_its_interval():
    answer = match_pair(pair_of("peak:cutoff=1000,gain=12,q=2"), Options(effects=FEW))
    truth = {"cutoff": 1000, "gain": 12, "q": 2}
    assert {each.parameter for each in answer.intervals} == set(truth)
    for interval in answer.intervals:
        assert interval.low <= truth[interval.parameter] <= interval.high


def test_intervals_lie_within_the_range():
    prepared = pair_of("overdrive:drive=41,tone=2000")
    chosen = (EFFECTS["limiter"], {}), (EFFECTS["compressor"], {})
    answer = match_pair(prepared, Options(effects=chosen))
    ends = [
        EFFECTS[answer.best.stages[0].effect.name].parameter(each.parameter).to_normalised(end)
        for each in answer.intervals
        for end in (each.low, each.high)
    ]
    assert all(0 <= each <= 1 for each in ends)


def test_the_same_recording_is_left_as_it_is():
    dry = synthetic_notes()
    answer = match_pair(Prepared(dry, dry.copy(), RATE, 1.0, 0, 0, dry.size), Options())
    assert answer.best.stages == ()
    assert answer.distance == answer.distance_unprocessed == pytest.approx(0, abs=1e-6)
    assert answer.effect == "clean"
    assert answer.verdict.startswith("Leave it")


@pytest.mark.parametrize("level", ["match", "keep"])
def test_a_gain_is_distinguished_from_an_effect(level):
    answer = match_pair(pair_of("gain:gain=-7.5"), Options(level=level))
    if level == "keep":
        assert answer.best.stages == ()
    else:
        assert answer.best.name == "gain"
        assert answer.best.stages[0].setting["gain"] == pytest.approx(-7.5, abs=0.01)


@pytest.mark.slow
def test_noise_far_below_the_recording_is_no_effect():
    prepared = pair_of("clean")
    noise = np.random.default_rng(3).standard_normal(prepared.wet.size).astype(np.float32)
    noisy = replace(prepared, wet=prepared.wet + np.float32(0.003 * rms(prepared.wet)) * noise)
    assert match_pair(noisy, Options()).best.stages == ()


def test_a_changed_level_becomes_a_gain_stage():
    prepared = pair_of("delay:time=200,feedback=20,mix=40", gain=0.5)
    answer = match_pair(prepared, Options(effects=FEW))
    assert answer.best.name == "delay > gain"
    assert answer.best.stages[1].setting["gain"] == pytest.approx(-6.02, abs=0.05)
    matched = render_chain(answer.best.stages, prepared.dry, RATE)
    assert rms(matched) == pytest.approx(rms(prepared.wet), rel=0.01)


def test_fixed_values_stay():
    prepared = pair_of("delay:time=200,feedback=20,mix=40")
    fixed = ((EFFECTS["delay"], {"mix": 50.0}),)
    answer = match_pair(prepared, Options(effects=fixed))
    assert answer.best.stages[0].setting["mix"] == 50.0
    check_reported_distance(answer, prepared)


def test_the_answer_does_not_depend_on_the_workers():
    prepared = pair_of("tremolo:rate=6,depth=70")
    answers = [match_pair(prepared, Options(effects=FEW, workers=n)) for n in (1, 1, 3)]
    assert len({answer.effect for answer in answers}) == 1
    assert len({answer.evaluations for answer in answers}) == 1
    assert len({answer.distance for answer in answers}) == 1


def test_an_oscillator_may_have_started_before_the_recording():
    dry = synthetic_notes(4)
    stage = replace(stages_of("tremolo:rate=6,depth=70")[0], phase=0.4)
    prepared = Prepared(dry, render_chain([stage], dry, RATE), RATE, 1.0, 0, 0, dry.size)
    answer = match_pair(prepared, Options(effects=FEW))
    result = answer.best.stages[0]
    assert result.phase == pytest.approx(0.4, abs=0.01)
    assert result.lead_seconds == pytest.approx(0.4 / 6, abs=0.002)


def test_a_vibrato_does_not_count_as_latency():
    prepared = pair_of("vibrato:rate=5.5,depth=4")
    answer = match_pair(
        replace(
            prepared,
            wet=np.concatenate([prepared.wet[168:], np.zeros(168, np.float32)]),
            latency_samples=168,
        ),
        Options(effects=(*FEW, (EFFECTS["vibrato"], {}))),
    )
    assert answer.best.stages[0].effect.name == "vibrato"
    assert answer.latency_samples == 0


@pytest.mark.slow
def test_two_effects_in_series_are_found_in_their_order():
    texts = ("overdrive:drive=30,tone=3000", "delay:time=210,feedback=30,mix=40")
    names = ("overdrive", "delay", "low-pass", "compressor", "tremolo", "reverb")
    chosen = tuple((EFFECTS[name], {}) for name in names)
    prepared = pair_of(*texts)
    answer = match_pair(prepared, Options(effects=chosen, chain=2))
    assert [s.effect.name for s in answer.best.stages if s.effect.name != "gain"] == [
        "overdrive",
        "delay",
    ]
    assert answer.distance < 0.15 * answer.distance_unprocessed
    check_reported_distance(answer, prepared)


def test_a_single_effect_gives_no_chain():
    prepared = pair_of("low-pass:cutoff=900")
    assert match_pair(prepared, Options(effects=FEW, chain=3)).best.name == "low-pass"
