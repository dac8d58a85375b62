import pytest
import torch

from dafxtool.model import (
    JointVAE,
    halved_sizes,
    kl_to_standard_normal,
    lerp,
    slerp,
    squared_error,
)
from dafxtool.presets import PRESETS, ModelConfig

SMALL = ModelConfig(channels=(8, 16), n_latent=5)


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


@pytest.mark.parametrize("architecture", ["convolutional", "residual"])
@pytest.mark.parametrize("size", [(33, 17), (64, 20), (1025, 65), (7, 1)])
def test_the_decoder_gives_back_the_size_that_came_in(architecture, size):
    config = ModelConfig(architecture=architecture, channels=(8, 8, 8), n_latent=4)
    model = JointVAE(config, (2, *size)).eval()
    spectrogram = torch.randn(2, 2, *size)
    reconstruction, mean, log_variance = model(spectrogram, torch.zeros(2, 4))
    assert reconstruction.shape == spectrogram.shape
    assert mean.shape == log_variance.shape == (2, 4)


def test_week6_is_the_model_of_the_report():
    preset = PRESETS["week6"]
    config = preset.spectrogram
    assert (config.n_fft, config.hop_length, config.window_length) == (4096, 2048, 4096)
    model = JointVAE(preset.model, (2, 2049, 65))
    convolutions = [m for m in model.encoder if isinstance(m, torch.nn.Conv2d)]
    assert [c.in_channels for c in convolutions] + [32] == [2, 8, 16, 32, 32]
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    assert {c.stride for c in convolutions} == {(2, 2)}
    # 2049 x 65 halves exactly to 129 x 5, on which the 2048 latents hang.
    assert halved_sizes(2049, 65, 4)[-1] == (129, 5)
    assert model.to_mean.weight.shape == (2048, 32 * 129 * 5)
    training = preset.training
    assert (training.learning_rate, training.batch_size, training.annealing) == (
        1e-5,
        8,
        "constant",
    )


def test_in_evaluation_a_row_does_not_see_its_batch():
    for architecture in ("convolutional", "residual"):
        config = ModelConfig(architecture=architecture, channels=(8, 16), n_latent=5)
        torch.manual_seed(1)
        model = JointVAE(config, (2, 33, 17))
        for _ in range(3):  # so that batch statistics are not the initial ones
            model(torch.randn(8, 2, 33, 17) * 3 + 1, torch.zeros(8, 5))
        model.eval()
        rows = torch.randn(6, 2, 33, 17)
        together = model.encode(rows)[0]
        alone = torch.cat([model.encode(row[None])[0] for row in rows])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_noise_is_scaled_by_the_posterior():
    torch.manual_seed(2)
    model = JointVAE(SMALL, (2, 33, 17)).eval()
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
