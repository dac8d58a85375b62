"""Interpolate between two pairs through the latent space, and draw and write what lies between.

The decoded steps are anchored on what is known. What the decoder leaves of each end is carried
along, so that both ends are exact. The level of each step lies on the line between the ends'
levels, in dB: a fade after the power law is too soft. Pauses stay as quiet as those of the ends.
Between two settings of one effect on one recording the effect is rendered at each step as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from dafxtool.audio.writer import save_audio
from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError, InputError
from dafxtool.latents.examples import CHANNELS, Example
from dafxtool.latents.reconstruct import sheet_axes
from dafxtool.latents.spectral_transport import transport
from dafxtool.models.run import Run
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.phase_retrieval import Inversion, invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

Magnitudes = NDArray[np.float32]

GAP_SECONDS = 0.35  # between the steps of an interpolation in one file
PAUSE_POWER = 1e-4  # of the loudest frame: 40 dB below it
PAUSE_MARGIN_FRAMES = 2  # windows overlap
LARGEST_LEVEL_GAIN = 10.0 ** (30 / 20)
SAME_LEVEL = 1e-3


@dataclass(frozen=True)
class Interpolation:
    """The interpolation path from pair a to pair b.

    positions   (n_steps,) from 0 to 1
    latents     (n_steps, n_latent); the ends are those of a and b. None if nothing was decoded
    magnitudes  (n_steps, 2, n_bins, n_frames) linear; the ends are those of a and b
    errors_a, errors_b  (2,) of the decoded ends before what they leave is added
    rendered    (n_steps, n_samples) wet audio of the settings between those of a and b
    rendered_magnitudes, rendered_errors  (n_steps, n_bins, n_frames) of it, and the mean squared
                error (n_steps,) of the decoded wet steps against them, in standardised units
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

    detailed  one segment with two effects: nothing is decoded. What filters of the dry recording
              explain moves from one to the other, the rest is faded (`displacement`)
    """
    if n_steps < 2:
        raise InputError(f"{n_steps} steps were asked for: an interpolation has at least 2.")
    positions = np.linspace(0, 1, n_steps, dtype=np.float32)
    blend = positions[:, None]
    constants = ((1 - blend) * a.constants + blend * b.constants).astype(np.float32)
    latents: NDArray[np.float32] | None = None
    errors: tuple[NDArray[np.float64], ...] | tuple[None, None] = (None, None)
    if detailed:
        magnitudes = _moved(a, b, positions, run)
    else:
        latents, decoded, errors = decode_path(a, b, run, positions, spherical)
        magnitudes = linear_magnitude(decoded, constants, run.spectrogram_config)
        magnitudes[[0, -1]] = a.magnitude, b.magnitude
        quieten_pauses(magnitudes)
        match_levels(magnitudes, positions)
    audio_between = _rendered(a, b, run, positions)
    made = Interpolation(
        a, b, positions, latents, magnitudes, errors[0], errors[1], spherical, detailed
    )
    return made if audio_between is None else _with_rendered(made, audio_between, run, constants)


def decode_path(
    a: Example, b: Example, run: Run, positions: NDArray[np.float32], spherical: bool = False
) -> tuple[NDArray[np.float32], Magnitudes, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Latents, standardised spectrograms whose ends are exact, and the errors of the ends."""
    import torch

    ends = np.stack([a.spectrogram, b.spectrogram])
    first, last = torch.from_numpy(run.embed(ends))
    way = (slerp if spherical else lerp)(first, last, torch.from_numpy(positions)).numpy()
    t = positions[:, None, None]

    def carried(decoded: Magnitudes, channel: int) -> Magnitudes:
        """Add what the decoder leaves of each end, in the proportion of the step."""
        left = ends[:, channel] - decoded[[0, -1]]
        return decoded + (1 - t) * left[0] + t * left[1]

    dry = carried(run.decode(way)[:, 0], 0)
    decoded = run.decode(way, dry)
    errors = channel_mse(decoded[[0, -1]], ends)
    steps = np.stack([dry, carried(decoded[:, 1], 1)], axis=1)
    return way, steps, (errors[0], errors[1])


def quieten_pauses(magnitudes: Magnitudes) -> None:
    """Let frames that are pauses at both ends be no louder between them, in place.

    magnitudes  (n_steps, 2, n_bins, n_frames) linear
    """
    power = np.square(magnitudes).mean(axis=2)  # (n_steps, 2, n_frames)
    limit = np.maximum(power[0], power[-1])
    size = 2 * PAUSE_MARGIN_FRAMES + 1
    pause = maximum_filter1d(limit, size, axis=-1) < PAUSE_POWER * limit.max(axis=-1, keepdims=True)
    gain = np.sqrt(limit / np.maximum(power, 1e-30))
    magnitudes *= np.where(pause, np.minimum(gain, 1), 1).astype(np.float32)[:, :, None]


def match_levels(magnitudes: Magnitudes, positions: NDArray[np.float32]) -> None:
    """Bring each step to the line between the levels of the ends in dB, in place.

    magnitudes  (n_steps, 2, n_bins, n_frames) linear
    """
    power = np.square(magnitudes, dtype=np.float64).mean(axis=(2, 3))
    if power.min() <= 0:
        return
    level = np.log(power)
    t = positions[:, None]
    gain = np.exp(((1 - t) * level[0] + t * level[-1] - level) / 2)
    gain = gain.clip(1 / LARGEST_LEVEL_GAIN, LARGEST_LEVEL_GAIN)
    gain = np.where(np.abs(gain - 1) < SAME_LEVEL, 1, gain)
    magnitudes *= gain.astype(np.float32)[:, :, None, None]


def _moved(a: Example, b: Example, positions: NDArray[np.float32], run: Run) -> Magnitudes:
    """Magnitudes (n_steps, 2, n_bins, n_frames) whose dry channel stands still."""
    if not np.array_equal(a.audio[0], b.audio[0]):
        raise InputError(
            f"A is {a.recording} from {a.offset_seconds:.2f} s and B is {b.recording} from "
            f"{b.offset_seconds:.2f} s, but --detailed needs two effects on one segment. Name one "
            "recording and one start, or leave --detailed out."
        )
    wet = transport(
        a.magnitude[0], a.magnitude[1], b.magnitude[1], positions, run.spectrogram_config
    )
    return np.stack([np.broadcast_to(a.magnitude[0], wet.shape), wet], axis=1)


# Rendering between two settings -------------------------------------------------------------------


def setting_between(
    effect: Effect, a: dict[str, float], b: dict[str, float], t: float
) -> dict[str, float] | None:
    """The setting at t from a (0) to b (1), along each parameter's own scale; None without one."""
    setting = {}
    for parameter in effect.parameters:
        first, last = a[parameter.name], b[parameter.name]
        if parameter.choices and first != last:
            return None  # nothing lies between two names
        position = (1 - t) * parameter.to_normalised(first) + t * parameter.to_normalised(last)
        setting[parameter.name] = (
            first if parameter.choices else parameter.from_normalised(position)
        )
    return setting


def _rendered(
    a: Example, b: Example, run: Run, positions: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Wet audio (n_steps, n_samples) between two settings of one effect on one recording."""
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
    except DafxError:  # a plugin that is not here: the decoded steps do without
        return None
    return np.stack([a.audio[1], *wet, b.audio[1]])


def _with_rendered(
    made: Interpolation, wet: NDArray[np.float32], run: Run, constants: NDArray[np.float32]
) -> Interpolation:
    """Add the rendered steps, and how far the decoded ones are from them."""
    from dataclasses import replace

    from dafxtool.spectrogram.stft import compress, standardise

    config = run.spectrogram_config
    spectrogram, own = run.analyse(np.stack([np.broadcast_to(made.a.audio[0], wet.shape), wet], 1))
    magnitudes = linear_magnitude(spectrogram, own, config)[:, 1]
    errors = []
    for number, unit in enumerate(constants.tolist()):
        ours, theirs = (
            standardise(compress(each[number], config), *unit).numpy()
            for each in (made.magnitudes[:, 1], magnitudes)
        )
        errors.append(float(np.mean(np.square(ours.astype(np.float64) - theirs))))
    return replace(
        made, rendered=wet, rendered_magnitudes=magnitudes, rendered_errors=np.array(errors)
    )


# Paths between latents ----------------------------------------------------------------------------


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate spherically between latents (n_latent,) at t (n_steps,): (n_steps, n_latent).

    Direction turns at constant speed, length goes linearly. Where both point the same way, this is
    a straight line. Shoemake 1985, "Animating rotation with quaternion curves".
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


def draw_interpolation(path: Path, made: Interpolation, run: Run, overwrite: bool = False) -> None:
    """Draw the originals at both ends and the steps between them (the report's figures 5, 6)."""
    last = len(made.positions) - 1
    panels: list[list[Panel | None]] = []
    for channel in range(2):
        row: list[Panel | None] = [Panel(made.a.magnitude[channel])]
        for index, magnitude in enumerate(made.magnitudes):
            title = ""
            errors = {0: made.errors_a, last: made.errors_b}.get(index)
            if errors is not None:
                title = f"MSE {errors[channel]:.4f}"
            row.append(Panel(magnitude[channel], title))
        row.append(Panel(made.b.magnitude[channel]))
        panels.append(row)
    if made.rendered_magnitudes is not None and made.rendered_errors is not None:
        steps = zip(made.rendered_magnitudes, made.rendered_errors, strict=True)
        panels.append([None, *(Panel(each, f"MSE {error:.4f}") for each, error in steps), None])
    kind = "spherical" if made.spherical else "linear"
    how = "moved from A to B" if made.detailed else f"decoded, {kind} interpolation of the latents"
    sheet = Sheet(
        panels=panels,
        **sheet_axes(run),
        row_labels=[*CHANNELS, "rendered"][: len(panels)],
        column_labels=["original A", *(f"t = {t:.2f}" for t in made.positions), "original B"],
        column_groups=[
            (f"A: {made.a.recording}\n{made.a.label}", 1),
            (how, last + 1),
            (f"B: {made.b.recording}\n{made.b.label}", 1),
        ],
        title=f"From {_short(made.a, made.b)} to {_short(made.b, made.a)}",
    )
    draw_sheet(path, sheet, overwrite)


def _short(source: Example, other: Example) -> str:
    """What is different about a source: its effect, or its recording."""
    if source.recording == other.recording:
        return source.effect if source.effect != other.effect else source.label
    if source.effect == other.effect:
        return f"{source.recording} ({source.effect})"
    return f"{source.recording}, {source.effect}"


def write_interpolation_table(path: Path, made: Interpolation, overwrite: bool = False) -> None:
    """Write position, error against the rendered step, and latent of each step."""
    columns: dict[str, Sequence[Any]] = {"t": made.positions.tolist()}
    if made.rendered_errors is not None:
        columns["rendered_error"] = made.rendered_errors.tolist()
    latents = np.empty((len(made.positions), 0)) if made.latents is None else made.latents
    for index in range(latents.shape[1]):
        columns[f"latent_{index}"] = latents[:, index].tolist()
    write_table(path, columns, overwrite)


def step_audio(
    interpolation: Interpolation, run: Run, index: int, channel: int = 1, method: str = "fast"
) -> Inversion:
    """Invert one channel of a step (0 dry, 1 wet) to audio.

    It starts from the phase of the known dry recordings, mixed in the proportion of the step.
    """
    t = interpolation.positions[index]
    a, b = interpolation.a.audio[0], interpolation.b.audio[0]
    return invert(
        interpolation.magnitudes[index, channel],
        run.spectrogram_config,
        len(a),
        method,
        phase_from=((1 - t) * a + t * b).astype(np.float32),
        consistent=index in (0, len(interpolation.positions) - 1),  # the ends are exact
    )


def sound_interpolation(
    folder: Path,
    made: Interpolation,
    run: Run,
    method: str = "fast",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[tuple[Path, float | None]]:
    """Write the originals and every step, dry and wet, and all wet steps in one go.

    A step starts from the phase of the known dry recordings, mixed in the proportion of the step.
    Returns each file and its spectral convergence in dB; an original has none.
    """
    rate = run.spectrogram_config.sample_rate
    last = len(made.positions) + 1
    written: list[tuple[Path, float | None]] = []
    sequence: list[NDArray[np.float32]] = []
    progress.start("inverting", 2 * len(made.positions), "sound")

    def keep(number: int, name: str, sound: NDArray[np.float32], decibels: float | None) -> None:
        width = len(str(last))
        path = folder / f"{number:0{width}d}-{name}.wav"
        save_audio(path, sound, rate, overwrite=overwrite)
        written.append((path, decibels))

    for channel, kind in enumerate(CHANNELS):
        keep(0, f"original-a-{kind}", made.a.audio[channel], None)
        for number, t in enumerate(made.positions, 1):
            result = step_audio(made, run, number - 1, channel, method)
            keep(number, f"t{t:.2f}-{kind}", result.audio, result.convergence_db)
            if kind == "wet":
                sequence.append(result.audio)
            progress.advance()
        keep(last, f"original-b-{kind}", made.b.audio[channel], None)
    progress.finish()
    for number, sound in enumerate(() if made.rendered is None else made.rendered, 1):
        keep(number, f"t{made.positions[number - 1]:.2f}-rendered", sound, None)
    pause = np.zeros(round(GAP_SECONDS * rate), np.float32)
    parts = [made.a.audio[1], *sequence, made.b.audio[1]]
    joined = np.concatenate([piece for part in parts for piece in (part, pause)][:-1])
    path = folder / "all-wet.wav"
    save_audio(path, joined, rate, overwrite=overwrite)
    return [*written, (path, None)]
