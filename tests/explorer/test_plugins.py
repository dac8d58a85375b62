"""Plugins that crash, hang or print: a message, and everything else goes on."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from browsers import complaints_of, running_browser, until
from datasets import HELPERS
from explorer_client import Client

from dafxtool.api.explore import serve
from dafxtool.effects.vst3 import isolation

FAULTY_PLUGINS = Path(HELPERS) / "faulty_plugins"
HANG_SECONDS = 2.0


@pytest.fixture(scope="module")
def faulty(recordings, tmp_path_factory):
    """Serve plugins with faults; there is no run."""
    folder = tmp_path_factory.mktemp("plugins")
    paths = [folder / f"{fault}.vst3" for fault in ("crash", "hang", "print", "well")]
    with pytest.MonkeyPatch.context() as patch:
        inherited = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(FAULTY_PLUGINS), inherited]))
        patch.setenv("DAFXTOOL_FAULTY_PLUGINS", "1")
        patch.chdir(folder)
        isolation.end_worker()
        isolation.limit_time(HANG_SECONDS)
        for path in paths:
            path.write_text(str(path))  # audits are remembered by content
        with serve(recordings, plugins=paths) as server:
            yield server
        isolation.end_worker()
        isolation.limit_time(isolation.PLUGIN_SECONDS)


def test_a_crash_is_a_message_and_the_next_setting_is_rendered(faulty):
    client = Client(faulty)
    assert "crashed" in client.refusal("/render", **client.scene("crash"))
    answer, arrays = client.ask("/render", **client.scene("well"))
    np.testing.assert_array_equal(arrays["wet"], arrays["dry"] / 2)
    assert answer["line"].startswith("--plugin ")
    assert client.ask("/render", **client.scene("delay"))


def test_while_a_plugin_hangs_other_effects_and_tabs_continue(faulty):
    client, other = Client(faulty), Client(faulty, "fedcba9876543210")
    client.ask("/render", **client.scene("delay"))
    sentences = []
    hanging = threading.Thread(
        target=lambda: sentences.append(client.refusal("/render", **client.scene("hang")))
    )
    hanging.start()
    time.sleep(0.3)
    started = time.monotonic()
    assert other.ask("/render", **other.scene("delay", time=99))
    assert time.monotonic() - started < HANG_SECONDS / 2
    hanging.join(60)
    assert f"more than {HANG_SECONDS:g} s" in sentences[0]
    assert client.ask("/render", **client.scene("well"))


def test_output_of_a_plugin_does_not_reach_the_terminal(faulty, capfd):
    client = Client(faulty)
    _, arrays = client.ask("/render", **client.scene("print"))
    np.testing.assert_array_equal(arrays["wet"], arrays["dry"] / 2)
    printed = capfd.readouterr()
    assert "faulty plugin" not in printed.out + printed.err


@pytest.mark.browser
def test_a_page_shows_the_crash_and_continues(faulty):
    explorer = "document.body.explorer"
    with running_browser() as browser:
        page = browser.new_page()
        complaints = complaints_of(page, f"http://127.0.0.1:{faulty.port}/")
        page.goto(faulty.url)
        until(page, "document.body.classList.contains('ready')", 60)
        page.select_option("#effect", "crash")
        until(page, "document.getElementById('error-text').innerText.includes('crashed')", 30)
        page.select_option("#effect", "well")
        until(page, f"{explorer}.answer?.content.label.startsWith('well')", 30)
        assert page.locator("#error").is_hidden()
        tracks = f"{explorer}.transport.player.tracks"
        dry, wet = (page.evaluate(f"[...{tracks}.{name}]") for name in ("dry", "wet"))
        np.testing.assert_array_equal(np.float32(wet), np.float32(dry) / 2)
    assert all("400 (Bad Request)" in each for each in complaints), complaints
