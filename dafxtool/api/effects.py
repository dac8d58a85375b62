"""List effects and apply one to audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dafxtool.api import checks, display
from dafxtool.api.arguments import SILENT, EffectLike, Paths, Progress, as_paths
from dafxtool.effects.apply import apply, known_effects, parse_effects
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.effects.parameter import Parameter

HEADER = ("effect, parameters", "range", "usual range", "unit", "default", "scale", "description")


@dataclass(frozen=True, repr=False)
class EffectTable(display.Displayed):
    """Effects with their parameters; iterates over `Effect`."""

    effects: tuple[Effect, ...]

    def __len__(self) -> int:
        return len(self.effects)

    def __iter__(self) -> Iterator[Effect]:
        return iter(self.effects)

    def __getitem__(self, name: str) -> Effect:
        return next(effect for effect in self.effects if effect.name == name)

    def __repr__(self) -> str:
        return f"EffectTable({', '.join(effect.name for effect in self.effects)})"

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each effect, followed by a row for each of its parameters."""
        rows: list[tuple[str, ...]] = []
        for effect in self.effects:
            remarks = [remark for file in effect.plugins for remark in file.remarks]
            rows.append((effect.name, "", "", "", "", "", "; ".join([effect.summary, *remarks])))
            for p in effect.parameters:
                cells = (_ends(p), _usual_ends(p), p.unit, p.value_text(p.default), _scale(p))
                rows.append((f"  {p.name}", *cells, _description(p)))
        return rows

    def _parts(self) -> Iterator[str]:
        yield display.table(HEADER, self.rows())


def list_effects(
    names: Sequence[str] | str = (),
    *,
    plugins: Paths = None,
    sample_rate: int = 24_000,
    progress: Progress = SILENT,
) -> EffectTable:
    """List built-in effects and those of plugins, with parameters, ranges, units and defaults.

    Each parameter has a complete range, and a usual_range of random settings and sweeps.

    names        of effects, or chains such as "overdrive > delay"; all effects by default
    plugins      VST3 bundles, and .vstpreset files of their plugins
    sample_rate  Hz; frequencies end below half of it

    EffectError for an unknown name, PluginError for a plugin that cannot be used.
    """
    checks.check_effects((), as_paths(plugins))
    known = known_effects(as_paths(plugins), sample_rate, progress)
    requested = [names] if isinstance(names, str) else list(names)
    requested = requested or [name for name, _ in known.items()]
    return EffectTable(tuple(map(_with_values, parse_effects(requested, known))))


def _with_values(choice: EffectChoice) -> Effect:
    """Return the effect with the fixed values as defaults."""
    parameters = tuple(
        replace(p, default=choice.fixed.get(p.name, p.default)) for p in choice.effect.parameters
    )
    return replace(choice.effect, parameters=parameters)


def apply_effect(
    audio: NDArray[np.float32],
    sample_rate: int,
    effect: EffectLike,
    *,
    plugins: Paths = None,
) -> NDArray[np.float32]:
    """Apply an effect, such as "delay:time=300,mix=50", to audio (n_samples,).

    A chain is written with ">": "overdrive > delay:time=300".

    plugins  VST3 bundles, and .vstpreset files of their plugins

    Parameters that are not given have their default. The result has the shape of the input, so a
    tail that should ring out needs silence after the audio.

    EffectError for an unknown effect, parameter or value, and for output that is not finite.
    """
    if isinstance(effect, EffectChoice):
        choice = effect
    else:
        (choice,) = parse_effects([effect], known_effects(as_paths(plugins), sample_rate))
    wet, _ = apply(choice.effect, audio, sample_rate, choice.fixed)
    return wet


def _ends(parameter: Parameter) -> str:
    if parameter.choices:
        return f"{len(parameter.choices)} choices"
    return f"{parameter.minimum:.6g} to {parameter.maximum:.6g}"


def _usual_ends(parameter: Parameter) -> str:
    """Return the usual range; empty where it is the complete one."""
    low, high = parameter.usual_range()
    if (low, high) == (parameter.minimum, parameter.maximum):
        return ""
    return f"{low:.6g} to {high:.6g}"


def _scale(parameter: Parameter) -> str:
    return "choice" if parameter.choices else parameter.scale


def _description(parameter: Parameter) -> str:
    choices = parameter.range_text() if parameter.choices else ""
    return ": ".join(text for text in (parameter.description, choices) if text)
