"""Check the reconstruction of audio from files with magnitudes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import N_SAMPLES, RATE, SPECTROGRAM

from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import save_audio
from dafxtool.errors import (
    ConfigError,
    DafxError,
    FormatError,
    InputError,
    RecordingError,
)
from dafxtool.latents.embed import embed
from dafxtool.latents.invert import fit_length, invert_file
from dafxtool.latents.table import write_latents
from dafxtool.spectrogram.compute import read_magnitudes
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.stft import magnitude
from dafxtool.spectrogram.transform import linear_magnitude

SETTINGS = {"sample_rate": RATE, "n_fft": 256, "hop_length": 64, "n_samples": N_SAMPLES}


def noise(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(N_SAMPLES)).astype(np.float32)


def noise_magnitude(seed: int = 0) -> np.ndarray:
    return magnitude(noise(seed), SPECTROGRAM).numpy()


def test_a_file_gives_the_same_audio_as_its_array(tmp_path):
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude(), **SETTINGS)
    (written,) = invert_file(tmp_path / "m.npz", tmp_path / "m.wav", seed=3)
    expected = invert(noise_magnitude(), SPECTROGRAM, N_SAMPLES, seed=3)
    np.testing.assert_array_equal(load_audio(written.path)[0], expected.audio)
    assert written.convergence_db == expected.convergence_db


def test_arguments_override_the_settings_in_the_file(tmp_path):
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude(), hop_length=64, sample_rate=44_100)
    invert_file(tmp_path / "m.npz", tmp_path / "m.wav", stft={"sample_rate": RATE})
    audio, rate = load_audio(tmp_path / "m.wav")
    assert (len(audio), rate) == (N_SAMPLES, RATE)


def test_rows_name_their_files_and_repeated_rows_are_written_once(spectrograms_file, tmp_path):
    written = invert_file(spectrograms_file, tmp_path / "out", [4, 2, 4], ["dry", "wet"])
    assert [each.path.name for each in written] == [
        f"spectrograms-00000{row}-{channel}.wav" for row in (4, 2) for channel in ("dry", "wet")
    ]
    values, config = read_magnitudes(spectrograms_file, [4, 2])
    expected = invert(values[1, 0], config, config.n_samples)
    np.testing.assert_array_equal(load_audio(written[2].path)[0], expected.audio)


def test_latents_are_decoded_by_their_run(pairs_file, run, tmp_path):
    latents = embed([pairs_file], run)
    write_latents(latents, tmp_path / "l.h5")
    invert_file(tmp_path / "l.h5", tmp_path / "l.wav", [1], ["wet"])
    constants = np.array([[run.mean, run.std]], np.float32)
    decoded = linear_magnitude(run.decode(latents.latent[1:2]), constants, run.spectrogram_config)
    expected = invert(decoded[0, 1], run.spectrogram_config, N_SAMPLES, consistent=False)
    np.testing.assert_allclose(load_audio(tmp_path / "l.wav")[0], expected.audio, atol=1e-5)


def test_the_true_phase_gives_the_original_audio(tmp_path):
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude(), **SETTINGS)
    save_audio(tmp_path / "dry.wav", np.concatenate([noise(), noise(1)]), RATE)
    (written,) = invert_file(
        tmp_path / "m.npz", tmp_path / "m.wav", phase_from=tmp_path / "dry.wav", iterations=0
    )
    np.testing.assert_allclose(load_audio(written.path)[0], noise(), atol=1e-5)


def test_audio_is_cut_or_padded():
    audio = np.arange(4, dtype=np.float32)
    assert fit_length(audio, 2).tolist() == [0, 1]
    assert fit_length(audio, 6).tolist() == [0, 1, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("contents", "error", "message"),
    [
        ({"other": np.ones((129, 4))}, FormatError, "'magnitude'"),
        ({"magnitude": np.ones((129, 4)), "n_fft": 512}, ConfigError, "--n-fft 256"),
        ({"magnitude": np.ones((129, 4)), "n_samples": 9999}, ConfigError, "9999 samples"),
        ({"magnitude": np.ones((129, 4)), "hop_length": "x"}, FormatError, "cannot be read"),
        ({"magnitude": np.ones((129, 4)), "sample_rate": [1, 2]}, FormatError, "cannot be read"),
        ({"magnitude": np.ones((129, 4)), "sample_rate": 0}, ConfigError, "sample_rate"),
        ({"magnitude": np.array([{}])}, FormatError, "allow_pickle=False"),
        ({"magnitude": np.ones((2, 4))}, InputError, "at least 3"),
    ],
)
def test_contradictory_settings_are_refused(tmp_path, contents, error, message):
    np.savez(tmp_path / "m.npz", **contents)
    with pytest.raises(error) as caught:
        invert_file(tmp_path / "m.npz", tmp_path / "m.wav")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.wav").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (20 * np.log10(noise_magnitude() + 1e-4), "decibels"),
        (np.log(noise_magnitude() + 0.1), "logarithms or standardised"),
        (np.random.default_rng(0).uniform(-np.pi, np.pi, (129, 65)), "phase"),
        (np.where(np.eye(129, 65), np.nan, 1.0), "NaN"),
        (noise_magnitude()[:, :, None], "Remove the last axis"),
        (noise_magnitude()[:, :1], "too few frames"),
        (np.ones((173, 1025)), "Transpose"),
        (np.ones((129, 65), complex), "not a magnitude spectrogram"),
    ],
)
def test_arrays_that_are_no_magnitudes_are_refused(tmp_path, values, message):
    np.save(tmp_path / "m.npy", values)
    with pytest.raises(InputError, match=message):
        invert_file(tmp_path / "m.npy", tmp_path / "m.wav")
    assert not (tmp_path / "m.wav").exists()


def test_silence_has_no_convergence(tmp_path, invoke):
    np.savez(tmp_path / "m.npz", magnitude=np.zeros((129, 65)), **SETTINGS)
    (written,) = invert_file(tmp_path / "m.npz", tmp_path / "m.wav")
    assert np.isnan(written.convergence_db)
    assert any("silence" in note for note in written.notes)
    result = invoke("invert", tmp_path / "m.npz", "-o", tmp_path / "c.wav", "--json", "-q")
    assert json.loads(result.stdout)["audio_files"][0]["convergence_db"] is None
    shown = invoke("invert", tmp_path / "m.npz", "-o", tmp_path / "c.wav", "-q", "--overwrite")
    assert "silence" in shown.stdout
    assert "200" not in shown.stdout


def test_assumed_settings_are_reported_and_a_rate_comes_from_the_phase(tmp_path):
    rate = 22_050
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude())
    (written,) = invert_file(tmp_path / "m.npz", tmp_path / "a.wav")
    assert written.sample_rate == 24_000
    assert any("sample rate 24000" in note for note in written.notes)
    (stated,) = invert_file(tmp_path / "m.npz", tmp_path / "b.wav", stft=SETTINGS)
    assert stated.notes == (
        "not stated, assumed: window length 256 samples. Another value: --window-length.",
    )
    save_audio(tmp_path / "dry.wav", noise(), rate)
    dry = tmp_path / "dry.wav"
    (known,) = invert_file(tmp_path / "m.npz", tmp_path / "c.wav", phase_from=dry)
    assert known.sample_rate == load_audio(tmp_path / "c.wav")[1] == rate
    assert not any("sample rate" in note for note in known.notes)


def test_a_recording_without_a_phase_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude(), **SETTINGS)
    dry, silence = noise(), np.zeros(N_SAMPLES, np.float32)
    save_audio(tmp_path / "silent.wav", silence, RATE)
    save_audio(tmp_path / "short.wav", dry[: N_SAMPLES // 10], RATE)
    save_audio(tmp_path / "second.wav", np.stack([silence, dry]), RATE)
    for name, message in (("silent", "silence"), ("short", "too short"), ("second", "channel 2")):
        path = tmp_path / f"{name}.wav"
        with pytest.raises(RecordingError, match=message):
            invert_file(tmp_path / "m.npz", tmp_path / "m.wav", phase_from=path)
    (written,) = invert_file(
        tmp_path / "m.npz", tmp_path / "m.wav", phase_from=path, phase_channel="2", iterations=0
    )
    np.testing.assert_allclose(load_audio(written.path)[0], dry, atol=1e-5)


def test_a_recording_that_does_not_fit_the_magnitude_is_reported(tmp_path):
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude(), **SETTINGS, window_length=256)
    for name, audio in (("same", noise()), ("other", noise(7)), ("shifted", noise()[1000:])):
        save_audio(tmp_path / f"{name}.wav", audio, RATE)
    notes = {
        name: invert_file(
            tmp_path / "m.npz",
            tmp_path / "m.wav",
            phase_from=tmp_path / f"{name}.wav",
            overwrite=True,
        )[0].notes
        for name in ("same", "other", "shifted")
    }
    assert notes["same"] == ()
    assert "not like" in notes["other"][0]
    assert any("covers" in note for note in notes["shifted"])


def test_damaged_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "m.npz", magnitude=noise_magnitude())
    intact = (tmp_path / "m.npz").read_bytes()
    for contents in (intact[:-100], intact[:2000], b"", b"noise"):
        for name in ("cut.npz", "cut.npy"):
            (tmp_path / name).write_bytes(contents)
            with pytest.raises(DafxError, match=name):
                invert_file(tmp_path / name, tmp_path / "m.wav")


def test_impossible_outputs_are_refused_before_inverting(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dafxtool.spectrogram.phase_retrieval.invert", lambda *_, **__: pytest.fail("inverted")
    )
    np.save(tmp_path / "m.npy", np.stack([noise_magnitude()] * 2))
    (tmp_path / "there.wav").touch()
    for output, rows in (
        *(("m.mp3", [0]), ("there.wav", [0]), ("there.wav", [0, 1]), ("new.wav", [0, 1])),
        *(("m.wav", [2]), ("m.wav", [-1])),
    ):
        with pytest.raises(DafxError):
            invert_file(tmp_path / "m.npy", tmp_path / output, rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npy", "there.wav"]
