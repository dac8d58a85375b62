"""Draw the steps of an interpolation, and write them as a table and as audio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.writer import save_audio
from dafxtool.latents.columns import latent_names
from dafxtool.latents.examples import CHANNELS, Example
from dafxtool.latents.interpolate import Interpolation
from dafxtool.latents.reconstruct import sheet_axes
from dafxtool.models.run import Run
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.spectrogram.phase_retrieval import Inversion, find_method, invert
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress

GAP_SECONDS = 0.35  # between the steps in the file with all steps
EXACT = "exact"  # above the ends of a sheet


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
