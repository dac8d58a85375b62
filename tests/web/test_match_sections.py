"""Check the section of a report on matches of held-out pairs."""

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, chosen, write_recordings

from dafxtool.dataset.render import render
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.matches import match_scores
from dafxtool.evaluation.results import MEAN
from dafxtool.storage import PAIRS, Hdf5Reader
from dafxtool.utils.progress import SILENT
from dafxtool.web.blocks import Figure, Table
from dafxtool.web.match_sections import match_blocks


@pytest.fixture(scope="module")
def filter_pairs(tmp_path_factory):
    """Render pairs whose effect and settings a short search finds."""
    folder = tmp_path_factory.mktemp("matches")
    recordings = write_recordings(folder / "recordings")
    effects = chosen("low-pass", "delay", "clean")
    render(
        [recordings], folder / "pairs.h5", effects, SEGMENTS, SPLIT, 12, seed=3
    )  # the splits of the run
    return folder / "pairs.h5"


def test_the_section_shows_true_and_found_settings(run, filter_pairs):
    table, *figures = match_blocks(filter_pairs, run, SILENT)
    assert isinstance(table, Table)
    assert [row[0].partition(":")[0] for row in table.rows] == ["low-pass", "delay"]
    true, found, left = table.rows[0]
    assert found.startswith("low-pass:cutoff=")
    values = [float(text.partition("cutoff=")[2].partition(" ")[0]) for text in (true, found)]
    assert values[1] == pytest.approx(values[0], rel=0.02)
    assert float(left.removesuffix(" %")) < 10
    assert all(
        isinstance(figure, Figure) and len(figure.clip_rows[0].clips) == 3 for figure in figures
    )


def test_matches_are_scored_beside_the_number_of_evaluations(run, filter_pairs):
    with Hdf5Reader(filter_pairs, PAIRS) as reader:
        data = EvaluationData(reader, run, SILENT)
        scores = {(s.what, s.method): s for s in match_scores(data, 2)}
        assert match_scores(data, 0) == []
    assert {what for what, _ in scores} == {MEAN, "low-pass", "delay"}
    assert scores[MEAN, "right"].n == 4
    assert scores["low-pass", "right"].estimate.value == 1
    assert scores["low-pass", "distance"].estimate.value < 0.1
    assert np.isfinite(scores[MEAN, "evaluations"].estimate.value)
    assert (MEAN, "first answer") not in scores  # this run has no matcher
