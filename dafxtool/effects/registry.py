"""Register built-in effects, and run chains of pedalboard's processors.

Audio is mono float32 (n_samples,), full scale 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import EffectError, MissingDependencyError

Audio = NDArray[np.float32]
Render = Callable[..., Audio]  # (dry, sample_rate, **setting) -> wet

EFFECTS: dict[str, tuple[Effect, Render]] = {}  # by name, in the order of their definition


def register_effect(name: str, summary: str, *parameters: Parameter) -> Callable[[Render], Render]:
    """Register the decorated function as the built-in effect of that name."""

    def register(render: Render) -> Render:
        EFFECTS[name] = (Effect(name, parameters, summary), render)
        return render

    return register


def linear(
    name: str,
    unit: str,
    low: float,
    high: float,
    default: float,
    description: str = "",
    limits: tuple[float, float] | None = None,
) -> Parameter:
    """Describe a parameter with a linear scale.

    low, high  range of random settings and sweeps
    limits     complete range, if that is wider
    """
    lowest, highest = limits or (low, high)
    usual = (low, high) if limits else ()
    return Parameter(name, unit, lowest, highest, default, "linear", description, usual=usual)


def logarithmic(
    name: str,
    unit: str,
    low: float,
    high: float,
    default: float,
    description: str = "",
    limits: tuple[float, float] | None = None,
) -> Parameter:
    """Describe a parameter with a logarithmic scale; arguments as of linear."""
    parameter = linear(name, unit, low, high, default, description, limits)
    return replace(parameter, scale="logarithmic")


def dry_wet_mix(low: float, high: float, default: float = 50) -> Parameter:
    """Describe the dry/wet mix of an effect, of 0 to 100 %."""
    return linear("mix", "%", low, high, default, "wet part of the output", (0, 100))


def process(dry: Audio, sample_rate: int, *processors: Any) -> Audio:
    """Process audio with new pedalboard processors in series."""
    return pedalboard_module().Pedalboard(list(processors)).process(dry, sample_rate)


def pedalboard_module() -> Any:
    """Import pedalboard on first use: machines that only train do not have it."""
    try:
        import pedalboard
    except ImportError as error:
        raise MissingDependencyError("pedalboard", "Applying effects") from error
    return pedalboard


def validate_audio(audio: Any, name: str) -> Audio:
    """Return audio as contiguous float32 (n_samples,).

    name  of the audio, for the message

    EffectError for audio that is not mono, empty, not floating-point or not finite.
    """
    array = np.asarray(audio)
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.floating):
        raise EffectError(
            f"{name}: not mono audio (found {array.dtype} of shape {array.shape}, expected "
            "floating point of shape (n_samples,)). Pass one channel as floats."
        )
    if not np.isfinite(array).all():
        raise EffectError(
            f"{name}: contains NaN or infinite samples. Replace them, or leave it out."
        )
    return np.ascontiguousarray(array, dtype=np.float32)
