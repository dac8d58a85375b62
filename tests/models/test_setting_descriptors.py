import math

import pytest
import torch

from dafxtool.models.descriptors import Descriptors
from dafxtool.models.setting_descriptors import (
    decay_descriptors,
    peak_descriptors,
    repeat_descriptors,
    ripple_descriptors,
    spectrum_descriptors,
)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_the_decay_of_a_room_is_found_in_each_band():
    dry = noise(2, 200, 3).square()
    decays = torch.tensor([0.5, 0.8, 0.95])
    wet = torch.zeros_like(dry)
    for frame in range(1, 200):
        wet[:, frame] = decays * wet[:, frame - 1] + 0.4 * dry[:, frame]
    found = decay_descriptors(dry, wet)
    torch.testing.assert_close(found[:, :3], decays.expand(2, 3), atol=0.02, rtol=0)
    torch.testing.assert_close(found[:, 3:6], torch.full((2, 3), math.log(0.4)), atol=0.1, rtol=0)
    gains = (0.4 / (1 - decays)).log().expand(2, 3)
    torch.testing.assert_close(found[:, 6:], gains, atol=0.3, rtol=0)


@pytest.mark.parametrize("lag", [3, 12, 40])
def test_an_echo_within_a_few_samples_leaves_its_ripple(lag):
    dry = 1 + noise(2, 20, 257)
    angle = math.pi * lag / 256 * torch.arange(257)
    for sign in (1, -1):
        found = ripple_descriptors(dry, dry * (1 + sign * 0.3 * angle.cos()))
        assert (found.abs().argmax(dim=1) == lag - 1).all()
        assert (found[:, lag - 1].sign() == sign).all()


def test_the_spectrum_does_not_depend_on_the_level():
    dry, wet = noise(2, 2, 20, 8)
    found, louder = spectrum_descriptors(dry, wet), spectrum_descriptors(dry, 3 * wet)
    torch.testing.assert_close(found[:, :8], louder[:, :8])
    torch.testing.assert_close(found[:, 16:], louder[:, 16:])


def test_the_position_of_a_peak_is_one_number():
    response = 0.01 * noise(2, 300)
    response[0, 40], response[1, 200] = 1.0, 0.5
    found = peak_descriptors(response, first=5)
    positions = torch.tensor([math.log(45), math.log(205)])
    torch.testing.assert_close(found[:, 0], positions)
    torch.testing.assert_close(found[:, 1], positions, atol=0.05, rtol=0)
    torch.testing.assert_close(found[:, 2], torch.tensor([1.0, 0.5]))


def test_the_repeats_of_an_echo_have_its_feedback():
    response = torch.zeros(2, 129)
    response[:, 0] = 1.0
    for row, (lag, feedback) in enumerate(((20, 0.5), (33, 0.8))):
        for repeat in range(128 // lag):
            response[row, lag * (repeat + 1)] = 0.6 * feedback**repeat
    found = repeat_descriptors(response)
    torch.testing.assert_close(found[:, 0], torch.tensor([20.0, 33.0]).log())
    torch.testing.assert_close(found[:, 6], torch.tensor([0.5, 0.8]), atol=0.07, rtol=0)
    torch.testing.assert_close(found[:, 7], torch.tensor([0.25, 0.64]), atol=0.07, rtol=0)


def test_descriptors_without_settings_are_the_first_ones():
    pairs = noise(2, 2, 129, 20)
    complete, earlier = (
        Descriptors(129, 20)(pairs),
        Descriptors(129, 20, with_settings=False)(pairs),
    )
    torch.testing.assert_close(complete[:, : earlier.shape[1]], earlier)
    assert complete.shape[1] > earlier.shape[1]
