"""The model in the package: it loads, follows effects, and tells them apart on new recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dafxtool
from dafxtool.audio.example_recordings import HELD_OUT
from dafxtool.dataset.copies import known_contents
from dafxtool.dataset.pair import render_pair
from dafxtool.dataset.segments import cut_recording
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.latents.examples import load_example
from dafxtool.latents.table import copies_of_training
from dafxtool.models.checkpoint import PRETRAINED, PRETRAINED_FILE
from dafxtool.models.pretrained import LARGEST_BYTES
from dafxtool.models.run import Run, load_run
from dafxtool.utils.progress import Progress

EFFECTS = ("overdrive:drive=30", "delay:time=300,mix=50", "reverb:mix=60", "ring-modulator:mix=100")


@pytest.fixture(scope="module")
def shipped() -> Run:
    return load_run(PRETRAINED, "cpu")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[Path]:
    """Write two recordings that are in no training data."""
    folder = tmp_path_factory.mktemp("recordings")
    for index, clip in enumerate(HELD_OUT):
        clip.write_wav(folder / f"{index}.wav")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def examples(shipped, recordings):
    """Each effect on each recording: EFFECTS, twice."""
    chosen = [parse_effect(effect) for effect in EFFECTS]
    return [load_example(path, shipped, each) for path in recordings for each in chosen]


def test_it_is_small_and_names_its_sources(shipped):
    assert PRETRAINED_FILE.stat().st_size <= LARGEST_BYTES
    assert all(
        source["name"] and source["licence"] and source["attribution"]
        for source in shipped.data["sources"]
    )
    names = [effect["name"] for effect in shipped.effects]
    assert set(builtin_effects()) - {"gain"} <= set(names)
    assert sum(" > " in name for name in names) >= 3
    assert "clean" not in names[:2]  # the default effects of 'interpolate' are heard


def test_its_wet_channel_is_nearer_than_the_dry_one(shipped, examples):
    """In standardised units; on recordings that it never saw."""
    pairs = np.stack([example.spectrogram for example in examples])
    decoded = shipped.decode(shipped.embed(pairs), pairs[:, 0])
    error = np.square(decoded - pairs).mean(axis=(2, 3))
    copied = np.square(pairs[:, 0] - pairs[:, 1]).mean(axis=(1, 2))
    assert error[:, 0].mean() < 0.05
    assert error[:, 1].mean() < 0.06
    assert error[:, 1].mean() < 0.4 * copied.mean()


def test_its_style_is_nearest_to_the_same_effect_on_another_recording(shipped, examples):
    latents = shipped.embed(np.stack([example.spectrogram for example in examples]))
    style = latents[:, -shipped.model.n_style :]
    first, second = style[: len(EFFECTS)], style[len(EFFECTS) :]
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)
    assert (distance.argmin(axis=1) == np.arange(len(EFFECTS))).all()


def test_inaudible_noise_beside_an_effect_does_not_move_its_style(shipped, recordings):
    """Noise of -80 dB, against the distance of two drives."""
    config = shipped.configuration.segments
    overdrive = parse_effect("overdrive").effect.at(config.sample_rate)
    for path in recordings:
        dry = cut_recording(path, 0, config)
        soft, hard = (
            render_pair(dry, overdrive, overdrive.complete({"drive": drive}), config)[0]
            for drive in (10, 40)
        )
        noisy = hard.copy()
        noise = np.random.default_rng(0).standard_normal(hard.shape[1]).astype(np.float32)
        noisy[1] += noise * 1e-4 * np.sqrt(np.square(hard[0]).mean())
        style = shipped.embed_audio(np.stack([soft, hard, noisy]))[:, -shipped.model.n_style :]
        moved, distance = (np.linalg.norm(style[k] - style[1]) for k in (2, 0))
        assert moved < 0.02 * distance


class Messages(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def test_an_empty_folder_is_enough_to_interpolate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    progress = Messages()
    result = dafxtool.interpolate(
        ["a.wav", "b.wav"], steps=3, output="sheet.png", device="cpu", progress=progress
    )
    assert Path("sheet.png").stat().st_size > 10_000
    assert result.run.path == PRETRAINED
    assert sum("pretrained" in line for line in progress.lines) == 1
    named = dafxtool.interpolate("a.wav", "b.wav", steps=3, run="pretrained", device="cpu")
    np.testing.assert_array_equal(named.steps.magnitudes, result.steps.magnitudes)


def test_it_knows_its_training_recordings_by_content():
    run = load_run(PRETRAINED, "cpu")
    known = known_contents(run.data["contents"])
    assert len(known) == len(run.data["contents"]) > 500
    assert all(each.fingerprint.digest and Path(each.path).name == each.path for each in known)
    recordings = [
        {"path": "/elsewhere/renamed.wav", "sample_rate": 16_000, "n_samples_native": 0}
        | {"digest": digest, "sketch": ""}
        for digest in (known[0].fingerprint.digest, "another")
    ]
    assert set(copies_of_training(recordings, run)) == {0}
