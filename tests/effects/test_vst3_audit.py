"""Audit fake plugins, each of which misbehaves in one way."""

from __future__ import annotations

import numpy as np
import pytest
from fake_plugins import (
    RATE,
    FakeParameter,
    FakePlugin,
    OneMore,
    ResetsValue,
    StuckParameter,
    audit,
    ramp,
    reasons,
    settings,
)

from dafxtool.effects.effect import Effect
from dafxtool.effects.known import plugin_warnings
from dafxtool.effects.vst3 import audit as audit_module
from dafxtool.effects.vst3 import host
from dafxtool.errors import PluginError

# What is a setting


def test_all_parameters_of_a_plugin_without_faults_are_settings():
    result = audit(FakePlugin)
    assert settings(result) == ["gain", "tone"] and result.indices == (0, 1)
    assert result.left_out == () and result.repeatable and result.n_channels == 1
    assert result.latency_samples == 7 and result.sample_rate == RATE
    gain = result.parameters[0]
    assert (gain.minimum, gain.maximum, gain.default, gain.unit) == (-20, 20, 0, "dB")


class Meter(OneMore):
    extra = staticmethod(lambda: FakeParameter("Warmth", 0.0))

    def after_processing(self, wet):
        self.values[2] = float(
            np.sqrt(np.mean(wet**2))
        )  # the host sees this when it reads the state


class ShownMeter(Meter):
    """A meter of a plugin whose state cannot be restored; the host sees it at once."""

    raw_state = property()

    def after_processing(self, wet):
        self._parameters[2]._raw = float(np.sqrt(np.mean(wet**2)))


@pytest.mark.parametrize("kind", [Meter, ShownMeter])
def test_a_meter_is_found_because_it_moves(kind):
    result = audit(kind)
    assert settings(result) == ["gain", "tone"]
    assert reasons(result) == {"Warmth": audit_module.MOVES}


class SleepyMeter(Meter):
    """A meter that does not move at the load values, and that hosts may not set."""

    extra = staticmethod(lambda: FakeParameter("Warmth", 0.0, auto=False))

    def after_processing(self, wet):
        self.values[2] = max(0.0, self.values[0] - 0.5)


def test_a_meter_that_does_not_move_at_first_is_found_at_another_setting():
    assert reasons(audit(SleepyMeter)) == {"Warmth": audit_module.MOVES}


class Stuck(OneMore):
    extra = staticmethod(lambda: StuckParameter("Extra"))


def test_a_parameter_that_cannot_be_set_is_left_out():
    assert reasons(audit(Stuck)) == {"Extra": audit_module.NOT_KEPT}


class ResetsValueOpenly(OneMore):
    raw_state = property()

    def after_processing(self, wet):
        self._parameters[2]._raw = 0.5


@pytest.mark.parametrize("kind", [ResetsValue, ResetsValueOpenly])
def test_a_value_that_processing_resets_is_left_out(kind):
    result = audit(kind)
    assert reasons(result) == {"Extra": audit_module.NOT_KEPT_SOUNDING}
    assert settings(result) == ["gain", "tone"] and result.repeatable


class Rounds(OneMore):
    """A parameter with seven steps, which only its text shows."""

    extra = staticmethod(lambda: SixthsParameter("Extra"))

    def after_processing(self, wet):
        self.values[2] = round(self.values[2] * 6) / 6


class SixthsParameter(FakeParameter):
    def get_text_for_raw_value(self, raw):
        return f"step {round(raw * 6)}"


def test_a_value_rounded_to_its_text_counts_as_kept():
    result = audit(Rounds)
    assert settings(result) == ["gain", "tone", "extra"]
    assert len(result.parameters[2].choices) == 7


class ProgramParameter(FakeParameter):
    plugin = None

    @property
    def raw_value(self):
        return self._raw

    @raw_value.setter
    def raw_value(self, value):
        self._raw = value
        for parameter in self.plugin._parameters[:2]:
            parameter._raw = 0.1 + 0.7 * value


class Programs(FakePlugin):
    def make_parameters(self):
        parameter = ProgramParameter("Sound", 0.0, n_steps=3)
        parameter.plugin = self
        return [*super().make_parameters(), parameter]


def test_a_program_is_found_because_it_sets_others():
    result = audit(Programs)
    assert reasons(result) == {"Sound": audit_module.SETS_OTHERS}
    assert settings(result) == ["gain", "tone"]


class OneProgram(OneMore):
    class Extra(StuckParameter):
        def get_text_for_raw_value(self, raw):
            return "Default"

    extra = staticmethod(lambda: OneProgram.Extra("Sound"))


def test_a_parameter_with_one_value_is_no_setting():
    assert reasons(audit(OneProgram)) == {"Sound": audit_module.ONE_VALUE}


class Power(OneMore):
    extra = staticmethod(lambda: FakeParameter("Power", 1.0, n_steps=2))

    def wet(self, audio):
        return super().wet(audio) if self.values[2] > 0.5 else audio.copy()


class Asleep(Power):
    """Loaded with the effect off: without this switch it would never be audible."""

    extra = staticmethod(lambda: FakeParameter("Power", 0.0, n_steps=2))


class Switch(Power):
    """A switch that is not a bypass."""

    def wet(self, audio):
        return FakePlugin.wet(self, audio) * np.float32(1 + self.values[2])


def test_a_bypass_is_found_because_it_returns_the_input():
    assert reasons(audit(Power)) == {"Power": audit_module.IS_BYPASS}
    for kind in (Asleep, Switch):
        result = audit(kind)
        assert result.left_out == () and settings(result) == ["gain", "tone", "power"]


class Inert(OneMore):
    extra = staticmethod(lambda: FakeParameter("Extra"))


def test_a_parameter_without_audible_effect_stays_a_setting():
    """It may be audible at other settings, as a ratio is above its threshold."""
    assert settings(audit(Inert)) == ["gain", "tone", "extra"]


class HostsNumber(OneMore):
    extra = staticmethod(lambda: FakeParameter("Clock", 44.1 / 100, auto=False))

    def after_processing(self, wet):
        self.values[2] = self.sample_rate / 100_000


class Hidden(OneMore):
    """A parameter that hosts may not automate, but that is audible."""

    extra = staticmethod(lambda: FakeParameter("Azimuth", auto=False))

    def wet(self, audio):
        return super().wet(audio) * np.float32(0.5 + self.values[2])


class HiddenInert(OneMore):
    extra = staticmethod(lambda: FakeParameter("Azimuth", auto=False))


class HiddenAmongInert(Hidden):
    def make_parameters(self):
        return [
            *super().make_parameters(),
            *(FakeParameter(f"Extra {n}", auto=False) for n in range(5)),
        ]


class HiddenAllInert(FakePlugin):
    n_loaded = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        HiddenAllInert.n_loaded += 1

    def make_parameters(self):
        return [
            *super().make_parameters(),
            *(FakeParameter(f"Extra {n}", auto=False) for n in range(5)),
        ]


def test_many_hidden_parameters_are_tried_together_first():
    """Some plugins take minutes to load: inaudible parameters take two renders together."""
    result = audit(HiddenAmongInert)
    assert settings(result) == ["gain", "tone", "azimuth"]
    assert reasons(result) == {f"Extra {n}": audit_module.UNHEARD for n in range(5)}
    assert set(reasons(audit(HiddenAllInert)).values()) == {audit_module.UNHEARD}
    assert (
        HiddenAllInert.n_loaded == 1 + 3 + 2 + 5 + 1
    )  # the first instance, a, b, a, both ends, trials of audio, another seed


class HiddenResetsValue(Hidden):
    def after_processing(self, wet):
        self.values[2] = self._parameters[2]._raw = 0.5


def test_a_hidden_parameter_is_a_setting_only_if_audible_and_kept():
    assert reasons(audit(HostsNumber)) == {"Clock": audit_module.SHOWS}
    assert settings(audit(Hidden)) == ["gain", "tone", "azimuth"]
    assert reasons(audit(HiddenInert)) == {"Azimuth": audit_module.UNHEARD}
    assert reasons(audit(HiddenResetsValue)) == {"Azimuth": audit_module.NOT_KEPT_SOUNDING}


class Named(OneMore):
    extra = staticmethod(lambda: FakeParameter("Bypass"))


def test_the_name_decides_where_trials_do_not():
    assert reasons(audit(Named)) == {"Bypass": audit_module.IS_NAMED}


class Twins(FakePlugin):
    def make_parameters(self):
        names = ("Level", "Gain", "Level", "level")
        parameters = [FakeParameter(name, 0.1 * (i + 1)) for i, name in enumerate(names)]
        return [*parameters[:2], StuckParameter("Gain"), *parameters[2:]]

    def wet(self, audio):
        return (audio * np.float32(self.values[3])).astype("f")


def test_parameters_of_the_same_name_are_distinguished_by_index(load_fake):
    result = audit(Twins)
    assert settings(result) == ["level", "gain", "level-2", "level-3"]
    assert result.indices == (0, 1, 3, 4)
    assert [p.default for p in result.parameters] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    effect = load_fake(Twins)
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"level-2": 0.75})
    )
    np.testing.assert_array_equal(wet, ramp() * np.float32(0.75))
    assert effective["level-2"] == 0.75


# Channels, ranges, repeatability


class StereoOnly(FakePlugin):
    def process(self, audio, sample_rate):
        if len(audio) != 2:
            raise ValueError("does not support 1-channel output")
        return super().process(audio, sample_rate)

    def wet(self, audio):
        assert np.array_equal(audio[0], audio[1])  # mono audio on both channels
        return super().wet(audio)


class NoChannels(FakePlugin):
    def process(self, audio, sample_rate):
        raise ValueError("5.1 only")


def test_the_number_of_channels_is_found_and_stored(load_fake):
    assert audit(StereoOnly).n_channels == 2
    with pytest.raises(PluginError, match="neither mono nor stereo"):
        audit(NoChannels)
    effect = load_fake(StereoOnly)
    assert effect.plugin.n_channels == 2
    wet, _ = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"gain": 0, "tone": 0.9})
    )
    assert wet.shape == ramp().shape
    np.testing.assert_allclose(wet, ramp(), rtol=1e-6)


class RateRanges(OneMore):
    """A plugin whose texts depend on the last sample rate: 44.1 kHz after loading."""

    def make_parameters(self):
        parameters = super().make_parameters()
        parameters[2] = TimeParameter("Time", 0.5, label="ms")
        parameters[2].plugin = self
        return parameters


class TimeParameter(FakeParameter):
    def get_text_for_raw_value(self, raw):
        return f"{raw * 441 * 44_100 / self.plugin.sample_rate:.5f}"


def test_ranges_are_those_at_the_given_sample_rate():
    (time,) = [p for p in audit(RateRanges).parameters if p.name == "time"]
    assert time.maximum == pytest.approx(441 * 44_100 / RATE, rel=1e-5)


class Leaking(FakePlugin):
    """Its values influence the next instance."""

    last = 0.0

    def wet(self, audio):
        before, Leaking.last = Leaking.last, self.values[0]
        return super().wet(audio) * np.float32(1 + before)


class LeakingWithin(FakePlugin):
    """Its state lasts from call to call, but not longer than the instance."""

    def wet(self, audio):
        self.memory = getattr(self, "memory", 0.0) + 1.0
        return super().wet(audio) * np.float32(self.memory)


class Noisy(FakePlugin):
    def wet(self, audio):
        return super().wet(audio) + np.random.default_rng().normal(0, 1e-4, audio.shape).astype("f")


class NoisyHidden(Noisy):
    def make_parameters(self):
        return [*super().make_parameters(), FakeParameter("Azimuth", auto=False)]


@pytest.mark.parametrize(
    ("kind", "repeatable"),
    [
        (FakePlugin, True),
        (LeakingWithin, True),
        (Leaking, False),
        (Noisy, False),
        (NoisyHidden, False),
    ],
)
def test_repeatable_means_the_same_bits_with_another_setting_in_between(
    load_fake, kind, repeatable
):
    assert audit(kind).repeatable is repeatable
    effect = load_fake(kind)
    assert Effect.from_dict(effect.to_dict()).plugin.repeatable is repeatable
    warnings = [line for line in plugin_warnings(effect) if "not repeatable" in line]
    assert bool(warnings) is not repeatable


def test_a_difference_of_a_noisy_plugin_does_not_count_as_audible():
    assert reasons(audit(NoisyHidden)) == {"Azimuth": audit_module.UNHEARD}


class Fussy(FakePlugin):
    """Fails at half of its settings."""

    def wet(self, audio):
        if self.values[0] > 0.5:
            raise RuntimeError("too loud")
        return super().wet(audio)


class NoState(FakePlugin):
    @property
    def raw_state(self):
        raise RuntimeError("no state")


@pytest.mark.parametrize("kind", [Fussy, NoState])
def test_plugins_that_fail_at_some_settings_are_audited(kind):
    result = audit(kind)
    assert settings(result) == ["gain", "tone"] and result.repeatable


class Fragile(Named):
    """Crashes when a value is set."""

    def make_parameters(self):
        return [*super().make_parameters(), FakeParameter("Azimuth", auto=False)]

    def process(self, audio, sample_rate):
        assert self._parameters[0].raw_value == 0.5, "a crash"
        return super().process(audio, sample_rate)


def test_a_plugin_that_crashes_when_set_has_a_passive_audit():
    with pytest.raises(AssertionError):
        audit(Fragile, depth=audit_module.SHALLOW)
    result = audit(Fragile, depth=audit_module.PASSIVE)
    assert settings(result) == ["gain", "tone"] and not result.repeatable
    assert reasons(result) == {"Bypass": audit_module.IS_NAMED, "Azimuth": audit_module.UNHEARD}
