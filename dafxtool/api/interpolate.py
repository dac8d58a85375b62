"""Interpolate between two pairs through the latent space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dafxtool.api import defaults, display
from dafxtool.api.arguments import (
    SILENT,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_effects,
    as_path,
    as_paths,
)
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import InputError
from dafxtool.latents import interpolate as stage
from dafxtool.latents.examples import load_example
from dafxtool.latents.interpolate import Interpolation
from dafxtool.models.run import Run
from dafxtool.utils.outputs import check_outputs


@dataclass(frozen=True, repr=False)
class InterpolationResult(display.Displayed):
    """The two ends, the decoded steps between them, and what was written."""

    steps: Interpolation
    run: Run
    output: Path | None
    audio_files: list[tuple[Path, float | None]]

    def __repr__(self) -> str:
        a, b = self.steps.a, self.steps.b
        ends = f"{a.recording} ({a.label}) to {b.recording} ({b.label})"
        return f"InterpolationResult({ends}, {len(self.steps.positions)} steps)"

    def rows(self) -> list[tuple[str, ...]]:
        """Return end, recording, start, effect and, of decoded steps, errors as text."""
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
        errors = () if self.steps.detailed else ("error, dry", "error, wet")
        return ("end", "recording", "starts at", "effect", *errors)

    def _parts(self) -> Iterator[str]:
        draw = partial(stage.draw_interpolation, made=self.steps, run=self.run)
        yield display.figure(draw, "interpolation sheet")
        yield display.table(self.header, self.rows())
        rate = self.run.spectrogram_config.sample_rate
        yield display.player("A, wet", self.steps.a.audio[1], rate)
        for position, audio in stage.audible_steps(self.steps, self.run):
            yield display.player(f"t = {position:.2f}, wet", audio, rate)
        yield display.player("B, wet", self.steps.b.audio[1], rate)


def interpolate(
    recordings: Paths,
    b: PathLike | None = None,
    *,
    run: Run | PathLike | None = None,
    effects: Effects = None,
    plugins: Paths = None,
    wet_a: PathLike | None = None,
    wet_b: PathLike | None = None,
    start_a: float | None = None,
    start_b: float | None = None,
    steps: int = 7,
    spherical: bool = False,
    detailed: bool = False,
    method: str = "fast",
    output: PathLike | None = None,
    audio: PathLike | None = None,
    csv: PathLike | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> InterpolationResult:
    """Interpolate between two recordings with one effect, or between two effects on one recording.

    recordings        one or two; the second may be given as `b`
    run               a loaded run or its path; None takes the newest in runs/
    effects           None takes those that the run was trained on: its first for two recordings,
                      its first two for one
    wet_a, wet_b      wet recordings of the ends, in place of effects
    start_a, start_b  s, where the segments begin; None takes the fullest of a recording
    steps             number of steps, including both ends
    spherical         interpolate along the sphere instead of the straight line
    detailed          filter the recording itself instead of decoding: one recording, two effects
    method            of phase retrieval: "griffin-lim", "fast" or "best"
    output, audio, csv
                      sheet (.png, .svg, .pdf), folder for audio, table of latents; None: none

    InputError, RecordingError, EffectError, OutputExistsError, DiskError.
    """
    paths = as_paths(recordings) + as_paths(b)
    figure, folder, table = as_path(output), as_path(audio), as_path(csv)
    if not 1 <= len(paths) <= 2:
        raise InputError(f"{len(paths)} recordings (expected one or two).")
    if detailed:
        _check_detailed(paths, spherical, table)
    check_outputs(figure, table, folder, overwrite)
    loaded = defaults.loaded_run(run, device)
    wets = (as_path(wet_a), as_path(wet_b))
    chosen = _effects(paths, wets, as_effects(effects), as_paths(plugins), loaded, progress)
    if len(paths) == 1 and start_b is None:
        start_b = start_a
    ends = [
        load_example(path, loaded, effect, wet, start)
        for path, effect, wet, start in zip(
            (paths[0], paths[-1]), chosen, wets, (start_a, start_b), strict=True
        )
    ]
    made = stage.interpolate(ends[0], ends[1], loaded, steps, spherical, detailed)
    if figure:
        stage.draw_interpolation(figure, made, loaded, overwrite)
    if table:
        stage.write_interpolation_table(table, made, overwrite)
    written = []
    if folder:
        written = stage.sound_interpolation(folder, made, loaded, method, overwrite, progress)
    return InterpolationResult(made, loaded, figure, written)


def _check_detailed(paths: Sequence[Path], spherical: bool, table: Path | None) -> None:
    """Refuse what has no meaning without latents."""
    if len(paths) > 1:
        raise InputError(
            f"a detailed interpolation is between two effects on one recording (found "
            f"{len(paths)} recordings). Name one recording and two effects."
        )
    for name, is_given in (("spherical", spherical), ("csv", table is not None)):
        if is_given:
            raise InputError(f"detailed uses no latents, {name} does. Use one of them.")


def _effects(
    paths: Sequence[Path],
    wets: tuple[Path | None, Path | None],
    names: list[str | EffectChoice],
    plugins: list[Path],
    run: Run,
    progress: Progress,
) -> tuple[EffectChoice | None, EffectChoice | None]:
    """Return the effect of each end; None where a wet recording is given for both."""
    if all(wets):
        if names or plugins:
            raise InputError("wet_a and wet_b replace effects and plugins. Use one of them.")
        return None, None
    needed = 1 if len(paths) == 2 or any(wets) else 2
    rate = run.configuration.segments.sample_rate
    found = defaults.effects_of_run(run.effects[:needed], names, plugins, rate, progress)
    if not needed <= len(found) <= 2:
        wanted = "two, such as delay and overdrive" if needed == 2 else "one or two"
        raise InputError(
            f"{len(found)} effects for {len(paths)} recordings (expected {wanted}). "
            "Name them with --effect."
        )
    return found[0], found[-1]


