"""The explorer's page in Chromium, driven by mouse, keyboard and files."""

import io
import json

import numpy as np
import pytest
import soundfile
from audio_files import encode_bytes, noise
from browsers import complaints_of, running_browser, until
from datasets import N_SAMPLES, RATE
from explorer_client import Client

import dafxtool

pytestmark = pytest.mark.browser

EXPLORER = "document.body.explorer"
PLAYER = f"{EXPLORER}.transport.player"
IDLE = f"{EXPLORER}.answer !== null && !document.body.classList.contains('busy')"
SETTING = f"{EXPLORER}.controls.setting"
TRACK = f"(name) => [...{PLAYER}.tracks[name]]"


@pytest.fixture(scope="module")
def browser():
    with running_browser(
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    ) as browser:
        yield browser


@pytest.fixture
def open_page(browser, server):
    """Open the page in a tab of its own; at the end it must have no complaint."""
    contexts, complaints = [], []

    def open_tab(width=1400, height=1000, context=None, **options):
        context = context or browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        complaints.append(complaints_of(page, f"http://127.0.0.1:{server.port}/"))
        page.goto(server.url)
        until(page, "document.body.classList.contains('ready')", 60)
        until(page, f"{EXPLORER}.map.map !== null && {EXPLORER}.map.trail.length > 0", 60)
        return page

    open_tab.allowed = []
    yield open_tab
    for context in dict.fromkeys(contexts):
        context.close()
    found = [text for each in complaints for text in each]
    assert [text for text in found if not any(part in text for part in open_tab.allowed)] == []


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


# --- effects and sound ----------------------------------------------------------------------------


def test_a_slider_changes_audio_images_and_location(open_page, server):
    page = open_page()
    choose(page, "overdrive")
    before = page.evaluate(f"[{EXPLORER}.map.trail.length, {EXPLORER}.lastAnswerMs]")
    image = page.evaluate("document.getElementById('wet-image').toDataURL()")
    box = page.locator(slider("drive")).bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()
    settle(page, f"{SETTING}.drive > 50")
    dry, wet = rendered(page, server)
    np.testing.assert_array_equal(heard(page), wet)
    assert len(dry) == N_SAMPLES
    assert page.evaluate("document.getElementById('wet-image').toDataURL()") != image
    until(page, f"{EXPLORER}.map.trail.length > {before[0]}")
    assert page.locator("#shares li").count() >= 1 and page.locator("#neighbours li").count() == 5


def test_of_fifty_fast_moves_only_the_last_is_rendered_and_no_request_waits(open_page, server):
    page = open_page()
    choose(page, "delay")
    before = page.evaluate(f"{EXPLORER}.nRequests")
    page.focus(slider("mix"))
    page.keyboard.press("Home")
    for _ in range(50):
        page.keyboard.press("ArrowRight")
    settle(page, f"{SETTING}.mix === 5")
    sent = page.evaluate(f"{EXPLORER}.nRequests") - before
    page.wait_for_timeout(300)
    assert page.evaluate(f"{EXPLORER}.nRequests") - before == sent <= 51
    np.testing.assert_array_equal(heard(page), rendered(page, server)[1])
    # All moves within one frame: the first is sent, and the last.
    page.evaluate(
        f"() => {{ for (let i = 1; i <= 50; i++) {EXPLORER}.controls.set({{ mix: 50 + i / 2 }}); }}"
    )
    settle(page, f"{SETTING}.mix === 75")
    assert page.evaluate(f"{EXPLORER}.nRequests") - before - sent == 2
    assert "mix=75" in page.inner_text("#effect-line")


OVERTAKEN = """async () => {
  const { Latest } = await import("/static/messages.js");
  const latest = new Latest(80);
  const log = [];
  const hang = () => new Promise(() => {});
  const late = (name, ms) => async (isCurrent) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    log.push(`${name} ${isCurrent()}`);
  };
  latest.run(hang);
  latest.run(late("replaced", 0));
  latest.run(late("slow", 200));
  await new Promise((resolve) => setTimeout(resolve, 150));
  latest.run(late("last", 10));
  await new Promise((resolve) => setTimeout(resolve, 300));
  return log;
}"""


def test_a_request_that_hangs_is_overtaken(open_page):
    assert open_page().evaluate(OVERTAKEN) == ["last true", "slow false"]


def test_values_are_typed_with_units_and_reset_and_randomised(open_page, server):
    page = open_page()
    choose(page, "low-pass")
    page.fill(field("cutoff"), "1.5 kHz")
    page.keyboard.press("Enter")
    settle(page, f"{SETTING}.cutoff === 1500")
    assert page.input_value(field("cutoff")) == "1.5\N{NO-BREAK SPACE}kHz"
    page.fill(field("cutoff"), "loud")
    page.keyboard.press("Enter")
    assert page.get_attribute(field("cutoff"), "aria-invalid") == "true"
    assert page.evaluate(f"{SETTING}.cutoff") == 1500
    page.fill(field("cutoff"), "99999")
    page.keyboard.press("Enter")
    settle(page, f"{SETTING}.cutoff === 3600")  # 0.45 of the sample rate
    page.click("#reset")
    effect = dafxtool.list_effects("low-pass", sample_rate=RATE).effects[0]
    settle(page, f"{SETTING}.cutoff === {min(effect.parameters[0].default, 3600)}")
    page.click("#randomise")
    settle(page)
    assert page.evaluate(f"{SETTING}.cutoff") != effect.parameters[0].default
    np.testing.assert_array_equal(heard(page), rendered(page, server)[1])


def test_effects_in_series_are_rendered_and_separated(open_page, server):
    page = open_page()
    choose(page, "overdrive")
    page.select_option("#then", "delay")
    settle(page, f"{EXPLORER}.controls.effect.name === 'overdrive > delay'")
    page.fill(field("delay.time"), "90")
    page.keyboard.press("Enter")
    settle(page, f"{SETTING}['delay.time'] === 90")
    assert " > delay:time=90" in page.inner_text("#effect-line")
    np.testing.assert_array_equal(heard(page), rendered(page, server)[1])
    page.click("#remove-stage")
    settle(page, f"{EXPLORER}.controls.effect.name === 'overdrive'")


def test_dry_and_wet_switch_at_the_same_position(open_page):
    page = open_page()
    choose(page, "gain")
    page.click("#play")
    until(page, f"{PLAYER}.isPlaying && {PLAYER}.position > 0.05")
    positions = []
    for button, gains in (("#hear-dry", {"dry": 1}), ("#hear-wet", None)):
        page.click(button)
        positions.append(page.evaluate(f"{PLAYER}.position"))
        if gains:
            assert page.evaluate(f"{PLAYER}.gains") == gains
    wet_gain = page.evaluate(f"{PLAYER}.gains.wet")
    assert wet_gain == pytest.approx(2, rel=0.01)  # -6 dB is raised to the level of the dry
    page.click("#level")
    assert page.evaluate(f"{PLAYER}.gains") == {"wet": 1}
    page.click("#bypass")
    assert page.evaluate(f"{PLAYER}.gains") == {"dry": 1}
    page.click("#loop")
    until(page, f"!{PLAYER}.isPlaying", 3)  # it ends without the loop
    page.click("#loop")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    for key, state in ((" ", "isPlaying"), (" ", "isPlaying")):
        was = page.evaluate(f"{PLAYER}.{state}")
        page.keyboard.press(key)
        assert page.evaluate(f"{PLAYER}.{state}") is not was


SWAPPED = """async () => {
  const { Player } = await import("/static/sound.js");
  const [rate, seconds] = [8000, 0.5];
  const context = new OfflineAudioContext(1, rate * 1.2, rate);
  const player = new Player(context, rate);
  const tone = (phase) => Float32Array.from({ length: rate * seconds }, (_, i) =>
    0.5 * Math.sin((2 * Math.PI * 200 * i) / rate + phase));
  player.setTracks({ dry: tone(0), wet: tone(2) }, { wet: 1 });
  player.play();
  const at = (time, act) => context.suspend(time).then(() => { act(); context.resume(); });
  at(0.2, () => player.setTracks({ dry: tone(0), wet: tone(1) }, { wet: 1 }));
  at(0.32, () => player.setGains({ dry: 1 }));
  at(0.336, () => player.setGains({ wet: 1 }));  // within the fade
  at(0.9, () => player.stop());
  return [...(await context.startRendering()).getChannelData(0)];
}"""


def test_a_swap_a_switch_a_loop_and_a_stop_do_not_click(open_page):
    page = open_page()
    samples = np.array(page.evaluate(SWAPPED))
    steady = samples[round(0.1 * 8000) : round(0.18 * 8000)]
    largest_step = np.abs(np.diff(steady)).max()
    assert np.abs(samples).max() > 0.4 and np.abs(samples[-1000:]).max() == 0
    assert np.abs(np.diff(samples)).max() < 1.5 * largest_step


def test_an_answer_is_played_within_150_ms(open_page):
    page = open_page()
    choose(page, "delay")
    page.click("#play")
    delay_ms = page.evaluate(
        f"""async () => {{
          const ask = {EXPLORER}.server.ask.bind({EXPLORER}.server);
          let answered = 0;
          {EXPLORER}.server.ask = async (path, body) => {{
            const answer = await ask(path, body);
            if (path === "render") answered = performance.now();
            return answer;
          }};
          {EXPLORER}.controls.set({{ mix: 12 }});
          await new Promise((resolve) => setTimeout(resolve, 1000));
          return {PLAYER}.lastSwap - answered;
        }}"""
    )
    assert 0 <= delay_ms < 100  # and 5 ms until the sources start, 20 ms of fading


def test_a_name_that_is_held_sweeps_its_parameter(open_page):
    page = open_page()
    choose(page, "overdrive")
    before = page.evaluate(f"{SETTING}.drive")
    page.locator("[data-parameter='drive'] .sweep").hover()
    page.mouse.down()
    until(page, f"{SETTING}.drive < {before} - 5 && {PLAYER}.isPlaying", 3)
    until(page, f"{SETTING}.drive > {before} + 5", 6)
    page.mouse.up()
    until(page, f"{SETTING}.drive === {before}", 3)
    until(page, f"{EXPLORER}.map.trail.length > 2")


# --- recordings -----------------------------------------------------------------------------------


def test_a_file_is_opened_and_its_segment_chosen(open_page, server):
    page = open_page()
    content = encode_bytes(noise(3 * RATE, seed=5), RATE, "FLAC", "PCM_16")
    page.set_input_files("#file-input", {"name": "take.flac", "mimeType": "", "buffer": content})
    settle(page, f"{EXPLORER}.recording?.name === 'take.flac'")
    box = page.locator("#waveform").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 20)
    settle(page)
    start = page.evaluate(f"{EXPLORER}.waveform.start")
    assert start == pytest.approx(1.5 * RATE - N_SAMPLES / 2, abs=0.01 * RATE)
    page.keyboard.press("End")
    until(page, f"{EXPLORER}.waveform.start === {3 * RATE - N_SAMPLES}")
    until(page, f"{EXPLORER}.answer.content.command.includes('--start 2.488')")
    samples = soundfile.read(io.BytesIO(content), dtype="float32")[0][-N_SAMPLES:]
    dry = heard(page, "dry")
    np.testing.assert_allclose(dry, samples * (dry[0] / samples[0]), atol=1e-6)
    text = {"name": "session.json", "mimeType": "", "buffer": b'{"kind": "shopping list"}'}
    page.set_input_files("#session-input", text)
    until(page, "document.getElementById('error-text').innerText.includes('not a session')")
    bad = {"name": "bad.wav", "mimeType": "", "buffer": b"RIFF"}
    open_page.allowed.append("400 (Bad Request)")  # Chromium's own line on the refused upload
    page.set_input_files("#file-input", bad)
    until(page, "document.getElementById('error-text').innerText.startsWith('bad.wav')")
    assert page.evaluate(f"{EXPLORER}.recording.name") == "take.flac"


DROP = """([target, name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name));
  const options = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector(target).dispatchEvent(new DragEvent("drop", options));
}"""


def test_a_dropped_file_is_opened(open_page):
    page = open_page()
    content = list(encode_bytes(noise(RATE), RATE, "WAV", "PCM_16"))
    page.evaluate(DROP, ["#source", "drop.wav", content])
    settle(page, f"{EXPLORER}.recording?.name === 'drop.wav'")


def test_the_microphone_records(open_page, server):
    page = open_page()
    page.context.grant_permissions(["microphone"])
    page.click("#record")
    until(page, "document.getElementById('record').getAttribute('aria-pressed') === 'true'")
    page.wait_for_timeout(1300)
    page.click("#record")
    settle(page, f"{EXPLORER}.recording?.name.startsWith('microphone')")
    assert 0.5 < page.evaluate(f"{EXPLORER}.recording.seconds") < 5
    assert np.abs(heard(page, "dry")).max() > 0.1  # the beeps of Chromium's fake device


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


def downloaded(page, button):
    with page.expect_download() as download:
        page.click(button)
    path = download.value.path()
    return download.value.suggested_filename, path.read_bytes()


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
