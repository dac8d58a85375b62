"""Shared spans of recordings are read once and are the same to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import RATE, write_recordings

from dafxtool.audio import writer
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset import segments
from dafxtool.dataset.pair import PairRenderer
from dafxtool.dataset.plan import make_plan
from dafxtool.dataset.recordings import build_catalogue
from dafxtool.dataset.segments import cut_segment, draw_segment
from dafxtool.dataset.span_cache import SpanCache
from dafxtool.errors import RecordingError

CONFIG = SegmentConfig(sample_rate=RATE, n_samples=6000)
JOINED = SegmentConfig(sample_rate=RATE, n_samples=16_000)  # longer than any recording


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture
def reads(monkeypatch):
    """List (file, start, number of samples) of every read."""
    calls = []
    load_segment = segments.load_segment

    def record(path, start, n_samples, *rest, **named):
        calls.append((path.parent.name + path.name, start, n_samples))
        return load_segment(path, start, n_samples, *rest, **named)

    monkeypatch.setattr(segments, "load_segment", record)
    return calls


@pytest.mark.parametrize("config", [CONFIG, JOINED])
def test_shared_and_single_reads_give_the_same_segments(recordings, config):
    catalogue = build_catalogue([recordings], config, SplitConfig(validation=0, test=0), 0)
    rng = np.random.default_rng(1)
    locations = []
    for _ in range(40):
        track = catalogue.tracks[rng.integers(len(catalogue.tracks))]
        start = int(rng.integers(0, track.n_samples - config.n_samples + 1))
        locations.append((track, start))
    cache = SpanCache(catalogue, config, locations)
    for track, start in locations:
        alone = cut_segment(catalogue, track, start, config).audio
        shared = cut_segment(catalogue, track, start, config, cache.read).audio
        assert np.array_equal(alone, shared)


def test_every_recording_is_read_once(recordings, reads):
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    locations = [(track, start) for track in catalogue.tracks for start in range(0, 6001, 1500)]
    cache = SpanCache(catalogue, CONFIG, locations)
    for track, start in locations:
        cut_segment(catalogue, track, start, CONFIG, cache.read)
    assert len(reads) == len({name for name, _, _ in reads}) == 8
    assert {(start, n) for _, start, n in reads} == {(0, 12_000)}


def test_the_gap_between_distant_segments_is_not_read(tmp_path, reads):
    writer.save_audio(tmp_path / "long.wav", np.full(60 * RATE, 0.1, np.float32), RATE)
    catalogue = build_catalogue([tmp_path], CONFIG, SplitConfig(validation=0, test=0), 0)
    track = catalogue.tracks[0]
    locations = [(track, 0), (track, 50 * RATE)]
    cache = SpanCache(catalogue, CONFIG, locations)
    for each in locations:
        cut_segment(catalogue, *each, CONFIG, cache.read)
    assert sorted(n for _, _, n in reads) == [6000, 6000]


def test_audio_is_freed_after_its_last_use(recordings):
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    locations = [(track, start) for track in catalogue.tracks for start in (0, 100, 200)]
    cache = SpanCache(catalogue, CONFIG, locations)
    n_in_memory = []
    for track, start in locations:
        cut_segment(catalogue, track, start, CONFIG, cache.read)
        spans = [span for spans in cache._spans.values() for span in spans]
        n_in_memory.append(sum(span.samples is not None for span in spans))
    assert max(n_in_memory) == 1 and n_in_memory[-1] == 0


def test_a_damaged_part_affects_only_its_own_segments(recordings, monkeypatch):
    load_segment = segments.load_segment

    def damaged(path, start, n_samples, *rest, **named):
        if start + n_samples > 9000:
            raise RecordingError(f"{path} is damaged.")
        return load_segment(path, start, n_samples, *rest, **named)

    monkeypatch.setattr(segments, "load_segment", damaged)
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    track = catalogue.tracks[0]
    cache = SpanCache(catalogue, CONFIG, [(track, 0), (track, 2000), (track, 5000)])
    for start in (0, 2000):
        assert np.isfinite(cut_segment(catalogue, track, start, CONFIG, cache.read).audio).all()
    with pytest.raises(RecordingError, match="damaged"):
        cut_segment(catalogue, track, 5000, CONFIG, cache.read)


def test_tracks_are_sampled_as_by_numpy_choice(recordings):
    """The reference is Generator.choice with probabilities, so that older seeds stay valid."""
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    lengths = np.array([track.n_samples for track in catalogue.tracks], dtype=np.float64)
    for seed in range(20):
        segment, _ = draw_segment(catalogue, "train", CONFIG, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        expected = rng.choice(len(lengths), p=lengths / lengths.sum())
        assert segment.recording == catalogue.tracks[expected].recordings[0]


def test_rows_are_sorted_by_location(recordings):
    from datasets import chosen

    plan = make_plan([recordings], chosen("gain"), CONFIG, SplitConfig(validation=0, test=0), 50)
    renderer = PairRenderer(plan)
    ordered = renderer.sort_by_location(np.arange(50)).tolist()
    assert sorted(ordered) == list(range(50))
    locations = [renderer.location(row) for row in ordered]
    assert locations == sorted(locations)
    for row, (pair, _) in zip(ordered[:9], renderer.render(ordered[:9]), strict=True):
        assert np.array_equal(pair.audio, next(renderer.render([row]))[0].audio)
