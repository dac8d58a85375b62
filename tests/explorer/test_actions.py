"""What the server answers, compared with the library's own results."""

import io
import json
import socket
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from datasets import N_SAMPLES, RATE, SPECTROGRAM
from explorer_client import Client

import dafxtool
from dafxtool import storage
from dafxtool.audio.level import normalise_peak
from dafxtool.dataset.segments import cut_recording
from dafxtool.effects.apply import parse_effect
from dafxtool.explorer.images import N_DIFFERENCES, N_ROWS
from dafxtool.explorer.messages import unpack
from dafxtool.plots.spectrogram_axes import frequency_weights
from dafxtool.plots.spectrograms import Panel, Sheet, _Spectrograms
from dafxtool.spectrogram.stft import magnitude


def first_segment(recordings, run, start):
    """Return a segment of the first recording as effects get it."""
    config = run.configuration.segments
    path = recordings / "plucks" / "0.wav"
    return normalise_peak(cut_recording(path, start, config), config.level_dbfs)


def key_of(answer):
    """Return the key of an uploaded recording."""
    return unpack(answer)[0]["key"]


@pytest.fixture(scope="module")
def mapped(server):
    """Build the map once."""
    return Client(server).stream("/map")[-1][0]


def test_the_opening_lists_effects_recordings_and_the_run(client, run):
    opening, _ = client.ask("/opening")
    assert {each["name"] for each in opening["effects"]} >= {"delay", "overdrive", "clean"}
    assert opening["sampleRate"] == RATE and opening["nSamples"] == N_SAMPLES
    assert opening["run"] == {"name": run.path.name, "effects": ["overdrive", "delay"]}
    kinds = [each["kind"] for each in opening["recordings"]]
    assert kinds == ["file"] * 8 + ["built-in"] * 22


@pytest.mark.parametrize(
    "text", ["delay:time=123.4,mix=77", "overdrive:drive=31", "bit-crusher:bits=3", "clean"]
)
def test_the_wet_audio_is_that_of_apply_effect_to_the_bit(client, recordings, run, text):
    effect, setting = parse_effect(text)
    answer, arrays = client.ask("/render", **client.scene(effect.name, start=1000, **setting))
    dry = first_segment(recordings, run, 1000)
    np.testing.assert_array_equal(arrays["dry"], dry)
    np.testing.assert_array_equal(arrays["wet"], dafxtool.apply_effect(dry, RATE, text))
    line = answer["line"].removeprefix("--effect ").strip("'")
    np.testing.assert_array_equal(arrays["wet"], dafxtool.apply_effect(dry, RATE, line))


def test_the_gain_brings_the_wet_to_the_level_of_the_dry(client):
    answer, arrays = client.ask("/render", **client.scene("gain", gain=-9))
    assert answer["gainDb"] == pytest.approx(9, abs=1e-3)
    peak = 20 * np.log10(np.abs(arrays["wet"]).max())
    assert answer["peakDb"] == pytest.approx(peak, abs=1e-3)


def test_images_have_the_values_of_our_sheets(client):
    answer, arrays = client.ask("/render", **client.scene("overdrive"))
    dry, wet = (magnitude(arrays[name], SPECTROGRAM).numpy() for name in ("dry", "wet"))
    panels = [Panel(dry), Panel(wet), Panel(wet, minus=dry)]
    sheet = Sheet([panels], SPECTROGRAM.frequencies_hz(), SPECTROGRAM.frame_times_s())
    drawn = _Spectrograms(sheet)
    drawn.weights = frequency_weights(drawn.frequencies, N_ROWS)
    for name, panel in zip(("dryImage", "wetImage"), panels, strict=False):
        expected = 255 * (1 + drawn.image(panel) / 80)
        np.testing.assert_allclose(arrays[name], expected, atol=0.51)
    assert answer["limitDb"] == drawn.difference_limit_db
    middle = (N_DIFFERENCES - 1) / 2
    expected = middle * (1 + drawn.image(panels[2]) / answer["limitDb"])
    expected = np.clip(expected, 0, N_DIFFERENCES - 1)
    np.testing.assert_allclose(arrays["differenceImage"], expected, atol=0.51)


@pytest.mark.parametrize(
    "change",
    [
        {"effect": "nothing"},
        {"setting": {"time": 1e9}},
        {"setting": {"time": "NaN"}},
        {"setting": {"speed": 3}},
        {"setting": None},
        {"recording": "file-99"},
        {"recording": "../../etc/passwd"},
        {"start": 10**9},
        {"start": -1},
        {"start": None},
    ],
)
def test_impossible_requests_are_refused_with_a_sentence(client, change):
    for path in ("/render", "/wav", "/sheet"):
        assert client.refusal(path, **(client.scene() | change)).endswith((".", "?"))


def test_requests_that_are_no_json_are_refused(client):
    for body in (b"", b"[", b"[]", b"1", b'"x"', b"{}"):
        assert client.request("POST", "/render", body)[0] == 400
    assert client.request("POST", "/render", b" " * (1 << 20) + b"{}")[0] == 400
    assert client.request("POST", "/opening", b"{}", {"X-Session": "../x"})[0] == 400


# --- the map ------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [0, 3])
def test_a_pair_of_the_map_is_placed_on_its_own_point(
    client, mapped, recordings, pairs_file, point
):
    paths = sorted(recordings.rglob("*.wav"))
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        labels = reader.labels
        row = int(labels.rows_of(["test"])[point])
        path, start = Path(labels.path_of(row)), int(labels.offset[row])
        setting = labels.setting_of(row)
        pair = reader.rows(np.array([row]))[0]
    _, arrays = client.ask("/point", point=point)
    np.testing.assert_array_equal([arrays["dry"], arrays["wet"]], pair)
    # The same recordings lie in both folders.
    key = f"file-{paths.index(recordings / path.parent.name / path.name)}"
    scene = client.scene(labels.effect_of(row), key, start, **setting)
    placed, _ = client.ask("/place", **scene)
    assert placed["neighbours"][0] == point
    shown = mapped["map"]["x"][point], mapped["map"]["y"][point]
    assert (placed["x"], placed["y"]) == pytest.approx(shown, abs=1e-3)


def test_a_location_lists_neighbours_and_counts_their_effects(client, mapped):
    placed, _ = client.ask("/place", **client.scene("overdrive", drive=40))
    n = len(mapped["map"]["x"])
    assert len(set(placed["neighbours"])) == 5 and all(
        0 <= each < n for each in placed["neighbours"]
    )
    assert sum(share for _, share in placed["shares"]) == pytest.approx(1)
    assert {name for name, _ in placed["shares"]} <= {"overdrive", "delay"}
    xs = [mapped["map"]["x"][each] for each in range(n)]
    assert min(xs) <= placed["x"] <= max(xs)


def test_a_location_decodes_to_audio_of_the_segment(client, mapped):
    x, y = mapped["map"]["x"][0], mapped["map"]["y"][0]
    placed, arrays = client.ask("/decode", **client.scene("delay"), x=x, y=y)
    assert arrays["wet"].shape == (N_SAMPLES,) and np.isfinite(arrays["wet"]).all()
    assert np.abs(arrays["wet"]).max() > 0.01
    # The effect part of the latent is that of the point, so the position is the same.
    assert placed["neighbours"][0] == 0
    assert (placed["x"], placed["y"]) == pytest.approx((x, y), abs=1e-3)
    assert client.refusal("/decode", **client.scene("delay"), x="left", y=0)
    assert client.refusal("/point", point=10**6)


# --- between two settings -------------------------------------------------------------------------


@pytest.mark.parametrize("detailed", [False, True])
def test_a_path_starts_and_ends_at_its_settings(client, mapped, run, detailed):
    a, b = client.scene("delay", time=100), client.scene("overdrive", drive=40)
    messages = client.stream("/between", a=a, b=b, detailed=detailed)
    head, steps = messages[0][0], messages[1:]
    assert [content["index"] for content, _ in steps] == [0, 8, 4, 2, 6, 1, 3, 5, 7]
    assert ("locations" in head) is not detailed
    level = run.configuration.segments.level_dbfs
    for end, scene in ((0, a), (1, b)):
        wet = client.ask("/render", **scene)[1]["wet"]
        np.testing.assert_array_equal(steps[end][1]["wet"], normalise_peak(wet, level))
    for _, arrays in steps:
        assert arrays["wet"].shape == (N_SAMPLES,) and np.isfinite(arrays["wet"]).all()


def test_a_detailed_path_between_two_segments_is_refused(client):
    a, b = client.scene("delay"), client.scene("delay", start=500, time=100)
    messages = client.stream("/between", a=a, b=b, detailed=True)
    assert messages[-1][0]["kind"] == "error" and "segment" in messages[-1][0]["error"]


# --- match ----------------------------------------------------------------------------------------


def test_a_match_sends_better_settings_while_it_runs(client, recordings):
    path = recordings / "plucks" / "1.wav"
    dry, rate = dafxtool.load_audio(path)
    wet = dafxtool.apply_effect(dry, rate, "overdrive:drive=36,tone=1500")
    buffer = io.BytesIO()
    soundfile.write(buffer, wet, rate, format="WAV", subtype="FLOAT")
    reference = client.upload("wet.wav", buffer.getvalue())[1]
    key = key_of(reference)
    opening, _ = client.ask("/opening")
    names = [each["name"] for each in opening["recordings"]]
    body = {"recording": opening["recordings"][names.index("1.wav")]["key"], "reference": key}
    messages = [
        content
        for content, _ in client.stream("/match", **body, mode="same", effects=["overdrive"])
    ]
    best = [each for each in messages if each["kind"] == "best"]
    assert best and messages[-1]["kind"] == "answer"
    stage = messages[-1]["stages"][0]
    assert stage["effect"] == "overdrive"
    assert stage["setting"]["drive"] == pytest.approx(36, abs=3)
    assert stage["setting"]["tone"] == pytest.approx(1500, rel=0.1)


def test_a_search_ends_when_the_page_closes_it(server):
    client = Client(server)
    body = json.dumps({"recording": "file-0", "reference": "file-1", "mode": "other"}).encode()
    before = set(psutil.Process().children())
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        lines = (
            "POST /match HTTP/1.1",
            f"Host: 127.0.0.1:{server.port}",
            f"Cookie: dafxtool-{server.port}={client.token}",
            f"X-Session: {client.session}",
            f"Content-Length: {len(body)}",
        )
        connection.sendall("\r\n".join((*lines, "", "")).encode() + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        children = set()
        while not children:
            children = set(psutil.Process().children()) - before
    assert psutil.wait_procs(children, 20)[1] == []


# --- exports --------------------------------------------------------------------------------------


def test_the_wav_file_holds_every_sample_as_it_is(client):
    scene = client.scene("distortion", drive=50)
    _, _, content = client.request("POST", "/wav", json.dumps(scene).encode())
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(samples, client.ask("/render", **scene)[1]["wet"])


def test_the_complete_recording_is_exported_at_its_own_rate(client, recordings):
    scene = client.scene("tremolo", rate=3) | {"complete": True}
    _, _, content = client.request("POST", "/wav", json.dumps(scene).encode())
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    dry, own = dafxtool.load_audio(recordings / "plucks" / "0.wav")
    assert rate == own
    wet = dafxtool.apply_effect(dry, own, "tremolo:rate=3")
    np.testing.assert_allclose(samples, wet, atol=1e-6)


def test_the_complete_recording_is_driven_as_much_as_the_segment(client, recordings, run):
    scene = client.scene("overdrive", drive=40) | {"complete": True}
    _, _, content = client.request("POST", "/wav", json.dumps(scene).encode())
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    wet = client.ask("/render", **scene)[1]["wet"]
    ratio = samples[:N_SAMPLES] @ wet / (wet @ wet)
    np.testing.assert_allclose(samples[:N_SAMPLES], ratio * wet, atol=1e-5)


def test_sheets_are_png_files(client):
    scene = client.scene("delay")
    body = {"a": scene, "b": client.scene("delay", time=90), "detailed": True}
    for path, request in (("/sheet", scene), ("/between-sheet", body)):
        _, headers, content = client.request("POST", path, json.dumps(request).encode())
        assert headers["Content-Type"] == "image/png" and content.startswith(b"\x89PNG")
