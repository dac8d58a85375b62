"""Use the map of a page by keyboard, and play points and paths, in Chromium."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile
from browsers import opened, until
from datasets import N_SAMPLES, RATE
from map_pages import (
    CANVAS,
    IS_PLAYING,
    LATENT_MAP,
    PIXEL,
    PLAYBACK,
    POINTED,
    REPEATED,
    SCALE,
    data_of,
    label_of,
    ready,
    write_page,
)
from test_latent_map_page import N_WITH_AUDIO, SPLITS, page_step

from dafxtool.plots.spectrograms import colour_table
from dafxtool.web.latent_map import _by_category
from dafxtool.web.map_audio import audio_reader, collect_audio
from dafxtool.web.thumbnails import (
    FLOOR_DB,
    RANGE_DB,
    shown_db,
    shrink,
)

pytestmark = pytest.mark.browser

MP3_PADDING = 3 * 576  # samples


# --- keys -------------------------------------------------------------------------------------


def test_the_map_works_by_keyboard(spaced, latents, map_audio):
    with opened(spaced) as (page, complaints):
        ready(page)
        page.locator(".map-plot canvas").nth(1).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        focused = "document.activeElement.getAttribute('role')"
        assert page.evaluate(focused) == "application"
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("ArrowRight")
        first = page.evaluate(POINTED)
        assert first is not None
        visited = {first}
        for key in np.repeat(["ArrowLeft", "ArrowDown", "ArrowRight", "ArrowUp"], 8).tolist():
            before = page.evaluate(PIXEL, page.evaluate(POINTED))
            page.keyboard.press(key)
            now = page.evaluate(POINTED)
            after = page.evaluate(PIXEL, now)
            moved = np.subtract(after, before)
            wanted = {"ArrowUp": (1, -1), "ArrowDown": (1, 1),
                      "ArrowLeft": (0, -1), "ArrowRight": (0, 1)}[key]  # fmt: skip
            assert moved[wanted[0]] * wanted[1] >= 0
            visited.add(now)
            announced = page.inner_text(".point-map-announcer").replace("\xa0", " ")
            assert label_of(spaced, now) in announced
        assert len(visited) > 4
        fitted = page.evaluate(SCALE)
        page.keyboard.press("+")
        assert page.evaluate(SCALE) > 1.2 * fitted
        page.keyboard.press("0")
        assert page.evaluate(SCALE) == pytest.approx(fitted)
        row = int(map_audio.rows[1])
        page.evaluate(f"{LATENT_MAP}.map.focusPoint({row})")
        page.keyboard.press("Enter")
        until(page, f"{LATENT_MAP}.b === 1 && {IS_PLAYING}")
        assert complaints == []


def test_d_switches_between_wet_and_dry_at_the_same_position_and_space_stops(spaced, map_audio):
    with opened(spaced) as (page, complaints):
        ready(page)
        page.mouse.click(*page.evaluate(PIXEL, int(map_audio.rows[0])))
        until(page, f"({PLAYBACK})('wet').position > 0.1")
        wet = page.evaluate(PLAYBACK, "wet")
        seconds = REPEATED * N_SAMPLES / RATE
        assert wet["duration"] == pytest.approx(seconds, abs=MP3_PADDING / RATE)
        page.keyboard.press("d")
        until(
            page,
            f"!({PLAYBACK})('dry').paused && ({PLAYBACK})('dry').position >= {wet['position']}",
        )
        assert page.evaluate(PLAYBACK, "wet")["paused"]
        assert page.get_attribute(".map-dry", "aria-pressed") == "true"
        page.keyboard.press(" ")
        assert page.evaluate(PLAYBACK, "dry")["paused"]
        assert complaints == []


# --- the path from A to B ---------------------------------------------------------------------


def assert_shows(pixels, decibels):
    """Assert that a canvas has the colours of decibels (bands, times), low bands at the bottom."""
    height = np.clip(1 - decibels / FLOOR_DB, 0, 1)
    expected = colour_table()[np.rint(255 * height).astype(int)][::-1].astype(int)
    shown = np.reshape(pixels, (*expected.shape[:2], 4))[..., :3]
    assert np.abs(shown - expected).max() <= 8  # the next level, where rounding differs


def select_path(page, map_audio, a=0, b=3):
    for slot in (a, b):
        page.mouse.click(*page.evaluate(PIXEL, int(map_audio.rows[slot])))
        page.wait_for_timeout(500)
    page.wait_for_selector(".map-path:not([hidden])")


def test_the_images_of_a_path_are_the_decoded_steps(spaced, map_audio):
    with opened(spaced) as (page, complaints):
        ready(page)
        select_path(page, map_audio)
        for index in range(3):
            step = page_step(data_of(spaced), 0, 3, index)[1]
            shown = page.evaluate(CANVAS, ["map-step-wet", index + 1])
            assert_shows(shown, shown_db(step, map_audio.exponent))
        levels = map_audio.ends[0, 1].astype(np.float32)
        decibels = RANGE_DB * (levels / 255 - 1)
        assert_shows(page.evaluate(CANVAS, ["map-step-wet", 0]), decibels)
        assert complaints == []


def test_a_path_is_played_in_sequence_and_each_step_alone(spaced, map_audio):
    pressed = ("[...document.querySelectorAll('.map-step')].findIndex("
               "(each) => each.getAttribute('aria-pressed') === 'true')")  # fmt: skip
    with opened(spaced) as (page, complaints):
        ready(page)
        select_path(page, map_audio)
        page.locator(".map-step").nth(3).click()
        until(page, f"{pressed} === 3 && ({PLAYBACK})('wet').duration > 0")
        playback = page.evaluate(PLAYBACK, "wet")
        assert playback["duration"] == pytest.approx(REPEATED * N_SAMPLES / RATE, abs=1e-3)
        page.locator(".map-step").nth(3).click()
        until(page, f"{pressed} === -1")
        page.locator(".map-play-path").click()
        for index in range(5):
            until(page, f"{pressed} === {index}", 20)
        until(page, f"!{IS_PLAYING}", 20)
        assert page.get_attribute(".map-play-path", "aria-pressed") == "false"
        assert complaints == []


def test_the_audio_of_a_step_is_nearest_to_its_own_image(latents, run, pairs_file, tmp_path):
    """Analyse the audio of steps as the run does, and compare it with the decoded steps."""
    read_audio = audio_reader(pairs_file, latents, run, SPLITS)
    map_audio = collect_audio(latents, run, read_audio, N_WITH_AUDIO)
    angle = np.linspace(0, 2 * np.pi, len(latents), endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    path = write_page(tmp_path / "map.html", latents, points, map_audio)
    fetched = f"""async ([a, b, index, channel]) => {{
      const address = await {LATENT_MAP}.audio.stepAddress(a, b, index, channel);
      const bytes = new Uint8Array(await (await fetch(address)).arrayBuffer());
      return btoa([...bytes].map((byte) => String.fromCharCode(byte)).join(""));
    }}"""
    steps = [(0, 3, 1), (0, 3, 3), (1, 5, 1), (1, 5, 3)]
    audio = []
    with opened(path, bypass_csp=True) as (page, _):
        ready(page)
        for a, b, index in steps:
            pair = [base64.b64decode(page.evaluate(fetched, [a, b, index, c])) for c in (0, 1)]
            for wav in pair:
                samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
                assert (rate, len(samples)) == (RATE, N_SAMPLES)
                audio.append(samples)
    pairs = np.array(audio, np.float32).reshape(len(steps), 2, -1)
    images = [page_step(data_of(path), a, b, index - 1) for a, b, index in steps]
    spectrograms, constants = run.analyse(pairs)
    loudest = _loudest(map_audio, run)
    analysed = shrink(spectrograms, constants, run.spectrogram_config) / loudest
    errors = np.array([[_rms_db(own, image, map_audio.exponent) for image in images]
                       for own in analysed])  # fmt: skip
    assert errors.argmin(axis=1).tolist() == [0, 1, 2, 3]
    assert np.diag(errors).max() < 8  # of 8 kHz and spans of 11 ms; at 24 kHz below 4


def _loudest(map_audio, run):
    """Return the loudest value of the originals, 0 dB of the page."""
    spectrograms, constants = run.analyse(map_audio.audio)
    return shrink(spectrograms, constants, run.spectrogram_config).max()


def _rms_db(values, expected, exponent):
    """Return the root mean square difference in dB over values expected above -50 dB."""
    audible = expected > 10 ** (exponent / 20 * -50)
    difference = shown_db(values, exponent) - shown_db(expected, exponent)
    return float(np.sqrt(np.mean(np.square(difference[audible]))))


# --- appearance -------------------------------------------------------------------------------


def test_a_dark_page_has_light_text_and_visible_colours(spaced):
    def luminance(rgb):
        linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 3294.6 for c in rgb]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    with opened(spaced, color_scheme="dark") as (page, complaints):
        ready(page)
        style = "(name) => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number)"
        background = page.evaluate(style, "backgroundColor")
        assert contrast(page.evaluate(style, "color"), background) > 10
        blank = page.evaluate(f"[...{LATENT_MAP}.map.canvas.getContext('2d')"
                              ".getImageData(2, 2, 1, 1).data].slice(0, 3)")  # fmt: skip
        assert blank == background
        categories = _by_category("x", list("abcdefgh"), [0])["categories"]
        codes = [each.get("darkColour", each["colour"]) for each in categories]
        for code in [*codes, *data_of(spaced)["map"]["darkValueColours"]]:
            colour = [int(code[i : i + 2], 16) for i in (1, 3, 5)]
            assert contrast(colour, background) > 3
        assert complaints == []


def test_twenty_thousand_points_are_shown_and_selected(spaced):
    """Give the map other data and callbacks while it is shown."""
    feed = f"""(n) => {{
      const {{ map }} = {LATENT_MAP};
      const x = Array.from({{ length: n }}, (_, i) => i % 200);
      const y = Array.from({{ length: n }}, (_, i) => Math.floor(i / 200));
      const categories = [{{ name: "all", colour: "#0072b2", marker: "circle" }}];
      const values = x.map(() => 0);
      const colourings = [{{ name: "effect", kind: "category", values, categories }}];
      map.callbacks.describe = (row) => [`point ${{row}}`];
      map.callbacks.onEmptyClick = (x, y) => {{ window.empty = [x, y]; }};
      map.callbacks.onSelect = (row) => {{ window.selected = row; }};
      map.setData({{ ...map.data, x, y, colourings, prominent: undefined }});
      map.setTrail([[0, 0], [5, 5]]);
      map.reset();
    }}"""
    with opened(spaced) as (page, complaints):
        ready(page)
        page.evaluate(feed, 20_000)
        page.wait_for_timeout(300)
        for _ in range(8):
            page.get_by_label("Zoom in").click()
        for row in (10_100, 10_099, 9_900):
            page.mouse.click(*page.evaluate(PIXEL, row))
            assert page.evaluate("window.selected") == row
            page.wait_for_timeout(400)
        left, top = page.evaluate(PIXEL, 10_100)
        unit = page.evaluate(SCALE)
        page.mouse.click(left + unit / 2, top - unit / 2)
        np.testing.assert_allclose(page.evaluate("window.empty"), (100.5, 50.5), atol=0.05)
        assert complaints == []
