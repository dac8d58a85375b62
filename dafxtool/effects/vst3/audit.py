"""Audit a plugin by trials: find which parameters are settings, and whether it keeps their values.

A setting keeps its value, also during processing. Other parameters are left out for what they do,
wherever that is observed: a meter changes with the audio, a program sets other parameters, a bypass
returns the input, and a number of the host (sample rate, block size) changes with the host's value.
A host remembers the values that it has set, so the plugin itself is asked, by restoring its state.
A parameter without an audible effect in the trials may be audible at other settings, and stays.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.parameter import Parameter
from dafxtool.effects.vst3.audit_result import RANDOM_NUMBERS, Audit, InstrumentError
from dafxtool.effects.vst3.behaviour import Behaviour, examine_behaviour
from dafxtool.effects.vst3.parameter_text import (
    NOT_A_SETTING,
    describe_parameter,
    limit_frequency,
)
from dafxtool.effects.vst3.raw_values import (
    MOST_STEPS,
    TOLERANCE,
    get_raw_values,
    is_kept,
    restore_state,
    round_to_step,
    set_raw_values,
)
from dafxtool.errors import PluginError
from dafxtool.utils.text import unique_slugs

PEAK = 0.09  # of the test noise: loud enough to move a meter
QUIET_GAIN = 0.1  # of the second test noise relative to the first
N_WARM_UP = 1024  # samples of silence
N_NOISE = 3 * 8192  # samples: some plugins start with the second block that a host sends

# Reasons to leave out a parameter. They are stored in pairs files.
MOVES = "it changes by itself during processing"
SHOWS = "a host may not set it, and it changes when processing starts"
ONE_VALUE = "it has only one value"
SETS_OTHERS = "it sets other parameters"
IS_BYPASS = "it switches the effect off"
IS_NAMED = "its name is not that of a setting"
UNHEARD = "a host may not set it, and it does not change the output"
NOT_KEPT = "it does not keep its value"
NOT_KEPT_SOUNDING = "it does not keep its value during processing"
VALUE_NOT_KEPT = (NOT_KEPT, NOT_KEPT_SOUNDING)

SEED, OTHER_SEED = 1, 2  # of the random numbers of the C library
N_TRIALS = 4  # settings at which output and input are compared
SECONDS_OF_SLOW_LOAD = 5.0  # a plugin that loads so slowly has one such trial

DEEP, SHALLOW, PASSIVE = 2, 1, 0  # depth of an audit, see audit_instances

NewInstance = Callable[[int], AbstractContextManager[Any]]
Samples = NDArray[np.float32]


def audit_instances(
    new_instance: NewInstance,
    sample_rate: int,
    depth: int = DEEP,
    on_progress: Callable[[], None] = lambda: None,
) -> Audit:
    """Audit a plugin.

    new_instance  loads an instance that has processed nothing, with a seed for the random numbers
                  of the C library; it is freed before the next one
    depth         SHALLOW: the state is not restored. PASSIVE: no value is set either, for a plugin
                  that crashes at some settings; parameters that hosts may set count as settings
    on_progress   called during the audit, to show that it continues

    PluginError for a plugin that accepts neither mono nor stereo, InstrumentError for an
    instrument.
    """
    started = time.perf_counter()
    with new_instance(SEED) as plugin:
        seconds_to_load = time.perf_counter() - started
        on_progress()
        if not plugin.is_effect:
            raise InstrumentError(f"{plugin.name}: the plugin is an instrument. Leave it out.")
        version, maker = str(plugin.version), str(plugin.manufacturer_name or "").strip()
        trial = _InstanceAudit(plugin, sample_rate, depth == DEEP, on_progress)
        latency_samples = int(getattr(plugin, "reported_latency_samples", 0) or 0)
        del plugin
        trial.examine(depth != PASSIVE)
        trial.release_plugin()
    repeatable, behaviour, renders = False, Behaviour(), None
    if depth == PASSIVE:
        trial.reasons = dict.fromkeys(trial.hidden, UNHEARD) | trial.reasons
    else:
        renders = _RenderAudit(new_instance, trial, on_progress)
        renders.leave_out_not_kept()
        repeatable = renders.render(renders.a) == renders.output_of_a
        renders.decide_about_hidden(repeatable)
        n_trials = N_TRIALS if seconds_to_load < SECONDS_OF_SLOW_LOAD else 1
        behaviour = renders.examine_behaviour(n_trials, latency_samples, repeatable)
    indices = sorted(trial.described.keys() - trial.reasons.keys())
    names = unique_slugs(trial.names[index] for index in indices)
    return Audit(
        sample_rate,
        trial.n_channels,
        tuple(
            replace(trial.described[index], name=name)
            for index, name in zip(indices, names, strict=True)
        ),
        tuple(indices),
        tuple((trial.names[index], trial.reasons[index]) for index in sorted(trial.reasons)),
        repeatable,
        version,
        maker,
        latency_samples,
        seconds_to_load,
        behaviour.output_channel,
        behaviour.n_unchanged,
        behaviour.n_trials,
        behaviour.remarks,
        tuple(sorted(renders.a.items())) if renders else (),
        digest_of(renders.output_of_a) if renders else "",
    )


def render_trial(
    new_instance: NewInstance, raw: Mapping[int, float], n_channels: int, sample_rate: int
) -> bytes:
    """Return the output of the audit's noise at a setting in raw values, or an error, as bytes."""
    with new_instance(SEED) as plugin:
        set_raw_values(plugin, raw)
        wet = _process_to_bytes(plugin, noise(n_channels, PEAK), sample_rate)
        del plugin
    return wet


def digest_of(output: bytes) -> str:
    """Return the SHA-256 of an output, in hexadecimal."""
    return hashlib.sha256(output).hexdigest()


def _process_to_bytes(plugin: Any, dry: Samples, sample_rate: int) -> bytes:
    """Return the output as bytes; the same error counts as the same output."""
    try:
        return np.asarray(plugin.process(dry, sample_rate)).tobytes()
    except (RuntimeError, ValueError) as error:
        return str(error).encode()


def count_channels(plugin: Any, sample_rate: int) -> int:
    """Return how many channels the plugin accepts, 1 or 2; the plugin has then processed silence.

    PluginError if it accepts neither.
    """
    for n_channels in (1, 2):
        try:
            plugin.process(np.zeros((n_channels, N_WARM_UP), dtype=np.float32), sample_rate)
        except ValueError:
            continue
        return n_channels
    raise PluginError(f"{plugin.name}: the plugin accepts neither mono nor stereo. Leave it out.")


def noise(n_channels: int, peak: float) -> Samples:
    """Generate seeded noise, float32 (n_channels, N_NOISE), the same on all channels."""
    channel = peak * np.random.default_rng(7).uniform(-1.0, 1.0, N_NOISE)
    return np.tile(channel.astype(np.float32), (n_channels, 1))


# Trials with one instance


class _InstanceAudit:
    """Examine each parameter with a single instance, which is used for many trials."""

    def __init__(
        self, plugin: Any, sample_rate: int, may_restore: bool, on_progress: Callable[[], None]
    ) -> None:
        self.plugin, self.sample_rate, self.may_restore = plugin, sample_rate, may_restore
        self.on_progress = on_progress
        self.load_values = get_raw_values(plugin)
        self.n_channels = count_channels(plugin, sample_rate)
        self.names = [str(parameter.name).strip() for parameter in plugin._parameters]
        self.steps = [int(parameter.num_steps) for parameter in plugin._parameters]
        self.hidden = {
            index
            for index, parameter in enumerate(plugin._parameters)
            if not parameter.is_automatable
        }
        self.reasons: dict[int, str] = {}
        self.described: dict[int, Parameter] = {}

    def release_plugin(self) -> None:
        """Drop the reference to the instance, so that it can be freed."""
        self.plugin = None

    def examine(self, may_set: bool) -> None:
        """Find meters, programs, bypasses and values that are not kept, with a single instance."""
        self._describe()
        self._leave_out_meters()
        if may_set:
            self._leave_out_not_kept()
        for index, name in enumerate(self.names):
            if NOT_A_SETTING.fullmatch(name):
                self.reasons.setdefault(index, IS_NAMED)
        if may_set:
            self._leave_out_bypass()

    def ends(self, index: int) -> tuple[float, float]:
        """Return two distant raw values that the parameter can have."""
        return (0.0, 1.0) if 2 <= self.steps[index] <= MOST_STEPS else (0.25, 0.75)

    def sample(self, indices: Sequence[int], seed: int) -> dict[int, float]:
        """Return a random setting in raw values."""
        rng = np.random.default_rng([seed, 41])
        raw = {
            index: self.described[index].to_normalised(self.described[index].sample(rng))
            for index in sorted(self.described)
        }
        return {index: round_to_step(self.steps[index], raw[index]) for index in indices}

    def visible(self) -> list[int]:
        """Return the parameters that may still be settings and that hosts may set."""
        return [i for i in self.described if i not in self.reasons and i not in self.hidden]

    def _describe(self) -> None:
        for index, parameter in enumerate(self.plugin._parameters):
            described = describe_parameter(parameter, "unnamed", self.load_values[index])
            self.described[index] = limit_frequency(described, self.sample_rate)

    def _leave_out_meters(self) -> None:
        """Find parameters that change when silence, loud noise and quiet noise are processed."""
        readings = [self.load_values]
        for peak in (0.0, PEAK, PEAK * QUIET_GAIN):
            with suppress(RuntimeError, ValueError):
                self.plugin.process(noise(self.n_channels, peak), self.sample_rate)
            if self.may_restore:
                self.may_restore = restore_state(self.plugin)
            readings.append(get_raw_values(self.plugin))
            self.on_progress()
        for index in self.described:
            loaded, silent, loud, quiet = (values[index] for values in readings)
            if max(abs(loud - silent), abs(quiet - loud)) > TOLERANCE:
                self.reasons[index] = MOVES
            elif index in self.hidden and abs(silent - loaded) > TOLERANCE:
                self.reasons[index] = SHOWS

    def _leave_out_not_kept(self) -> None:
        """Find parameters that do not keep a value, and those that set others, by setting each."""
        for index in [i for i in self.described if i not in self.reasons]:
            before = get_raw_values(self.plugin)
            actual, has_changed_others = self._set_ends(index, before)
            self.on_progress()
            set_raw_values(
                self.plugin, {i: v for i, v in enumerate(before) if i not in self.reasons}
            )
            parameter = self.plugin._parameters[index]
            are_kept = all(
                is_kept(parameter, end, value)
                for end, value in zip(self.ends(index), actual, strict=True)
            )
            if not are_kept or abs(actual[1] - actual[0]) <= TOLERANCE:
                texts = {parameter.get_text_for_raw_value(end) for end in self.ends(index)}
                self.reasons[index] = NOT_KEPT if len(texts) > 1 or "" in texts else ONE_VALUE
            elif has_changed_others:
                self.reasons[index] = SETS_OTHERS

    def _set_ends(self, index: int, before: list[float]) -> tuple[list[float], bool]:
        """Set a parameter to both ends; return its values, and whether another one changed."""
        actual, has_changed_others = [], False
        for end in self.ends(index):
            set_raw_values(self.plugin, {index: end})
            now = get_raw_values(self.plugin)
            actual.append(now[index])
            has_changed_others |= any(
                other != index
                and other not in self.reasons
                and abs(now[other] - before[other]) > TOLERANCE
                for other in self.described
            )
        return actual, has_changed_others

    def _leave_out_bypass(self) -> None:
        """Find switches that return the input at one end, whatever the other values are."""
        for index in self.visible():
            if len(self.described[index].choices) != 2:
                continue
            ends = [self.described[index].to_normalised(choice) for choice in (0, 1)]
            dry = [[self._returns_input(index, end, seed) for seed in (1, 2)] for end in ends]
            is_working = [not any(each) for each in dry]
            is_dry = [all(each) for each in dry]
            distances = [abs(self.load_values[index] - end) for end in ends]
            at_load = int(distances[1] < distances[0])
            if is_working[at_load] and is_dry[1 - at_load]:
                self.reasons[index] = IS_BYPASS
            set_raw_values(self.plugin, {index: self.load_values[index]})

    def _returns_input(self, index: int, end: float, seed: int) -> bool:
        """Return whether the output is the input, at a random setting with one value fixed."""
        set_raw_values(self.plugin, self.sample(self.visible(), seed) | {index: end})
        dry = noise(self.n_channels, PEAK)
        try:
            wet = np.asarray(self.plugin.process(dry, self.sample_rate))
        except (RuntimeError, ValueError):
            return False
        half = dry.shape[1] // 2  # a cross-fade to the bypass has ended by then
        return wet.shape == dry.shape and np.array_equal(wet[:, half:], dry[:, half:])


# Trials with a new instance for each render


class _RenderAudit:
    """Render settings a and b with new instances, to check that both are kept and repeatable."""

    def __init__(
        self, new_instance: NewInstance, trial: _InstanceAudit, on_progress: Callable[[], None]
    ) -> None:
        self.new_instance, self.trial, self.on_progress = new_instance, trial, on_progress
        self.a: dict[int, float] = {}
        self.output_of_a = b""

    def leave_out_not_kept(self) -> None:
        """Leave out parameters until the others keep both settings; a and then b are rendered."""
        while True:
            indices = self.trial.visible()
            not_kept: set[int] = set()
            self.a = self.trial.sample(indices, 1)
            self.output_of_a = self.render(self.a, not_kept)
            self.render(self.trial.sample(indices, 2), not_kept)
            if not not_kept:
                return
            self.trial.reasons |= dict.fromkeys(not_kept, NOT_KEPT_SOUNDING)

    def decide_about_hidden(self, repeatable: bool) -> None:
        """Leave out parameters that hosts may not set, unless they are kept and audible.

        Some makers hide settings from hosts.
        """
        trial = self.trial
        hidden = sorted(trial.hidden - trial.reasons.keys())
        # All at once first: mostly none is audible, and some plugins take minutes to load.
        if not repeatable or (len(hidden) > 1 and not self._are_audible(hidden)):
            trial.reasons |= dict.fromkeys(hidden, UNHEARD)
            return
        for index in hidden:
            not_kept: set[int] = set()
            if not self._are_audible([index], not_kept):
                trial.reasons[index] = UNHEARD
            elif not_kept:
                trial.reasons[index] = NOT_KEPT_SOUNDING

    def _are_audible(self, indices: Sequence[int], not_kept: set[int] | None = None) -> bool:
        """Return whether the output differs from that of a, with all indices at either end."""
        ends = [self.trial.ends(index) for index in indices]
        return any(
            self.render(self.a | dict(zip(indices, each, strict=True)), not_kept)
            != self.output_of_a
            for each in zip(*ends, strict=True)
        )

    def examine_behaviour(self, n_trials: int, latency_samples: int, repeatable: bool) -> Behaviour:
        """Examine how the plugin changes audio, and whether it uses random numbers."""
        # Also those that hosts may not set: a plugin may do nothing without them.
        indices = sorted(self.trial.described.keys() - self.trial.reasons.keys())
        result = examine_behaviour(
            self.render_samples,
            [self.trial.sample(indices, seed) for seed in range(1, n_trials + 1)],
            self.trial.n_channels,
            self.trial.sample_rate,
            latency_samples,
        )
        if repeatable and self.render(self.a, seed=OTHER_SEED) != self.output_of_a:
            return replace(result, remarks=(*result.remarks, RANDOM_NUMBERS))
        return result

    def render_samples(self, raw: dict[int, float], dry: Samples) -> Samples | None:
        """Return the output of a new instance (n_channels, n_samples); None if it failed."""
        with self.new_instance(SEED) as plugin:
            set_raw_values(plugin, raw)
            try:
                wet = np.array(plugin.process(dry, self.trial.sample_rate), dtype=np.float32)
            except (RuntimeError, ValueError):
                wet = np.empty((0, 0), np.float32)
            del plugin
        self.on_progress()
        return wet if wet.shape == dry.shape else None

    def render(
        self, raw: dict[int, float], not_kept: set[int] | None = None, seed: int = SEED
    ) -> bytes:
        """Return the output of a new instance at a setting, as bytes.

        not_kept  receives the parameters that did not keep their value
        """
        dry = noise(self.trial.n_channels, PEAK)
        with self.new_instance(seed) as plugin:
            set_raw_values(plugin, raw)
            before = get_raw_values(plugin)
            wet = _process_to_bytes(plugin, dry, self.trial.sample_rate)
            if not_kept is not None:
                readings = [before, get_raw_values(plugin)]
                if self.trial.may_restore and restore_state(plugin):
                    readings.append(get_raw_values(plugin))
                not_kept |= _not_kept(plugin, raw, readings)
                self._leave_out_meters(raw, readings)
            del plugin
        self.on_progress()
        return wet

    def _leave_out_meters(self, raw: Mapping[int, float], readings: list[list[float]]) -> None:
        """Find meters that do not move at the load values, where many plugins do nothing."""
        reasons = self.trial.reasons
        for index, values in enumerate(zip(*readings, strict=True)):
            moves = index not in raw and max(values) - min(values) > TOLERANCE
            if moves and reasons.get(index, IS_NAMED) == IS_NAMED:
                reasons[index] = MOVES


def _not_kept(plugin: Any, raw: Mapping[int, float], readings: list[list[float]]) -> set[int]:
    """Return the parameters whose value differs from the requested one in any reading."""
    parameters = plugin._parameters
    return {
        index
        for index, requested in raw.items()
        if not all(is_kept(parameters[index], requested, values[index]) for values in readings)
    }
