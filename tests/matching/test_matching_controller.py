"""Check the controller: static settings exactly, both losses, resuming, and its file."""

import numpy as np
import pytest
import torch
from datasets import RATE, SEGMENTS, SPLIT, chosen, write_recordings

from dafxtool import storage
from dafxtool.dataset.render import render
from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError, FormatError, InputError, TrainingError
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.controller.audio_loss import (
    RenderTask,
    distances_of,
    renderers,
    spsa_gradient,
)
from dafxtool.matching.controller.network import (
    FeatureExtractor,
    Prediction,
    label_loss,
    load_matcher,
    new_controller,
)
from dafxtool.matching.controller.proposals import load_proposer
from dafxtool.matching.controller.scores import scores_of
from dafxtool.matching.controller.train import ControllerOptions, train_controller
from dafxtool.matching.hints.start import fitted
from dafxtool.training.loader import Targets


@pytest.fixture(scope="module")
def static_pairs(tmp_path_factory):
    """Render four effects, each with one setting."""
    folder = tmp_path_factory.mktemp("static")
    recordings = write_recordings(folder / "recordings")
    effects = [
        (effect, {p.name: p.default for p in effect.parameters})
        for effect, _ in chosen("distortion", "high-pass", "ring-modulator", "delay")
    ]
    render([recordings], folder / "pairs.h5", effects, SEGMENTS, SPLIT, 16, seed=1)
    return folder / "pairs.h5"


def targets(effect, setting):
    return Targets(torch.tensor(effect), torch.tensor(setting, dtype=torch.float32))


@pytest.mark.parametrize("fine_tune", [False, True])
def test_static_settings_are_recognised_without_an_error(run, static_pairs, tmp_path, fine_tune):
    options = ControllerOptions(steps=6 if fine_tune else 200, fine_tune=fine_tune)
    result = train_controller(run, static_pairs, tmp_path / "matcher.pt", options)
    assert result.scores["right"] == 1.0
    assert result.scores["settings_error"] < (0.2 if fine_tune else 0.05)
    assert np.isnan(result.scores["settings_r2"])  # nothing varies
    assert result.end_reason == "complete"


def test_a_resumed_training_continues_as_an_undisturbed_one(run, pairs_file, tmp_path):
    whole = ControllerOptions(steps=40)
    train_controller(run, pairs_file, tmp_path / "whole.pt", whole)
    stopped = []

    def interrupt(step, figures):
        stopped.append(step)
        if step == 20 and len(stopped) == 10:
            raise KeyboardInterrupt

    parts = tmp_path / "parts.pt"
    first = train_controller(run, pairs_file, parts, whole, log=interrupt)
    assert (first.end_reason, first.steps) == ("interrupted", 20)
    second = train_controller(run, pairs_file, parts, whole, resume=True)
    assert (second.end_reason, second.steps) == ("complete", 40)
    ours, theirs = (
        load_matcher(tmp_path / name).about["last"] for name in ("whole.pt", "parts.pt")
    )
    for name, values in ours.items():
        torch.testing.assert_close(values, theirs[name], rtol=1e-4, atol=1e-5)


def test_a_matcher_of_other_effects_is_not_resumed(run, pairs_file, static_pairs, tmp_path):
    options = ControllerOptions(steps=2)
    train_controller(run, pairs_file, tmp_path / "matcher.pt", options)
    with pytest.raises(DafxError):
        train_controller(run, static_pairs, tmp_path / "matcher.pt", options, resume=True)


def test_a_training_starts_from_the_weights_of_a_matcher(run, static_pairs, pairs_file, tmp_path):
    first = tmp_path / "labels.pt"
    labels = train_controller(run, static_pairs, first, ControllerOptions(steps=100))
    options = ControllerOptions("audio", 1)
    second = train_controller(run, static_pairs, tmp_path / "audio.pt", options, start=first)
    assert (second.loss, second.steps, second.scores["right"]) == ("audio", 1, 1.0)
    # One step moves no setting by more than a small part of the range.
    assert second.scores["settings_error"] < labels.scores["settings_error"] + 0.02
    with pytest.raises(TrainingError):  # other effects
        train_controller(run, pairs_file, tmp_path / "other.pt", options, start=first)
    with pytest.raises(InputError):
        train_controller(run, static_pairs, first, options, start=tmp_path / "none.pt")


def test_the_audio_loss_reduces_the_audio_distance(run, tmp_path):
    recordings = write_recordings(tmp_path / "recordings")
    fixed = [(effect, {"cutoff": 300.0}) for effect, _ in chosen("low-pass")]
    render([recordings], tmp_path / "pairs.h5", fixed, SEGMENTS, SPLIT, 32, seed=2)
    scores = [
        train_controller(
            run, tmp_path / "pairs.h5", tmp_path / f"{n}.pt", ControllerOptions("audio", n)
        ).scores["sound"]
        for n in (1, 60)
    ]
    assert scores[1] < 0.7 * scores[0]


def test_the_gradient_in_the_audio_points_to_the_true_setting():
    (effect, _), *_ = chosen("low-pass")
    dry = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    parameter = effect.parameters[0]
    wet = render_chain([Stage(effect, {"cutoff": parameter.from_normalised(0.5)})], dry, RATE)
    audio = np.stack([np.stack([dry, wet])] * 2)
    with renderers(1) as pool:
        slopes, _ = spsa_gradient(
            pool,
            [effect] * 2,
            [np.array([0.4]), np.array([0.6])],
            audio,
            RATE,
            np.random.default_rng(0),
        )
        truth = (RenderTask(effect, ({"cutoff": parameter.from_normalised(0.5)},), dry, wet, RATE),)
        assert distances_of(pool, truth)[0][0] == pytest.approx(0, abs=1e-6)
    assert slopes[0][0] < 0 < slopes[1][0]


def test_the_uncertainty_is_learnt_where_labels_are_noisy():
    torch.manual_seed(0)
    prediction = Prediction(
        torch.zeros(64, 1),
        torch.zeros(64, 2),
        torch.zeros(1, 2, requires_grad=True),
    )
    noise = torch.randn(64, 2) * torch.tensor([1.5, 0.2])
    wide = Prediction(prediction.logits, prediction.setting, prediction.log_variance.expand(64, 2))
    loss = label_loss(wide, Targets(torch.zeros(64, dtype=torch.long), noise), torch.ones(2))
    slope = torch.autograd.grad(loss, prediction.log_variance)[0][0]
    assert slope[0] < 0 < slope[1]  # more variance for the first, less for the second


def test_settings_are_predicted_on_the_scale_of_the_training_split():
    effects = [effect for effect, _ in chosen("low-pass", "high-pass")]
    controller = new_controller(3, effects).eval()
    setting = torch.tensor([[0.1, torch.nan], [0.3, torch.nan], [torch.nan, 0.5]])
    controller.fit(torch.randn(3, 3), torch.tensor([0, 0, 0]), setting)
    torch.testing.assert_close(controller.estimates.bias, torch.tensor([0.2, 0.5]))
    torch.testing.assert_close(controller.setting_scale, torch.tensor([0.1, 0.05]))
    for head in (controller.setting, controller.log_variance):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    prediction = controller(torch.zeros(1, 3))
    torch.testing.assert_close(prediction.setting[0], controller.estimates.bias)
    torch.testing.assert_close((0.5 * prediction.log_variance[0]).exp(), controller.setting_scale)
    # The same error in standard deviations costs the same on any scale.
    true = Targets(torch.tensor([0]), torch.tensor([[0.3, torch.nan]]))
    other = Targets(torch.tensor([0]), torch.tensor([[torch.nan, 0.55]]))
    losses = [label_loss(prediction, each, controller.setting_scale) for each in (true, other)]
    torch.testing.assert_close(losses[0], losses[1])


def test_linear_scores_recognise_effects_with_one_setting_each():
    """Each effect moves the features by a vector of its own, beside what the content changes."""
    torch.manual_seed(0)
    n_effects, n_features = 12, 200
    effects = [effect for effect, _ in chosen("low-pass", "high-pass")] * (n_effects // 2)
    moved = torch.randn(n_effects, n_features)
    effect = torch.arange(n_effects).repeat(6)
    content = 4 * torch.randn(1, n_features)

    def draw():
        return moved[effect] + 0.3 * torch.randn(len(effect), 1) * content

    controller = new_controller(n_features, effects)
    controller.fit(draw(), effect, None)
    controller.eval()
    held_out = draw()
    before = controller(held_out).logits.argmax(dim=1)
    controller.choose_linear_gain(lambda: controller(held_out).logits, effect)
    assert (before == effect).float().mean() < 0.5  # the network is not trained
    assert (controller(draw()).logits.argmax(dim=1) == effect).all()
    controller.choose_linear_gain(lambda: controller(held_out).logits, effect.roll(1))
    assert controller.linear_gain == 0  # scores that mislead are left out


def test_scores_of_a_perfect_and_a_constant_prediction():
    effects = [Effect.from_dict(effect.to_dict()) for effect, _ in chosen("low-pass", "high-pass")]
    true = targets([0, 0, 1, 1], [[-1, np.nan], [1, np.nan], [np.nan, -1], [np.nan, 1]])
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    setting = true.setting.nan_to_num()
    perfect = scores_of(Prediction(logits, setting, setting), true, effects)
    assert perfect["right"] == 0.75
    assert perfect["settings_r2"] == 1.0
    assert perfect["settings_error"] == 0.0
    constant = scores_of(Prediction(logits, 0 * setting, setting), true, effects)
    assert constant["settings_r2"] == 0.0


def test_features_do_not_depend_on_the_batch(run, pairs_file):
    extractor = FeatureExtractor(run)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        audio = reader.rows(np.arange(4))
    together = extractor(audio)
    alone = torch.cat([extractor(each[None]) for each in audio])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert together.shape[1] > extractor.n_style


def test_the_style_alone_is_that_of_the_complete_latent(run, pairs_file):
    extractor = FeatureExtractor(run)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        audio = reader.rows(np.arange(3))
    spectrogram = extractor.spectrogram(audio)
    expected = run.model.style_of(run.model.encode(spectrogram)[0])
    torch.testing.assert_close(extractor.style(spectrogram), expected)
    torch.testing.assert_close(extractor(audio)[:, -extractor.n_style :], expected.detach())


def test_a_file_that_is_no_matcher_is_refused(run_folder, tmp_path):
    with pytest.raises(FormatError):
        load_matcher(run_folder / "checkpoints" / "best.pt")
    with pytest.raises(InputError):
        load_matcher(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no matcher")
    with pytest.raises(FormatError):
        load_matcher(tmp_path / "text.pt")


def test_predicted_values_stay_within_the_ranges():
    effects = [effect for effect, _ in chosen("delay")]
    controller = new_controller(3, effects).eval()
    prediction = controller(1e6 * torch.randn(8, 3))
    from dafxtool.matching.controller.network import Matcher

    for row in range(8):
        setting, deviations = Matcher(controller, effects, "labels").settings_of(prediction, row, 0)
        effects[0].complete(setting)  # raises EffectError out of range
        assert all(deviation > 0 for deviation in deviations.values())


def test_a_proposal_starts_the_search_of_its_effect(run, run_folder, pairs_file, tmp_path):
    """With a matcher that is overfit to one pair, the effect and its values are proposed."""
    file = tmp_path / "matcher.pt"
    train_controller(run, pairs_file, file, ControllerOptions(steps=150))
    proposer = load_proposer(file, run_folder)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        rows = reader.labels.rows_of(("train",))[:8]
        audio = reader.rows(rows)
        names = [reader.labels.effect_names[i] for i in reader.labels.effect[rows]]
    likeliest = []
    for dry, wet in audio:
        proposals = proposer.propose(dry, wet, RATE)
        likeliest.append(max(proposals.probabilities, key=proposals.probabilities.get))
        assert sum(proposals.probabilities.values()) == pytest.approx(1)
    assert np.mean([a == b for a, b in zip(likeliest, names, strict=True)]) >= 0.75
    start = proposals.starts[likeliest[-1]]
    (effect, _), *_ = chosen(likeliest[-1])
    assert fitted(start, effect, {}).setting.keys() == {p.name for p in effect.parameters}
    assert fitted(start, chosen("tremolo")[0][0], {}) is None
    held = effect.parameters[0]
    assert fitted(start, effect, {held.name: held.maximum}).setting[held.name] == held.maximum
