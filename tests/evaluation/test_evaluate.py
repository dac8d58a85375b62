"""Check evaluations on small data: known results, and chance scores without information."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from datasets import CONFIGURATION, SEGMENTS, SPECTROGRAM, chosen, write_recordings

from dafxtool import storage
from dafxtool.config import SplitConfig
from dafxtool.dataset.pair import effect_level_db
from dafxtool.dataset.render import render
from dafxtool.effects.effect import Effect
from dafxtool.errors import InputError
from dafxtool.evaluation.audibility import AUDIBLE_DB
from dafxtool.evaluation.evaluate import evaluate
from dafxtool.evaluation.midpoints import default_per_effect, middle_setting
from dafxtool.evaluation.results import SECTIONS
from dafxtool.models.run import load_run
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.train import train

SPLIT = SplitConfig(validation=0.25, test=0.25)
EFFECTS = ("overdrive", "high-pass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Render pairs.h5 of two clearly different effects, 60 pairs each, and train a run on them."""
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
def evaluation(folder):
    run = load_run(folder / "run", "cpu")
    return evaluate(run, folder / "pairs.h5", midpoints_per_effect=3, n_sounds=2)


@pytest.fixture
def without_leakage(monkeypatch):
    """Leave out the slowest section, for tests that read other ones."""
    module = sys.modules[evaluate.__module__]  # the package has a function of the same name
    monkeypatch.setattr(module, "leakage_scores", lambda data: [])


def test_every_section_has_scores_with_intervals(evaluation):
    assert {score.section for score in evaluation.scores} == set(SECTIONS) - {"match"}
    for score in evaluation.scores:
        estimate = score.estimate
        assert np.isfinite(estimate.value), score
        assert not (estimate.low > estimate.value or estimate.high < estimate.value), score
        assert score.n > 0, score


def test_clearly_different_effects_are_recognised(evaluation):
    assert evaluation.score("linear", "mean", "latent").value > 0.8
    assert evaluation.score("linear", "mean", "chance").value == 0.5
    assert evaluation.confusion.sum() == evaluation.n_segments["test"]
    shares = evaluation.confusion.diagonal() / evaluation.confusion.sum(axis=1)
    assert shares.mean() == pytest.approx(evaluation.score("linear", "mean", "latent").value)


def test_the_level_of_an_effect_is_that_of_its_pairs(evaluation, folder):
    with storage.Hdf5Reader(folder / "pairs.h5", storage.PAIRS) as reader:
        rows = reader.labels.rows_of(["test"])
        own = effect_level_db(reader.rows(rows), reader.labels.gains_db[rows])
    for index, name in enumerate(EFFECTS):
        expected = own[reader.labels.effect[rows] == index].mean()
        assert evaluation.score("level", name, "effect").value == pytest.approx(expected)
    assert evaluation.score("settings", "overdrive output", "level").value > 0.5
    assert evaluation.score("settings", "overdrive output", "latent").value < 0.3


def test_inaudible_parameters_are_left_out_of_one_mean(evaluation):
    """The output level of a saturator changes nothing between segments of the same peak."""
    changes = {s.what: s.estimate.value for s in evaluation.scores if s.section == "audibility"}
    assert changes["overdrive output"] < -100
    audible = [name for name, change in changes.items() if change > AUDIBLE_DB]
    assert set(audible) == {"overdrive drive", "overdrive tone", "high-pass cutoff"}
    for subject, names in (("mean", changes), ("mean, audible", audible)):
        values = [evaluation.score("settings", name, "latent").value for name in names]
        mean = evaluation.score("settings", subject, "latent").value
        assert mean == pytest.approx(np.mean(values))


def test_the_dry_channel_does_not_drift(evaluation):
    """The drift is 0: the dry channel is decoded from the content part alone."""
    assert evaluation.score("drift", "two settings", "model").value < 1e-9
    assert evaluation.score("drift", "two effects", "model").value < 1e-9
    assert evaluation.score("drift", "two settings", "other recording").value > 1e-3


def test_the_wet_error_is_compared_with_simpler_decoders(evaluation):
    errors = {
        method: evaluation.score("reconstruction", "mean, wet", method).value
        for method in ("model", "style alone", "decoded dry", "closed form", "dry")
    }
    assert errors["model"] < min(errors["style alone"], errors["decoded dry"])
    assert errors["closed form"] < errors["dry"]


def test_errors_equal_those_of_reconstruct(evaluation, folder):
    from dafxtool.latents.reconstruct import reconstruct_pairs

    run = load_run(folder / "run", "cpu")
    table = reconstruct_pairs(folder / "pairs.h5", run)[1]
    for name, dry, wet in zip(table.effect, table.dry_error, table.wet_error, strict=True):
        for channel, error in (("dry", dry), ("wet", wet)):
            score = evaluation.score("reconstruction", f"{name}, {channel}", "model")
            assert score.value == pytest.approx(error)


def test_audio_of_true_magnitudes_is_nearer_than_that_of_decoded_ones(evaluation):
    for what in ("log-spectral (dB)", "multi-resolution"):
        inverted = evaluation.score("sound", what, "inverted").value
        assert inverted < evaluation.score("sound", what, "model").value


def test_the_middle_of_two_effects_is_nearer_to_both_in_parallel_than_an_end(evaluation):
    model = evaluation.score("parallel", "mean", "model")
    assert model.value < 0.5 * evaluation.score("parallel", "mean", "nearer end").value


def test_many_effects_get_fewer_midpoints_each():
    assert [default_per_effect(n) for n in (1, 4, 8, 16, 27, 100)] == [20, 20, 20, 10, 5, 5]


def test_shuffled_labels_score_at_chance(folder, without_leakage):
    """Effects and settings that were shuffled before training are not recognised."""
    pairs = folder / "shuffled.h5"
    with storage.Hdf5Reader(folder / "pairs.h5", storage.PAIRS) as reader:
        labels, audio = reader.labels, reader.rows(slice(None))
        order = np.random.default_rng(0).permutation(len(labels))
        other = labels.take(order)
        shuffled = replace(labels, effect=other.effect, setting=other.setting)
        shuffled = replace(shuffled, setting_text=other.setting_text)
        columns = {"audio": (audio.shape[1:], np.float32)}
        tables = (shuffled.effect, reader.configuration, labels.effects, labels.recordings)
    with storage.open_writer(pairs, storage.PAIRS, columns, *tables) as writer:
        writer.put(0, audio=audio, **storage.label_rows(shuffled, slice(None)))
    run = folder / "shuffled-run"
    spectrograms = folder / "shuffled-spectrograms.h5"
    compute_spectrograms(pairs, spectrograms, SPECTROGRAM)
    train(spectrograms, run, CONFIGURATION, "cpu")
    result = evaluate(load_run(run, "cpu"), pairs, midpoints_per_effect=0, n_sounds=0)
    for section in ("linear", "neighbours"):
        for method in ("latent", "PCA", "mel"):
            estimate = result.score(section, "mean", method)
            assert estimate.low < 0.5 + 0.15 and estimate.value < 0.72, (section, method)


def test_latents_of_noise_score_at_chance(folder, without_leakage):
    """No probe finds an effect in latents that do not depend on the input."""
    run = load_run(folder / "run", "cpu")
    rng = np.random.default_rng(1)

    class Noise(type(run)):
        def embed(self, spectrograms):
            n_latent = self.configuration.model.n_latent
            return rng.standard_normal((len(spectrograms), n_latent)).astype(np.float32)

    noise = Noise(**vars(run))
    result = evaluate(noise, folder / "pairs.h5", midpoints_per_effect=0, n_sounds=0)
    for section in ("linear", "neighbours"):
        assert result.score(section, "mean", "latent").low < 0.5
    assert result.score("settings", "mean", "latent").value < 0.1
    assert result.score("linear", "mean", "mel").value > 0.8  # independent of the latents


def test_recordings_of_the_training_are_left_out(folder, without_leakage):
    run = load_run(folder / "run", "cpu")
    with storage.Hdf5Reader(folder / "pairs.h5", storage.PAIRS) as reader:
        labels = reader.labels
    test = labels.rows_of(["test"])
    some = sorted({labels.path_of(row) for row in test})
    trained = replace(run, data={**run.data, "recordings": some[:1]})
    result = evaluate(trained, folder / "pairs.h5", midpoints_per_effect=0, n_sounds=0)
    n_left = sum(labels.path_of(row) not in some[:1] for row in test)
    assert result.n_segments["test"] == n_left < len(test)
    assert any("trained on" in remark for remark in result.remarks)
    with pytest.raises(InputError, match="no test rows"):
        evaluate(replace(run, data={"recordings": some}), folder / "pairs.h5")


def test_a_single_effect_is_evaluated(folder):
    pairs = folder / "one.h5"
    render([folder / "recordings"], pairs, chosen("overdrive"), SEGMENTS, SPLIT, 40, seed=6)
    run = replace(load_run(folder / "run", "cpu"), data={})
    result = evaluate(run, pairs, midpoints_per_effect=2, n_sounds=1)
    assert {score.section for score in result.scores} >= {"settings", "midpoint", "drift"}
    assert not any(score.section == "linear" for score in result.scores)
    assert "only one effect: its recognition is not evaluated" in result.remarks
    with pytest.raises(KeyError):
        result.score("drift", "two effects", "model")
    assert result.to_dict()["confusion"] == [[0]]


def test_the_middle_setting_is_the_middle_of_each_scale():
    effect: Effect = chosen("overdrive")[0][0]
    a, b = {"drive": 12.0, "tone": 1000.0, "output": -24.0}, effect.default_setting()
    b |= {"drive": 42.0, "tone": 2560.0, "output": 0.0}
    result = middle_setting(effect, a, b)
    assert result["drive"] == pytest.approx(27.0)
    assert result["tone"] == pytest.approx(1600.0, rel=1e-5)  # a logarithmic scale
    assert result["output"] == pytest.approx(-12.0)


def test_the_command_prints_tables_and_writes_a_figure(folder, invoke, monkeypatch):
    monkeypatch.chdir(folder)
    arguments = ("evaluate", "run", "--pairs", "pairs.h5", "--midpoints", 1, "--sounds", 1)
    done = invoke(*arguments, "--csv", "scores.csv", "-q", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    for key, section in SECTIONS.items():
        assert (section.title in done.stdout) == (key != "match")  # only with --match
    assert (folder / "evaluation.png").stat().st_size > 10_000
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["section"] for row in rows} == set(SECTIONS) - {"match"}
    done = invoke(*arguments, "-q", "--json", "-o", "second.png", "--device", "cpu")
    answer = json.loads(done.stdout)
    assert {score["section"] for score in answer["scores"]} == set(SECTIONS) - {"match"}
    assert answer["n_segments"]["test"] == sum(map(sum, answer["confusion"]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "does not exist"),
        (("run", "--pairs", "nowhere.h5"), "does not exist"),
        (("run", "--pairs", "run.h5"), "run.h5"),
        (("run", "-o", "figure.gif"), "figure.gif"),
    ],
)
def test_wrong_arguments_give_one_line(folder, invoke, monkeypatch, arguments, sentence):
    monkeypatch.chdir(folder)
    outputs = () if "-o" in arguments else ("-o", "another.png")
    done = invoke("evaluate", *arguments, *outputs, "-q", "--device", "cpu")
    assert done.exit_code == 1
    assert sentence in done.stderr and done.stderr.count("\n") == 1
