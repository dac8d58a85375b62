"""The map of a page in Chromium, driven by mouse, touch and key events."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
from browsers import opened, until
from datasets import N_SAMPLES, RATE
from test_latent_map_page import N_WITH_AUDIO, SPLITS, data_of, page_step

from dafxtool.latents.embed import embed
from dafxtool.latents.projection import Projection
from dafxtool.plots.spectrograms import colour_table
from dafxtool.web import page as page_module
from dafxtool.web.latent_map import _by_category, map_fragment
from dafxtool.web.map_audio import audio_reader, collect_audio
from dafxtool.web.thumbnails import (
    FLOOR_DB,
    RANGE_DB,
    shown_db,
    shrink,
)

pytestmark = pytest.mark.browser

REPEATED = 4  # repetitions of the audio, so that there is time to switch channels
MP3_PADDING = 3 * 576  # samples

LATENT_MAP = "document.getElementById('latent-map').latentMap"
# Pixels of the window; the formula is checked by test_points_are_painted_at_their_positions.
PIXEL = f"""(row) => {{
  const {{ map }} = {LATENT_MAP};
  const box = map.overlay.getBoundingClientRect();
  const [left, top] = map.pixelOf(row);
  return [box.left + left, box.top + top];
}}"""
COLOUR = f"""(row) => {{
  const {{ map }} = {LATENT_MAP};
  const [left, top] = map.pixelOf(row).map((each) => Math.floor(each * map.pixelRatio));
  return [...map.canvas.getContext("2d").getImageData(left, top, 1, 1).data].slice(0, 3);
}}"""
INK_AROUND = f"""(row) => {{
  const {{ map }} = {LATENT_MAP};
  const [left, top] = map.pixelOf(row).map((each) => Math.floor(each * map.pixelRatio));
  const pixels = map.overlay.getContext("2d").getImageData(left - 16, top - 16, 33, 33).data;
  return pixels.filter((value, i) => i % 4 === 3 && value > 0).length;
}}"""
PLAYBACK = f"""(channel) => {{
  const {{ duration, currentTime, paused }} = {LATENT_MAP}.player.elements[channel];
  return {{ duration, position: currentTime, paused }};
}}"""
CANVAS = """([name, index]) => {
  const canvas = document.getElementsByClassName(name)[index];
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
TOOLTIP = "document.querySelector('.point-map-tooltip').innerText"
IS_PLAYING = f"{LATENT_MAP}.player.isPlaying"
SCALE = f"{LATENT_MAP}.map.view.scale"
POINTED = f"{LATENT_MAP}.map.active"


@pytest.fixture(scope="module")
def latents(pairs_file, run):
    return embed([pairs_file], run)


@pytest.fixture(scope="module")
def map_audio(latents, run, pairs_file):
    read_audio = audio_reader(pairs_file, latents, run, SPLITS)
    map_audio = collect_audio(latents, run, read_audio, N_WITH_AUDIO)
    audio = np.tile(map_audio.audio, (1, 1, REPEATED))
    return type(map_audio)(**{**vars(map_audio), "audio": audio})


def write_page(path, latents, points, map_audio):
    projection = Projection(np.asarray(points, np.float32), ("x", "y"))
    fragment = map_fragment(latents, projection, map_audio, RATE)
    page_module.write_page(path, page_module.render_page("Map", [fragment]))
    return path


@pytest.fixture(scope="module")
def spaced(latents, map_audio, tmp_path_factory):
    """Write a page whose points lie on a circle, far apart."""
    angle = np.linspace(0, 2 * np.pi, len(latents), endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return write_page(tmp_path_factory.mktemp("spaced") / "map.html", latents, points, map_audio)


@pytest.fixture(scope="module")
def crowded(latents, map_audio, tmp_path_factory):
    """Write a page whose points without audio lie a few pixels from those with audio."""
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (len(latents), 2))
    faint = np.setdiff1d(np.arange(len(latents)), map_audio.rows)
    beside = map_audio.rows[np.arange(len(faint)) % len(map_audio.rows)]
    angle = 2.4 * np.arange(len(faint))
    points[faint] = points[beside] + 0.02 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return write_page(tmp_path_factory.mktemp("crowded") / "map.html", latents, points, map_audio)


def ready(page):
    until(page, f"Boolean({LATENT_MAP})")
    page.wait_for_timeout(100)  # the first frame


def label_of(path, row):
    return data_of(path)["points"]["labels"][row].replace("\N{NO-BREAK SPACE}", " ")


def faint_rows(latents, map_audio):
    return [row for row in range(len(latents)) if row not in map_audio.rows]


# --- mouse ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2])
def test_points_are_painted_at_their_positions(spaced, latents, scale):
    colourings = data_of(spaced)["map"]["colourings"]
    with opened(spaced, device_scale_factor=scale) as (page, complaints):
        ready(page)
        widths = page.evaluate(f"[{LATENT_MAP}.map.canvas.width, {LATENT_MAP}.map.view.width]")
        assert widths[0] == round(scale * widths[1])
        for row in range(len(latents)):
            category = colourings[0]["categories"][colourings[0]["values"][row]]
            colour = np.array([int(category["colour"][i : i + 2], 16) for i in (1, 3, 5)])
            opacity = np.array(page.evaluate(COLOUR, row)) - 255
            # A mixture of white and at least half of the colour.
            assert np.abs(opacity - (colour - 255)).max() <= 0.56 * 255
            assert np.corrcoef(opacity, colour - 255)[0, 1] > 0.99
        assert complaints == []


def test_twenty_clicks_on_faint_points_select_the_points_under_the_pointer(
    crowded, latents, map_audio
):
    with opened(crowded, width=1400) as (page, complaints):
        ready(page)
        for row in faint_rows(latents, map_audio)[:20]:
            page.mouse.move(5, 5)
            page.mouse.click(*page.evaluate(PIXEL, row))
            until(page, "document.querySelector('.map-message').innerText.includes('no audio')")
            assert page.evaluate(POINTED) == row
            message = page.inner_text(".map-message").replace("\N{NO-BREAK SPACE}", " ")
            assert label_of(crowded, row) in message
            until(page, f"{TOOLTIP}.length > 0")
            assert label_of(crowded, row) in page.evaluate(TOOLTIP).replace("\xa0", " ")
            assert not page.evaluate(IS_PLAYING)
            page.wait_for_timeout(400)  # two clicks in less would be a double click
        assert complaints == []


def test_the_audio_of_the_point_under_the_pointer_is_played(crowded, latents, map_audio):
    with opened(crowded, width=1400) as (page, complaints):
        ready(page)
        for slot, row in enumerate(map_audio.rows.tolist()):
            page.mouse.click(*page.evaluate(PIXEL, row))
            until(page, f"{LATENT_MAP}.b === {slot} && {IS_PLAYING}")
            assert page.inner_text(".map-label").replace("\xa0", " ") == label_of(crowded, row)
            address = page.evaluate(f"{LATENT_MAP}.player.elements.wet.src")
            assert address == page.evaluate(f"{LATENT_MAP}.audio.addressOf({slot}, 1)")
            page.wait_for_timeout(400)
        assert complaints == []


def test_zooming_keeps_the_point_under_the_pointer_and_clicks_stay_exact(
    crowded, latents, map_audio
):
    rows = faint_rows(latents, map_audio)
    with opened(crowded, width=1400) as (page, complaints):
        ready(page)
        position = np.array(page.evaluate(PIXEL, rows[3]))
        pointer = np.floor(position)  # wheel events have whole pixels
        page.mouse.move(*pointer)
        fitted = page.evaluate(SCALE)
        for _ in range(6):
            page.mouse.wheel(0, -100)
        until(page, f"{SCALE} > {4 * fitted}")
        expected = pointer + page.evaluate(SCALE) / fitted * (position - pointer)
        np.testing.assert_allclose(page.evaluate(PIXEL, rows[3]), expected, atol=0.1)
        inside = f"{LATENT_MAP}.map.element.getBoundingClientRect().toJSON()"
        box = page.evaluate(inside)
        clicked = 0
        for row in range(len(latents)):
            x, y = page.evaluate(PIXEL, row)
            if box["left"] < x < box["right"] and box["top"] < y < box["bottom"]:
                page.mouse.click(x, y)
                assert page.evaluate(POINTED) == row
                page.wait_for_timeout(400)
                clicked += 1
        assert clicked >= 2
        page.mouse.dblclick(box["left"] + 5, box["top"] + 5)
        until(page, f"Math.abs({SCALE} - {fitted}) < 1e-6")
        assert complaints == []


def test_dragging_pans_and_selects_nothing(spaced):
    with opened(spaced) as (page, complaints):
        ready(page)
        left, top = page.evaluate(PIXEL, 0)
        page.mouse.move(left, top)
        page.mouse.down()
        page.mouse.move(left - 60, top + 30, steps=5)
        page.mouse.up()
        np.testing.assert_allclose(page.evaluate(PIXEL, 0), (left - 60, top + 30), atol=1)
        assert page.evaluate(f"{LATENT_MAP}.b") is None
        assert page.is_visible(".map-message")
        assert complaints == []


def test_the_wheel_continues_to_scroll_the_page_over_the_map(spaced):
    with opened(spaced, width=1280, height=420) as (page, complaints):
        ready(page)
        fitted = page.evaluate(SCALE)
        page.mouse.move(300, 350)
        page.mouse.wheel(0, 120)  # nothing is zoomed in: the page scrolls
        until(page, "window.scrollY > 0")
        page.mouse.wheel(0, -40)
        page.wait_for_timeout(100)
        assert page.evaluate(SCALE) == fitted
        assert complaints == []


def test_a_box_highlights_and_counts_its_points(spaced, latents):
    with opened(spaced) as (page, complaints):
        ready(page)
        box = page.locator(".map-plot").bounding_box()
        page.keyboard.down("Shift")
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2 + 1, steps=4)
        page.mouse.up()
        page.keyboard.up("Shift")
        n = page.evaluate(f"{LATENT_MAP}.map.found.reduce((a, b) => a + b)")
        assert abs(n - len(latents) / 2) <= 1
        numbers = map(
            int, re.findall(r"(\d+) (?:overdrive|delay)", page.inner_text(".map-message"))
        )
        assert sum(numbers) == n
        page.locator(".map-plot canvas").nth(1).focus()
        page.keyboard.press("Escape")
        assert page.is_hidden(".map-message")
        assert not page.evaluate(f"{LATENT_MAP}.map.isFiltered")
        assert complaints == []


# --- touch ------------------------------------------------------------------------------------


def test_two_fingers_zoom_and_a_tap_selects(crowded, map_audio):
    with opened(crowded, width=390, touch=True) as (page, complaints):
        ready(page)
        session = page.context.new_cdp_session(page)

        def touch(kind, *positions):
            points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(positions)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        row = int(map_audio.rows[2])
        page.locator(".map-plot").scroll_into_view_if_needed()
        left, top = page.evaluate(PIXEL, row)
        fitted = page.evaluate(SCALE)
        touch("touchStart", (left - 20, top), (left + 20, top))
        for apart in range(30, 110, 10):
            touch("touchMove", (left - apart, top), (left + apart, top))
        touch("touchEnd")
        until(page, f"{SCALE} > {3 * fitted}")
        assert page.evaluate(f"{LATENT_MAP}.b") is None  # a pinch is no tap
        np.testing.assert_allclose(page.evaluate(PIXEL, row), (left, top), atol=12)
        page.touchscreen.tap(*page.evaluate(PIXEL, row))
        until(page, f"{LATENT_MAP}.b === 2 && {IS_PLAYING}")
        assert page.evaluate("window.visualViewport.scale") == 1
        assert complaints == []


def test_one_finger_scrolls_the_page_until_the_map_is_zoomed_in(spaced):
    with opened(spaced, width=390, touch=True) as (page, _):
        ready(page)
        touch_action = f"getComputedStyle({LATENT_MAP}.map.overlay).touchAction"
        assert page.evaluate(touch_action) == "pan-y"
        page.get_by_label("Zoom in").tap()
        assert page.evaluate(touch_action) == "none"
        page.get_by_label("Show all of the map").tap()
        assert page.evaluate(touch_action) == "pan-y"


@pytest.mark.parametrize(("width", "touch"), [(1400, False), (390, True)])
def test_nothing_is_wider_than_the_window(spaced, map_audio, width, touch):
    with opened(spaced, width, touch=touch) as (page, complaints):
        ready(page)
        select = page.touchscreen.tap if touch else page.mouse.click
        for row in map_audio.rows[[0, 3]].tolist():
            page.locator(".map-plot").scroll_into_view_if_needed()
            select(*page.evaluate(PIXEL, row))
            page.wait_for_timeout(400)
        page.wait_for_selector(".map-path:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints == []


# --- hiding, colouring, searching -------------------------------------------------------------


def test_a_hidden_effect_is_not_drawn_not_selected_and_has_no_ring(spaced, latents, map_audio):
    row = int(map_audio.rows[0])
    effect = latents.effects()[row]
    with opened(spaced) as (page, complaints):
        ready(page)
        position = page.evaluate(PIXEL, row)
        page.mouse.click(*position)
        until(page, f"({INK_AROUND})({row}) > 20")
        page.get_by_role("button", name=re.compile(f"^{effect} ")).click()
        until(page, f"({INK_AROUND})({row}) === 0")
        assert page.evaluate(COLOUR, row) == [255, 255, 255]
        page.mouse.click(*position)
        assert page.evaluate(POINTED) is None
        n_hidden = latents.effects().count(effect)
        assert f"{n_hidden} hidden" in page.inner_text(".point-map-status")
        page.get_by_role("button", name="Show all points").click()
        until(page, f"({INK_AROUND})({row}) > 20")
        assert complaints == []


def test_points_are_coloured_by_a_parameter(spaced, latents, map_audio):
    colouring = next(
        each for each in data_of(spaced)["map"]["colourings"] if each["name"] == "overdrive: drive"
    )
    table = data_of(spaced)["map"]["valueColours"]
    with opened(spaced) as (page, complaints):
        ready(page)
        page.get_by_label("Colour").select_option("overdrive: drive")
        page.wait_for_timeout(200)
        for row, value in zip(colouring["rows"], colouring["values"], strict=True):
            if row in map_audio.rows:
                code = table[round(value * (len(table) - 1))]
                colour = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)])
                shown = page.evaluate(COLOUR, row)
                np.testing.assert_allclose(shown, 255 + 0.92 * (colour - 255), atol=6)
        assert "60 dB" in page.inner_text(".point-map-ticks").replace("\xa0", " ")
        assert complaints == []


def test_search_highlights_and_enter_goes_from_match_to_match(spaced, latents):
    with opened(spaced) as (page, complaints):
        ready(page)
        page.get_by_label("Search").click()
        page.keyboard.type("delay plucks")
        assert "0 of" in page.inner_text(".point-map-status")  # folders are not in the text
        page.get_by_label("Search").fill("DELAY 2.wav")
        matches = page.evaluate(f"[...{LATENT_MAP}.map.found.keys()].filter("
                                f"(row) => {LATENT_MAP}.map.found[row])")  # fmt: skip
        names = data_of(spaced)["points"]
        assert matches == [
            row
            for row, effect in enumerate(latents.effects())
            if effect == "delay" and names["recordings"][names["recording"][row]] == "2.wav"
        ]
        assert matches
        assert f"{len(matches)} of {len(latents)} found" in page.inner_text(".point-map-status")
        reached = []
        for _ in matches:
            page.keyboard.press("Enter")
            reached.append(page.evaluate(POINTED))
        assert sorted(reached) == matches
        assert complaints == []


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
