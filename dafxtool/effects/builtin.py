"""List and apply the built-in effects.

Audio is mono float32 (n_samples,), full scale 1.0, and settings are in the units of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dafxtool.effects import definitions  # noqa: F401  fills EFFECTS
from dafxtool.effects.effect import Effect
from dafxtool.effects.registry import EFFECTS, Audio, validate_audio
from dafxtool.errors import EffectError
from dafxtool.utils.text import near_names


def builtin_effects() -> dict[str, Effect]:
    """Return every built-in effect by name, in the order of the documentation."""
    return {name: effect for name, (effect, _) in EFFECTS.items()}


def apply_effect(
    effect: Effect, dry: Audio, sample_rate: int, setting: Mapping[str, float]
) -> Audio:
    """Apply a built-in effect to audio (n_samples,); missing parameters have their default.

    EffectError for an unknown effect, for a value out of range at this sample rate, and for audio
    that is not mono, is empty or is not finite.
    """
    return render_builtin(effect, dry, sample_rate, effect.at(sample_rate).complete(setting))


def render_builtin(
    effect: Effect, dry: Audio, sample_rate: int, setting: Mapping[str, float]
) -> Audio:
    """Apply a built-in effect at a complete, checked setting; EffectError as of apply_effect."""
    if effect.plugin or effect.name not in EFFECTS:
        raise EffectError(
            f"{effect.name}: not a built-in effect. {near_names(effect.name, [*EFFECTS])}"
        )
    dry = validate_audio(dry, f"input of {effect.name}")
    render = EFFECTS[effect.name][1]
    arguments = {name.replace("-", "_"): value for name, value in setting.items()}
    wet = np.asarray(render(dry, sample_rate, **arguments), dtype=np.float32)
    if wet.shape != dry.shape or not np.isfinite(wet).all():
        raise EffectError(
            f"{effect.setting_text(setting)}: the output is not finite or not as long as the input "
            f"at {sample_rate} Hz. Choose another setting."
        )
    return wet
