"""Latent maps: colours and markers of labels, shared scales, legends."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from figures import assert_apart_and_inside, drawn_texts

from dafxtool.errors import InputError
from dafxtool.plots.scatter import ScatterPanel, draw_map, label_style, map_figure


def clusters(n_labels: int, n_each: int, apart: float = 10.0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(n_labels) / n_labels
    centres = apart * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.repeat(centres, n_each, axis=0) + rng.normal(size=(n_labels * n_each, 2))
    return points, [f"effect {index}" for index in range(n_labels) for _ in range(n_each)]


def relative_luminance(colour: str) -> float:
    parts = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_every_label_has_its_own_colour_and_marker_that_show_on_white():
    styles = [label_style(index) for index in range(64)]
    assert len(set(styles)) == 64
    assert len(set(styles[:8])) == len({colour for colour, _ in styles[:8]}) == 8
    for colour, _ in styles:
        assert 1.05 / (relative_luminance(colour) + 0.05) > 1.9, colour


def test_twenty_labels_get_a_legend_with_their_counts():
    points, labels = clusters(20, 5)
    figure = map_figure([ScatterPanel(points, [*labels[:-2], labels[0], labels[0]])])
    texts = [text.get_text() for text in drawn_texts(figure)]
    assert all(f"effect {index}" in texts for index in range(20))
    assert sorted(text for text in texts if text in ("3", "5", "7")) == ["3"] + ["5"] * 18 + ["7"]
    assert_apart_and_inside(figure)


def test_few_separate_labels_are_named_at_their_medians():
    points, labels = clusters(4, 50)
    axes = map_figure([ScatterPanel(points, labels)]).axes[0]
    named = {text.get_text(): text.get_position() for text in axes.texts}
    assert sorted(named) == [f"effect {index}" for index in range(4)]
    np.testing.assert_allclose(named["effect 0"], np.median(points[:50], axis=0))


def test_few_overlapping_labels_go_to_the_legend():
    figure = map_figure([ScatterPanel(*clusters(4, 50, apart=0.1))])
    assert not figure.axes[0].texts
    assert {f"effect {index}" for index in range(4)} <= {
        text.get_text() for text in drawn_texts(figure)
    }
    assert_apart_and_inside(figure)


@pytest.mark.parametrize("n_labels", [3, 12])
def test_all_points_are_drawn_in_the_colour_of_their_label(n_labels):
    points, labels = clusters(n_labels, 30)
    order = [f"effect {index}" for index in range(n_labels)]
    axes = map_figure([ScatterPanel(points, labels, order=order)]).axes[0]
    artist = {
        (*position, *colour[:3])
        for collection in axes.collections
        for position, colour in zip(
            collection.get_offsets().tolist(), collection.get_facecolors().tolist(), strict=True
        )
    }
    expected = {
        (*point, *matplotlib.colors.to_rgb(label_style(order.index(label))[0]))
        for point, label in zip(points.tolist(), labels, strict=True)
    }
    assert artist == expected


def test_both_axes_of_a_map_have_one_scale_and_all_maps_the_same_limits():
    points, labels = clusters(3, 20)
    stretched = points * [5, 1]
    figure = map_figure(
        [ScatterPanel(points, labels), ScatterPanel(stretched, values=np.arange(60.0) + 1)]
    )
    first, second = figure.axes[0], figure.axes[1]
    assert first.get_xlim() == second.get_xlim() and first.get_ylim() == second.get_ylim()
    width, height = figure.get_size_inches()
    box = first.get_position()
    per_inch_x = np.diff(first.get_xlim())[0] / (box.width * width)
    per_inch_y = np.diff(first.get_ylim())[0] / (box.height * height)
    assert per_inch_x == pytest.approx(per_inch_y)
    low, high = first.get_xlim()
    assert low < stretched[:, 0].min() and high > stretched[:, 0].max()


def test_more_points_are_drawn_smaller(tmp_path):
    def area(n: int) -> float:
        points = np.random.default_rng(0).normal(size=(n, 2))
        return map_figure([ScatterPanel(points)]).axes[0].collections[0].get_sizes()[0]

    assert area(20) > area(2000) > area(20_000)


def test_values_colour_the_points_and_a_colour_bar_names_them():
    points, _ = clusters(2, 20)
    content = ScatterPanel(
        points, values=np.geomspace(100, 8000, 40), value_name="cutoff (Hz)", logarithmic=True
    )
    figure = map_figure([content])
    bar = figure.axes[1]
    assert bar.get_ylabel() == "cutoff (Hz)"
    assert figure.axes[0].collections[0].get_clim() == pytest.approx((100, 8000))
    assert {"200", "1000", "5000"} <= {text.get_text() for text in bar.get_yticklabels()}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"points": np.zeros((3, 3))}, "shape"),
        ({"points": np.zeros((0, 2))}, "shape"),
        ({"points": np.full((3, 2), np.nan)}, "NaN"),
        ({"points": np.zeros((3, 2)), "labels": ["a"]}, "3 points and 1 labels"),
        ({"points": np.zeros((65, 2)), "labels": [str(i) for i in range(65)]}, "65 different"),
        ({"points": np.zeros((2, 2)), "values": [1.0, np.nan]}, "finite"),
        ({"points": np.zeros((2, 2)), "values": [1.0, 0.0], "logarithmic": True}, "above 0"),
    ],
)
def test_invalid_maps_are_refused(content, sentence):
    with pytest.raises(InputError, match=sentence):
        ScatterPanel(**content)


def test_a_single_point_is_drawn(tmp_path):
    draw_map(tmp_path / "one.png", [[1.0, 2.0]], ["reverb"], axis_names=("PC 1", "PC 2"))
    assert (tmp_path / "one.png").exists()


def test_a_dollar_sign_is_not_mathematics(tmp_path):
    draw_map(tmp_path / "map.svg", *clusters(1, 3), title="$5 and $6 {x_")
    assert (tmp_path / "map.svg").exists()
