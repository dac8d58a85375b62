"""Check that a search which is not continued frees its memory."""

import gc
import tracemalloc

import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import builtin_effects
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import Objective, as_vector
from dafxtool.matching.prepare import Prepared
from dafxtool.matching.search.candidate import coordinates_of
from dafxtool.matching.search.effect import Searcher
from dafxtool.matching.search.pool import Request
from dafxtool.matching.search.task import JointTask, Task

RATE = 24_000
PEAK = builtin_effects()["peak"].at(RATE)


@pytest.fixture(scope="module")
def pair():
    dry = synthetic_notes(1.5)
    wet = render_chain([Stage(PEAK, {"cutoff": 900.0, "gain": 9.0, "q": 1.0})], dry, RATE)
    return Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size).excerpt(dry.size)


def held_residuals(pair, task, is_last):
    objective = Objective(pair.wet, pair.start)
    searcher = Searcher(pair, objective)
    searcher.answer(Request(0, task, 12, is_last=True))  # fills the caches of the pair
    size = as_vector(objective.residuals(pair.dry)).nbytes
    tracemalloc.start()
    try:
        for key in range(1, 4):
            summary = searcher.answer(Request(key, task, 12, is_last=is_last))
            assert summary.evaluations >= 1
        gc.collect()  # a search refers to itself
        return tracemalloc.get_traced_memory()[0] / size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["one effect", "jointly"])
def test_a_search_that_is_not_continued_keeps_no_residuals(pair, kind):
    stage = Stage(PEAK, PEAK.default_setting() | {"gain": 6.0})
    jointly = JointTask((stage,), tuple(coordinates_of(PEAK, 0, {})))
    task = jointly if kind == "jointly" else Task(PEAK)
    assert held_residuals(pair, task, is_last=True) < 1
    # At least the residual of each of three searches, and the slopes of those that have to move.
    assert held_residuals(pair, task, is_last=False) > 2.5
