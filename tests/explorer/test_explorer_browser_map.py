"""The explorer's page in Chromium: map, kept settings, matching, exports and sessions."""

import io
import json

import numpy as np
import pytest
import soundfile
from audio_files import encode_bytes, noise
from browsers import until
from datasets import RATE
from explorer_client import Client
from explorer_page import (
    EXPLORER,
    PLAYER,
    SETTING,
    choose,
    downloaded,
    field,
    heard,
    settle,
)

import dafxtool

pytestmark = pytest.mark.browser


# --- the map --------------------------------------------------------------------------------------

PIXEL = f"""([x, y]) => {{
  const {{ map }} = {EXPLORER}.map;
  const box = map.overlay.getBoundingClientRect();
  return [box.left + map.view.left(x), box.top + map.view.top(y)];
}}"""


def test_a_click_on_a_point_plays_it_and_elsewhere_decodes_the_location(open_page, server):
    page = open_page()
    page.locator("#map-plot").scroll_into_view_if_needed()
    data = page.evaluate(
        f"({{ x: [...{EXPLORER}.map.map.data.x], y: [...{EXPLORER}.map.map.data.y] }})"
    )
    points = np.stack([data["x"], data["y"]], axis=1)
    page.mouse.click(*page.evaluate(PIXEL, points[2].tolist()))
    until(page, f"{PLAYER}.isPlaying && !document.getElementById('back').hidden")
    selected = page.evaluate(f"{EXPLORER}.map.map.marks[0].point")
    pair = Client(server).ask("/point", point=selected)[1]
    np.testing.assert_array_equal(heard(page), pair["wet"])
    np.testing.assert_array_equal(heard(page, "dry"), pair["dry"])
    page.click("#use")
    settle(page, "document.getElementById('back').hidden")
    stored = Client(server).ask("/point", point=selected)[0]
    assert page.evaluate(SETTING) == pytest.approx(stored["setting"])
    # The emptiest of many places inside the plot.
    low, high = points.min(axis=0), points.max(axis=0)
    places = np.random.default_rng(0).uniform(low, high, (500, 2))
    distances = np.linalg.norm(places[:, None] - points[None], axis=2).min(axis=1)
    page.mouse.click(*page.evaluate(PIXEL, places[distances.argmax()].tolist()))
    until(page, "document.getElementById('now').innerText.includes('decodes')")
    assert np.isfinite(heard(page)).all() and np.abs(heard(page)).max() > 0.01


# --- kept settings --------------------------------------------------------------------------------


def test_between_two_kept_settings_a_slider_moves_smoothly(open_page, server):
    page = open_page()
    choose(page, "delay")
    page.click("#keep")
    choose(page, "overdrive")
    page.keyboard.press("Escape")
    page.click("#keep")
    assert page.locator("#kept-list li").count() == 2
    until(page, f"{EXPLORER}.kept.steps.size === 9", 40)
    page.focus("#between-slider")
    page.keyboard.press("ArrowRight")
    until(page, f"{EXPLORER}.kept.isActive && {PLAYER}.isPlaying")
    gains = page.evaluate(f"{PLAYER}.gains")
    assert sum(gains.values()) == pytest.approx(1) and set(gains) == {"step4", "step5"}
    page.keyboard.press("Home")
    assert page.evaluate(f"{PLAYER}.gains") == {"step0": 1}
    body = page.evaluate(f"{EXPLORER}.kept.body")
    first = Client(server).stream("/between", **body)[1][1]["wet"]
    np.testing.assert_array_equal(heard(page, "step0"), first)
    page.click("#path-detailed")
    until(page, f"{EXPLORER}.kept.steps.size === 9 && {EXPLORER}.kept.body.detailed", 40)
    page.click("#show-sheet")
    until(page, "document.querySelector('#between-sheet img')?.naturalWidth > 500", 30)
    page.fill("#kept-list li:first-child .name", "echoes")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('between-a').innerText === 'echoes'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("1")
    settle(page, f"{EXPLORER}.controls.effect.name === 'delay' && !{EXPLORER}.kept.isActive")


@pytest.mark.slow
def test_a_match_moves_the_controls_to_the_reference(open_page, recordings):
    page = open_page()
    dry, rate = dafxtool.load_audio(recordings / "plucks" / "0.wav")
    wet = dafxtool.apply_effect(dry, rate, "overdrive:drive=36,tone=1500")
    content = encode_bytes(wet[None], rate, "WAV", "FLOAT")
    choose(page, "overdrive")
    page.select_option("#match-scope", "this")
    reference = {"name": "reference.wav", "mimeType": "", "buffer": content}
    page.set_input_files("#reference-input", reference)
    until(page, "document.querySelector('#match-answer p') !== null", 60)
    settle(page, f"Math.abs({SETTING}.drive - 36) < 4")
    assert page.evaluate(f"{SETTING}.tone") == pytest.approx(1500, rel=0.15)


# --- sessions and exports -------------------------------------------------------------------------


def test_exports_contain_the_played_audio(open_page):
    page = open_page()
    choose(page, "distortion")
    name, content = downloaded(page, "#save-wav")
    assert name.endswith("-distortion.wav") or name == "0-distortion.wav"
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(samples, heard(page))
    name, content = downloaded(page, "#save-sheet")
    assert name.endswith(".png") and content.startswith(b"\x89PNG")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy-effect")
    until(page, "document.getElementById('copied').innerText === 'copied'")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("#effect-line")


def test_a_session_survives_a_reload_and_opens_in_another_tab(open_page):
    page = open_page()
    content = encode_bytes(noise(RATE, seed=8), RATE, "WAV", "PCM_16")
    page.set_input_files("#file-input", {"name": "mine.wav", "mimeType": "", "buffer": content})
    settle(page, f"{EXPLORER}.recording?.name === 'mine.wav'")
    choose(page, "tremolo")
    page.fill(field("rate"), "3")
    page.keyboard.press("Enter")
    settle(page, f"{SETTING}.rate === 3")
    page.click("#keep")
    page.click("#loop")
    state = page.evaluate(f"{EXPLORER}.state")
    sound = heard(page)
    page.reload()
    until(page, "document.body.classList.contains('ready')", 60)
    settle(page)
    assert page.evaluate(f"{EXPLORER}.state") == state
    np.testing.assert_array_equal(heard(page), sound)
    name, file = downloaded(page, "#save-session")
    assert (
        name == "explore-session.json" and json.loads(file)["recordings"][0]["name"] == "mine.wav"
    )
    other = open_page(context=page.context)
    assert other.evaluate(f"{EXPLORER}.server.session") != page.evaluate(
        f"{EXPLORER}.server.session"
    )
    assert other.evaluate(f"{EXPLORER}.recording.name") != "mine.wav"
    assert not other.evaluate(f"{EXPLORER}.recordings.list.some((each) => each.kind === 'upload')")
    other.set_input_files("#session-input", {"name": name, "mimeType": "", "buffer": file})
    settle(other, f"{EXPLORER}.recording?.name === 'mine.wav' && {SETTING}.rate === 3")
    np.testing.assert_array_equal(heard(other), sound)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_has_no_sideways_scroll_and_every_control_is_reached(open_page, scheme):
    page = open_page(width=390, height=844, color_scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        "[...document.querySelectorAll('main button:not(.plain):not([hidden])')]"
        ".filter((each) => each.offsetParent && each.getBoundingClientRect().height < 26)"
        ".map((each) => each.outerHTML)"
    )
    assert small == []
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input:not([hidden]), select')]"
        ".filter((each) => each.offsetParent && !(each.innerText || each.ariaLabel ||"
        " each.getAttribute('aria-labelledby') || each.labels?.length))"
        ".map((each) => each.outerHTML)"
    )
    assert unnamed == []
