"""Check and resolve the arguments that the functions on a trained run have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool.api import checks, defaults
from dafxtool.api.arguments import (
    EffectLike,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_effects,
    as_paths,
    is_hdf5,
)
from dafxtool.api.described_chains import resolve_chains

if TYPE_CHECKING:
    from dafxtool.effects.effect import EffectChoice
    from dafxtool.models.run import Run


@dataclass(frozen=True)
class RunArguments:
    """A run, effects and plugins, and how recordings are read. Use `check` to create it."""

    run: Run | Path | None
    effects: list[EffectLike]
    plugins: list[Path]
    channel: str | int | None
    min_mean_square: float | None
    device: str
    progress: Progress

    @classmethod
    def check(
        cls,
        run: Run | PathLike | None,
        effects: Effects,
        plugins: Paths,
        channel: str | int | None,
        min_mean_square: float | None,
        device: str,
        progress: Progress,
        needs_run: bool = True,
        inputs: Paths = None,
    ) -> RunArguments:
        """Check the arguments before anything slow is imported.

        needs_run  whether a run has to exist; False accepts a missing default run
        inputs     pairs files among them are searched for chains that effects name
        """
        named, names, files = defaults.named_run(run), as_effects(effects), as_paths(plugins)
        checks.check_settings(device)
        if needs_run or run is not None:
            checks.check_run(named)
        checks.check_reading(channel, min_mean_square)
        names = resolve_chains(names, named, as_paths(inputs))
        checks.check_effects(names, files)
        return cls(named, names, files, channel, min_mean_square, device, progress)

    def sources(
        self,
        inputs: Paths,
        kinds: Sequence[str],
        find_default: Callable[[Progress], Path] | None = None,
        split: str | Sequence[str] | None = None,
        takes_effects: bool = False,
    ) -> list[Path]:
        """Return the inputs, else the newest file of these kinds here; check that they exist.

        split          of an HDF5 file: refused for recordings
        takes_effects  effects are applied to the pairs of a file, too; else they are refused there
        """
        paths = as_paths(inputs)
        if not paths and find_default:
            paths = [find_default(self.progress)]
        elif not paths:
            paths = [defaults.newest_file(kinds, progress=self.progress)]
        checks.check_sources(paths, kinds)
        if is_hdf5(paths[0]):
            reason = f"on {paths[0]}, whose segments are stored"
            effects = () if takes_effects else self.effects
            checks.check_unused(
                reason,
                effect=effects,
                channel=self.channel,
                min_mean_square=self.min_mean_square,
            )
        else:
            checks.check_unused("on recordings", split=split)
        return paths

    def load(self) -> Run:
        """Load the run, with the reading of recordings that was asked for."""
        return defaults.loaded_run(
            self.run, self.device, self.channel, self.min_mean_square, self.progress
        )

    def chosen_effects(self, run: Run) -> list[EffectChoice]:
        """Parse the effects at the sample rate of the run; none if none are named."""
        rate = run.configuration.segments.sample_rate
        return defaults.chosen_effects(
            self.effects, self.plugins, rate, default=(), progress=self.progress
        )

    def effects_or(self, described: Sequence[Mapping[str, Any]], run: Run) -> list[EffectChoice]:
        """Parse the effects at the sample rate of the run; the described ones if none are named."""
        rate = run.configuration.segments.sample_rate
        return defaults.effects_of_run(described, self.effects, self.plugins, rate, self.progress)
