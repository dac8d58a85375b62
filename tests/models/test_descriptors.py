import itertools
import math

import pytest
import torch

from dafxtool.models.descriptors import (
    N_MODULATION_STEPS,
    SMALL_DIFFERENCE,
    Descriptors,
    _log_steps,
    band_averages,
)

N_BINS, N_FRAMES = 129, 65
# Places in the list that Descriptors._dynamics returns.
INCOHERENT, GAIN_BY_LEVEL, MODULATION = 4, 5, 8


def noise(n: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, N_BINS, N_FRAMES, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def describe():
    return Descriptors(N_BINS, N_FRAMES)


def echoes(describe: Descriptors, dry: torch.Tensor, wet: torch.Tensor) -> torch.Tensor:
    """(n, regions, steps): what leads to the largest response of each step of lags, lag 0 first."""
    bands = (x[:, 0].transpose(1, 2) @ describe.bands for x in (dry, wet))
    n_steps = (describe._echoes(*bands).shape[2] - 1) // 2
    return describe._echoes(*(x[:, 0].transpose(1, 2) @ describe.bands for x in (dry, wet)))[
        ..., : 1 + n_steps
    ]


@pytest.mark.parametrize("lag", [1, 5, 23, 40])
def test_an_echo_answers_at_its_own_lag(describe, lag):
    dry = noise()
    wet = dry.clone()
    wet[..., lag:] += 0.6 * dry[..., :-lag]
    found = echoes(describe, dry, wet)
    assert found[..., 0].mean() == pytest.approx(1.0, abs=0.15)
    step = next(i for i, (a, b) in enumerate(itertools.pairwise(describe._edges)) if a <= lag < b)
    assert int(found[..., 1:].mean(dim=(0, 1)).argmax()) == step
    # Half a segment's echo falls behind its end, so that far ones are told too small.
    assert found[..., 1 + step].mean() == pytest.approx(0.6 * (1 - lag / N_FRAMES), abs=0.15)


def test_equal_pairs_have_no_difference():
    describe = Descriptors(N_BINS, N_FRAMES, with_settings=False)
    dry = noise()
    same = describe(torch.cat([dry, dry], dim=1))
    louder = describe(torch.cat([dry, dry + 0.5], dim=1))
    n_bands = describe.bands.shape[1]
    n_echoes = echoes(describe, dry, dry)[0].numel() * 2 - 4
    means = slice(n_echoes, n_echoes + n_bands)
    torch.testing.assert_close(same[:, means], torch.zeros(3, n_bands), atol=1e-5, rtol=0)
    torch.testing.assert_close(louder[:, means], torch.full((3, n_bands), 0.5), atol=1e-5, rtol=0)
    # Mean, standard deviation, 4 levels, and mean and levels again. Descriptors that compare
    # levels depend on an offset after the power law.
    n_dynamics = sum(each[0].numel() for each in dynamics(describe, dry, dry))
    n_before = same.shape[1] - n_dynamics
    rest = [i for i in range(n_before) if not n_echoes <= i < n_echoes + 11 * n_bands]
    torch.testing.assert_close(louder[:, rest], same[:, rest], atol=1e-3, rtol=1e-3)


def dynamics(describe: Descriptors, dry: torch.Tensor, wet: torch.Tensor) -> list[torch.Tensor]:
    return describe._dynamics(*(x[:, 0].transpose(1, 2) for x in (dry, wet)))


def sounding(seed: int = 0) -> torch.Tensor:
    """Noise whose level moves slowly, from silence upwards."""
    level = torch.rand(3, 1, 1, 1 + N_FRAMES // 4, generator=torch.Generator().manual_seed(seed))
    level = torch.nn.functional.interpolate(level[:, 0], N_FRAMES, mode="linear")[:, None]
    dry = noise() * (0.2 + level)
    dry[..., 0, 0] = 0.0
    return dry


def test_a_static_filter_is_its_gains_and_leaves_nothing(describe):
    dry = sounding()
    slope = torch.linspace(0.3, 1.0, N_BINS)[:, None]
    found = dynamics(describe, dry, slope * dry)
    transfer, incoherent = found[0], found[INCOHERENT]
    wanted = (slope[:, 0] @ describe.bands).log()
    torch.testing.assert_close(transfer.mean(dim=0), wanted, atol=0.02, rtol=0)
    other = dynamics(describe, dry, slope * dry * noise(seed=7))[INCOHERENT]
    assert float((other - incoherent).min()) > 2  # natural logarithms


def test_a_compressor_has_less_gain_where_the_level_is_high(describe):
    dry = sounding()
    level = dry.square().mean(dim=2, keepdim=True)
    compressed = dry * level.pow(-0.25)
    found = dynamics(describe, dry, compressed)
    assert bool((found[GAIN_BY_LEVEL][:, :8].diff(dim=1) < 0).all())
    same_time = found[GAIN_BY_LEVEL + 1][:, 0, 4]
    assert float(same_time.max()) < -0.95  # correlation of gain and level


@pytest.mark.parametrize("period", [4, 8, 16])
def test_a_tremolo_modulates_the_overall_gain_at_its_rate(describe, period):
    dry = sounding()
    tremolo = 1 + 0.5 * torch.cos(2 * math.pi * torch.arange(N_FRAMES) / period)
    spectrum = dynamics(describe, dry, dry * tremolo)[MODULATION]
    edges = _log_steps(1, N_FRAMES // 2, N_MODULATION_STEPS)
    step = next(i for i, (a, b) in enumerate(itertools.pairwise(edges)) if a <= 64 // period < b)
    assert int(spectrum.mean(dim=0).argmax()) in (step - 1, step, step + 1)


def test_small_values_are_magnified(describe):
    """A hundredth of the large difference, with its sign, is told by a tenth of its height."""
    dry, n_bands = noise(), describe.bands.shape[1]
    fine = []
    for difference in (0.005, -0.005, 0.5):
        told = describe(torch.cat([dry, dry + difference], dim=1))
        begin = echoes(describe, dry, dry)[0].numel() * 2 - 4 + 6 * n_bands
        fine.append(told[:, begin : begin + 5 * n_bands])
    expected = [math.asinh(x / SMALL_DIFFERENCE) for x in (0.005, -0.005, 0.5)]
    for found, wanted in zip(fine, expected, strict=True):
        torch.testing.assert_close(found, torch.full_like(found, wanted), atol=1e-3, rtol=0)
    assert abs(expected[0]) > 0.1 * expected[2]


@pytest.mark.parametrize(("level_db", "is_ignored"), [(-100, True), (-84, True), (-60, False)])
def test_differences_under_80_db_are_ignored(describe, level_db, is_ignored):
    """Magnitudes are amplitude ** 0.3, with silence at 0, as in a standardised spectrogram."""
    amplitude = noise() ** (1 / 0.3)
    amplitude[..., 0] = 0
    other = noise(seed=1) ** (1 / 0.3)
    other *= 10 ** (level_db / 20) * (amplitude.norm() / other.norm())
    dry, wet = amplitude**0.3, (amplitude + other) ** 0.3
    same, found = (describe(torch.cat([dry, x], dim=1)) for x in (dry, wet))
    assert torch.equal(found, same) == is_ignored


def test_the_level_descriptors_identify_a_compressor(describe):
    """Loud frames made softer: the difference falls from quarter to quarter of the dry level."""
    dry = noise()
    bands = dry[:, 0].transpose(1, 2) @ describe.bands
    from dafxtool.models.descriptors import _by_level

    by_level = _by_level(bands, -0.5 * bands)
    assert by_level.shape == (3, 4, describe.bands.shape[1])
    assert (by_level.diff(dim=1) < 0).all()


@pytest.mark.parametrize("lag", [12, 30, 60])
def test_an_echo_within_a_frame_is_a_comb_of_its_own_time(lag):
    """|1 + 0.5 exp(-i 2 pi f lag)| ripples along frequency with the period 1 / lag."""
    describe = Descriptors(N_BINS, N_FRAMES)
    dry = 5 + noise()
    bins = torch.arange(N_BINS) / (2 * (N_BINS - 1))  # cycles a sample
    response = (1 + 0.5 * torch.exp(-2j * torch.pi * bins * lag)).abs()
    wet = dry + response.log()[:, None]
    found = describe._comb(*(x[:, 0].transpose(1, 2) for x in (dry, wet)))
    step = next(
        i for i, (a, b) in enumerate(itertools.pairwise(describe._comb_edges)) if a <= lag < b
    )
    assert (abs(found.argmax(dim=1) - step) <= 1).all()
    same = describe._comb(*(x[:, 0].transpose(1, 2) for x in (dry, dry + 3)))
    assert found.max() > same.max() + 2


@pytest.mark.parametrize("by", [7, 30])
def test_the_shift_descriptor_is_largest_at_the_distance_and_side_of_a_shift(describe, by):
    dry, frames = noise(), lambda x: x[:, 0].transpose(1, 2)
    step = next(
        i for i, (a, b) in enumerate(itertools.pairwise(describe._shift_edges)) if a <= by < b
    )
    found = {}
    for name, moved in (("up", by), ("down", -by)):
        wet = torch.roll(dry, moved, 2)
        found[name] = describe._shift(*describe._shift_response(frames(dry), frames(wet)))
        assert (found[name][:, 0].argmax(dim=1) == step).all()
    assert (found["up"][:, 2, step] > 0.3).all() and (found["down"][:, 2, step] < -0.3).all()
    torch.testing.assert_close(found["up"][:, :2], found["down"][:, :2], atol=0.2, rtol=0)


def test_rows_do_not_see_each_other(describe):
    pairs = torch.cat([noise(seed=1), noise(seed=2)], dim=1)
    # FFTs of two rows and of one round differently on some processors.
    torch.testing.assert_close(describe(pairs)[1:2], describe(pairs[1:2]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1025, 257), (2049, 33), (33, 5), (7, 1)])
def test_any_size_gives_finite_descriptors(size):
    made = Descriptors(*size)
    found = made(torch.randn(2, 2, *size))
    assert found.shape == (2, made.n_descriptors)
    assert torch.isfinite(found).all()
    assert torch.isfinite(made(torch.zeros(1, 2, *size))).all()


@pytest.mark.parametrize("n_bins", [33, 129, 1025, 2049])
def test_bands_are_averages(n_bins):
    bands = band_averages(n_bins, 64)
    torch.testing.assert_close(bands.sum(dim=0), torch.ones(bands.shape[1]))
    assert (bands >= 0).all()
    centres = (bands * torch.arange(n_bins)[:, None]).sum(dim=0)
    assert (centres.diff() > 0).float().mean() > 0.9


@pytest.mark.parametrize(("floor_db", "is_same"), [(0.0, False), (-97.0, False), (-90.0, True)])
def test_bins_below_the_floor_are_not_described(floor_db, is_same):
    """Beside an audible effect, quiet bins change from -100 to -95 dB of the loudest one."""
    exponent, loudest, quiet_bins = 0.3, 1.5, slice(60, 80)
    dry = noise() + 0.5
    dry[..., -1] = loudest
    dry[..., 0] = 0.0  # digital silence
    wet = dry.clone()
    wet[:, :, 10:30] *= 0.8
    pairs = []
    for level_db in (-100, -95):
        changed = wet.clone()
        changed[:, :, quiet_bins] = loudest * 10 ** (level_db / 20 * exponent)
        pairs.append(torch.cat([dry, changed], dim=1))
    describe = Descriptors(N_BINS, N_FRAMES, exponent, floor_db)
    assert torch.equal(describe(pairs[0]), describe(pairs[1])) == is_same
