"""Sheets of spectrograms: positions of frequencies and times, one scale, labels that fit."""

from __future__ import annotations

import numpy as np
import pytest
from figures import FREQUENCIES, SAMPLE_RATE, TIMES, assert_apart_and_inside, noise, sheet_of
from matplotlib.figure import Figure
from PIL import Image

from dafxtool.errors import InputError
from dafxtool.plots.base import text_width_in, wrap
from dafxtool.plots.spectrogram_axes import erb_rate, frequency_weights, time_ticks
from dafxtool.plots.spectrograms import (
    FLOOR_DB,
    Panel,
    Sheet,
    draw_sheet,
    draw_spectrogram,
    render_rgb,
    sheet_figure,
)

LONG = "overdrive, drive 23.4 dB, tone 3.2 kHz, output -6.0 dB"


def tone(bin_index: int) -> np.ndarray:
    magnitude = np.zeros((len(FREQUENCIES), len(TIMES)))
    magnitude[bin_index] = 1.0
    return magnitude


def images(figure: Figure) -> list:
    return [image for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize("bin_index", [6, 40, 200, 900])
def test_a_tone_is_brightest_at_its_height_on_the_frequency_axis(bin_index):
    image = images(sheet_figure(sheet_of(tone(bin_index))))[0]
    rows = image.get_array()
    _, _, low, high = image.get_extent()
    brightest = np.argmax(rows.mean(axis=1)) + 0.5
    height = low + (high - low) * brightest / len(rows)
    # The image has no finer resolution than one row and half a bin.
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


def test_panels_share_one_scale_in_decibels_re_the_loudest_bin():
    loud, quiet = np.ones((1025, 65)), np.full((1025, 65), 0.01)
    artist = images(sheet_figure(sheet_of(quiet, loud, noise(level=1e-9), floor_db=-60)))
    assert {image.get_clim() for image in artist} == {(-60.0, 0.0)}
    np.testing.assert_allclose(artist[0].get_array(), -40.0, atol=1e-6)
    np.testing.assert_allclose(artist[1].get_array(), 0.0, atol=1e-6)
    np.testing.assert_allclose(artist[2].get_array(), -60.0, atol=1e-6)


def test_a_difference_is_in_decibels_and_symmetrical():
    panels = [[Panel(noise()), Panel(2 * noise(), minus=noise())]]
    artist = images(sheet_figure(Sheet(panels, FREQUENCIES, TIMES)))[1]
    np.testing.assert_allclose(np.median(artist.get_array().data), 20 * np.log10(2), atol=1e-6)
    low, high = artist.get_clim()
    assert low == -high


def test_silence_is_drawn_at_the_floor():
    artist = images(sheet_figure(sheet_of(np.zeros((1025, 65)))))[0]
    assert (artist.get_array() == FLOOR_DB).all()


def test_a_single_frame_is_drawn(tmp_path):
    path = tmp_path / "one.png"
    draw_spectrogram(path, np.ones((1025, 1)), FREQUENCIES, [0.0])
    assert Image.open(path).size[0] > 500


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_negative_and_non_finite_magnitudes_are_refused_and_leave_no_file(tmp_path, bad):
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


def test_wrapping_keeps_every_letter_and_joins_numbers_and_units():
    wrapped = wrap(LONG, 1.0, 8)
    lines = wrapped.split("\n")
    assert len(lines) > 2
    assert all(text_width_in(line, 8) <= 1.0 for line in lines)
    plain = " ".join(lines).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")
    assert plain == LONG
    assert any("23.4\N{NO-BREAK SPACE}dB" in line for line in lines)
    name = "x" * 80
    assert wrap(name, 1.0, 8).replace("\n", "") == name


def test_time_labels_neither_overlap_nor_leave_the_panel():
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


def test_the_file_of_a_large_sheet_is_small(tmp_path):
    frequencies, times = np.linspace(0, 12_000, 1025), np.arange(257) * 512 / SAMPLE_RATE
    rng = np.random.default_rng(0)
    row = [Panel(rng.rayleigh(size=(1025, 257))) for _ in range(9)]
    path = tmp_path / "sheet.png"
    draw_sheet(path, Sheet([row, row], frequencies, times))
    assert path.stat().st_size < 1.5e6  # white noise compresses worst


def test_background_and_zero_difference_are_pure_white_in_a_png(tmp_path):
    path = tmp_path / "sheet.png"
    panels = [[Panel(noise()), Panel(noise(), minus=noise())]]
    draw_sheet(path, Sheet(panels, FREQUENCIES, TIMES))
    pixels = np.asarray(Image.open(path).convert("RGB"))
    axes = sheet_figure(Sheet(panels, FREQUENCIES, TIMES)).axes[1].get_position()
    height, width = pixels.shape[:2]
    inside = pixels[int((1 - axes.y0) * height) - 50, int(axes.x0 * width) + 50]
    assert (pixels[2, 2] == 255).all() and (inside == 255).all()
