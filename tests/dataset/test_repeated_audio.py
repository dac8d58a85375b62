"""Datasets that repeat their few recordings are reported."""

from __future__ import annotations

import pytest
from datasets import write_recordings
from messages import Messages

from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.plan import make_plan
from dafxtool.effects.apply import parse_effect

ALL_TRAIN = SplitConfig(validation=0, test=0)


def messages_of(folder, text="delay", **options):
    messages = Messages()
    segments = SegmentConfig(sample_rate=16_000, n_samples=16_000, short="pad")
    effect = parse_effect(text)
    make_plan([folder], [effect], segments, ALL_TRAIN, progress=messages, **options)
    return messages.lines


@pytest.mark.parametrize(("n_pairs", "is_reported"), [(10, False), (2000, True)])
def test_far_more_segments_than_audio_are_reported(n_pairs, is_reported, tmp_path):
    text = " ".join(messages_of(write_recordings(tmp_path), pairs_per_effect=n_pairs))
    assert (f"{n_pairs} segments" in text) == is_reported


def test_settings_of_one_segment_do_not_count_as_segments(tmp_path):
    folder = write_recordings(tmp_path)
    text = " ".join(messages_of(folder, settings="grid", steps=8, pairs_per_effect=512))
    assert "segments of each effect" not in text


@pytest.mark.parametrize("settings", ["grid", "sweep"])
def test_a_sweep_without_a_free_parameter_is_reported(settings, tmp_path):
    folder = write_recordings(tmp_path)
    held = messages_of(folder, "gain:gain=6", settings=settings)
    free = messages_of(folder, "gain", settings=settings)
    assert any("gain" in text for text in held)
    assert not any("gain" in text for text in free)
