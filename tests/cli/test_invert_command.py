"""Check the command `invert`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_runs import names_in
from datasets import N_SAMPLES, RATE, SPECTROGRAM

from dafxtool import storage
from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import save_audio

N_BINS, N_FRAMES = SPECTROGRAM.n_bins, SPECTROGRAM.n_frames


def magnitude(seed: int = 0) -> np.ndarray:
    """Return the magnitude spectrogram of noise with a rising level."""
    from dafxtool.spectrogram.stft import magnitude

    rng = np.random.default_rng(seed)
    audio = rng.standard_normal(N_SAMPLES) * np.linspace(0.05, 0.2, N_SAMPLES)
    return magnitude(audio.astype(np.float32), SPECTROGRAM).numpy()


@pytest.mark.parametrize("channel", ["dry", "wet"])
def test_invert_a_row_of_spectrograms(succeed, spectrograms_file, tmp_path, channel):
    output = tmp_path / "sound.wav"
    arguments = ("--row", 3, "--channel", channel, "-o", output, "-q", "--json")
    (answer,) = succeed("invert", spectrograms_file, *arguments)["audio_files"]
    audio, rate = load_audio(output)
    assert (len(audio), rate) == (N_SAMPLES, RATE)
    assert answer["seconds"] == N_SAMPLES / RATE
    assert answer["convergence_db"] < -10
    with storage.Hdf5Reader(spectrograms_file.with_name("pairs.h5"), storage.PAIRS) as reader:
        expected = reader.rows(slice(3, 4))[0, ("dry", "wet").index(channel)]
    np.testing.assert_allclose(audio.std(), expected.std(), rtol=0.1)


def test_invert_several_rows_into_a_folder(succeed, fail, spectrograms_file, tmp_path):
    rows = ("--row", 1, "--row", 0, "--row", 1, "--channel", "both")
    answer = succeed("invert", spectrograms_file, *rows, "-o", tmp_path / "all", "-q", "--json")
    assert names_in(tmp_path / "all") == {Path(each["path"]).name for each in answer["audio_files"]}
    assert len(answer["audio_files"]) == 4
    message = fail("invert", spectrograms_file, *rows, "-o", tmp_path / "all.wav", "-q")
    assert "4 audio files to write" in message
    assert names_in(tmp_path) == {"all", *(f"all/{name}" for name in names_in(tmp_path / "all"))}


def test_invert_latents(succeed, pairs_file, run_folder, tmp_path):
    succeed("embed", pairs_file, "--run", run_folder, "-o", tmp_path / "l.h5", "-q")
    succeed("invert", tmp_path / "l.h5", "--row", 2, "-o", tmp_path / "l.flac", "-q")
    audio, rate = load_audio(tmp_path / "l.flac")
    assert (len(audio), rate) == (N_SAMPLES, RATE)


@pytest.mark.parametrize("method", ["griffin-lim", "fast", "best"])
def test_invert_an_array_with_stft_settings(succeed, tmp_path, method):
    settings = {key: getattr(SPECTROGRAM, key) for key in ("sample_rate", "n_fft", "hop_length")}
    np.savez(tmp_path / "m.npz", magnitude=magnitude(), n_samples=N_SAMPLES, **settings)
    output = tmp_path / "m.wav"
    (answer,) = succeed(
        *("invert", tmp_path / "m.npz", "--method", method, "-o", output, "-q", "--json")
    )["audio_files"]
    audio, rate = load_audio(output)
    assert (len(audio), rate) == (N_SAMPLES, RATE)
    assert answer["convergence_db"] < -10


def test_invert_an_array_without_stft_settings(succeed, tmp_path):
    np.save(tmp_path / "m.npy", np.stack([magnitude(0), magnitude(1)]))
    options = ("--hop-length", 64, "--sample-rate", RATE, "--row", 1)
    succeed("invert", tmp_path / "m.npy", *options, "-o", tmp_path / "m.wav", "-q")
    audio, rate = load_audio(tmp_path / "m.wav")
    assert (len(audio), rate) == ((N_FRAMES - 1) * 64, RATE)


def test_invert_with_the_true_phase_gives_the_original(succeed, pluck, tmp_path):
    from dafxtool.spectrogram.stft import magnitude

    original = load_audio(pluck)[0][:N_SAMPLES]
    settings = {"sample_rate": RATE, "hop_length": 64, "n_samples": N_SAMPLES}
    np.savez(tmp_path / "m.npz", magnitude=magnitude(original, SPECTROGRAM).numpy(), **settings)
    save_audio(tmp_path / "dry.wav", original, RATE)
    arguments = ("--phase-from", tmp_path / "dry.wav", "-o", tmp_path / "m.wav", "-q")
    succeed("invert", tmp_path / "m.npz", *arguments)
    np.testing.assert_allclose(load_audio(tmp_path / "m.wav")[0], original, atol=1e-4)


def test_invert_silence_is_silence(succeed, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((N_BINS, N_FRAMES), np.float32))
    succeed("invert", tmp_path / "zero.npy", "-o", tmp_path / "zero.wav", "-q")
    assert not load_audio(tmp_path / "zero.wav")[0].any()


def test_invert_takes_magnitudes_shorter_than_a_window(succeed, tmp_path):
    np.save(tmp_path / "short.npy", magnitude()[:, :2])
    output = tmp_path / "short.wav"
    succeed("invert", tmp_path / "short.npy", "--hop-length", 64, "-o", output, "-q")
    audio = load_audio(output)[0]
    assert len(audio) == 64
    assert np.isfinite(audio).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((N_BINS, 8), np.nan), "NaN"),
        (np.full((N_BINS, 8), np.inf), "NaN"),
        (np.full((N_BINS, 8), -0.1), "negative"),
        (np.zeros((N_BINS, 8), complex), "real numbers"),
        (np.zeros(8), "of shape (8,)"),
        (np.zeros((2, 8)), "at least 3"),
        (np.zeros((0, 8)), "of shape (0, 8)"),
        (np.array(["a"]), "real numbers"),
    ],
)
def test_invalid_magnitudes_are_refused(fail, tmp_path, values, message):
    np.save(tmp_path / "m.npy", values)
    assert message in fail("invert", tmp_path / "m.npy", "-o", tmp_path / "m.wav", "-q")
    assert names_in(tmp_path) == {"m.npy"}
