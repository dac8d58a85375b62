"""Interpolate between two pairs through the latent space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dafxtool.api import checks, defaults, display
from dafxtool.api.arguments import (
    SILENT,
    EffectLike,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_effects,
    as_path,
    as_paths,
)
from dafxtool.api.run_arguments import RunArguments
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import ArgumentError
from dafxtool.presets import PRESETS
from dafxtool.utils.outputs import check_outputs
from dafxtool.utils.text import counted

if TYPE_CHECKING:
    from dafxtool.latents.interpolate import Interpolation
    from dafxtool.models.run import Run


@dataclass(frozen=True, repr=False)
class InterpolationResult(display.Displayed):
    """The steps of an interpolation, and the files that were written.

    audio_files  each with its spectral convergence in dB; None for an original
    """

    steps: Interpolation
    run: Run
    output: Path | None
    audio_files: list[tuple[Path, float | None]]

    def __repr__(self) -> str:
        a, b = self.steps.a, self.steps.b
        ends = f"{a.recording} ({a.label}) to {b.recording} ({b.label})"
        return f"InterpolationResult({ends}, {counted(len(self.steps.positions), 'step')})"

    def rows(self) -> list[tuple[str, ...]]:
        """Return end, recording, start and effect as text; after decoding, errors of the decoder.

        The errors are those of the decoded ends before the residual is added.
        """
        errors = (self.steps.errors_a, self.steps.errors_b)
        return [
            (
                *(name, end.recording, f"{end.offset_seconds:.2f} s", end.label),
                *(f"{value:.4f}" for value in (() if error is None else error)),
            )
            for name, end, error in zip("AB", (self.steps.a, self.steps.b), errors, strict=True)
        ]

    @property
    def header(self) -> tuple[str, ...]:
        errors = () if self.steps.detailed else ("decoder error, dry", "decoder error, wet")
        return ("end", "recording", "starts at", "effect", *errors)

    def remarks(self) -> list[str]:
        """Return a sentence on the error of the inner steps against the true ones."""
        a, b = self.steps.a, self.steps.b
        if np.array_equal(a.audio, b.audio):
            return ["A and B are the same segment with the same effect: all steps are equal."]
        errors = self.steps.rendered_errors
        if errors is None or len(errors) < 3:
            return []
        kind = "detailed" if self.steps.detailed else "decoded"
        truth = "both effects in parallel" if self.steps.is_parallel else "the rendered effect"
        error = float(errors[1:-1].mean())
        return [f"Mean squared error of the {kind} steps against {truth}: {error:.4f}"]

    def _parts(self) -> Iterator[str]:
        from dafxtool.latents import interpolation_results as results

        draw = partial(results.draw_interpolation, interpolation=self.steps, run=self.run)
        yield display.figure(draw, "interpolation sheet")
        yield display.table(self.header, self.rows())
        rate = self.run.spectrogram_config.sample_rate
        yield display.player("A, wet", self.steps.a.audio[1], rate)
        for index, position in enumerate(self.steps.positions):
            audio = results.step_audio(self.steps, self.run, index).audio
            yield display.player(f"t = {position:.2f}, wet", audio, rate)
        yield display.player("B, wet", self.steps.b.audio[1], rate)


def interpolate(
    recordings: Paths,
    b: PathLike | None = None,
    *,
    run: Run | PathLike | None = None,
    effects: Effects = None,
    plugins: Paths = None,
    channel: str | int | None = None,
    min_mean_square: float | None = None,
    wet_a: PathLike | None = None,
    wet_b: PathLike | None = None,
    start_a: float | None = None,
    start_b: float | None = None,
    steps: int = 7,
    spherical: bool = False,
    detailed: bool = False,
    method: str | None = None,
    output: PathLike | None = None,
    audio: PathLike | None = None,
    csv: PathLike | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> InterpolationResult:
    """Interpolate between two recordings with one effect, or between two effects on one recording.

    recordings        one or two; the second may be given as `b`
    run               a loaded run or its path; None takes the newest in runs/, else the
                      pretrained one
    effects           None takes those that the run was trained on: its first for two recordings,
                      its first two for one
    wet_a, wet_b      wet recordings of the ends, in place of effects
    start_a, start_b  start of the segments in s; None takes the loudest segment
    steps             number of steps, including both ends
    spherical         interpolate the latents along the sphere instead of the straight line;
                      between two effects on one recording, which are blended otherwise, too
    detailed          filter the recording itself instead of decoding: one recording, two effects
    method            of phase retrieval: "griffin-lim", "fast" (default) or "best"; only with
                      audio
    output, audio, csv
                      sheet (.png, .svg, .pdf), folder for audio, table of latents; None: none
    channel, min_mean_square
                      of recordings: "first", "mean", "loudest" or a number from 1; mean square
                      below which a segment is silent. None takes the run's

    InputError, RecordingError, EffectError, OutputExistsError, DiskError.
    """
    paths = as_paths(recordings) + as_paths(b)
    figure, folder, table = as_path(output), as_path(audio), as_path(csv)
    wets = (as_path(wet_a), as_path(wet_b))
    _check_arguments(paths, wets, as_effects(effects), as_paths(plugins))
    if detailed:
        _check_detailed(paths, spherical, table)
    if folder is None:
        checks.check_unused("without a folder for audio", method=method)
    needs_run = not detailed
    arguments = RunArguments.check(
        run, effects, plugins, channel, min_mean_square, device, progress, needs_run
    )
    defaults.write_named_examples(paths, progress)
    checks.check_recordings(*paths, *wets)
    check_outputs(figure, table, folder, overwrite)
    from dafxtool.latents import interpolate as stage
    from dafxtool.latents import interpolation_results as results
    from dafxtool.latents.examples import load_example, warn_of_padding

    if run is None and detailed:
        from dafxtool.models.run import without_training

        loaded = without_training(PRESETS["small"])  # for its analysis only
        loaded = defaults.reading_as(loaded, channel, min_mean_square)
    else:
        loaded = arguments.load()
    chosen = _effects(paths, wets, arguments, loaded)
    if len(paths) == 1 and start_b is None:
        start_b = start_a
    starts = ((paths[0], start_a), (paths[-1], start_b))
    warn_of_padding(starts, loaded, arguments.progress)
    ends = [
        load_example(path, loaded, effect, wet, start)
        for path, effect, wet, start in zip(
            (paths[0], paths[-1]), chosen, wets, (start_a, start_b), strict=True
        )
    ]
    interpolation = stage.interpolate(ends[0], ends[1], loaded, steps, spherical, detailed)
    if figure:
        results.draw_interpolation(figure, interpolation, loaded, overwrite)
    if table:
        results.write_interpolation_table(table, interpolation, loaded, overwrite)
    written = []
    if folder:
        written = results.save_interpolation_audio(
            folder, interpolation, loaded, method or "fast", overwrite, progress
        )
    return InterpolationResult(interpolation, loaded, figure, written)


def _check_arguments(
    paths: Sequence[Path],
    wets: tuple[Path | None, Path | None],
    names: Sequence[EffectLike],
    plugins: Sequence[Path],
) -> None:
    """Check that the numbers of recordings, effects and wet recordings fit together."""
    if not 1 <= len(paths) <= 2:
        raise ArgumentError(f"{len(paths)} recordings (expected one or two). Leave some out.")
    if all(wets) and (names or plugins):
        raise ArgumentError("wet_a and wet_b replace effects and plugins. Use one of them.")
    if names and not all(wets):
        _check_number(len(names), paths, wets)


def _check_number(
    n_effects: int, paths: Sequence[Path], wets: tuple[Path | None, Path | None]
) -> None:
    """Check the number of effects: two for one recording, one or two otherwise."""
    least = _least_effects(paths, wets)
    if not least <= n_effects <= 2:
        expected = "two, such as delay and overdrive" if least == 2 else "one or two"
        raise ArgumentError(
            f"{counted(n_effects, 'effect')} for {counted(len(paths), 'recording')} (expected "
            f"{expected}). Change their number."
        )


def _least_effects(paths: Sequence[Path], wets: tuple[Path | None, Path | None]) -> int:
    return 1 if len(paths) == 2 or any(wets) else 2


def _check_detailed(paths: Sequence[Path], spherical: bool, table: Path | None) -> None:
    """Refuse arguments that need latents, which a detailed interpolation has not."""
    if len(paths) > 1:
        raise ArgumentError(
            f"a detailed interpolation is between two effects on one recording (found "
            f"{len(paths)} recordings). Leave one out."
        )
    for name, is_given in (("spherical", spherical), ("csv", table is not None)):
        if is_given:
            raise ArgumentError(f"detailed uses no latents, {name} does. Use one of them.")


def _effects(
    paths: Sequence[Path],
    wets: tuple[Path | None, Path | None],
    arguments: RunArguments,
    run: Run,
) -> tuple[EffectChoice | None, EffectChoice | None]:
    """Return the effect of each end; None if both ends have wet recordings."""
    if all(wets):
        return None, None
    least = _least_effects(paths, wets)
    chosen = arguments.effects_or(run.effects[:least], run)
    _check_number(len(chosen), paths, wets)  # a run or a plugin may have others
    return chosen[0], chosen[-1]
