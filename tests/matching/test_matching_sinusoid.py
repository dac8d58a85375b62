"""Check the robust fit of a sinusoid."""

import numpy as np
import pytest

from dafxtool.matching.hints.sinusoid import Sinusoid, fit_sinusoid

TIMES = np.arange(500) * 0.011
RATES = (0.1, 4.0)


def noisy(truth, share_wrong):
    """Return values of a sinusoid, a share of which is replaced by random ones."""
    rng = np.random.default_rng(0)
    values = truth.at(TIMES) + 0.005 * rng.standard_normal(TIMES.size)
    wrong = rng.uniform(size=TIMES.size) < share_wrong
    return np.where(wrong, rng.uniform(size=TIMES.size), values)


@pytest.mark.parametrize(
    "truth",
    [
        Sinusoid(0.15, 0.5, 0.2),
        Sinusoid(1.7, 0.45, 0.1),
        Sinusoid(3.9, 0.6, 0.3),
        Sinusoid(2.3, 0.6, 0.49),  # beyond the limits in a part of each cycle
    ],
)
@pytest.mark.parametrize("any_phase", [False, True])
def test_a_third_of_wrong_values_does_not_change_the_fit(truth, any_phase):
    fit = fit_sinusoid(TIMES, noisy(truth, 0.3), np.ones(TIMES.size), RATES, any_phase)
    assert fit.rate == pytest.approx(truth.rate, abs=0.003)
    assert fit.at(TIMES) == pytest.approx(truth.at(TIMES), abs=0.01)


def test_a_phase_is_found():
    truth = Sinusoid(1.7, 0.45, 0.2, 0.3)
    fit = fit_sinusoid(TIMES, noisy(truth, 0.2), np.ones(TIMES.size), RATES, any_phase=True)
    assert fit.phase % 1.0 == pytest.approx(0.3, abs=0.01)


def test_values_without_weight_do_not_count():
    truth = Sinusoid(0.8, 0.5, 0.2)
    weights = np.where(np.arange(TIMES.size) % 4 == 0, 1.0, 0.0)
    values = np.where(weights > 0, truth.at(TIMES), 0.9)
    fit = fit_sinusoid(TIMES, values, weights, RATES)
    assert (fit.rate, fit.amplitude) == pytest.approx((0.8, 0.2), abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_values_are_no_error(n):
    fit = fit_sinusoid(TIMES[:n], np.full(n, 0.4), np.ones(n), RATES, any_phase=True)
    assert RATES[0] <= fit.rate <= RATES[1]
    assert np.isfinite(fit.error)
