"""Check the choice of the answer with the smallest expected distance to the truth."""

import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import builtin_effects
from dafxtool.matching.chain import Stage
from dafxtool.matching.unpaired.bayes_risk import Hypothesis, Risk, likeliest, risks_of
from dafxtool.matching.unpaired.decide import is_worth_it, least_risk, truths_of
from dafxtool.matching.unpaired.trials import Trials

RATE = 24_000
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}


def low_pass(cutoff):
    return (Stage(EFFECTS["low-pass"], {"cutoff": cutoff}),)


def risks(answers, truths):
    return risks_of(synthetic_notes(2), RATE, answers, truths)


def test_the_truth_has_no_risk():
    truth = [Hypothesis(low_pass(400), 1.0)]
    right, wrong = risks([low_pass(400), low_pass(2000)], truth)
    assert right.distance == pytest.approx(0, abs=1e-6)
    assert right.harm == 0
    assert 0 < wrong.distance < wrong.unprocessed


def test_the_harm_is_the_probability_of_truths_nearer_to_the_unprocessed_recording():
    truths = [Hypothesis(low_pass(300), 0.7), Hypothesis(low_pass(12_000), 0.3)]
    assert risks([low_pass(320)], truths)[0].harm == pytest.approx(0.3)
    no_effect = [Hypothesis((), 0.4), Hypothesis(low_pass(300), 0.6)]
    assert risks([low_pass(320)], no_effect)[0].harm == pytest.approx(0.4)


def test_an_answer_is_not_compared_with_itself():
    truths = [Hypothesis(low_pass(300), 0.5), Hypothesis(low_pass(600), 0.5)]
    between, first = risks([low_pass(420), low_pass(300)], truths)
    assert between.distance < first.distance
    alone = [Hypothesis(low_pass(600), 1.0)]
    assert first.distance == risks([low_pass(300)], alone)[0].distance


def test_the_only_setting_of_a_likely_effect_has_little_risk():
    other = Stage(EFFECTS["high-pass"], {"cutoff": 5000})
    truths = [Hypothesis(low_pass(300), 0.9), Hypothesis((other,), 0.1)]
    assert risks([low_pass(300)], truths)[0].harm == pytest.approx(0.1)


def test_the_phase_of_an_oscillator_is_no_risk():
    setting = {"rate": 4.0, "depth": 90.0}
    truth = [Hypothesis((Stage(EFFECTS["tremolo"], setting, phase=0.5),), 1.0)]
    risk = risks([(Stage(EFFECTS["tremolo"], setting),)], truth)[0]
    assert risk.distance < 0.1 * risk.unprocessed


def test_a_likely_harm_is_not_worth_it():
    assert is_worth_it(Risk(0.5, 1.0, 0.0))
    assert not is_worth_it(Risk(0.5, 1.0, 0.6))
    assert not is_worth_it(Risk(1.1, 1.0, 0.0))


def test_likely_truths_are_those_of_likely_effects():
    near = Trials(low_pass(500), 0.5, 1, likely=(Hypothesis(low_pass(500), 1.0),))
    far = Trials(low_pass(900), 0.9, 1, likely=(Hypothesis(low_pass(900), 1.0),))
    first, *others = likeliest(truths_of([far, near], 1.0))
    assert first.stages == low_pass(500)
    assert first.probability > 0.99
    assert sum(each.probability for each in (first, *others)) == pytest.approx(1)


def test_the_distance_is_that_of_the_chosen_setting():
    likely = (Hypothesis(low_pass(900), 0.6), Hypothesis(low_pass(880), 0.4))
    trials = Trials(low_pass(300), 0.5, 1, likely=likely, likely_distances=(0.51, 0.52))
    stages, distance = least_risk(trials, [trials], synthetic_notes(2), 5.0)
    assert (stages, distance) in ((low_pass(900), 0.51), (low_pass(880), 0.52))


def test_a_small_gain_makes_no_effect_unlikely():
    trials = Trials(low_pass(500), 0.9, 1, likely=(Hypothesis(low_pass(500), 1.0),))
    assert truths_of([trials], 1.0)[0].stages == ()
    assert likeliest(truths_of([trials], 1.0))[1].probability < 0.05
    assert likeliest(truths_of([trials], 0.92))[1].probability > 0.2
