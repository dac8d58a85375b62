"""The evaluation on small data: what is known beforehand, and that it cannot flatter."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import CONFIGURATION, SEGMENTS, SPECTROGRAM, chosen, write_recordings

from dafxtool import storage
from dafxtool.config import SplitConfig
from dafxtool.dataset.render import render
from dafxtool.effects.effect import Effect
from dafxtool.errors import InputError
from dafxtool.evaluation.evaluate import evaluate
from dafxtool.evaluation.midpoints import midway
from dafxtool.evaluation.results import SECTIONS
from dafxtool.models.run import load_run
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.train import train

SPLIT = SplitConfig(validation=0.25, test=0.25)
EFFECTS = ("overdrive", "high-pass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """pairs.h5 of two effects that are easy to tell, 60 pairs each, and a run on them."""
    folder = tmp_path_factory.mktemp("evaluation")
    recordings = write_recordings(folder / "recordings")
    pairs = folder / "pairs.h5"
    render([recordings], pairs, chosen(*EFFECTS), SEGMENTS, SPLIT, 60, seed=5)
    _train(pairs, folder / "run")
    return folder


def _train(pairs, run):
    spectrograms = run.with_name(f"{run.name}.h5")
    compute_spectrograms(pairs, spectrograms, SPECTROGRAM)
    train(spectrograms, run, CONFIGURATION, "cpu")


@pytest.fixture(scope="module")
def made(folder):
    run = load_run(folder / "run", "cpu")
    return evaluate(run, folder / "pairs.h5", midpoints_per_effect=3, n_sounds=2)


def test_every_section_has_its_figures(made):
    assert {score.section for score in made.scores} == set(SECTIONS)
    for score in made.scores:
        estimate = score.estimate
        assert np.isfinite(estimate.value), score
        assert not (estimate.low > estimate.value or estimate.high < estimate.value), score
        assert score.n > 0, score


def test_effects_that_are_easy_to_tell_are_told(made):
    assert made.score("linear", "mean", "latent").value > 0.8
    assert made.score("linear", "mean", "chance").value == 0.5
    assert made.confusion.sum() == made.n_segments["test"]
    shares = made.confusion.diagonal() / made.confusion.sum(axis=1)
    assert shares.mean() == pytest.approx(made.score("linear", "mean", "latent").value)


def test_the_dry_channel_does_not_drift(made):
    """Exactly so: it is decoded from content alone, which the effect does not enter."""
    assert made.score("drift", "two settings", "model").value < 1e-9
    assert made.score("drift", "two effects", "model").value < 1e-9
    assert made.score("drift", "two settings", "other recording").value > 1e-3


def test_the_wet_error_is_shown_beside_simpler_decoders(made):
    errors = {
        method: made.score("reconstruction", "mean, wet", method).value
        for method in ("model", "style alone", "decoded dry", "closed form", "dry")
    }
    assert errors["model"] < min(errors["style alone"], errors["decoded dry"])
    assert errors["closed form"] < errors["dry"]


def test_the_errors_are_those_of_reconstruct(made, folder):
    from dafxtool.latents.reconstruct import reconstruct_pairs

    run = load_run(folder / "run", "cpu")
    table = reconstruct_pairs(folder / "pairs.h5", run)[1]
    for name, dry, wet in zip(table.effect, table.dry_error, table.wet_error, strict=True):
        assert made.score("reconstruction", f"{name}, dry", "model").value == pytest.approx(dry)
        assert made.score("reconstruction", f"{name}, wet", "model").value == pytest.approx(wet)


def test_true_magnitudes_sound_nearer_than_decoded_ones(made):
    for what in ("log-spectral (dB)", "multi-resolution"):
        inverted = made.score("sound", what, "inverted").value
        assert inverted < made.score("sound", what, "model").value


def test_shuffled_labels_score_at_chance(folder):
    """Effects and settings dealt out at random, for training too, are not recognised."""
    pairs = folder / "shuffled.h5"
    with storage.Hdf5Reader(folder / "pairs.h5", storage.PAIRS) as reader:
        labels, audio = reader.labels, reader.rows(slice(None))
        order = np.random.default_rng(0).permutation(len(labels))
        dealt = labels.take(order)
        mixed = replace(labels, effect=dealt.effect, setting=dealt.setting)
        mixed = replace(mixed, setting_text=dealt.setting_text)
        columns = {"audio": (audio.shape[1:], np.float32)}
        made = (mixed.effect, reader.configuration, labels.effects, labels.recordings)
    with storage.open_writer(pairs, storage.PAIRS, columns, *made) as writer:
        writer.put(0, audio=audio, **storage.label_rows(mixed, slice(None)))
    run = folder / "shuffled-run"
    spectrograms = folder / "shuffled-spectrograms.h5"
    compute_spectrograms(pairs, spectrograms, SPECTROGRAM)
    train(spectrograms, run, CONFIGURATION, "cpu")
    found = evaluate(load_run(run, "cpu"), pairs, midpoints_per_effect=0, n_sounds=0)
    for section in ("linear", "neighbours"):
        for method in ("latent", "PCA", "mel"):
            estimate = found.score(section, "mean", method)
            assert estimate.low < 0.5 + 0.1 and estimate.value < 0.72, (section, method)


def test_latents_of_noise_score_at_chance(folder):
    """A model whose latents hang on nothing: no probe may make an effect of them."""
    run = load_run(folder / "run", "cpu")
    rng = np.random.default_rng(1)

    class Noise(type(run)):
        def embed(self, spectrograms):
            n_latent = self.configuration.model.n_latent
            return rng.standard_normal((len(spectrograms), n_latent)).astype(np.float32)

    noise = Noise(**vars(run))
    found = evaluate(noise, folder / "pairs.h5", midpoints_per_effect=0, n_sounds=0)
    for section in ("linear", "neighbours"):
        assert found.score(section, "mean", "latent").low < 0.5
    assert found.score("settings", "mean", "latent").value < 0.1
    assert found.score("linear", "mean", "mel").value > 0.8  # the baseline is not hurt by it


def test_recordings_that_were_trained_on_are_left_out(folder):
    run = load_run(folder / "run", "cpu")
    with storage.Reader(folder / "pairs.h5", storage.PAIRS) as reader:
        labels = reader.labels
    test = labels.rows_of(["test"])
    some = sorted({labels.path_of(row) for row in test})
    learnt = replace(run, data={**run.data, "recordings": some[:1]})
    found = evaluate(learnt, folder / "pairs.h5", midpoints_per_effect=0, n_sounds=0)
    n_left = sum(labels.path_of(row) not in some[:1] for row in test)
    assert found.n_segments["test"] == n_left < len(test)
    assert any("trained on" in remark for remark in found.remarks)
    with pytest.raises(InputError, match="no test rows"):
        evaluate(replace(run, data={"recordings": some}), folder / "pairs.h5")


def test_one_effect_alone_is_evaluated_too(folder):
    pairs = folder / "one.h5"
    render([folder / "recordings"], pairs, chosen("overdrive"), SEGMENTS, SPLIT, 40, seed=6)
    run = replace(load_run(folder / "run", "cpu"), data={})
    found = evaluate(run, pairs, midpoints_per_effect=2, n_sounds=1)
    assert {score.section for score in found.scores} >= {"settings", "midpoint", "drift"}
    assert not any(score.section == "linear" for score in found.scores)
    assert "one effect alone: nothing to recognise" in found.remarks
    with pytest.raises(KeyError):
        found.score("drift", "two effects", "model")
    assert found.to_dict()["confusion"] == [[0]]


def test_midway_is_in_the_middle_of_each_scale():
    effect: Effect = chosen("overdrive")[0][0]
    a, b = {"drive": 12.0, "tone": 1000.0, "output": -24.0}, effect.default_setting()
    b |= {"drive": 42.0, "tone": 2560.0, "output": 0.0}
    found = midway(effect, a, b)
    assert found["drive"] == pytest.approx(27.0)
    assert found["tone"] == pytest.approx(1600.0, rel=1e-5)  # a logarithmic scale
    assert found["output"] == pytest.approx(-12.0)


def test_the_command_prints_tables_and_writes_a_figure(folder, invoke, monkeypatch):
    monkeypatch.chdir(folder)
    arguments = ("evaluate", "run", "--pairs", "pairs.h5", "--midpoints", 1, "--sounds", 1)
    done = invoke(*arguments, "--csv", "scores.csv", "-q", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    for section in SECTIONS.values():
        assert section.title in done.stdout
    assert (folder / "evaluation.png").stat().st_size > 10_000
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["section"] for row in rows} == set(SECTIONS)
    done = invoke(*arguments, "-q", "--json", "-o", "second.png", "--device", "cpu")
    answer = json.loads(done.stdout)
    assert {score["section"] for score in answer["scores"]} == set(SECTIONS)
    assert answer["n_segments"]["test"] == sum(map(sum, answer["confusion"]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "nowhere does not exist"),
        (("run", "--pairs", "nowhere.h5"), "nowhere.h5 does not exist"),
        (("run", "--pairs", "run.h5"), "run.h5"),
        (("run", "-o", "figure.gif"), "figure.gif"),
    ],
)
def test_wrong_inputs_are_one_sentence(folder, invoke, monkeypatch, arguments, sentence):
    monkeypatch.chdir(folder)
    outputs = () if "-o" in arguments else ("-o", "another.png")
    done = invoke("evaluate", *arguments, *outputs, "-q", "--device", "cpu")
    assert done.exit_code == 1
    assert sentence in done.stderr and done.stderr.count("\n") == 1
