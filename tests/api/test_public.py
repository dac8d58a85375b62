"""The Python interface: loaded lazily, paths and effects as text, results for a notebook."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import CONFIGURATION, RATE, write_recordings

import dafxtool
from dafxtool import presets
from dafxtool.errors import ArgumentError, EffectError, OutputExistsError, RecordingError

SLOW_IMPORTS = ("torch", "matplotlib", "sklearn", "scipy", "pedalboard", "h5py", "numpy")


def test_the_import_loads_no_slow_package():
    program = f"import sys, dafxtool; print([x for x in {SLOW_IMPORTS!r} if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_resolves():
    for name in dafxtool.__all__:
        function = getattr(dafxtool, name)
        assert callable(function) and function.__name__ == name and function.__doc__
    assert set(dafxtool.__all__) <= set(dir(dafxtool))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rendr'"):
        _ = dafxtool.rendr


def test_effects_are_listed_by_name():
    table = dafxtool.list_effects("delay")
    assert table["delay"].parameter("time").unit == "ms"
    assert repr(table) == "EffectTable(delay)"
    assert "<td>delay</td>" in table._repr_html_()
    with pytest.raises(EffectError, match="delai"):
        dafxtool.list_effects("delai")


def test_audio_is_read_changed_and_written_by_text(tmp_path):
    path = str(tmp_path / "dry.wav")
    dry = 0.1 * np.sin(np.arange(4096, dtype=np.float32) / 10)
    dafxtool.save_audio(path, dry, RATE)
    read, rate = dafxtool.load_audio(path)
    assert rate == RATE and np.array_equal(read, dry)
    assert len(dafxtool.load_audio(path, sample_rate=2 * RATE)[0]) == 2 * len(dry)
    wet = dafxtool.apply_effect(dry, RATE, "delay:time=100,mix=50")
    assert wet.shape == dry.shape and not np.array_equal(wet, dry)
    with pytest.raises(OutputExistsError):
        dafxtool.save_audio(path, dry, RATE)
    with pytest.raises(RecordingError):
        dafxtool.load_audio(str(tmp_path / "missing.wav"))


class Pipeline:
    """Results of a small pipeline that is driven by text alone."""

    def __init__(self, folder: Path) -> None:
        small = replace(CONFIGURATION.training, max_steps=4)
        toml = folder / "small.toml"
        toml.write_text(presets.to_toml(replace(CONFIGURATION, training=small)), "utf-8")
        config, self.folder = str(toml), folder
        self.recording = str(write_recordings(folder / "recordings") / "plucks" / "0.wav")
        self.render = dafxtool.render(
            str(folder / "recordings"),
            output=str(folder / "pairs.h5"),
            effects=["overdrive", "delay:mix=50"],
            pairs_per_effect=12,
            config=config,
            workers=1,
        )
        self.spectrograms = dafxtool.compute_spectrograms(
            str(folder / "pairs.h5"), output=str(folder / "spectrograms.h5"), config=config
        )
        self.training = dafxtool.train(
            str(folder / "spectrograms.h5"),
            output=str(folder / "runs" / "small-1"),
            config=config,
            device="cpu",
        )
        self.run = dafxtool.load_run(str(folder / "runs" / "small-1"), device="cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline(tmp_path_factory.mktemp("public"))


def check_display(result: object, *texts: str) -> None:
    """Check that a result has a short repr, and an HTML view that contains the texts."""
    assert repr(result).startswith(type(result).__name__ + "(")
    assert len(repr(result)) < 300
    html = result._repr_html_()
    assert all(text in html for text in texts), html[:500]


def test_the_dataset_and_the_run_are_shown(pipeline):
    assert pipeline.render.pairs_per_effect == {"overdrive": 12, "delay": 12}
    check_display(pipeline.render, "24 pairs", "<td>overdrive</td><td>12</td>")
    check_display(pipeline.spectrograms, "24 x 2 x 129 x 65")
    check_display(pipeline.training, "validation error, wet", "data:image/png")
    check_display(pipeline.run, "overdrive, delay", "0.51 s at 8000 Hz")


def test_latents_and_a_map_are_shown(pipeline):
    pairs = str(pipeline.folder / "pairs.h5")
    latents = dafxtool.embed(pairs, run=pipeline.run, split="test")
    check_display(latents, "<td>delay</td>")
    result = dafxtool.latent_map(pairs, run=pipeline.run, method="pca")
    check_display(result, "data:image/png")
    assert result.output is None


def test_examples_are_reconstructed_and_shown(pipeline):
    result = dafxtool.reconstruct(pipeline.recording, run=pipeline.run, effects="delay")
    check_display(result, "data:image/png", "<td>delay</td>")


def test_an_interpolation_has_players(pipeline):
    result = dafxtool.interpolate(
        pipeline.recording, run=pipeline.run, effects=["delay", "overdrive:drive=20"], steps=3
    )
    check_display(result, "data:image/png", "data:audio/mpeg", "t = 0.50, wet")


def test_a_sweep_is_shown(pipeline):
    result = dafxtool.sweep(
        pipeline.recording, run=pipeline.run, effects="delay", values=3, segments=2
    )
    check_display(result, "data:image/png", "<td>feedback</td>")


def test_an_evaluation_is_shown(pipeline):
    result = dafxtool.evaluate(
        pipeline.run, pairs=str(pipeline.folder / "pairs.h5"), midpoints=2, sounds=1
    )
    check_display(result, "Reconstruction error")


def test_an_inverted_file_has_a_player(pipeline):
    (file,) = dafxtool.invert(
        str(pipeline.folder / "spectrograms.h5"), output=str(pipeline.folder / "inverted.wav")
    )
    check_display(file, "data:audio/wav")


def test_a_match_is_shown(tmp_path):
    rng = np.random.default_rng(0)
    dry = (0.1 * rng.standard_normal(2 * RATE)).astype(np.float32)
    for name, audio in (("dry", dry), ("wet", dafxtool.apply_effect(dry, RATE, "low-pass"))):
        dafxtool.save_audio(str(tmp_path / f"{name}.wav"), audio, RATE)
    result = dafxtool.match(
        str(tmp_path / "dry.wav"),
        str(tmp_path / "wet.wav"),
        effects="low-pass",
        output=str(tmp_path / "matched.wav"),
        workers=1,
        budget="fast",
    )
    check_display(result, "<td>low-pass</td>", "data:image/png")


def test_a_report_is_shown(pipeline):
    result = dafxtool.report(
        pipeline.run,
        pairs=str(pipeline.folder / "pairs.h5"),
        output=str(pipeline.folder / "report.html"),
        points=2,
        without=("map", "sweeps", "evaluation"),
    )
    check_display(result, "MB")


def test_arguments_that_do_not_fit_are_refused(pipeline):
    with pytest.raises(ArgumentError, match="3 recordings"):
        dafxtool.interpolate([pipeline.recording] * 3, run=pipeline.run)
    with pytest.raises(EffectError, match="delai"):
        dafxtool.interpolate(pipeline.recording, run=pipeline.run, effects=["delai", "overdrive"])
