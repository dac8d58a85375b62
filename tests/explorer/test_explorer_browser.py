"""The explorer's page in Chromium: effects, playback, recordings, by mouse, keyboard and files."""

import io

import numpy as np
import pytest
import soundfile
from audio_files import encode_bytes, noise
from browsers import until
from datasets import N_SAMPLES, RATE
from explorer_page import EXPLORER, PLAYER, SETTING, choose, field, heard, rendered, settle, slider

import dafxtool

pytestmark = pytest.mark.browser


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
