"""Training curves: scales, moving averages, gaps."""

from __future__ import annotations

import numpy as np
import pytest
from figures import assert_apart_and_inside

from dafxtool.errors import InputError
from dafxtool.plots.curves import curves_figure, draw_curves


def test_curves_over_more_than_a_decade_are_logarithmic():
    x = np.arange(50)
    figure = curves_figure(
        {
            "loss": {"train": (x, np.geomspace(1000, 1, 50)), "validation": ([0, 49], [900, 2])},
            "accuracy": {"train": (x, np.linspace(0.4, 0.9, 50))},
            "change": {"train": (x, np.linspace(-1, 100, 50))},
        }
    )
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), np.geomspace(1000, 1, 50))
    assert_apart_and_inside(figure)


def test_a_moving_average_is_centred_on_its_curve():
    x = np.arange(1000)
    raw, smooth = curves_figure({"x": {"train": (x, x)}}).axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), x)
    np.testing.assert_allclose(smooth.get_ydata(), smooth.get_xdata(), atol=0.5)


def test_values_that_are_not_finite_leave_a_gap(tmp_path):
    quantities = {"loss": {"train": ([1, 2, 3], [3.0, np.inf, 1.0])}}
    line = curves_figure(quantities).axes[0].lines[0]
    assert np.isnan(line.get_ydata()[1])
    draw_curves(tmp_path / "curves.png", {"loss": {"train": ([1], [np.nan])}})


def test_invalid_curves_are_refused():
    with pytest.raises(InputError, match="at least one curve"):
        curves_figure({})
    with pytest.raises(InputError, match=r"\(2,\) and \(1,\)"):
        curves_figure({"loss": {"train": ([1, 2], [1.0])}})


def test_curves_of_two_points_show_markers_and_a_small_change_looks_small():
    """A validation before and after training: the change of 0.2 % does not span the panel."""
    lines = {"training": ([10], [0.0640]), "validation": ([0, 10], [0.0641, 0.0640])}
    (axes,) = curves_figure({"MSE": lines}).axes
    training, validation = axes.lines
    markers = [line.get_marker() for line in (training, validation)]
    assert "None" not in markers and len(set(markers)) == 2
    assert training.get_markersize() > 1.5 * validation.get_markersize()  # visible behind it
    low, high = axes.get_ylim()
    assert low < 0.0640 and high > 0.0641 and high - low > 0.1 * 0.064


def test_a_large_change_between_two_points_spans_the_panel():
    (axes,) = curves_figure({"MSE": {"validation": ([0, 10], [1.0, 3.0])}}).axes
    low, high = axes.get_ylim()
    assert 2.0 < high - low < 2.6
