"""Interpolate()."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool.audio.writer import save_audio
from dafxtool.errors import InputError
from dafxtool.latents.examples import CHANNELS, Example
from dafxtool.latents.reconstruct import _axes
from dafxtool.latents.spectral_transport import transport
from dafxtool.models.run import Run
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.spectrogram.metrics import channel_errors
from dafxtool.spectrogram.phase_retrieval import Inversion, invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation of latents a, b (n_latent,) at t (n_steps,): (n_steps, n_latent).

    Direction turns at constant speed, length goes linearly; falls back to a straight line where
    the two point the same way. Shoemake 1985, "Animating rotation with quaternion curves".
    """
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
    """Straight line between latents a, b (n_latent,) at t (n_steps,): (n_steps, n_latent)."""
    return (1 - t[:, None]) * a + t[:, None] * b


GAP_SECONDS = 0.35  # between the steps of a sheet played in one go


# Interpolation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interpolation:
    """The way from pair a to pair b through the latent space.

    positions   (n_steps,) from 0 to 1
    latents     (n_steps, n_latent), the ends are those of a and b
    magnitudes  (n_steps, 2, n_bins, n_frames) linear
    errors_a, errors_b  (2,) of the decoded ends against the originals; a detailed way has none
    """

    a: Example
    b: Example
    positions: NDArray[np.float32]
    latents: NDArray[np.float32]
    magnitudes: NDArray[np.float32]
    errors_a: NDArray[np.float64] | None
    errors_b: NDArray[np.float64] | None
    spherical: bool
    detailed: bool = False  # moved from end to end (`displacement`) instead of decoded


def interpolate(
    a: Example,
    b: Example,
    run: Run,
    n_steps: int = 7,
    spherical: bool = False,
    detailed: bool = False,
) -> Interpolation:
    """Embed two pairs, walk from one latent to the other, decode each step.

    detailed  of one segment with two effects: nothing is decoded; what filters of the dry recording
              explain moves from one to the other, the rest is faded (`displacement`)
    """
    import torch

    from dafxtool.latents.interpolate import lerp, slerp

    if n_steps < 2:
        raise InputError(f"{n_steps} steps were asked for: an interpolation has at least 2.")
    spectrograms = np.stack([a.spectrogram, b.spectrogram])
    ends = torch.from_numpy(run.embed(spectrograms))
    positions = torch.linspace(0, 1, n_steps)
    way = (slerp if spherical else lerp)(ends[0], ends[1], positions).numpy()
    if detailed:
        magnitudes = _moved(a, b, positions.numpy(), run)
        return Interpolation(
            a, b, positions.numpy(), way, magnitudes, None, None, spherical, detailed
        )
    decoded = run.decode(way)
    blend = positions.numpy()[:, None]
    constants = ((1 - blend) * a.constants + blend * b.constants).astype(np.float32)
    errors = channel_errors(decoded[[0, -1]], spectrograms)
    magnitudes = linear_magnitude(decoded, constants, run.spectrogram_config)
    return Interpolation(a, b, positions.numpy(), way, magnitudes, errors[0], errors[1], spherical)


def _moved(a: Example, b: Example, positions: NDArray[np.float32], run: Run) -> NDArray[np.float32]:
    """Magnitudes (n_steps, 2, n_bins, n_frames) whose dry channel stands still."""
    if not np.array_equal(a.audio[0], b.audio[0]):
        raise InputError(
            f"A is {a.recording} from {a.offset_seconds:.2f} s and B is {b.recording} from "
            f"{b.offset_seconds:.2f} s, and a detailed way is between two effects on one segment: "
            "name one recording and one start, or leave --detailed out."
        )
    wet = transport(
        a.magnitude[0], a.magnitude[1], b.magnitude[1], positions, run.spectrogram_config
    )
    return np.stack([np.broadcast_to(a.magnitude[0], wet.shape), wet], axis=1)


def draw_interpolation(path: Path, made: Interpolation, run: Run, overwrite: bool = False) -> None:
    """Figures 5 and 6 of the report: originals at both ends, decoded steps between them."""
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
    kind = "spherical" if made.spherical else "linear"
    how = "moved from A to B" if made.detailed else f"decoded, {kind} interpolation of the latents"
    sheet = Sheet(
        panels=panels,
        **_axes(run),
        row_labels=CHANNELS,
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
    """Position and latent of each step."""
    columns: dict[str, Sequence[Any]] = {"t": made.positions.tolist()}
    for index in range(made.latents.shape[1]):
        columns[f"latent_{index}"] = made.latents[:, index].tolist()
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
        consistent=False,
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
    pause = np.zeros(round(GAP_SECONDS * rate), np.float32)
    parts = [made.a.audio[1], *sequence, made.b.audio[1]]
    joined = np.concatenate([piece for part in parts for piece in (part, pause)][:-1])
    path = folder / "all-wet.wav"
    save_audio(path, joined, rate, overwrite=overwrite)
    return [*written, (path, None)]
