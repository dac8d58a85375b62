"""Interpolate between two pairs through the latent space, and draw and write the steps.

The decoded steps are corrected by what is known of the ends. The residual of the decoder at each
end is added, so that both ends are exact. The level of each step is interpolated in dB, because a
cross-fade after the power law is too quiet. Pauses stay as quiet as those of the ends.

On one recording the true steps are known. Between two settings of one effect they are the effect at
the settings in between. Between two effects they are both effects in parallel, with gains 1 - t and
t. So two effects are not interpolated in the latent space: the decoded wet channels of both ends
are blended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from dafxtool.audio.writer import save_audio
from dafxtool.dataset.pair import level_pair, render_pair
from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError, InputError
from dafxtool.latents.columns import latent_names
from dafxtool.latents.examples import CHANNELS, Example
from dafxtool.latents.reconstruct import sheet_axes
from dafxtool.latents.spectral_transport import transport
from dafxtool.models.run import Run
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.phase_retrieval import Inversion, find_method, invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

Magnitudes = NDArray[np.float32]

GAP_SECONDS = 0.35  # between the steps in the file with all steps
PAUSE_POWER = 1e-4  # relative to the loudest frame (-40 dB)
PAUSE_MARGIN_FRAMES = 2  # because windows overlap
MAX_LEVEL_GAIN = 10.0 ** (30 / 20)
MIN_LEVEL_CHANGE = 1e-3  # smaller corrections are left out
EXACT = "exact"  # above the ends of a sheet


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


def draw_interpolation(
    path: Path, interpolation: Interpolation, run: Run, overwrite: bool = False
) -> None:
    """Draw the originals at both ends and the steps between them (the report's figures 5, 6).

    The error of a wet step against the rendered effect is above it, where that is known. The ends
    have none: they equal the originals, because the residual of the decoder is added.
    """
    a, b, positions = interpolation.a, interpolation.b, interpolation.positions
    errors = interpolation.rendered_errors
    panels: list[list[Panel | None]] = []
    for channel in range(2):
        titles = [EXACT, *[""] * (len(positions) - 2), EXACT]
        if channel == 1 and errors is not None:
            titles[1:-1] = [f"MSE {error:.4f}" for error in errors[1:-1]]
        steps = map(Panel, interpolation.magnitudes[:, channel], titles)
        panels.append([Panel(a.magnitude[channel]), *steps, Panel(b.magnitude[channel])])
    if interpolation.rendered_magnitudes is not None:
        panels.append([None, *map(Panel, interpolation.rendered_magnitudes), None])
    kind = "spherical" if interpolation.spherical else "linear"
    steps_label = f"decoded, {kind} interpolation of the latents"
    if interpolation.is_parallel and not interpolation.spherical:
        steps_label = "decoded ends, blended with gains 1 - t and t"
    if interpolation.detailed:
        steps_label = "interpolated filters of the dry recording"
    sheet = Sheet(
        panels=panels,
        **sheet_axes(run),
        row_labels=[*CHANNELS, "in parallel" if interpolation.is_parallel else "rendered"][
            : len(panels)
        ],
        column_labels=["original A", *(f"t = {t:.2f}" for t in positions), "original B"],
        column_groups=[
            (f"A: {a.recording}\n{a.label}", 1),
            (steps_label, len(positions)),
            (f"B: {b.recording}\n{b.label}", 1),
        ],
        title=f"From {_short(a, b)} to {_short(b, a)}",
    )
    draw_sheet(path, sheet, overwrite)


def _short(example: Example, other: Example) -> str:
    """Name an example by what distinguishes it from the other: its effect, or its recording."""
    if example.recording == other.recording:
        return example.effect if example.effect != other.effect else example.label
    if example.effect == other.effect:
        return f"{example.recording} ({example.effect})"
    return f"{example.recording}, {example.effect}"


def write_interpolation_table(
    path: Path, interpolation: Interpolation, run: Run, overwrite: bool = False
) -> None:
    """Write t, the error against the rendered step, and the latents of each step as CSV."""
    columns: dict[str, Sequence[Any]] = {"t": interpolation.positions.tolist()}
    if interpolation.rendered_errors is not None:
        columns["rendered_error"] = interpolation.rendered_errors.tolist()
    latents = interpolation.latents
    if latents is not None:
        names = latent_names(latents.shape[1], run.model.n_content, run.model.n_style)
        columns |= dict(zip(names, latents.T.tolist(), strict=True))
    write_table(path, columns, overwrite)


def step_audio(
    interpolation: Interpolation, run: Run, index: int, channel: int = 1, method: str = "fast"
) -> Inversion:
    """Invert one channel of a step (0 dry, 1 wet) to audio.

    The inversion starts from the phase of the ends' own channel, cross-faded at t: the ends are
    exact.
    """
    t = interpolation.positions[index]
    a, b = interpolation.a.audio, interpolation.b.audio
    # The phase of a cross-fade of two recordings is less exact than that of one.
    iterations = None if np.array_equal(a[0], b[0]) else find_method(method).known_iterations
    return invert(
        interpolation.magnitudes[index, channel],
        run.spectrogram_config,
        a.shape[1],
        method,
        iterations,
        phase_from=((1 - t) * a[channel] + t * b[channel]).astype(np.float32),
        consistent=index in (0, len(interpolation.positions) - 1),  # the ends are exact
    )


def save_interpolation_audio(
    folder: Path,
    interpolation: Interpolation,
    run: Run,
    method: str = "fast",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[tuple[Path, float | None]]:
    """Write the originals and every step, dry and wet, and one file with all wet steps.

    Returns each file and its spectral convergence in dB, which is None for an original.
    """
    rate = run.spectrogram_config.sample_rate
    last = len(interpolation.positions) + 1
    written: list[tuple[Path, float | None]] = []
    sequence: list[NDArray[np.float32]] = []
    progress.start("inverting", 2 * len(interpolation.positions), "file")

    def save(
        number: int, name: str, audio: NDArray[np.float32], convergence_db: float | None
    ) -> None:
        width = len(str(last))
        path = folder / f"{number:0{width}d}-{name}.wav"
        save_audio(path, audio, rate, overwrite=overwrite)
        written.append((path, convergence_db))

    for channel, kind in enumerate(CHANNELS):
        save(0, f"original-a-{kind}", interpolation.a.audio[channel], None)
        for number, t in enumerate(interpolation.positions, 1):
            result = step_audio(interpolation, run, number - 1, channel, method)
            save(number, f"t{t:.2f}-{kind}", result.audio, result.convergence_db)
            if kind == "wet":
                sequence.append(result.audio)
            progress.advance()
        save(last, f"original-b-{kind}", interpolation.b.audio[channel], None)
    progress.finish()
    truth = "in-parallel" if interpolation.is_parallel else "rendered"
    for number, audio in enumerate(
        () if interpolation.rendered is None else interpolation.rendered, 1
    ):
        save(number, f"t{interpolation.positions[number - 1]:.2f}-{truth}", audio, None)
    pause = np.zeros(round(GAP_SECONDS * rate), np.float32)
    parts = [interpolation.a.audio[1], *sequence, interpolation.b.audio[1]]
    joined = np.concatenate([piece for part in parts for piece in (part, pause)][:-1])
    path = folder / "all-wet.wav"
    save_audio(path, joined, rate, overwrite=overwrite)
    return [*written, (path, None)]
