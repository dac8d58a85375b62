"""Check matching to references with other content, by statistics of their spectra."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.matching.paired import Options
from dafxtool.matching.unpaired.match import match_like, segments_of
from dafxtool.matching.unpaired.statistics import (
    SAMPLE_RATE,
    SEGMENT_SAMPLES,
    Comparison,
    mean_of,
    scales_of,
    statistics_of,
)

EFFECTS = builtin_effects()
FEW = tuple((EFFECTS[name], {}) for name in ("low-pass", "high-pass", "distortion", "tremolo"))


def test_the_statistics_ignore_the_level():
    audio = synthetic_notes()
    ours, theirs = statistics_of(audio), statistics_of(np.float32(0.2) * audio)
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], atol=2e-2, err_msg=name)


@pytest.mark.parametrize("kind", ["silence", "click", "short"])
def test_the_statistics_of_unusual_audio_are_finite(kind):
    audio = {
        "silence": np.zeros(SEGMENT_SAMPLES, np.float32),
        "click": np.eye(1, SEGMENT_SAMPLES, 100, dtype=np.float32)[0],
        "short": synthetic_notes(0.3),
    }[kind]
    for name, values in statistics_of(audio).items():
        assert np.isfinite(values).all(), name


def test_other_notes_are_nearer_than_the_effect():
    segments = [statistics_of(synthetic_notes(seed=seed)) for seed in range(8)]
    comparison = Comparison(mean_of(segments[:4]), segments, scales_of(segments))
    clean = mean_of(segments[4:])
    wet = [
        statistics_of(apply_effect(EFFECTS["low-pass"], synthetic_notes(seed=s), SAMPLE_RATE, {}))
        for s in range(4, 8)
    ]
    assert comparison.distance(clean) < 0.7 * comparison.distance(mean_of(wet))
    assert comparison.distance(mean_of(segments[:4])) == 0


def test_directions_in_which_segments_differ_count_less():
    rng = np.random.default_rng(3)
    common, other = rng.standard_normal((2, 40))
    segments = [
        {"a": factor * common + 0.1 * rng.standard_normal(40)} for factor in rng.standard_normal(20)
    ]
    target = {"a": np.zeros(40)}
    comparison = Comparison(target, segments, {"a": np.ones(40)})
    along, across = (comparison.distance({"a": direction}) for direction in (common, other))
    assert along < 0.5 * across
    alone = Comparison(target, segments[:1], {"a": np.ones(40)})
    assert alone.distance({"a": common}) == pytest.approx(np.sqrt(np.mean(common**2)))


def test_a_reference_of_another_kind_is_called_a_guess():
    noise = 0.1 * np.random.default_rng(5).standard_normal(12 * SAMPLE_RATE).astype(np.float32)
    options = Options(effects=FEW[:1], budget="fast")
    answer = match_like(synthetic_notes(12, seed=100), [noise], options)
    assert any("another voice or instrument" in remark for remark in answer.remarks)
    answer = match_like(synthetic_notes(12, seed=100), [synthetic_notes(12, seed=7)], options)
    assert not any("guess" in remark for remark in answer.remarks)


def test_segments_are_not_silent():
    audio = np.concatenate([synthetic_notes(20), np.zeros(20 * SAMPLE_RATE, np.float32)])
    segments = segments_of(audio, 6)
    assert len(segments) == 6
    assert all(np.abs(each).max() > 0.01 for each in segments)
    assert len(segments_of(synthetic_notes(0.5), 6)) == 1
    assert {each.size for each in segments_of(audio, 6, 7200)} == {7200}


def test_short_recordings_and_references_are_called_a_guess():
    dry, reference = synthetic_notes(0.5, seed=100), synthetic_notes(0.4, seed=7)
    answer = match_like(dry, [reference], Options(effects=FEW[:1], budget="fast"))
    assert [each for each in answer.remarks if "a guess" in each] == [
        "The recording lasts 0.5 s: from so little the answer is a guess. Give 10 s or more.",
        "The references last 0.4 s: from so little the answer is a guess. Give 10 s or more.",
    ]


def match(reference, effects=FEW, **options):
    dry = synthetic_notes(12, seed=100)
    return match_like(dry, [reference], Options(effects=effects, level="keep", **options))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "setting"), [("low-pass", {"cutoff": 500}), ("distortion", {"drive": 42})]
)
def test_a_strong_effect_is_found_on_other_notes(name, setting):
    reference = apply_effect(EFFECTS[name], synthetic_notes(12, seed=7), SAMPLE_RATE, setting)
    answer = match(reference, budget="fast")
    assert answer.best.name == name
    assert answer.distance < 0.9 * answer.distance_unprocessed


def test_other_notes_without_an_effect_are_left_unprocessed():
    answer = match(synthetic_notes(12, seed=7), budget="fast")
    assert answer.best.stages == ()
    assert answer.distance == answer.distance_unprocessed


def test_level_match_adjusts_the_level_to_the_references():
    reference = 0.25 * synthetic_notes(12, seed=7)
    dry = synthetic_notes(12, seed=100)
    answer = match_like(dry, [reference], Options(effects=FEW[:1], level="match", budget="fast"))
    assert answer.best.name == "gain"
    assert answer.best.stages[0].setting["gain"] == pytest.approx(-12, abs=3)


def test_the_answer_does_not_depend_on_the_workers():
    reference = apply_effect(EFFECTS["low-pass"], synthetic_notes(8, seed=7), SAMPLE_RATE, {})
    answers = [match(reference, FEW[:2], budget="fast", workers=n) for n in (1, 2)]
    assert answers[0].effect == answers[1].effect
    assert answers[0].distance == answers[1].distance
