"""What a plugin does with its parameters, found out by trying: which are settings, do they hold?

A setting keeps what is set, also while sound passes. A meter moves with the sound, a program sets
other parameters, a bypass gives the input back, and a host's own number (sample rate, size of a
block) changes when the host's does: these are left out for what they do, wherever that shows. A
host remembers what it has set, so the plugin itself is asked, by giving its state back to it.
What is not heard in a trial may be heard at other settings and stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.parameter import Parameter, to_float32
from dafxtool.effects.vst3.parameter_text import NOT_A_SETTING, describe_parameter, limit_frequency
from dafxtool.errors import PluginError
from dafxtool.utils.text import unique_slugs

PEAK = 0.09  # of the noise: loud enough to move a meter
QUIETER = 0.1  # the second noise against the first
CLOSE = 1e-4  # of a knob's way: what a plugin may round off in its state
MOST_STEPS = 1 << 15  # a parameter that tells more of them is a continuous one
N_WARM_UP = 1024  # samples of silence
N_NOISE = 3 * 8192  # samples: some plugins begin with the second block that a host sends

MOVES = "it moves by itself while sound passes"
SHOWS = "it is not for a host to set, and changes when sound begins"
ONE_VALUE = "it has one value only"
SETS_OTHERS = "it sets other parameters"
IS_BYPASS = "it switches the effect off"
IS_NAMED = "its name is that of no setting"
UNHEARD = "it is not for a host to set, and setting it changes nothing"
NOT_KEPT = "it does not keep what is set"
NOT_KEPT_SOUNDING = "it does not keep what is set while sound passes"
DOES_NOT_STICK = (NOT_KEPT, NOT_KEPT_SOUNDING)

DEEP, SHALLOW, UNTRIED = 2, 1, 0  # how far a plugin is tried

Fresh = Callable[[], AbstractContextManager[Any]]
Samples = NDArray[np.float32]


class NoEffect(PluginError):
    """An instrument, which takes no sound in."""


@dataclass(frozen=True)
class Audit:
    """What a plugin proved to be at one sample rate; plain JSON types but for the parameters.

    indices     of the settings among the plugin's parameters, one for each of `parameters`
    left_out    (name, why) of all others
    repeatable  whether the same setting and sound gave the same bits, another one in between; False
                also where that could not be tried
    """

    sample_rate: int  # Hz
    n_channels: int  # 1, or 2 for a plugin that takes no mono
    parameters: tuple[Parameter, ...]
    indices: tuple[int, ...]
    left_out: tuple[tuple[str, str], ...]
    repeatable: bool
    version: str
    maker: str  # empty where none is told
    latency_samples: int
    seconds_to_load: float


def audit_instances(
    fresh: Fresh, sample_rate: int, depth: int = DEEP, tell: Callable[[], None] = lambda: None
) -> Audit:
    """Try a plugin.

    fresh  makes an instance that has heard nothing; the last one is gone before the next
    depth  SHALLOW: its state is not given back to it; UNTRIED: nothing is set either, for one that
           crashes at some settings; what hosts may set is believed to be a setting then
    tell   called now and then: it is going on

    Raises PluginError for a plugin that takes neither mono nor stereo, NoEffect for an instrument.
    """
    begun = time.perf_counter()
    with fresh() as plugin:
        seconds_to_load = time.perf_counter() - begun
        tell()
        if not plugin.is_effect:
            raise NoEffect(f"the plugin {plugin.name!r} is an instrument: leave it out.")
        version, maker = str(plugin.version), str(plugin.manufacturer_name or "").strip()
        trial = _Trial(plugin, sample_rate, depth == DEEP, tell)
        latency_samples = int(getattr(plugin, "reported_latency_samples", 0) or 0)
        del plugin
        trial.examine(depth != UNTRIED)
        trial.forget()
    repeatable = False
    if depth == UNTRIED:
        trial.reasons = dict.fromkeys(trial.hidden, UNHEARD) | trial.reasons
    else:
        rounds = _Rounds(fresh, trial, tell)
        rounds.leave_out_what_is_put_back()
        repeatable = rounds.sound(rounds.a) == rounds.first
        rounds.decide_about_hidden(repeatable)
    kept = sorted(trial.described.keys() - trial.reasons.keys())
    names = unique_slugs(trial.names[index] for index in kept)
    return Audit(
        sample_rate,
        trial.n_channels,
        tuple(
            replace(trial.described[index], name=name)
            for index, name in zip(kept, names, strict=True)
        ),
        tuple(kept),
        tuple((trial.names[index], trial.reasons[index]) for index in sorted(trial.reasons)),
        repeatable,
        version,
        maker,
        latency_samples,
        seconds_to_load,
    )


def channels_of(plugin: Any, sample_rate: int) -> int:
    """How many channels the plugin has to be given; it has processed something afterwards."""
    for n_channels in (1, 2):
        try:
            plugin.process(np.zeros((n_channels, N_WARM_UP), dtype=np.float32), sample_rate)
        except ValueError:
            continue
        return n_channels
    raise PluginError(f"the plugin {plugin.name!r} takes neither mono nor stereo: leave it out.")


def set_raw(plugin: Any, raw: Mapping[int, float]) -> None:
    """Set parameters by their index, exactly."""
    # Asked for anew each time: processing can move the parameters to another place in memory, and
    # setting one that was kept from before then crashes.
    parameters = plugin._parameters
    for index, value in raw.items():
        parameters[index].raw_value = value


def get_raw(plugin: Any) -> list[float]:
    """Every parameter's raw value, as the host knows it."""
    return [float(parameter.raw_value) for parameter in plugin._parameters]


def on_a_step(n_steps: int, raw: float) -> float:
    """The nearest of a parameter's steps, where it has so few that they count; else raw."""
    if not 2 <= n_steps <= MOST_STEPS:
        return to_float32(raw)
    return to_float32(round(raw * (n_steps - 1)) / (n_steps - 1))


# --- with one instance --------------------------------------------------------------------------


class _Trial:
    """What one instance, used for many things, tells about each parameter."""

    def __init__(
        self, plugin: Any, sample_rate: int, ask_state: bool, tell: Callable[[], None]
    ) -> None:
        self.plugin, self.sample_rate, self.ask_state = plugin, sample_rate, ask_state
        self.tell = tell
        self.loaded = get_raw(plugin)
        self.n_channels = channels_of(plugin, sample_rate)
        self.names = [str(parameter.name).strip() for parameter in plugin._parameters]
        self.steps = [int(parameter.num_steps) for parameter in plugin._parameters]
        self.hidden = {
            index
            for index, parameter in enumerate(plugin._parameters)
            if not parameter.is_automatable
        }
        self.reasons: dict[int, str] = {}
        self.described: dict[int, Parameter] = {}

    def forget(self) -> None:
        """Let the instance go."""
        self.plugin = None

    def examine(self, may_set: bool) -> None:
        """Find what needs no fresh instance: meters, programs, what is not kept, a bypass."""
        self._describe()
        self._leave_out_what_moves()
        if may_set:
            self._leave_out_what_is_not_kept()
        for index, name in enumerate(self.names):
            if NOT_A_SETTING.fullmatch(name):
                self.reasons.setdefault(index, IS_NAMED)
        if may_set:
            self._leave_out_bypass()

    def ends(self, index: int) -> tuple[float, float]:
        """Two raw values far apart, both of which the parameter can have."""
        return (0.0, 1.0) if 2 <= self.steps[index] <= MOST_STEPS else (0.25, 0.75)

    def drawn(self, indices: Sequence[int], seed: int) -> dict[int, float]:
        """A random setting in raw values."""
        rng = np.random.default_rng([seed, 41])
        positions = {
            index: self.described[index].to_normalised(self.described[index].sample(rng))
            for index in sorted(self.described)
        }
        return {index: on_a_step(self.steps[index], positions[index]) for index in indices}

    def visible(self) -> list[int]:
        """What may be a setting so far, and hosts may set."""
        return [i for i in self.described if i not in self.reasons and i not in self.hidden]

    def _describe(self) -> None:
        for index, parameter in enumerate(self.plugin._parameters):
            described = describe_parameter(parameter, "knob", self.loaded[index])
            self.described[index] = limit_frequency(described, self.sample_rate)

    def _leave_out_what_moves(self) -> None:
        seen = [self.loaded]
        for peak in (0.0, PEAK, PEAK * QUIETER):
            with suppress(RuntimeError, ValueError):
                self.plugin.process(noise(self.n_channels, peak), self.sample_rate)
            if self.ask_state:
                self.ask_state = ask_plugin(self.plugin)
            seen.append(get_raw(self.plugin))
            self.tell()
        for index in self.described:
            loaded, silent, loud, quiet = (values[index] for values in seen)
            if max(abs(loud - silent), abs(quiet - loud)) > CLOSE:
                self.reasons[index] = MOVES
            elif index in self.hidden and abs(silent - loaded) > CLOSE:
                self.reasons[index] = SHOWS

    def _leave_out_what_is_not_kept(self) -> None:
        for index in [i for i in self.described if i not in self.reasons]:
            before, found, others = get_raw(self.plugin), [], set()
            for end in self.ends(index):
                set_raw(self.plugin, {index: end})
                now = get_raw(self.plugin)
                found.append(now[index])
                others |= {
                    other
                    for other in self.described
                    if other != index
                    and other not in self.reasons
                    and abs(now[other] - before[other]) > CLOSE
                }
            self.tell()
            set_raw(self.plugin, {i: v for i, v in enumerate(before) if i not in self.reasons})
            parameter = self.plugin._parameters[index]
            kept = all(
                is_kept(parameter, wanted, is_set)
                for wanted, is_set in zip(self.ends(index), found, strict=True)
            )
            if not kept or abs(found[1] - found[0]) <= CLOSE:
                texts = {parameter.get_text_for_raw_value(end) for end in self.ends(index)}
                self.reasons[index] = NOT_KEPT if len(texts) > 1 or "" in texts else ONE_VALUE
            elif others:
                self.reasons[index] = SETS_OTHERS

    def _leave_out_bypass(self) -> None:
        """A switch at one end of which the input comes back, at any setting of the rest."""
        for index in self.visible():
            if len(self.described[index].choices) != 2:
                continue
            ends = [self.described[index].to_normalised(choice) for choice in (0, 1)]
            dry = [[self._gives_back(index, end, seed) for seed in (1, 2)] for end in ends]
            works = [not any(each) for each in dry]
            comes_back = [all(each) for each in dry]
            at_load = int(abs(self.loaded[index] - ends[1]) < abs(self.loaded[index] - ends[0]))
            if works[at_load] and comes_back[1 - at_load]:
                self.reasons[index] = IS_BYPASS
            set_raw(self.plugin, {index: self.loaded[index]})

    def _gives_back(self, index: int, end: float, seed: int) -> bool:
        set_raw(self.plugin, self.drawn(self.visible(), seed) | {index: end})
        dry = noise(self.n_channels, PEAK)
        try:
            wet = np.asarray(self.plugin.process(dry, self.sample_rate))
        except (RuntimeError, ValueError):
            return False
        half = dry.shape[1] // 2  # by then it has faded over
        return wet.shape == dry.shape and np.array_equal(wet[:, half:], dry[:, half:])


# --- with a fresh instance for every sound ------------------------------------------------------


class _Rounds:
    """Two settings, a and b: are they kept while sound passes, and does a sound like a again?"""

    def __init__(self, fresh: Fresh, trial: _Trial, tell: Callable[[], None]) -> None:
        self.fresh, self.trial, self.tell = fresh, trial, tell
        self.a: dict[int, float] = {}
        self.first = b""

    def leave_out_what_is_put_back(self) -> None:
        """Until what is left keeps two settings; it ends with b heard, and before it a."""
        while True:
            indices = self.trial.visible()
            put_back: set[int] = set()
            self.a = self.trial.drawn(indices, 1)
            self.first = self.sound(self.a, put_back)
            self.sound(self.trial.drawn(indices, 2), put_back)
            if not put_back:
                return
            self.trial.reasons |= dict.fromkeys(put_back, NOT_KEPT_SOUNDING)

    def decide_about_hidden(self, repeatable: bool) -> None:
        """Some makers hide knobs from hosts: those that are kept and heard are settings."""
        trial = self.trial
        hidden = sorted(trial.hidden - trial.reasons.keys())
        # All at once first: mostly none is heard, and some plugins take minutes for each sound.
        if not repeatable or (len(hidden) > 1 and not self._are_heard(hidden)):
            trial.reasons |= dict.fromkeys(hidden, UNHEARD)
            return
        for index in hidden:
            put_back: set[int] = set()
            if not self._are_heard([index], put_back):
                trial.reasons[index] = UNHEARD
            elif put_back:
                trial.reasons[index] = NOT_KEPT_SOUNDING

    def _are_heard(self, indices: Sequence[int], put_back: set[int] | None = None) -> bool:
        """Whether either end of their ways, all moved together, sounds unlike a."""
        ends = [self.trial.ends(index) for index in indices]
        return any(
            self.sound(self.a | dict(zip(indices, each, strict=True)), put_back) != self.first
            for each in zip(*ends, strict=True)
        )

    def sound(self, raw: dict[int, float], put_back: set[int] | None = None) -> bytes:
        """The bits of a fresh instance at a setting; adds to put_back what it did not keep."""
        dry = noise(self.trial.n_channels, PEAK)
        with self.fresh() as plugin:
            set_raw(plugin, raw)
            before = get_raw(plugin)
            try:
                wet = np.asarray(plugin.process(dry, self.trial.sample_rate)).tobytes()
            except (RuntimeError, ValueError) as error:  # the same failure again is the same
                wet = str(error).encode()
            if put_back is not None:
                seen = [before, get_raw(plugin)]
                if self.trial.ask_state and ask_plugin(plugin):
                    seen.append(get_raw(plugin))
                put_back |= _not_kept(plugin, raw, seen)
                self._leave_out_what_moves(raw, seen)
            del plugin
        self.tell()
        return wet

    def _leave_out_what_moves(self, raw: Mapping[int, float], seen: list[list[float]]) -> None:
        """Meters that stand still where the plugin does nothing, as many do when it is loaded."""
        reasons = self.trial.reasons
        for index, values in enumerate(zip(*seen, strict=True)):
            moves = index not in raw and max(values) - min(values) > CLOSE
            if moves and reasons.get(index, IS_NAMED) == IS_NAMED:
                reasons[index] = MOVES


def _not_kept(plugin: Any, raw: Mapping[int, float], seen: list[list[float]]) -> set[int]:
    """Which parameters were not found as they were set, at one of the looks or another."""
    parameters = plugin._parameters
    return {
        index
        for index, wanted in raw.items()
        if not all(is_kept(parameters[index], wanted, values[index]) for values in seen)
    }


# --- small things -------------------------------------------------------------------------------


def ask_plugin(plugin: Any) -> bool:
    """Have the host read every value from the plugin, not from its memory; False if it cannot."""
    try:
        plugin.raw_state = plugin.raw_state
    except Exception:  # pedalboard raises whatever the plugin came upon
        return False
    return True


def is_kept(parameter: Any, wanted: float, found: float) -> bool:
    """Whether a raw value stands for what was set: the same, or shown as the same."""
    if abs(found - wanted) <= CLOSE:
        return True
    low, high, first, second = (
        parameter.get_text_for_raw_value(value) for value in (0.0, 1.0, wanted, found)
    )
    return bool(low != high and first == second)


def noise(n_channels: int, peak: float) -> Samples:
    """Seeded noise, float32 (n_channels, N_NOISE), the same on all channels."""
    one = peak * np.random.default_rng(7).uniform(-1.0, 1.0, N_NOISE)
    return np.tile(one.astype(np.float32), (n_channels, 1))
