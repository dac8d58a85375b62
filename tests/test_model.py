import pytest
import torch

from dafxtool.model import (
    build_model,
    halved,
    kl_to_standard_normal,
    lerp,
    slerp,
    squared_error,
)
from dafxtool.presets import PRESETS, ModelConfig
from dafxtool.principal import measure_basis

SMALL = ModelConfig(channels=(8, 16), n_latent=5, n_components=6)


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
    data = torch.randn(rows, *model.shape, generator=torch.Generator().manual_seed(3))
    config = model.config
    model.prepare(measure_basis(lambda: [data], config.n_components, config.n_latent), beta)
    return model


@pytest.mark.parametrize("architecture", ["convolutional", "residual"])
@pytest.mark.parametrize("size", [(33, 17), (64, 20), (1025, 65), (7, 1)])
def test_the_decoder_gives_back_the_size_that_came_in(architecture, size):
    config = ModelConfig(architecture, channels=(8, 8, 8), n_latent=4, n_components=5)
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
        config = ModelConfig(architecture, channels=(8, 16), n_latent=5, n_components=6)
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
    wanted = model.decode(mean + noise * (0.5 * log_variance).exp())
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


def low_rank_data(n_rows: int = 60, rank: int = 3) -> torch.Tensor:
    """Segments that are mixtures of a few patterns, of unequal strength, on a common mean."""
    generator = torch.Generator().manual_seed(4)
    patterns = torch.randn(rank, 2, 9, 8, generator=generator)
    weights = torch.randn(n_rows, rank, generator=generator) * torch.tensor([9.0, 5.0, 2.0])
    return 0.3 + torch.einsum("nr,rcbt->ncbt", weights, patterns)


def test_an_untrained_residual_model_is_principal_component_analysis():
    data = low_rank_data()
    config = ModelConfig(channels=(8, 16), n_latent=2, n_components=18)
    model = build_model(config, data.shape[1:]).eval()
    model.prepare(measure_basis(lambda: data.split(16), 18, 2), beta=1e-9)
    flat = data.flatten(1)
    centred = flat - flat.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    wanted = flat.mean(dim=0) + centred @ axes[:2].T @ axes[:2]
    mean, _ = model.encode(data)
    torch.testing.assert_close(model.decode(mean).flatten(1), wanted, atol=2e-3, rtol=1e-3)
    # Whitened: the prior of the VAE is met from the start.
    torch.testing.assert_close(mean.mean(dim=0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(mean.std(dim=0, correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_the_first_posterior_is_the_one_that_minimises_the_loss():
    data = low_rank_data()
    config = ModelConfig(channels=(8, 16), n_latent=3, n_components=18)
    model = build_model(config, data.shape[1:]).eval()
    beta = 40.0
    model.prepare(measure_basis(lambda: data.split(16), 18, 3), beta)

    def expected_loss(mean, log_variance):
        """Exact for a linear decoder: the noise adds its variance along each component."""
        error = squared_error(model.decode(mean), data).sum(dim=1)
        error = error + (log_variance.exp() * model.segment_scale**2).sum(dim=1)
        return float((error + beta * kl_to_standard_normal(mean, log_variance)).mean())

    mean, log_variance = model.encode(data)
    best = expected_loss(mean, log_variance)
    for change in (-0.05, 0.05):
        assert expected_loss(mean * (1 + change), log_variance) > best
        assert expected_loss(mean, log_variance + change) > best


def test_fewer_segments_than_latents_still_make_a_model():
    data = low_rank_data(n_rows=4)
    config = ModelConfig(channels=(8, 16), n_latent=6, n_components=18)
    model = build_model(config, data.shape[1:]).eval()
    model.prepare(measure_basis(lambda: [data], 18, 6), beta=1.0)
    assert torch.isfinite(model.decode(model.encode(data)[0])).all()
