"""Interpolate between two pairs through the latent space.

The decoded steps are corrected by what is known of the ends. The residual of the decoder at each
end is added, so that both ends are exact. The level of each step is interpolated in dB, because a
cross-fade after the power law is too quiet. Pauses stay as quiet as those of the ends.

On one recording the true steps are known. Between two settings of one effect they are the effect at
the settings in between. Between two effects they are both effects in parallel, with gains 1 - t and
t. So two effects are not interpolated in the latent space: the decoded wet channels of both ends
are blended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from dafxtool.dataset.pair import level_pair, render_pair
from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError, InputError
from dafxtool.latents.examples import Example
from dafxtool.latents.spectral_transport import transport
from dafxtool.models.run import Run
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.transform import linear_magnitude

if TYPE_CHECKING:
    from torch import Tensor

Magnitudes = NDArray[np.float32]

PAUSE_POWER = 1e-4  # relative to the loudest frame (-40 dB)
PAUSE_MARGIN_FRAMES = 2  # because windows overlap
MAX_LEVEL_GAIN = 10.0 ** (30 / 20)
MIN_LEVEL_CHANGE = 1e-3  # smaller corrections are left out


@dataclass(frozen=True)
class Interpolation:
    """The interpolation path from pair a to pair b.

    positions   (n_steps,) from 0 (a) to 1 (b)
    latents     (n_steps, n_latent); the ends are those of a and b. None if nothing was decoded
    magnitudes  (n_steps, 2, n_bins, n_frames), linear; the ends are those of a and b
    errors_a, errors_b
                (2,) squared errors of the decoded ends, before the residual is added
    rendered    (n_steps, n_samples) true wet audio of the steps: the effect at the settings in
                between, or if `is_parallel` both effects in parallel
    rendered_magnitudes
                (n_steps, n_bins, n_frames) of the rendered audio
    rendered_errors
                (n_steps,) mean squared errors of the decoded wet steps against the rendered ones,
                in standardised units
    """

    a: Example
    b: Example
    positions: NDArray[np.float32]
    latents: NDArray[np.float32] | None
    magnitudes: Magnitudes
    errors_a: NDArray[np.float64] | None
    errors_b: NDArray[np.float64] | None
    spherical: bool
    detailed: bool = False
    is_parallel: bool = False
    rendered: NDArray[np.float32] | None = None
    rendered_magnitudes: Magnitudes | None = None
    rendered_errors: NDArray[np.float64] | None = None


def interpolate(
    a: Example,
    b: Example,
    run: Run,
    n_steps: int = 7,
    spherical: bool = False,
    detailed: bool = False,
) -> Interpolation:
    """Interpolate between the latents of two pairs and decode each step.

    spherical  interpolate the latents along the sphere, between two effects too
    detailed   one segment with two effects: nothing is decoded, and filters of the dry recording
               are interpolated (latents.spectral_transport)

    InputError for fewer than two steps, and for detailed with two segments.
    """
    if n_steps < 2:
        raise InputError(f"too few steps (found {n_steps}, expected at least 2). Use more --steps.")
    positions = np.linspace(0, 1, n_steps, dtype=np.float32)
    blend = positions[:, None]
    constants = ((1 - blend) * a.constants + blend * b.constants).astype(np.float32)
    latents: NDArray[np.float32] | None = None
    errors: tuple[NDArray[np.float64], ...] | tuple[None, None] = (None, None)
    is_parallel = is_parallel_path(a, b)
    if detailed:
        magnitudes = _transported(a, b, positions, run)
    else:
        latents, decoded, errors = decode_path(a, b, run, positions, spherical)
        magnitudes = linear_magnitude(decoded, constants, run.spectrogram_config)
        magnitudes[[0, -1]] = a.magnitude, b.magnitude
        if is_parallel and not spherical:
            magnitudes[:, 1] = blend_magnitudes(a.magnitude[1], b.magnitude[1], positions)
        quieten_pauses(magnitudes)
    match_levels(magnitudes, positions)
    result = Interpolation(
        *(a, b, positions, latents, magnitudes, *errors, spherical, detailed, is_parallel)
    )
    render = _blend_steps if is_parallel else _render_steps
    rendered = render(a, b, run, positions)
    return result if rendered is None else _with_rendered(result, rendered, run, constants)


def decode_path(
    a: Example, b: Example, run: Run, positions: NDArray[np.float32], spherical: bool = False
) -> tuple[NDArray[np.float32], Magnitudes, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Decode the path between two pairs.

    Returns latents (n_steps, n_latent), standardised spectrograms (n_steps, 2, n_bins, n_frames)
    whose ends are exact, and the errors (2,) of the decoder at both ends.
    """
    import torch

    ends = np.stack([a.spectrogram, b.spectrogram])
    first, last = torch.from_numpy(run.embed(ends))
    path = (slerp if spherical else lerp)(first, last, torch.from_numpy(positions)).numpy()
    t = positions[:, None, None]

    def with_residual(decoded: Magnitudes, channel: int) -> Magnitudes:
        """Add the interpolated residual of the decoder at the ends."""
        residual = ends[:, channel] - decoded[[0, -1]]
        return decoded + (1 - t) * residual[0] + t * residual[1]

    dry = with_residual(run.decode(path)[:, 0], 0)
    decoded = run.decode(path, dry)
    errors = channel_mse(decoded[[0, -1]], ends)
    steps = np.stack([dry, with_residual(decoded[:, 1], 1)], axis=1)
    return path, steps, (errors[0], errors[1])


def blend_magnitudes(a: Magnitudes, b: Magnitudes, positions: NDArray[np.float32]) -> Magnitudes:
    """Blend linear magnitudes (...) with gains 1 - t and t: (n_steps, ...).

    The decoded channel plus what the decoder leaves of an end is the channel itself. So the blend
    of both decoded ends, with what is left of them, is the blend of the channels.
    """
    t = positions.reshape(-1, *[1] * a.ndim)
    return (1 - t) * a + t * b


def quieten_pauses(magnitudes: Magnitudes) -> None:
    """Attenuate frames that are pauses at both ends to the louder end's level, in place.

    magnitudes  (n_steps, 2, n_bins, n_frames), linear
    """
    power = np.square(magnitudes).mean(axis=2)  # (n_steps, 2, n_frames)
    limit = np.maximum(power[0], power[-1])
    size = 2 * PAUSE_MARGIN_FRAMES + 1
    pause = maximum_filter1d(limit, size, axis=-1) < PAUSE_POWER * limit.max(axis=-1, keepdims=True)
    gain = np.sqrt(limit / np.maximum(power, 1e-30))
    magnitudes *= np.where(pause, np.minimum(gain, 1), 1).astype(np.float32)[:, :, None]


def match_levels(magnitudes: Magnitudes, positions: NDArray[np.float32]) -> None:
    """Set the level of each step to the level in dB interpolated between the ends, in place.

    magnitudes  (n_steps, 2, n_bins, n_frames), linear
    """
    power = np.square(magnitudes, dtype=np.float64).mean(axis=(2, 3))
    if power.min() <= 0:
        return
    level = np.log(power)
    t = positions[:, None]
    gain = np.exp(((1 - t) * level[0] + t * level[-1] - level) / 2)
    gain = gain.clip(1 / MAX_LEVEL_GAIN, MAX_LEVEL_GAIN)
    gain = np.where(np.abs(gain - 1) < MIN_LEVEL_CHANGE, 1, gain)
    magnitudes *= gain.astype(np.float32)[:, :, None, None]


def _transported(a: Example, b: Example, positions: NDArray[np.float32], run: Run) -> Magnitudes:
    """Interpolate the wet channel by transport: (n_steps, 2, n_bins, n_frames).

    The dry channel is that of the ends.
    """
    if not np.array_equal(a.audio[0], b.audio[0]):
        raise InputError(
            f"--detailed needs two effects on one segment (found {a.recording} from "
            f"{a.offset_seconds:.2f} s and {b.recording} from {b.offset_seconds:.2f} s). Name one "
            "recording and one start, or leave --detailed out."
        )
    wet = transport(
        a.magnitude[0], a.magnitude[1], b.magnitude[1], positions, run.spectrogram_config
    )
    return np.stack([np.broadcast_to(a.magnitude[0], wet.shape), wet], axis=1)


# Rendering the true steps -------------------------------------------------------------------------


def is_parallel_path(a: Example, b: Example) -> bool:
    """Return whether two known effects on one segment have no settings in between.

    These are two different effects, or settings of one that differ in a choice.
    """
    if a.choice is None or b.choice is None or not np.array_equal(a.audio[0], b.audio[0]):
        return False
    (effect, setting), (other, other_setting) = a.choice, b.choice
    if effect.name != other.name:
        return True
    return setting_between(effect, setting, other_setting, 0.5) is None


def _blend_steps(
    a: Example, b: Example, run: Run, positions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mix the wet audio of both ends with gains 1 - t and t: (n_steps, n_samples).

    Each step has the level of a pair. The audio of both ends starts with the segment, because the
    latency of plugins is compensated where they are applied.
    """
    config = run.configuration.segments
    mixed = ((1 - t) * a.audio[1] + t * b.audio[1] for t in positions[1:-1])
    steps = [level_pair(a.audio[0], wet, np.float32(1), config)[0][1] for wet in mixed]
    return np.stack([a.audio[1], *steps, b.audio[1]])


def setting_between(
    effect: Effect, a: dict[str, float], b: dict[str, float], t: float
) -> dict[str, float] | None:
    """Interpolate between settings a (t = 0) and b (t = 1) on the scale of each parameter.

    None if they differ in a choice, which has no values in between.
    """
    setting = {}
    for parameter in effect.parameters:
        first, last = a[parameter.name], b[parameter.name]
        if parameter.choices and first != last:
            return None
        normalised = (1 - t) * parameter.to_normalised(first) + t * parameter.to_normalised(last)
        setting[parameter.name] = (
            first if parameter.choices else parameter.from_normalised(normalised)
        )
    return setting


def _render_steps(
    a: Example, b: Example, run: Run, positions: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Render the settings between those of two pairs of one effect and recording.

    Returns wet audio (n_steps, n_samples); None if the ends have no settings in between, or if the
    effect cannot be rendered here.
    """
    if a.choice is None or b.choice is None or a.choice[0].name != b.choice[0].name:
        return None
    if not np.array_equal(a.audio[0], b.audio[0]):
        return None
    effect = a.choice[0]
    between = [setting_between(effect, a.choice[1], b.choice[1], float(t)) for t in positions]
    settings = [setting for setting in between if setting is not None]
    if not effect.parameters or len(settings) < len(between):
        return None
    config = run.configuration.segments
    try:
        wet = [render_pair(a.audio[0], effect, setting, config)[0][1] for setting in settings[1:-1]]
    except DafxError:  # such as a missing plugin
        return None
    return np.stack([a.audio[1], *wet, b.audio[1]])


def _with_rendered(
    steps: Interpolation, wet: NDArray[np.float32], run: Run, constants: NDArray[np.float32]
) -> Interpolation:
    """Add the rendered steps, and the errors of the decoded steps against them."""
    from dafxtool.spectrogram.stft import compress, standardise

    config = run.spectrogram_config
    spectrogram, own = run.analyse(np.stack([np.broadcast_to(steps.a.audio[0], wet.shape), wet], 1))
    magnitudes = linear_magnitude(spectrogram, own, config)[:, 1]
    errors = []
    for number, unit in enumerate(constants.tolist()):
        decoded, rendered = (
            standardise(compress(each[number], config), *unit).numpy()
            for each in (steps.magnitudes[:, 1], magnitudes)
        )
        errors.append(float(np.mean(np.square(decoded.astype(np.float64) - rendered))))
    return replace(
        steps, rendered=wet, rendered_magnitudes=magnitudes, rendered_errors=np.array(errors)
    )


# Paths between latents ----------------------------------------------------------------------------


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate spherically between latents (n_latent,) at t (n_steps,): (n_steps, n_latent).

    The direction turns at constant speed, and the norm is interpolated linearly. Parallel latents
    are interpolated linearly. Shoemake 1985, "Animating rotation with quaternion curves".
    """
    import torch

    length_a, length_b = a.norm(), b.norm()
    tiny = torch.finfo(a.dtype).tiny
    unit_a, unit_b = a / length_a.clamp_min(tiny), b / length_b.clamp_min(tiny)
    angle = torch.arccos((unit_a @ unit_b).clamp(-1.0, 1.0))
    if float(angle.sin()) < 1e-4:
        return lerp(a, b, t)
    t = t[:, None]
    direction = (((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b) / angle.sin()
    mixed = direction * ((1 - t) * length_a + t * length_b)
    return torch.where(t == 0, a, torch.where(t == 1, b, mixed))


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate linearly between latents (n_latent,) at t (n_steps,): (n_steps, n_latent)."""
    return (1 - t[:, None]) * a + t[:, None] * b


# Figures, tables and audio ------------------------------------------------------------------------
