"""What neighbours share is read once, and is the same to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import RATE, write_recordings

from dafxtool.audio import io, writer
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.plan import PairRenderer, make_plan
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
    """(file, from, how many) of everything that is read."""
    found = []
    read_segment = io.load_segment

    def counted(path, start, n_samples, *rest, **named):
        found.append((path.parent.name + path.name, start, n_samples))
        return read_segment(path, start, n_samples, *rest, **named)

    monkeypatch.setattr(io, "load_segment", counted)
    return found


@pytest.mark.parametrize("config", [CONFIG, JOINED])
def test_segments_are_the_same_however_they_are_read(recordings, config):
    catalogue = build_catalogue([recordings], config, SplitConfig(validation=0, test=0), 0)
    rng = np.random.default_rng(1)
    wanted = []
    for _ in range(40):
        track = catalogue.tracks[rng.integers(len(catalogue.tracks))]
        start = int(rng.integers(0, track.n_samples - config.n_samples + 1))
        wanted.append((track, start))
    together = SpanCache(catalogue, config, wanted)
    for track, start in wanted:
        alone = cut_segment(catalogue, track, start, config).audio
        shared = cut_segment(catalogue, track, start, config, together.read).audio
        assert np.array_equal(alone, shared)


def test_every_recording_is_read_once(recordings, reads):
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    wanted = [(track, start) for track in catalogue.tracks for start in range(0, 6001, 1500)]
    together = SpanCache(catalogue, CONFIG, wanted)
    for track, start in wanted:
        cut_segment(catalogue, track, start, CONFIG, together.read)
    assert len(reads) == len({name for name, _, _ in reads}) == 8
    assert {(start, n) for _, start, n in reads} == {(0, 12_000)}


def test_what_lies_far_apart_is_not_read_in_between(tmp_path, reads):
    writer.save_audio(tmp_path / "long.wav", np.full(60 * RATE, 0.1, np.float32), RATE)
    catalogue = build_catalogue([tmp_path], CONFIG, SplitConfig(validation=0, test=0), 0)
    track = catalogue.tracks[0]
    wanted = [(track, 0), (track, 50 * RATE)]
    together = SpanCache(catalogue, CONFIG, wanted)
    for each in wanted:
        cut_segment(catalogue, *each, CONFIG, together.read)
    assert sorted(n for _, _, n in reads) == [6000, 6000]


def test_sound_is_kept_no_longer_than_it_is_wanted(recordings):
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    wanted = [(track, start) for track in catalogue.tracks for start in (0, 100, 200)]
    together = SpanCache(catalogue, CONFIG, wanted)
    kept = []
    for track, start in wanted:
        cut_segment(catalogue, track, start, CONFIG, together.read)
        kept.append(
            sum(s.samples is not None for all_ in together._stretches.values() for s in all_)
        )
    assert max(kept) == 1 and kept[-1] == 0


def test_a_damaged_part_costs_only_those_that_lie_in_it(recordings, monkeypatch):
    read_segment = io.load_segment

    def damaged(path, start, n_samples, *rest, **named):
        if start + n_samples > 9000:
            raise RecordingError(f"{path} is damaged.")
        return read_segment(path, start, n_samples, *rest, **named)

    monkeypatch.setattr(io, "load_segment", damaged)
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    track = catalogue.tracks[0]
    together = SpanCache(catalogue, CONFIG, [(track, 0), (track, 2000), (track, 5000)])
    for start in (0, 2000):
        assert np.isfinite(cut_segment(catalogue, track, start, CONFIG, together.read).audio).all()
    with pytest.raises(RecordingError, match="damaged"):
        cut_segment(catalogue, track, 5000, CONFIG, together.read)


def test_tracks_are_drawn_as_numpy_draws_them(recordings):
    """Generator.choice with probabilities is the reference: older datasets can be made again."""
    catalogue = build_catalogue([recordings], CONFIG, SplitConfig(validation=0, test=0), 0)
    lengths = np.array([track.n_samples for track in catalogue.tracks], dtype=np.float64)
    for seed in range(20):
        segment, _ = draw_segment(catalogue, "train", CONFIG, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        expected = rng.choice(len(lengths), p=lengths / lengths.sum())
        assert segment.recording == catalogue.tracks[expected].recordings[0]


def test_rows_come_in_the_order_of_where_they_lie(recordings):
    from datasets import chosen

    plan = make_plan([recordings], chosen("gain"), CONFIG, SplitConfig(validation=0, test=0), 50)
    rows = PairRenderer(plan)
    ordered = rows.in_order(np.arange(50))
    assert sorted(ordered.tolist()) == list(range(50))
    places = [rows._place(row) for row in ordered.tolist()]
    assert places == sorted(places)
    for row, (pair, _) in zip(ordered[:9].tolist(), rows.render(ordered[:9].tolist()), strict=True):
        assert np.array_equal(pair.audio, next(rows.render([row]))[0].audio)
