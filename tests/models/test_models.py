from dataclasses import replace

import pytest
import scipy.fft
import torch

from dafxtool.config import ModelConfig
from dafxtool.errors import ConfigError
from dafxtool.latents.interpolate import lerp, slerp
from dafxtool.models.convolutional import halved
from dafxtool.models.factory import build_model
from dafxtool.models.linear_basis import (
    cosine_basis,
    ear_weight,
    fit_linear_basis,
    split_frames,
)
from dafxtool.models.losses import kl_to_standard_normal, squared_error
from dafxtool.models.residual import DROPPED_SHARE, PREDICTION_FLOOR, ResidualVAE
from dafxtool.presets import PRESETS

SMALL = ModelConfig(channels=(8, 16), n_latent=5, n_effect=2, n_style=1, n_components=6)


def test_kl_is_that_of_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(6, 9, generator=generator)
    log_variance = torch.randn(6, 9, generator=generator)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(9), torch.ones(9))
    wanted = torch.distributions.kl_divergence(posterior, prior).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), wanted)


def test_squared_error_of_an_offset_is_its_square_times_the_values():
    zero, offset = torch.zeros(3, 2, 4, 5), torch.zeros(3, 2, 4, 5)
    offset[:, 1] = 0.5
    torch.testing.assert_close(squared_error(offset, zero), torch.tensor([[0.0, 5.0]] * 3))


def prepared(model, rows: int = 40, beta: float = 1.0):
    """The model with the linear part of random data, which an untrained one lacks."""
    if isinstance(model, ResidualVAE):
        data = torch.randn(rows, *model.shape, generator=torch.Generator().manual_seed(3))
        fit(model, data, beta)
    return model


def fit(model: ResidualVAE, data: torch.Tensor, beta: float) -> None:
    model.fit_linear(lambda: data.split(16), beta)
    if model.n_style:
        model.prepare_style(model.describe(data))
    model.fit_change(data.split(16), beta)


@pytest.mark.parametrize("architecture", ["convolutional", "residual"])
@pytest.mark.parametrize("size", [(33, 17), (64, 20), (1025, 65), (7, 1)])
def test_the_decoder_gives_back_the_size_that_came_in(architecture, size):
    config = ModelConfig(
        architecture, channels=(8, 8, 8), n_latent=4, n_effect=2, n_style=1, n_components=5
    )
    model = prepared(build_model(config, (2, *size)).eval())
    spectrogram = torch.randn(2, 2, *size)
    reconstruction, mean, log_variance = model(spectrogram, torch.zeros(2, 4))
    assert reconstruction.shape == spectrogram.shape
    assert mean.shape == log_variance.shape == (2, 4)


def test_week6_is_the_model_of_the_report():
    preset = PRESETS["week6"]
    config = preset.spectrogram
    assert (config.n_fft, config.hop_length, config.window_length) == (4096, 2048, 4096)
    model = build_model(preset.model, (2, 2049, 65))
    convolutions = [m for m in model.encoder if isinstance(m, torch.nn.Conv2d)]
    assert [c.in_channels for c in convolutions] + [32] == [2, 8, 16, 32, 32]
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    assert {c.stride for c in convolutions} == {(2, 2)}
    # 2049 x 65 halves exactly to 129 x 5, on which the 2048 latents hang.
    assert (halved(2049, 4)[-1], halved(65, 4)[-1]) == (129, 5)
    assert model.to_mean.weight.shape == (2048, 32 * 129 * 5)
    training = preset.training
    assert (training.learning_rate, training.batch_size, training.annealing) == (
        1e-5,
        8,
        "constant",
    )


def test_in_evaluation_a_row_does_not_see_its_batch():
    for architecture in ("convolutional", "residual"):
        torch.manual_seed(1)
        config = replace(SMALL, architecture=architecture)
        model = prepared(build_model(config, (2, 33, 17)))
        for _ in range(3):  # so that batch statistics are not the initial ones
            model(torch.randn(8, 2, 33, 17) * 3 + 1, torch.zeros(8, 5))
        model.eval()
        rows = torch.randn(6, 2, 33, 17)
        together = model.encode(rows)[0]
        alone = torch.cat([model.encode(row[None])[0] for row in rows])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_noise_is_scaled_by_the_posterior():
    torch.manual_seed(2)
    model = prepared(build_model(SMALL, (2, 33, 17)).eval())
    x = torch.randn(1, 2, 33, 17)
    mean, log_variance = model.encode(x)
    noise = torch.randn(1, 5)
    noisy = mean + noise * (0.5 * log_variance).exp()
    wanted = model.decode(noisy, x[:, 0])
    torch.testing.assert_close(model(x, noise)[0], wanted)


def test_interpolations_start_and_end_on_their_latents_to_the_bit():
    a, b = torch.randn(7), torch.randn(7)
    t = torch.linspace(0, 1, 5)
    for way in (lerp(a, b, t), slerp(a, b, t)):
        assert torch.equal(way[0], a)
        assert torch.equal(way[-1], b)


def test_slerp_of_right_angles_goes_along_the_circle():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    middle = slerp(a, b, torch.tensor([0.5]))[0]
    torch.testing.assert_close(middle, torch.full((2,), 2.0**0.5))
    torch.testing.assert_close(lerp(a, b, torch.tensor([0.5]))[0], torch.ones(2))


def test_slerp_of_equal_directions_is_a_straight_line():
    a = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(slerp(a, 3 * a, torch.tensor([0.5]))[0], 2 * a)


def correlated_data(n_rows: int = 60, with_change: bool = True) -> torch.Tensor:
    """Dry frames of a few patterns; wet ones follow from them, plus a change of their own."""
    generator = torch.Generator().manual_seed(4)

    def mixture(rank: int) -> torch.Tensor:
        patterns = torch.randn(rank, 9, generator=generator)
        strength = torch.arange(rank, 0, -1).sqrt()
        weights = torch.randn(n_rows, 8, rank, generator=generator).cumsum(dim=1) * strength
        return (weights @ patterns).transpose(1, 2)

    dry, change = mixture(5), 0.3 * mixture(4)
    effect = torch.randn(9, 9, generator=generator) / 3
    return 0.3 + torch.stack([dry, effect @ dry + (change if with_change else 0)], dim=1)


def untrained(data: torch.Tensor, beta: float = 1e-9, **sizes):
    settings = {"n_style": 0, "n_blocks": 2, "ear_weighting": 0.0, **sizes}
    model = build_model(
        ModelConfig(channels=(8,), n_components=9, **settings), data.shape[1:], 0.5
    ).eval()
    assert isinstance(model, ResidualVAE)
    fit(model, data, beta)
    return model


def as_after_training(model: ResidualVAE) -> ResidualVAE:
    """No layer is zero any more."""
    generator = torch.Generator().manual_seed(9)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("ear_weighting", [0.0, 1.0])
def test_all_coefficients_together_reconstruct_the_spectrogram(ear_weighting):
    data = correlated_data()
    model = untrained(data, n_latent=2 * 9 * 8, n_effect=9 * 8, ear_weighting=ear_weighting)
    decoded = model.decode(model.encode(data)[0], data[:, 0])
    torch.testing.assert_close(decoded, data, atol=2e-3, rtol=1e-3)


def test_the_error_is_the_variance_of_the_omitted_coefficients():
    data = correlated_data()
    full = untrained(data, n_latent=2 * 9 * 8, n_effect=9 * 8)
    model = untrained(data, n_latent=20 + 9 * 8, n_effect=9 * 8)
    dry_error = squared_error(model.decode(model.encode(data)[0]), data)[:, 0].mean()
    left_out = full.content_scale[20:].square().sum()
    assert float(dry_error.detach()) == pytest.approx(float(left_out), rel=1e-2)


def test_an_effect_that_is_linear_in_the_frame_is_predicted_exactly():
    data = correlated_data(with_change=False)
    model = untrained(data, n_latent=40, n_effect=10)
    dry, wet = split_frames(data)
    torch.testing.assert_close(
        model.predict(dry, dry.new_zeros(len(dry), 0)), wet, atol=5e-3, rtol=0
    )


def test_a_gain_of_each_bin_preserves_components_outside_the_basis():
    """Noise that no few components hold goes through a static filter."""
    generator = torch.Generator().manual_seed(5)
    dry = torch.randn(80, 33, 8, generator=generator)
    gain = torch.linspace(0.2, 0.9, 33)[:, None]
    data = torch.stack([dry, gain * dry], dim=1)
    basis = fit_linear_basis(lambda: data.split(16), 4, ear_weight(33, 0.0))
    torch.testing.assert_close(basis.wet_gain, gain[:, 0], atol=1e-2, rtol=0)


def test_the_dry_channel_depends_on_the_content_alone():
    data = correlated_data()
    model = as_after_training(untrained(data, n_latent=40, n_effect=10, n_style=4))
    mean, _ = model.encode(data)
    other_wet = torch.stack([data[:, 0], data[:, 1].flip(0)], dim=1)
    other_mean, _ = model.encode(other_wet)
    assert torch.equal(other_mean[:, : model.n_content], mean[:, : model.n_content])
    assert not torch.allclose(other_mean[:, model.n_content :], mean[:, model.n_content :])
    moved = mean.clone()
    moved[:, model.n_content :] += 1.0
    before, after = model.decode(mean).detach(), model.decode(moved).detach()
    assert torch.equal(after[:, 0], before[:, 0])
    assert float((after[:, 1] - before[:, 1]).abs().max()) > 1e-3


def test_the_style_moves_the_wet_channel_alone():
    data = correlated_data()
    model = as_after_training(untrained(data, n_latent=40, n_effect=10, n_style=4))
    mean = model.encode(data)[0]
    moved = mean.clone()
    moved[:, -4:] += 1.0
    difference = (model.decode(moved) - model.decode(mean)).detach()
    assert torch.equal(difference[:, 0], torch.zeros_like(difference[:, 0]))
    assert float(difference[:, 1].abs().max()) > 1e-3


def test_the_wet_channel_is_predicted_from_the_true_dry_one_where_it_is_known():
    data = correlated_data()
    model = untrained(data, n_latent=20, n_effect=10, n_style=4, n_blocks=0)
    mean = model.encode(data)[0]
    known, unknown = model.decode(mean, data[:, 0]), model.decode(mean)
    assert torch.equal(known[:, 0], unknown[:, 0])
    errors = [float(squared_error(each, data)[:, 1].mean()) for each in (known, unknown)]
    assert errors[0] < 0.5 * errors[1]


def test_a_trained_predictor_keeps_encoder_and_decoder_consistent():
    data = correlated_data()
    model = as_after_training(untrained(data, n_latent=2 * 9 * 8, n_effect=9 * 8, n_style=4))
    model.fit_change(data.split(16), 1e-9)
    decoded = model.decode(model.encode(data)[0], data[:, 0]).detach()
    all_but_style = squared_error(decoded, data)[:, 1].mean() / data[0, 1].numel()
    assert float(all_but_style) < 0.02 * float(data[:, 1].var())
    forward = model(data, torch.zeros(len(data), 2 * 9 * 8))[0]
    torch.testing.assert_close(forward.detach(), decoded, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [0.5, 2.0, 20.0])
def test_a_predicted_difference_is_left_out_where_it_is_below_the_predictors_own_error(size):
    """A constant difference of `size` times the floor, half in the base and half in components."""
    model = untrained(correlated_data(), n_latent=40, n_effect=10, n_style=4)
    dry = torch.randn(2, 8, 9, generator=torch.Generator().manual_seed(1))
    difference = (size * PREDICTION_FLOOR) ** 0.5
    rest = torch.full_like(dry, difference / 2)
    components = model._change_components(rest)
    rest = model._from_change_components(components)
    base, change = model._without_floor(dry, dry + difference - rest, components)
    kept = max(0.0, 1 - size**-2)
    found = base + model._from_change_components(change) - dry
    torch.testing.assert_close(found, torch.full_like(dry, kept * difference), atol=1e-4, rtol=0)


def test_without_change_only_content_and_style_remain():
    data = correlated_data()
    model = untrained(data, n_latent=40, n_effect=10, n_style=4)
    mean = model.encode(data)[0]
    changed = mean.clone()
    changed[:, 30:36] += 1.0  # after 30 of content, before 4 of style
    assert torch.equal(model.without_change(changed), model.without_change(mean))
    assert torch.equal(model.without_change(mean)[:, :30], mean[:, :30])
    assert torch.equal(model.without_change(mean)[:, 36:], mean[:, 36:])
    torch.manual_seed(0)
    hidden = (model.drop_change(torch.ones(2000, 40))[:, 30:36] == 0).all(dim=1)
    assert float(hidden.float().mean()) == pytest.approx(DROPPED_SHARE, abs=0.05)


def test_cached_descriptors_give_the_same_training():
    data = correlated_data()
    model = as_after_training(untrained(data, n_latent=40, n_effect=10, n_style=4))
    noise = torch.randn(len(data), 40)
    known = model.standardised_descriptors(model.describe(data))
    for a, b in zip(model(data, noise), model(data, noise, known), strict=True):
        torch.testing.assert_close(a, b)


def test_the_first_latents_follow_the_prior():
    data = correlated_data(400)
    mean, _ = untrained(data, n_latent=30, n_effect=10).encode(data)
    content, change = mean[:, :20], mean[:, 20:]
    torch.testing.assert_close(content.square().mean(dim=0), torch.ones(20), atol=2e-3, rtol=0)
    torch.testing.assert_close(change.var(dim=0), torch.ones(10), atol=2e-2, rtol=0)


def test_the_posterior_is_the_one_that_minimises_the_loss():
    data = correlated_data(200)
    beta = 40.0
    model = untrained(data, beta, n_latent=2 * 9 * 8, n_effect=9 * 8)

    @torch.no_grad()
    def expected_loss(mean, log_variance):
        """Exact for a linear decoder: the noise adds its variance along each latent."""
        error = squared_error(model.decode(mean, data[:, 0]), data).sum(dim=1)
        unit, nothing = torch.eye(mean.shape[1]), data[:1, 0].expand(mean.shape[1], -1, -1)
        gain = model.decode(unit, nothing) - model.decode(torch.zeros_like(unit), nothing)
        error = error + log_variance.exp() @ gain.square().flatten(1).sum(dim=1)
        return float((error + beta * kl_to_standard_normal(mean, log_variance)).mean())

    mean, log_variance = model.encode(data)
    best = expected_loss(mean, log_variance)
    for change in (-0.1, 0.1):
        assert expected_loss(mean * (1 + change), log_variance) > best
        assert expected_loss(mean, log_variance + change) > best


def test_the_cosine_basis_is_orthonormal_and_scipys():
    basis = cosine_basis(8)
    torch.testing.assert_close(basis @ basis.T, torch.eye(8), atol=1e-6, rtol=0)
    signal = torch.randn(8)
    wanted = torch.from_numpy(scipy.fft.dct(signal.numpy(), norm="ortho"))
    torch.testing.assert_close(basis @ signal, wanted, atol=1e-5, rtol=0)


def test_more_latents_than_coefficients_are_an_error():
    config = ModelConfig(channels=(8,), n_latent=500, n_effect=10, n_style=0, n_components=9)
    with pytest.raises(ConfigError, match="found 500"):
        build_model(config, (2, 9, 8))


def test_fewer_segments_than_latents_still_make_a_model():
    data = correlated_data(n_rows=4)
    model = untrained(data, n_latent=60, n_effect=20)
    assert torch.isfinite(model.decode(model.encode(data)[0])).all()
