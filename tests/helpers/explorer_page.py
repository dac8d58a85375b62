"""What tests need of the explorer's page: its state, controls and downloads."""

import numpy as np
from browsers import until
from datasets import RATE

import dafxtool

EXPLORER = "document.body.explorer"
PLAYER = f"{EXPLORER}.transport.player"
IDLE = f"{EXPLORER}.answer !== null && !document.body.classList.contains('busy')"
SETTING = f"{EXPLORER}.controls.setting"
TRACK = f"(name) => [...{PLAYER}.tracks[name]]"


def settle(page, condition="true"):
    """Wait until a condition holds and the page has the answer to its present setting."""
    until(page, condition)
    until(page, f"JSON.stringify({EXPLORER}.answer?.content.setting) === JSON.stringify({SETTING})")


def heard(page, name="wet"):
    return np.array(page.evaluate(TRACK, name), np.float32)


def rendered(page, server):
    """Return dry audio and the wet that apply_effect gives for the line that the page shows."""
    dry = heard(page, "dry")
    line = page.inner_text("#effect-line").removeprefix("--effect ").strip("'")
    return dry, dafxtool.apply_effect(dry, RATE, line)


def choose(page, effect):
    page.select_option("#effect", effect)
    settle(page, f"{EXPLORER}.answer.content.label.startsWith('{effect}')")


def slider(name):
    return f"[data-parameter='{name}'] input[type=range]"


def field(name):
    return f"[data-parameter='{name}'] input[type=text]"


def downloaded(page, button):
    with page.expect_download() as download:
        page.click(button)
    path = download.value.path()
    return download.value.suggested_filename, path.read_bytes()
