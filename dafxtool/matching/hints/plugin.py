"""Estimate starting points of a plugin, whose parameters are known by name and unit only.

A delay time is a narrow minimum, which no blind search finds. Three estimates of built-in effects
are carried over to parameters with a fitting name and unit: echoes (time, feedback, mix), levels
(threshold, ratio, attack, release) and the magnitude response. The plugin itself is measured with
impulses: where its echo is, and how it filters.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.stats import qmc

from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import EffectError
from dafxtool.matching.chain import Stage, render_stage
from dafxtool.matching.hints import dynamics
from dafxtool.matching.hints.delay import Echo, echoes
from dafxtool.matching.hints.filters import fit_response, gain_db
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.pair import Pair, Response
from dafxtool.matching.plugin_reuse import stays_loaded

N_SOBOL = 16  # points over the complete range
N_ECHOES = 2  # echoes that are tried as the delay time
SHORTEST_MS = 5.0
TIME_SAMPLES = 1.0  # standard deviation of a delay time
TO_MS = {"ms": 1.0, "s": 1000.0}
SHARES = {  # words in the name of a parameter that is a share of its range
    "feedback": ("feedback", "regen", "regeneration", "repeats"),
    "mix": ("mix", "wet", "blend", "balance"),
}
DYNAMICS = ("threshold", "ratio", "attack", "release")
MOST_FITTED = 4  # combinations of choices whose magnitude response is fitted
SAME_RESPONSE_DB = 0.5  # smaller differences between settings: the plugin is no filter
N_FILTER_POINTS, N_DESCENTS = 16, 2


def plugin_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Return hints, the defaults, and Sobol points over the ranges and choices."""
    return [
        *echo_starts(pair, effect),
        *_dynamics_starts(pair, effect),
        *_filter_starts(pair, effect),
        *_sobol_starts(effect),
    ]


def echo_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Start the time parameters at the largest echoes of the impulse response."""
    starts = []
    for p in effect.parameters:
        if p.unit not in TO_MS or not {"time", "delay"} & _words(p):
            continue
        per_sample = 1000 / pair.sample_rate / TO_MS[p.unit]
        first = max(p.minimum / per_sample, SHORTEST_MS * pair.sample_rate / 1000)
        for echo in echoes(pair, int(first), int(p.maximum / per_sample) + 2, N_ECHOES):
            shares = {"feedback": max(echo.feedback, 0.0), "mix": echo.mix}
            named = {
                each.name: each.minimum + shares[role] * (each.maximum - each.minimum)
                for each in effect.parameters
                for role, words in SHARES.items()
                if set(words) & _words(each) and not each.choices
            }
            setting = clipped(effect, {**named, p.name: echo.lag * per_sample})
            deviations = dict.fromkeys(named, 0.05) | {
                p.name: TIME_SAMPLES * per_sample / (p.maximum - p.minimum)
            }
            start = Start(effect, setting, deviations, score=-echo.size)
            starts.append(_calibrated(start, p, echo, per_sample, pair.sample_rate))
    return starts


def _calibrated(
    start: Start, time: Parameter, echo: Echo, per_sample: float, sample_rate: int
) -> Start:
    """Correct a delay time by where the plugin itself has its echo at that time."""
    effect = start.effect
    impulse = np.zeros(2 * echo.lag + 2, dtype=np.float32)
    impulse[0] = 0.5
    try:
        response = _render(effect, start.setting, impulse, sample_rate)
    except EffectError:
        return start
    first = echo.lag // 2
    lag = first + int(np.argmax(np.abs(response[first : echo.lag + first])))
    if not response[lag]:
        return start
    moved = start.setting[time.name] + (echo.lag - lag) * per_sample
    return replace(start, setting=clipped(effect, {**start.setting, time.name: moved}))


def _dynamics_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Carry the estimates of a compressor and of a gate over to parameters of the same name."""
    names = {
        role: [p.name for p in effect.parameters if role in _words(p) and not p.choices]
        for role in DYNAMICS
    }
    if not names["threshold"]:
        return []
    known = builtin_effects()
    starts = dynamics.compressor_starts(pair, known["compressor"])
    starts += dynamics.gate_starts(pair, known["gate"])
    return [
        Start(
            effect,
            clipped(effect, {n: start.setting[role] for role in DYNAMICS for n in names[role]}),
            {n: start.deviations[role] for role in DYNAMICS for n in names[role]},
            score=start.score,
        )
        for start in starts
        if start.setting
    ]


def _filter_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Fit the continuous parameters to the magnitude response, for a few combinations of choices.

    None where the settings do not change the response of the plugin to an impulse.
    """
    choices = combinations(effect, MOST_FITTED) or [
        {p.name: p.default for p in effect.parameters if p.choices}
    ]
    try:
        gains = np.array(
            [gain_db(effect, _complete(start), pair.sample_rate) for start in _sobol_starts(effect)]
        )
        gains -= np.median(gains, axis=1, keepdims=True)
        if gains.std(axis=0).mean() < SAME_RESPONSE_DB:
            return []
        response = Response(pair.dry_frames, pair.wet_frames)
        starts = []
        for fixed in choices:
            setting, error = fit_response(
                response,
                effect,
                fixed,
                pair.sample_rate,
                n_points=N_FILTER_POINTS,
                n_descents=N_DESCENTS,
            )
            starts.append(Start(effect, setting, score=error))
    except EffectError:  # the plugin fails at some settings; the search tries others
        return []
    return starts


def combinations(effect: Effect, most: int) -> list[dict[str, float]]:
    """List the combinations of all choices of an effect; empty if there are more than `most`."""
    switches = [p for p in effect.parameters if p.choices]
    if np.prod([len(p.choices) for p in switches]) > most:
        return []
    values = itertools.product(*(range(len(p.choices)) for p in switches))
    return [{p.name: float(v) for p, v in zip(switches, each, strict=True)} for each in values]


def _sobol_starts(effect: Effect) -> list[Start]:
    """Return the defaults, and Sobol points over the ranges and choices of all parameters."""
    free = [p for p in effect.parameters if p.maximum > p.minimum]
    starts = [Start(effect)]
    if free:
        points = qmc.Sobol(len(free), scramble=False).random(N_SOBOL)[1:] * 0.9 + 0.05
        starts += [
            Start(effect, {p.name: _value(p, u) for p, u in zip(free, point, strict=True)})
            for point in points
        ]
    return starts


def _value(parameter: Parameter, share: float) -> float:
    """Return the value at a share (0 to 1) of the range or of the choices."""
    if parameter.choices:
        return float(min(int(share * len(parameter.choices)), len(parameter.choices) - 1))
    return parameter.from_normalised(share)


def _complete(start: Start) -> dict[str, float]:
    return start.effect.default_setting() | dict(start.setting)


def _render(
    effect: Effect, setting: Mapping[str, float], audio: np.ndarray, sample_rate: int
) -> np.ndarray:
    stage = Stage(effect, effect.default_setting() | dict(setting))
    return render_stage(stage, audio, sample_rate, stays_loaded(effect, sample_rate))


def _words(parameter: Parameter) -> set[str]:
    """Return the words of a parameter's name: "dry-wet" has two."""
    return set(parameter.name.split("-"))
