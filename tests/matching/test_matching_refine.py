"""Check the local search: Levenberg-Marquardt with Broyden's updates."""

import numpy as np
import pytest

from dafxtool.matching.search.refine import Refinement


def quadratic(minimum, calls):
    slopes = np.random.default_rng(0).standard_normal((40, len(minimum)))

    def residual(position):
        calls.append(position)
        return (slopes @ (position - minimum)).astype(np.float32)

    return residual


def test_a_linear_residual_is_solved_in_a_few_evaluations():
    minimum, calls = np.array([0.3, 0.6, 0.45]), []
    search = Refinement(quadratic(minimum, calls), np.full(3, 0.5), np.full(3, 0.2))
    search.advance(20)
    np.testing.assert_allclose(search.point, minimum, atol=1e-4)
    assert len(calls) <= 20


def test_a_minimum_beyond_the_range_ends_at_its_border():
    search = Refinement(quadratic(np.array([1.4, 0.5]), []), np.full(2, 0.5), np.full(2, 0.2))
    search.advance(40)
    assert search.point[0] == 1.0
    assert 0 <= search.point[1] <= 1


def test_a_curved_valley_is_followed():
    def residual(position):
        x, y = 2 * position
        return np.array([10 * (y - x * x), 1 - x], dtype=np.float32)

    search = Refinement(residual, np.array([0.1, 0.9]), np.full(2, 0.1))
    search.advance(300)
    np.testing.assert_allclose(search.point, [0.5, 0.5], atol=1e-2)


def test_a_search_that_is_continued_never_gets_worse():
    search = Refinement(quadratic(np.array([0.2, 0.9]), []), np.full(2, 0.5), np.full(2, 0.1))
    costs = [search.cost]
    for _ in range(6):
        search.advance(4)
        costs.append(search.cost)
    assert costs == sorted(costs, reverse=True)


def test_points_that_cannot_be_rendered_are_avoided():
    def residual(position):
        return None if position[0] > 0.55 else np.array([position[0] - 0.7], dtype=np.float32)

    search = Refinement(residual, np.array([0.5]), np.array([0.1]))
    search.advance(30)
    assert 0.5 <= search.point[0] <= 0.55


def test_a_start_that_cannot_be_rendered_is_finished_at_once():
    search = Refinement(lambda position: None, np.array([0.5]), np.array([0.1]))
    assert search.finished and search.cost == np.inf


def test_the_normal_matrix_is_per_unit_of_the_normalised_values():
    def residual(position):
        return np.array([3 * position[0], position[0] - 2 * position[1], 1], dtype=np.float32)

    search = Refinement(residual, np.array([0.5, 0.5]), np.array([0.1, 0.01]))
    search.advance(3)
    np.testing.assert_allclose(search.normal(), [[10, -2], [-2, 4]], atol=1e-2)


def test_a_search_without_free_parameters_is_finished():
    search = Refinement(lambda p: np.ones(3, np.float32), np.empty(0), np.empty(0))
    search.advance(10)
    assert search.finished and search.cost == pytest.approx(3)


def test_a_valley_narrower_than_the_first_steps_is_found_while_gains_are_small():
    width = 0.02  # of the waves of the first coordinate, as long as the first steps

    def residual(position):
        x, y = position - 0.5
        return np.array([2.0, np.sin(2 * np.pi * x / width), y * y], dtype=np.float32)

    search = Refinement(residual, np.array([0.5 + 0.2 * width, 0.8]), np.full(2, 0.1))
    search.advance(100)
    assert search.cost < 4.001  # of which 4 cannot be explained
