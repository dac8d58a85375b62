"""Select, zoom, pan, hide and search on the map of a page by mouse and touch, in Chromium."""

from __future__ import annotations

import re

import numpy as np
import pytest
from browsers import opened, until
from map_pages import (
    COLOUR,
    INK_AROUND,
    IS_PLAYING,
    LATENT_MAP,
    PIXEL,
    POINTED,
    SCALE,
    TOOLTIP,
    data_of,
    faint_rows,
    label_of,
    ready,
)

pytestmark = pytest.mark.browser


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
