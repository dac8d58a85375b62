"""Render a segment with an effect at a setting, for the audio and images of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.level import is_silent, level_db, normalise_peak
from dafxtool.config import Configuration
from dafxtool.effects.apply import apply_resolved, known_effects, parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError, InputError
from dafxtool.explorer.images import Images, pair_images
from dafxtool.explorer.recordings import Source, read_segment
from dafxtool.utils.progress import SILENT, Progress

Audio = NDArray[np.float32]
MOST_EFFECTS = 500  # cached chains


@dataclass(frozen=True)
class Rendered:
    """A pair, as `dafxtool.apply_effect` renders it.

    dry, wet  (n_samples,); dry has the peak level of segments, wet the level of the effect's output
    setting   effective values: a plugin may round them
    """

    dry: Audio
    wet: Audio
    effect: Effect
    setting: dict[str, float]

    @property
    def text(self) -> str:
        """Effect and setting in the form of `--effect`."""
        return self.effect.setting_text(self.setting)

    def levels(self) -> dict[str, float | None]:
        """Return the peak of the wet segment in dBFS, and the gain in dB to the dry RMS level."""
        if is_silent(self.wet):
            return {"peakDb": None, "gainDb": 0.0}
        peak_db = 20 * math.log10(float(np.abs(self.wet).max()))
        return {"peakDb": peak_db, "gainDb": float(level_db(self.dry) - level_db(self.wet))}

    def pair(self, level_dbfs: float) -> Audio:
        """Return dry and wet (2, n_samples) at equal peak levels, the input of a model."""
        return np.stack([self.dry, normalise_peak(self.wet, level_dbfs)])


@dataclass(frozen=True)
class Request:
    """A request of the page: an effect at a setting on a segment of a recording."""

    source: Source
    start: int  # samples at the rate of segments
    effect: str
    setting: Mapping[str, float] = field(default_factory=dict)


class Renderer:
    """Renderer of segments with the effects and the configuration of a server."""

    def __init__(
        self,
        configuration: Configuration,
        plugins: Sequence[Path] = (),
        progress: Progress = SILENT,
    ) -> None:
        self.configuration = configuration
        self.sample_rate = configuration.segments.sample_rate
        self.known = known_effects(plugins, self.sample_rate, progress)
        self.plugin_names = [name for name in self.known if name not in builtin_effects()]
        self._effects: dict[str, Effect] = {}
        for name in builtin_effects():
            try:
                self._effects[name] = self.known[name].at(self.sample_rate)
            except EffectError as error:
                progress.message(f"{error} It is left out.")
        self.builtin = list(self._effects.values())
        self._last: tuple[Any, Rendered] | None = None

    def effect(self, text: str) -> Effect:
        """Return the effect of a name, or of a chain "a > b" of names; plugins are loaded now."""
        if text not in self._effects:
            if len(self._effects) > MOST_EFFECTS:
                self._effects = {each.name: each for each in self.builtin}
            self._effects[text] = parse_effect(text, self.known).effect.at(self.sample_rate)
        return self._effects[text]

    def parse(self, text: str) -> tuple[str, dict[str, float]]:
        """Return the name of an effect as the page uses it, and its complete setting."""
        choice = parse_effect(text, self.known)
        effect = choice.effect.at(self.sample_rate)
        return effect.name, effect.complete(choice.fixed)

    def uses_plugin(self, text: str) -> bool:
        """Return whether an effect or a stage of a chain is a plugin."""
        return any(part.strip() in self.plugin_names for part in text.split(">"))

    def render(self, request: Request) -> Rendered:
        """Render a segment; EffectError, PluginError and RecordingError as of the steps."""
        effect = self.effect(request.effect)
        setting = effect.complete(request.setting)
        key = (request.source.path, request.start, request.effect, tuple(setting.items()))
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        dry = self.dry(request.source, request.start)
        wet, effective = apply_resolved(effect, dry, self.sample_rate, setting)
        rendered = Rendered(dry, wet, effect, effective)
        self._last = (key, rendered)
        return rendered

    def dry(self, source: Source, start: int) -> Audio:
        """Return a segment at the peak level of effect inputs."""
        segments = self.configuration.segments
        segment = read_segment(source, start, segments)
        if is_silent(segment):
            raise InputError(f"{source.name}: the segment is silent. Choose another segment.")
        return normalise_peak(segment, segments.level_dbfs)

    def gain(self, request: Request) -> float:
        """Return the factor that brings a segment to the peak level of segments."""
        segment = read_segment(request.source, request.start, self.configuration.segments)
        return float(np.abs(self.dry(request.source, request.start)).max() / np.abs(segment).max())

    def images(self, rendered: Rendered) -> Images:
        """Return the spectrograms of a pair, the wet one at the level of the effect's output."""
        return pair_images(rendered.dry, rendered.wet, self.configuration.spectrogram)


def describe_effect(effect: Effect) -> dict[str, Any]:
    """Describe an effect for the page: parameters with ranges, units, scales and defaults."""
    described = effect.to_dict()
    for name in ("plugin", "stages"):
        described.pop(name, None)
    described["isPlugin"] = bool(effect.plugins)
    described["stages"] = [stage.label for stage in effect.stages]
    for parameter, entry in zip(effect.parameters, described["parameters"], strict=True):
        entry["usualEnds"] = list(parameter.usual_ends())
        entry["rangeText"] = parameter.range_text()
    return described
