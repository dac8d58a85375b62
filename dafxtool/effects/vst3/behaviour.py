"""Examine by trials how a plugin changes audio, and in which of its outputs.

Pairs are mono, so one output of two is kept. Some plugins have the dry signal on the left output
and the effect on the right, and some change the stereo image only. The output of generators does
not depend on the input, and that of meters is the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.level import SAME_DB, is_same_audio, is_silent
from dafxtool.effects.vst3.output_channel import OUTPUT_CHANNELS, keep_output

Samples = NDArray[np.float32]
# Render a setting in raw values with a new instance: (n_channels, n_samples), None for a failure.
Render = Callable[[dict[int, float], Samples], "Samples | None"]

TRIAL_SECONDS = 1.0
TRIAL_PEAK = 0.25  # that of segments in a render
NOTE_SECONDS = 0.2
NOTES_HZ = (110.0, 220.0, 330.0)

# Remarks, which pairs files store. All but SOMETIMES are warnings, too: whether a gate does
# anything depends on its settings.
GENERATOR = "generator: the output does not depend on the input"
METER = "meter: it gives the input back"
LEVEL_ONLY = "it changes nothing but the level in all trials"
IMAGE_ONLY = "it changes nothing but the stereo image in all trials"
SOMETIMES = "sometimes nothing: in {} of {} trials the output is the input, apart from its level"
HEARD_IN = "the effect is in the {} output, which is kept"


@dataclass(frozen=True)
class Behaviour:
    """Result of the trials.

    output_channel  channel with the effect in most trials; left if all channels are equal
    n_unchanged     trials in which this channel is the input, apart from level and latency
    n_trials        trials whose output is not silent
    """

    output_channel: str = "left"
    n_unchanged: int = 0
    n_trials: int = 0
    remarks: tuple[str, ...] = ()


def examine_behaviour(
    render: Render,
    settings: Sequence[dict[int, float]],
    n_channels: int,
    sample_rate: int,
    latency_samples: int = 0,
) -> Behaviour:
    """Render a trial signal at some settings, and compare it with the outputs.

    latency_samples  latency that the plugin reports, which does not count as an effect
    """
    dry = trial_signal(n_channels, sample_rate)
    outputs = [(setting, render(setting, dry)) for setting in settings]
    sounding = [(setting, wet) for setting, wet in outputs if wet is not None and _sounds(wet)]
    wets = [wet for _, wet in sounding]
    latencies = (0, latency_samples)
    difference_power = {
        channel: sum(_is_heard(dry[0], wet, channel, latencies) for wet in wets)
        for channel in (OUTPUT_CHANNELS if n_channels == 2 else OUTPUT_CHANNELS[:1])
    }
    best = max(
        difference_power, key=lambda channel: difference_power[channel]
    )  # the first of equals
    n_unchanged = sum(is_same_audio(dry[0], keep_output(wet, best), latencies) for wet in wets)
    remarks = []
    if sounding and _is_generator(render, *sounding[0], dry):
        remarks.append(GENERATOR)
    elif wets and n_unchanged == len(wets):
        remarks.append(_remark_on_unchanged(render, sounding, dry, latencies))
    elif n_unchanged:
        remarks.append(SOMETIMES.format(n_unchanged, len(wets)))
    if best != "left":
        remarks.append(HEARD_IN.format(best))
    return Behaviour(best, n_unchanged, len(wets), tuple(remarks))


def is_warning(remark: str) -> bool:
    """Return whether a remark is more than information."""
    return not remark.startswith(SOMETIMES.partition(":")[0])


def trial_signal(n_channels: int, sample_rate: int) -> Samples:
    """Generate decaying notes and noise, float32 (n_channels, n_samples), equal on all channels."""
    n_samples = round(TRIAL_SECONDS * sample_rate)
    time_s = np.arange(n_samples) / sample_rate
    note = (time_s // NOTE_SECONDS).astype(int) % (len(NOTES_HZ) + 1)
    decay = np.exp(-4.0 * (time_s % NOTE_SECONDS) / NOTE_SECONDS)
    noise = np.random.default_rng(11).uniform(-1.0, 1.0, n_samples)
    tones = [
        sum(np.sin(2 * np.pi * k * frequency * time_s) / k for k in range(1, 9))
        for frequency in NOTES_HZ
    ]
    signal = np.choose(note, [*tones, noise]) * decay
    signal *= TRIAL_PEAK / np.max(np.abs(signal))
    return np.tile(signal.astype(np.float32), (n_channels, 1))


def _sounds(wet: Samples) -> bool:
    return bool(np.isfinite(wet).all()) and not is_silent(wet)


def _is_heard(dry: Samples, wet: Samples, channel: str, latencies: Sequence[int]) -> bool:
    """Return whether a channel is not silent beside the others, and not the input."""
    output = keep_output(wet, channel)
    if _power(output) <= 10 ** (SAME_DB / 10) * _power(wet):
        return False
    return not is_same_audio(dry, output, latencies)


def _is_generator(render: Render, setting: dict[int, float], wet: Samples, dry: Samples) -> bool:
    """Return whether another input gives the same output."""
    other = render(setting, np.ascontiguousarray(dry[:, ::-1] * np.float32(0.5)))
    if other is None or other.shape != wet.shape:
        return False
    return _power(other - wet) <= 10 ** (SAME_DB / 10) * _power(wet)


def _remark_on_unchanged(
    render: Render,
    sounding: Sequence[tuple[dict[int, float], Samples]],
    dry: Samples,
    latencies: Sequence[int],
) -> str:
    """Add a remark on a plugin without effect; unequal channels show whether it is a meter."""
    most = 10 ** (SAME_DB / 10)
    if any(_power(wet[0] - wet[-1]) > most * _power(wet) for _, wet in sounding):
        return IMAGE_ONLY
    if not all(_is_input(dry, wet, latencies) for _, wet in sounding):
        return LEVEL_ONLY
    if len(dry) == 2:
        stereo = np.stack([dry[0], dry[1][::-1]])
        wets = [render(setting, stereo) for setting, _ in sounding]
        if not all(wet is None or _is_input(stereo, wet, latencies) for wet in wets):
            return IMAGE_ONLY
    return METER


def _is_input(dry: Samples, wet: Samples, latencies: Sequence[int]) -> bool:
    """Return whether the output is the input, at its level."""
    most = 10 ** (SAME_DB / 10) * _power(dry)
    n_samples = dry.shape[1]
    return any(
        _power(wet[:, latency:] - dry[: len(wet), : n_samples - latency]) <= most
        for latency in latencies
    )


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))
