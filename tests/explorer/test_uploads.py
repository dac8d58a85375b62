"""Uploads: every container is read, everything else is refused with a sentence."""

import numpy as np
import pytest
from audio_files import encode_bytes, noise, wav_bytes
from datasets import N_SAMPLES, RATE
from explorer_client import Client
from recording_files import recordings_by_container

import dafxtool
from dafxtool.explorer import app
from dafxtool.explorer.messages import unpack


@pytest.mark.parametrize(("container", "contents"), recordings_by_container().items())
def test_every_container_is_read_as_from_the_disk(client, tmp_path, container, contents):
    for content in contents:
        path = tmp_path / f"take.{container}"
        path.write_bytes(content)
        expected, _ = dafxtool.load_audio(path, sample_rate=RATE, channel="loudest")
        status, answer = client.upload(path.name, content)
        assert status == 200, answer
        found, arrays = unpack(answer)
        assert found["name"] == path.name and found["nSamples"] == len(expected)
        assert arrays["outline"].max() == expected.max()
        assert arrays["outline"].min() == expected.min()


WAV = encode_bytes(noise(4000, 2), 44_100, "WAV", "PCM_16")
BAD = {
    "empty.wav": b"",
    "cut-off.wav": WAV[:5000],
    "nan.wav": wav_bytes(3, 1, 32, 4, np.full(9000, np.nan, "<f4").tobytes(), rate=RATE),
    "text.mp3": b"To be, or not to be\n" * 100,
    "no-suffix": b"no sound",
    "page.html": b"<script>alert(1)</script>",
    "header.wav": WAV[:44],
    "rate.wav": wav_bytes(1, 1, 16, 2, bytes(4000), rate=0),
}


@pytest.mark.parametrize("name", BAD)
def test_odd_files_are_refused_by_their_name(client, name):
    status, answer = client.upload(name, BAD[name])
    assert status == 400
    assert name in answer.decode() and "/tmp" not in answer.decode()


@pytest.mark.parametrize("name", ["../../x.wav", "..\\x.wav", "/etc/x.wav", "%00x.wav", "x" * 900])
def test_names_of_uploads_are_shown_and_never_used_as_paths(server, client, name):
    status, answer = client.upload(name, WAV)
    assert status == 200
    shown = unpack(answer)[0]["name"]
    assert "/" not in shown and "\\" not in shown and len(shown) <= 120


def test_a_short_upload_is_padded_and_a_long_one_can_be_moved_in(client):
    short = encode_bytes(noise(300), RATE, "WAV", "PCM_16")
    found, _ = unpack(client.upload("short.wav", short)[1])
    _, arrays = client.ask("/render", **client.scene("clean", found["key"]))
    assert arrays["dry"].shape == (N_SAMPLES,) and not arrays["dry"][300:].any()
    silent = encode_bytes(np.zeros((1, 9000), "f"), RATE, "WAV", "PCM_16")
    found, _ = unpack(client.upload("silent.wav", silent)[1])
    assert "silent" in client.refusal("/render", **client.scene("clean", found["key"]))


def test_the_loudest_segment_is_found(client):
    quiet = 0.01 * noise(40_000)[0]
    quiet[25_000 : 25_000 + N_SAMPLES] *= 30
    content = encode_bytes(quiet[None], RATE, "WAV", "PCM_16")
    found, _ = unpack(client.upload("quiet.wav", content)[1])
    assert abs(found["loudestStart"] - 25_000) <= 0.1 * RATE


def test_large_uploads_are_refused_before_they_are_read(client, monkeypatch):
    monkeypatch.setattr(app, "LARGEST_UPLOAD_BYTES", 10_000)
    status, answer = client.upload("large.wav", WAV)
    assert status == 400 and b"too large" in answer


def test_tabs_do_not_see_each_other_s_uploads(server, client):
    found, _ = unpack(client.upload("mine.wav", WAV)[1])
    other = Client(server, "fedcba9876543210")
    keys = [each["key"] for each in other.ask("/opening")[0]["recordings"]]
    assert found["key"] not in keys
    assert "no longer" in other.refusal("/render", **other.scene("delay", found["key"]))
    assert found["key"] in [each["key"] for each in client.ask("/opening")[0]["recordings"]]
