"""Figures: what is drawn where it belongs, one scale for all, labels that keep apart."""

from __future__ import annotations

import csv
import threading
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dafxtool.errors import InputError, OutputExistsError
from dafxtool.plots.base import text_width_in, wrap
from dafxtool.plots.curves import curves_figure, draw_curves
from dafxtool.plots.scatter import (
    ScatterPanel,
    draw_map,
    label_style,
    map_figure,
)
from dafxtool.plots.spectrograms import (
    FLOOR_DB,
    Panel,
    Sheet,
    draw_sheet,
    draw_spectrogram,
    erb_rate,
    frequency_weights,
    render_rgb,
    sheet_figure,
    time_ticks,
)
from dafxtool.utils.outputs import write_table

SAMPLE_RATE = 24_000
FREQUENCIES = np.linspace(0, SAMPLE_RATE / 2, 1025)
TIMES = np.arange(65) * 2048 / SAMPLE_RATE
LONG = "overdrive, drive 23.4 dB, tone 3.2 kHz, output -6.0 dB"


def noise(seed: int = 0, level: float = 1.0) -> np.ndarray:
    shape = (len(FREQUENCIES), len(TIMES))
    return level * np.random.default_rng(seed).rayleigh(size=shape)


def tone(bin_index: int) -> np.ndarray:
    magnitude = np.zeros((len(FREQUENCIES), len(TIMES)))
    magnitude[bin_index] = 1.0
    return magnitude


def sheet_of(*magnitudes: np.ndarray, **more) -> Sheet:
    return Sheet([[Panel(magnitude) for magnitude in magnitudes]], FREQUENCIES, TIMES, **more)


def images(figure: Figure) -> list:
    return [image for axes in figure.axes for image in axes.images]


def written(figure: Figure) -> list[Text]:
    """All text that is drawn; beyond its limits an axis keeps labels that are not."""
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            texts += [axis.label, *(label for place, label in ticks if low <= place <= high)]
    return [text for text in texts if text.get_text()]


def assert_apart_and_inside(figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = [(text.get_text(), text.get_window_extent().extents) for text in written(figure)]
    for text, (left, bottom, right, top) in boxes:
        assert left >= 0 and bottom >= 0 and right <= width and top <= height, text
    for (a, one), (b, other) in combinations(boxes, 2):
        apart_x = one[2] <= other[0] + 1 or other[2] <= one[0] + 1
        apart_y = one[3] <= other[1] + 1 or other[3] <= one[1] + 1
        assert apart_x or apart_y, (a, b)


# Spectrograms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bin_index", [6, 40, 200, 900])
def test_a_tone_is_brightest_at_its_height_on_the_frequency_axis(bin_index):
    image = images(sheet_figure(sheet_of(tone(bin_index))))[0]
    rows = image.get_array()
    _, _, low, high = image.get_extent()
    brightest = np.argmax(rows.mean(axis=1)) + 0.5
    height = low + (high - low) * brightest / len(rows)
    # One row and half a bin is as near as it can be.
    half_bin = np.diff(erb_rate(FREQUENCIES[bin_index - 1 : bin_index + 1]))[0] / 2
    tolerance = (high - low) / len(rows) + half_bin
    assert height == pytest.approx(erb_rate(FREQUENCIES[bin_index]), abs=tolerance)


def test_a_tick_lies_at_the_height_of_its_frequency():
    axes = sheet_figure(sheet_of(noise())).axes[0]
    labels = {
        text.get_text(): height
        for text, height in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    }
    assert list(labels) == ["100", "200", "500", "1k", "2k", "5k", "10k"]
    assert labels["2k"] == pytest.approx(float(erb_rate(2000)))
    assert axes.get_ylim() == pytest.approx(erb_rate([0, 12_000]))


def test_erb_rate_has_the_published_bandwidths():
    # Glasberg & Moore 1990, equation 3: ERB(f) = 24.7 (0.00437 f + 1) Hz is one step at f.
    for frequency in (100.0, 1000.0, 8000.0):
        bandwidth = 24.7 * (0.00437 * frequency + 1)
        step = erb_rate(frequency + bandwidth / 2) - erb_rate(frequency - bandwidth / 2)
        assert step == pytest.approx(1.0, abs=0.03)


def test_white_power_stays_flat_on_the_frequency_axis():
    weights = frequency_weights(FREQUENCIES, 300)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-9)
    assert weights.min() >= -1e-12


def test_all_panels_share_one_scale_and_decibels_are_re_the_loudest_bin():
    loud, quiet = np.ones((1025, 65)), np.full((1025, 65), 0.01)
    drawn = images(sheet_figure(sheet_of(quiet, loud, noise(level=1e-9), floor_db=-60)))
    assert {image.get_clim() for image in drawn} == {(-60.0, 0.0)}
    np.testing.assert_allclose(drawn[0].get_array(), -40.0, atol=1e-6)
    np.testing.assert_allclose(drawn[1].get_array(), 0.0, atol=1e-6)
    np.testing.assert_allclose(drawn[2].get_array(), -60.0, atol=1e-6)


def test_a_difference_is_in_decibels_and_symmetrical():
    panels = [[Panel(noise()), Panel(2 * noise(), minus=noise())]]
    drawn = images(sheet_figure(Sheet(panels, FREQUENCIES, TIMES)))[1]
    np.testing.assert_allclose(np.median(drawn.get_array().data), 20 * np.log10(2), atol=1e-6)
    low, high = drawn.get_clim()
    assert low == -high


def test_silence_is_all_floor():
    drawn = images(sheet_figure(sheet_of(np.zeros((1025, 65)))))[0]
    assert (drawn.get_array() == FLOOR_DB).all()


def test_a_single_frame_is_drawn(tmp_path):
    path = tmp_path / "one.png"
    draw_spectrogram(path, np.ones((1025, 1)), FREQUENCIES, [0.0])
    assert Image.open(path).size[0] > 500


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_values_that_are_no_magnitudes_are_refused_and_leave_no_file(tmp_path, bad):
    magnitude = noise()
    magnitude[3, 4] = bad
    with pytest.raises(InputError, match="negative or non-finite"):
        draw_sheet(tmp_path / "sheet.png", sheet_of(noise(), magnitude))
    assert list(tmp_path.iterdir()) == []


def test_shapes_that_do_not_fit_the_axes_are_refused():
    with pytest.raises(InputError, match=r"\(65, 1025\)"):
        sheet_figure(sheet_of(noise().T))
    with pytest.raises(InputError, match="complex"):
        sheet_figure(sheet_of(noise() + 0j))
    with pytest.raises(InputError, match="row labels"):
        sheet_of(noise(), row_labels=["dry", "wet"])
    with pytest.raises(InputError, match="columns in groups"):
        sheet_of(noise(), column_groups=[("decoded", 2)])


def interpolation_sheet(n_steps: int) -> Sheet:
    row = [Panel(noise(seed), f"MSE 0.{seed:04d}") for seed in range(n_steps + 2)]
    steps = [f"t = {t:.2f}" for t in np.linspace(0, 1, n_steps)]
    name = "a_very_long_name_of_a_recording_without_any_space_2023-11-22_take-12.wav"
    return Sheet(
        [row, row],
        FREQUENCIES,
        TIMES,
        row_labels=["dry", "wet"],
        column_labels=[LONG, *steps, LONG],
        column_groups=[(f"A: {name}\n{LONG}", 1), ("decoded", n_steps), (f"B: {LONG}", 1)],
        title=f"From {name}, {LONG}, to {name}, {LONG}, which is far longer than the page is wide",
    )


@pytest.mark.parametrize("n_steps", [2, 9])
def test_long_labels_neither_overlap_nor_leave_the_page(n_steps):
    assert_apart_and_inside(sheet_figure(interpolation_sheet(n_steps)))


def test_wrapping_keeps_every_letter_and_numbers_with_their_units():
    wrapped = wrap(LONG, 1.0, 8)
    lines = wrapped.split("\n")
    assert len(lines) > 2
    assert all(text_width_in(line, 8) <= 1.0 for line in lines)
    plain = " ".join(lines).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")
    assert plain == LONG
    assert any("23.4\N{NO-BREAK SPACE}dB" in line for line in lines)
    name = "x" * 80
    assert wrap(name, 1.0, 8).replace("\n", "") == name


def test_times_keep_apart_and_inside():
    for seconds in (0.01, 0.7, 1.365, 5.46, 60.0):
        for width in (1.3, 3.4):
            ticks = time_ticks(0.0, seconds, width)
            assert len(ticks) >= 2
            assert np.diff(ticks).min() * width / seconds >= 0.3  # inches
            assert ticks[-1] < seconds


def test_render_rgb_is_the_figure_as_pixels():
    pixels = render_rgb(sheet_of(noise()), dots_per_inch=50)
    width, height = sheet_figure(sheet_of(noise())).get_size_inches()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (int(height * 50), int(width * 50), 3)
    assert (pixels[0, 0] == 255).all() and pixels.min() < 60


def test_a_sheet_of_the_largest_size_is_quick_to_send(tmp_path):
    frequencies, times = np.linspace(0, 12_000, 1025), np.arange(257) * 512 / SAMPLE_RATE
    rng = np.random.default_rng(0)
    row = [Panel(rng.rayleigh(size=(1025, 257))) for _ in range(9)]
    path = tmp_path / "sheet.png"
    draw_sheet(path, Sheet([row, row], frequencies, times))
    assert path.stat().st_size < 1.5e6  # white noise is the worst there is


def test_paper_and_zero_difference_are_pure_white_in_a_png(tmp_path):
    path = tmp_path / "sheet.png"
    panels = [[Panel(noise()), Panel(noise(), minus=noise())]]
    draw_sheet(path, Sheet(panels, FREQUENCIES, TIMES))
    pixels = np.asarray(Image.open(path).convert("RGB"))
    axes = sheet_figure(Sheet(panels, FREQUENCIES, TIMES)).axes[1].get_position()
    height, width = pixels.shape[:2]
    inside = pixels[int((1 - axes.y0) * height) - 50, int(axes.x0 * width) + 50]
    assert (pixels[2, 2] == 255).all() and (inside == 255).all()


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")],
)
def test_the_suffix_decides_the_kind_of_file(tmp_path, suffix, start):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, second):
        draw_sheet(path, sheet_of(noise()))
        assert path.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(OutputExistsError):
        draw_sheet(first, sheet_of(noise()))
    draw_sheet(first, sheet_of(noise()), overwrite=True)


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet", "sheet.png.txt"])
def test_other_suffixes_are_refused(tmp_path, name):
    for draw in (
        lambda path: draw_sheet(path, sheet_of(noise())),
        lambda path: draw_map(path, np.zeros((3, 2)), ["a", "b", "c"]),
        lambda path: draw_curves(path, {"loss": {"train": ([1], [1])}}),
    ):
        with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
            draw(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_matplotlib_stay_as_they_were(tmp_path):
    with matplotlib.rc_context({"font.size": 21, "axes.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        draw_sheet(tmp_path / "odd.png", sheet_of(noise()))
        assert dict(matplotlib.rcParams) == before
    draw_sheet(tmp_path / "plain.png", sheet_of(noise()))
    assert (tmp_path / "odd.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_threads_draw_the_same_as_one(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    threads = [
        threading.Thread(target=draw_sheet, args=(path, sheet_of(noise()))) for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_table_reads_back_exactly(tmp_path):
    path = tmp_path / "table.csv"
    doubles = [0.1, 1 / 3, 1e-300, -2.5]
    singles = np.array([0.1, 1 / 3, 1e-30, 7], dtype=np.float32)
    names = ["plain", 'with "quotes"', "a, comma", "Ünïcode\nand a line"]
    write_table(path, {"double": doubles, "single": singles, "name": names, "n": [1, 2, 3, 4]})
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["double", "single", "name", "n"]
    assert [float(row["double"]) for row in rows] == doubles
    assert [np.float32(row["single"]) for row in rows] == singles.tolist()
    assert [row["name"] for row in rows] == names
    assert [row["n"] for row in rows] == ["1", "2", "3", "4"]


def test_a_crooked_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="differ in length"):
        write_table(tmp_path / "t.csv", {"a": [1, 2], "b": [1]})
    with pytest.raises(InputError, match=r"\.csv"):
        write_table(tmp_path / "t.png", {"a": [1]})
    assert list(tmp_path.iterdir()) == []


# Maps ---------------------------------------------------------------------------------------------


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


def test_every_label_has_a_look_of_its_own_that_shows_on_white():
    looks = [label_style(index) for index in range(64)]
    assert len(set(looks)) == 64
    assert len(set(looks[:8])) == len({colour for colour, _ in looks[:8]}) == 8
    for colour, _ in looks:
        assert 1.05 / (relative_luminance(colour) + 0.05) > 1.9, colour


def test_twenty_labels_have_a_legend_with_their_counts():
    points, labels = clusters(20, 5)
    figure = map_figure([ScatterPanel(points, [*labels[:-2], labels[0], labels[0]])])
    texts = [text.get_text() for text in written(figure)]
    assert all(f"effect {index}" in texts for index in range(20))
    assert sorted(text for text in texts if text in ("3", "5", "7")) == ["3"] + ["5"] * 18 + ["7"]
    assert_apart_and_inside(figure)


def test_few_labels_apart_are_named_at_their_medians():
    points, labels = clusters(4, 50)
    axes = map_figure([ScatterPanel(points, labels)]).axes[0]
    named = {text.get_text(): text.get_position() for text in axes.texts}
    assert sorted(named) == [f"effect {index}" for index in range(4)]
    np.testing.assert_allclose(named["effect 0"], np.median(points[:50], axis=0))


def test_few_labels_on_top_of_each_other_go_to_the_legend():
    figure = map_figure([ScatterPanel(*clusters(4, 50, apart=0.1))])
    assert not figure.axes[0].texts
    assert {f"effect {index}" for index in range(4)} <= {
        text.get_text() for text in written(figure)
    }
    assert_apart_and_inside(figure)


@pytest.mark.parametrize("n_labels", [3, 12])
def test_all_points_are_drawn_in_the_colour_of_their_label(n_labels):
    points, labels = clusters(n_labels, 30)
    order = [f"effect {index}" for index in range(n_labels)]
    axes = map_figure([ScatterPanel(points, labels, order=order)]).axes[0]
    drawn = {
        (*position, *colour[:3])
        for collection in axes.collections
        for position, colour in zip(
            collection.get_offsets().tolist(), collection.get_facecolors().tolist(), strict=True
        )
    }
    wanted = {
        (*point, *matplotlib.colors.to_rgb(label_style(order.index(label))[0]))
        for point, label in zip(points.tolist(), labels, strict=True)
    }
    assert drawn == wanted


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


def test_more_and_larger_clouds_have_smaller_points(tmp_path):
    def area(n: int) -> float:
        points = np.random.default_rng(0).normal(size=(n, 2))
        return map_figure([ScatterPanel(points)]).axes[0].collections[0].get_sizes()[0]

    assert area(20) > area(2000) > area(20_000)


def test_values_colour_the_points_and_name_the_bar():
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
def test_maps_that_cannot_be_drawn_are_refused(content, sentence):
    with pytest.raises(InputError, match=sentence):
        ScatterPanel(**content)


def test_a_single_point_can_be_drawn(tmp_path):
    draw_map(tmp_path / "one.png", [[1.0, 2.0]], ["reverb"], axis_names=("PC 1", "PC 2"))
    assert (tmp_path / "one.png").exists()


def test_a_dollar_in_a_name_is_a_dollar(tmp_path):
    draw_map(tmp_path / "map.svg", *clusters(1, 3), title="$5 and $6 {x_")
    assert (tmp_path / "map.svg").exists()


# Curves -------------------------------------------------------------------------------------------


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


def test_a_moving_average_stays_in_step_with_its_curve():
    x = np.arange(1000)
    raw, smooth = curves_figure({"x": {"train": (x, x)}}).axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), x)
    np.testing.assert_allclose(smooth.get_ydata(), smooth.get_xdata(), atol=0.5)


def test_values_that_are_not_finite_leave_a_gap(tmp_path):
    quantities = {"loss": {"train": ([1, 2, 3], [3.0, np.inf, 1.0])}}
    line = curves_figure(quantities).axes[0].lines[0]
    assert np.isnan(line.get_ydata()[1])
    draw_curves(tmp_path / "curves.png", {"loss": {"train": ([1], [np.nan])}})


def test_curves_that_cannot_be_drawn_are_refused():
    with pytest.raises(InputError, match="without a curve"):
        curves_figure({})
    with pytest.raises(InputError, match=r"\(2,\) and \(1,\)"):
        curves_figure({"loss": {"train": ([1, 2], [1.0])}})
