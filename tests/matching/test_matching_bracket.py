"""Check the search of a narrow valley, on residuals with a known minimum."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.effects.builtin import builtin_effects
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.hints.pitch import starts
from dafxtool.matching.objective import Objective
from dafxtool.matching.pair import Pair
from dafxtool.matching.search.bracket import Bracket
from dafxtool.matching.search.candidate import Candidate, coordinates_of
from dafxtool.matching.search.refine import Refinement

RATE = 24_000
PITCH = builtin_effects()["pitch-shift"].at(RATE)


def cusp(minimum, ripple=0.0):
    """Return a residual that falls towards its minimum at every scale, with local minima."""

    def residual(point):
        distance = abs(float(point[0]) - minimum)
        level = 1 / (1 - np.log10(distance + 1e-12) / 3)
        return np.array([level + ripple * np.sin(3e3 * distance)], dtype=np.float32)

    return residual


@pytest.mark.parametrize("offset", [0.0, 3e-4, -9.3e-4])
def test_a_cusp_is_found_where_slopes_mislead(offset):
    search = Bracket(cusp(0.4 + offset, ripple=0.003), np.array([0.4]), np.array([1e-4]))
    search.advance(200)
    assert search.finished
    assert search.point[0] == pytest.approx(0.4 + offset, abs=5e-8)
    slopes = Refinement(cusp(0.4 - 9.3e-4), np.array([0.4]), np.array([1e-4]))
    slopes.advance(200)
    assert abs(slopes.point[0] - (0.4 - 9.3e-4)) > 1e-6


def test_a_minimum_outside_the_scan_is_followed():
    search = Bracket(cusp(0.43), np.array([0.4]), np.array([1e-3]))
    search.advance(200)
    assert search.point[0] == pytest.approx(0.43, abs=5e-8)


def test_a_search_in_parts_is_that_in_one():
    in_one, in_parts = (Bracket(cusp(0.4007), np.array([0.4]), np.array([1e-4])) for _ in range(2))
    in_one.advance(35)
    for n in (1, 20, 14):
        in_parts.advance(n)
    assert in_one.point == in_parts.point and in_one.cost == in_parts.cost


def test_points_beyond_the_range_and_failures_are_left_out():
    def residual(point):
        assert 0 <= point[0] <= 1
        return None if point[0] > 0.9995 else np.array([1 - point[0]], dtype=np.float32)

    search = Bracket(residual, np.array([0.9993]), np.array([1e-4]))
    search.advance(100)
    assert search.point[0] == pytest.approx(0.9995, abs=1e-6)
    assert Bracket(lambda point: None, np.array([0.5]), np.array([0.1])).finished


def test_the_normal_matrix_is_the_squared_slope():
    def residual(point):
        return np.array([3 * point[0], 4 * point[0]], dtype=np.float32)

    search = Bracket(residual, np.array([0.5]), np.array([1e-3]))
    search.advance(4)
    np.testing.assert_allclose(search.normal(), [[25]], rtol=1e-3)


def test_a_pitch_shift_is_found_to_a_millionth_and_refined_beside_other_effects():
    dry = synthetic_notes(1.0)
    low_pass = Stage(builtin_effects()["low-pass"].at(RATE), {"cutoff": 2000.0})
    deviations = {"semitones": 0.004 / 24}
    truth, start = (Stage(PITCH, {"semitones": value}) for value in (-3.0017, -3.02))

    wet = render_chain([truth], dry, RATE)
    alone = Candidate(dry, RATE, Objective(wet), [start], coordinates_of(PITCH, 0, {}, deviations))
    summary = alone.advance(90, 0.0)
    assert summary.stages[0].setting["semitones"] == pytest.approx(-3.0017, abs=3e-6)

    wet = render_chain([truth, low_pass], dry, RATE)
    coordinates = [
        *coordinates_of(PITCH, 0, {}, deviations),
        *coordinates_of(low_pass.effect, 1, {}),
    ]
    jointly = Candidate(dry, RATE, Objective(wet), [start, low_pass], coordinates)
    before = jointly.distance
    assert jointly.advance(20, 0.0).distance <= before


@pytest.mark.parametrize(("semitones", "n_starts"), [(-5.0, 2), (4.5, 1)])
def test_a_whole_number_of_semitones_is_proposed(semitones, n_starts):
    dry = synthetic_notes(3.0)
    wet = render_chain([Stage(PITCH, {"semitones": semitones})], dry, RATE)
    proposed = [start.setting["semitones"] for start in starts(Pair(dry, wet, RATE, 0), PITCH)]
    assert len(proposed) == n_starts
    assert proposed[0] == pytest.approx(semitones, abs=0.06)
    assert (semitones in proposed) == (n_starts == 2)
