"""Sweep each parameter of an effect and follow the latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool import storage
from dafxtool.api import display
from dafxtool.api.arguments import (
    SILENT,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_path,
)
from dafxtool.api.run_arguments import RunArguments
from dafxtool.effects.apply import parse_effect
from dafxtool.utils.outputs import check_figure_path, check_outputs
from dafxtool.utils.text import counted, unique_slugs

if TYPE_CHECKING:
    from dafxtool.latents.sweep import Sweep
    from dafxtool.latents.sweep_results import ParameterEffect
    from dafxtool.models.run import Run


@dataclass(frozen=True, repr=False)
class SweepResult(display.Displayed):
    """Sweeps of effects, the change of the latents with each parameter, and the figures written.

    parameters  each parameter of each effect
    pair_plots  figures of the principal directions against each other
    """

    sweeps: list[Sweep]
    parameters: list[ParameterEffect]
    run: Run
    outputs: list[Path]
    pair_plots: list[Path]

    def __repr__(self) -> str:
        names = ", ".join(each.effect.name for each in self.sweeps)
        return f"SweepResult({names}, {counted(len(self.parameters), 'parameter')})"

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of `header` for each parameter; "-" is a number without a basis."""
        from dafxtool.latents.sweep_results import effect_rows

        return effect_rows(self.parameters)

    @property
    def header(self) -> tuple[str, ...]:
        """Return the headings of `rows`."""
        from dafxtool.latents.sweep_results import HEADER

        return HEADER

    def _parts(self) -> Iterator[str]:
        from dafxtool.latents.sweep_results import draw_sweep

        for each in self.sweeps:
            yield display.figure(partial(draw_sweep, sweep=each), f"sweep of {each.effect.name}")
        yield display.table(self.header, self.rows())


def sweep(
    inputs: Paths = None,
    *,
    run: Run | PathLike | None = None,
    effects: Effects = None,
    plugins: Paths = None,
    channel: str | int | None = None,
    min_mean_square: float | None = None,
    values: int = 16,
    segments: int = 8,
    output: PathLike | None = None,
    pairs: PathLike | None = None,
    csv: PathLike | None = None,
    seed: int = 0,
    strict: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> SweepResult:
    """Sweep each parameter alone over its range and embed the results.

    inputs    recordings, or one pairs file, whose dry side that training has not seen is taken;
              None takes the newest pairs file in the working folder
    effects   None takes those of the run. A parameter with a value keeps it
    values    of each parameter
    segments  that each value is applied to, from different recordings where possible
    output    figure; with several effects, each figure has the effect's name before the suffix
    pairs     figure of the first four principal directions against each other, named like output
    csv       table of all points
    channel, min_mean_square
              of recordings: "first", "mean", "loudest" or a number from 1; mean square below which
              a segment is silent. None takes the run's

    InputError, RecordingError, EffectError, OutputExistsError, DiskError.
    """
    figure, pair_plot, table = as_path(output), as_path(pairs), as_path(csv)
    arguments = RunArguments.check(
        run, effects, plugins, channel, min_mean_square, device, progress, inputs=inputs
    )
    sources = arguments.sources(inputs, (storage.PAIRS,), takes_effects=True)
    check_outputs(None, table, overwrite=overwrite)
    for path in filter(None, (figure, pair_plot)):
        check_figure_path(path)
        texts = [each for each in arguments.effects if isinstance(each, str)]
        texts = [] if arguments.plugins else texts  # whose effects are not known yet
        for named in _named(path, [parse_effect(each).effect.name for each in texts]):
            check_outputs(named, overwrite=overwrite)
    from dafxtool.latents import sweep as stage
    from dafxtool.latents import sweep_results

    loaded = arguments.load()
    with_parameters = [effect for effect in loaded.effects if effect["parameters"]]
    chosen = arguments.effects_or(with_parameters, loaded)
    chosen = stage.check_effects(chosen, values, segments, loaded.configuration.segments)
    names = [choice.effect.name for choice in chosen]
    figures, pair_plots = _named(figure, names), _named(pair_plot, names)
    for path in (*figures, *pair_plots):
        check_outputs(path, table, overwrite=overwrite)
    sweeps = stage.sweep(sources, loaded, chosen, values, segments, seed, strict, progress)
    for each, path in zip(sweeps, figures, strict=bool(figures)):
        sweep_results.draw_sweep(path, each, overwrite=overwrite)
    for each, path in zip(sweeps, pair_plots, strict=bool(pair_plots)):
        sweep_results.draw_sweep_pairs(path, each, overwrite=overwrite)
    if table:
        sweep_results.write_sweep_table(table, sweeps, overwrite)
    parameters = [each for sweep in sweeps for each in sweep_results.parameter_effects(sweep)]
    return SweepResult(sweeps, parameters, loaded, figures, pair_plots)


def _named(path: Path | None, effects: list[str]) -> list[Path]:
    """Return the figure of each effect: sweep.png, or sweep-overdrive.png, sweep-delay.png, ..."""
    if path is None:
        return []
    if len(effects) == 1:
        return [path]
    # Slugs, because the names come from the run and may contain ../..
    return [path.with_name(f"{path.stem}-{slug}{path.suffix}") for slug in unique_slugs(effects)]
