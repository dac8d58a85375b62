"""Plugins are what they do: each fake one here misbehaves in one way, and is found out."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, write_recordings

from dafxtool import storage
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects import apply
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.effects.vst3 import (
    audit as audit_module,
)
from dafxtool.effects.vst3 import (
    files,
    host,
    isolation,
)
from dafxtool.effects.vst3.audit import audit_instances
from dafxtool.errors import PluginError
from dafxtool.utils.child_process import ChildDied
from dafxtool.utils.progress import Progress

RATE = 24_000
CONTINUOUS = 2**31 - 1


class Knob:
    """A parameter, as pedalboard shows it: the host's memory of it is not what the plugin has."""

    def __init__(self, name, raw=0.5, low=0.0, high=1.0, label="", n_steps=CONTINUOUS, auto=True):
        self.name, self.label, self.num_steps, self.is_automatable = name, label, n_steps, auto
        self.low, self.high = low, high
        self._raw = raw

    @property
    def raw_value(self):
        return self._raw

    @raw_value.setter
    def raw_value(self, value):
        self._raw = value

    def get_text_for_raw_value(self, raw):
        return f"{self.low + (self.high - self.low) * raw:.6f}"

    @property
    def string_value(self):
        return self.get_text_for_raw_value(self.raw_value)


class ReloadType:
    """pedalboard's private property."""

    def __get__(self, plugin, kind=None):
        return self

    def __set__(self, plugin, value):
        pass


class Plugin:
    """Behaves: a gain. `has` is what the plugin itself has, `knobs` what the host remembers."""

    version, manufacturer_name, is_effect, _reload_type = "1.2", "Nobody", True, ReloadType()
    names = ("Fake",)
    reported_latency_samples = 7

    def __init__(self, path="fake.vst3", plugin_name=None, initialization_timeout=None):
        self.name = plugin_name or self.names[0]
        self._parameters = self.knobs()
        self.has = [knob.raw_value for knob in self._parameters]
        self.sample_rate = 44_100

    @classmethod
    def get_plugin_names_for_file(cls, path):
        return list(cls.names)

    def knobs(self):
        return [Knob("Gain", 0.5, -20.0, 20.0, "dB"), Knob("Tone", 0.3)]

    def process(self, audio, sample_rate):
        self.sample_rate = sample_rate
        self.has = [knob.raw_value for knob in self._parameters]
        wet = self.wet(audio)
        self.afterwards(wet)
        return wet

    def wet(self, audio):
        gain, tone = self.has[:2]
        return (audio * np.float32(10 ** (2 * gain - 1)) * np.float32(tone + 0.1)).astype("f")

    def afterwards(self, wet):
        pass

    def reset(self):
        pass

    @property
    def raw_state(self):
        return tuple(self.has)

    @raw_state.setter
    def raw_state(self, state):
        for knob, value in zip(self._parameters, self.has, strict=True):
            knob._raw = value


def audited(kind, **options):
    @contextmanager
    def fresh():
        yield kind()

    return audit_instances(fresh, RATE, **options)


def settings(audit):
    return [parameter.name for parameter in audit.parameters]


def reasons(audit):
    return dict(audit.left_out)


class More(Plugin):
    """With one more knob, which `extra` makes."""

    extra = staticmethod(lambda: Knob("Extra"))

    def knobs(self):
        return [*super().knobs(), self.extra()]


# --- what is a setting --------------------------------------------------------------------------


def test_a_plugin_that_behaves_keeps_all_its_settings():
    audit = audited(Plugin)
    assert settings(audit) == ["gain", "tone"] and audit.indices == (0, 1)
    assert audit.left_out == () and audit.repeatable and audit.n_channels == 1
    assert audit.latency_samples == 7 and audit.sample_rate == RATE
    gain = audit.parameters[0]
    assert (gain.minimum, gain.maximum, gain.default, gain.unit) == (-20, 20, 0, "dB")


class Meter(More):
    extra = staticmethod(lambda: Knob("Warmth", 0.0))

    def afterwards(self, wet):
        self.has[2] = float(np.sqrt(np.mean(wet**2)))  # the host is told when it asks


class ShownMeter(Meter):
    """Of a plugin whose state cannot be given back, but which tells the host at once."""

    raw_state = property()

    def afterwards(self, wet):
        self._parameters[2]._raw = float(np.sqrt(np.mean(wet**2)))


@pytest.mark.parametrize("kind", [Meter, ShownMeter])
def test_a_meter_is_found_by_its_moving(kind):
    audit = audited(kind)
    assert settings(audit) == ["gain", "tone"]
    assert reasons(audit) == {"Warmth": audit_module.MOVES}


class SleepyMeter(Meter):
    """Stands still at the setting that the plugin is loaded with, and hosts may not set it."""

    extra = staticmethod(lambda: Knob("Warmth", 0.0, auto=False))

    def afterwards(self, wet):
        self.has[2] = max(0.0, self.has[0] - 0.5)


def test_a_meter_that_stands_still_at_first_is_found_at_another_setting():
    assert reasons(audited(SleepyMeter)) == {"Warmth": audit_module.MOVES}


class StuckKnob(Knob):
    raw_value = property(lambda self: 0.25, lambda self, value: None)


class Stuck(More):
    extra = staticmethod(lambda: StuckKnob("Extra"))


def test_a_knob_that_cannot_be_moved_is_found():
    assert reasons(audited(Stuck)) == {"Extra": audit_module.NOT_KEPT}


class PutBack(More):
    """The plugin goes on with another value, of which the host hears only when it asks."""

    def afterwards(self, wet):
        self.has[2] = 0.5


class PutBackOpenly(More):
    raw_state = property()

    def afterwards(self, wet):
        self._parameters[2]._raw = 0.5


@pytest.mark.parametrize("kind", [PutBack, PutBackOpenly])
def test_a_value_that_is_put_back_by_processing_is_found(kind):
    audit = audited(kind)
    assert reasons(audit) == {"Extra": audit_module.NOT_KEPT_SOUNDING}
    assert settings(audit) == ["gain", "tone"] and audit.repeatable


class Rounds(More):
    """Seven steps that it does not tell of, shown as such."""

    extra = staticmethod(lambda: SixthsKnob("Extra"))

    def afterwards(self, wet):
        self.has[2] = round(self.has[2] * 6) / 6


class SixthsKnob(Knob):
    def get_text_for_raw_value(self, raw):
        return f"step {round(raw * 6)}"


def test_a_value_that_is_rounded_to_what_is_shown_is_kept():
    audit = audited(Rounds)
    assert settings(audit) == ["gain", "tone", "extra"]
    assert len(audit.parameters[2].choices) == 7


class ProgramKnob(Knob):
    plugin = None

    @property
    def raw_value(self):
        return self._raw

    @raw_value.setter
    def raw_value(self, value):
        self._raw = value
        for knob in self.plugin._parameters[:2]:
            knob._raw = 0.1 + 0.7 * value


class Programs(Plugin):
    def knobs(self):
        knob = ProgramKnob("Sound", 0.0, n_steps=3)
        knob.plugin = self
        return [*super().knobs(), knob]


def test_a_program_is_found_by_what_it_sets():
    audit = audited(Programs)
    assert reasons(audit) == {"Sound": audit_module.SETS_OTHERS}
    assert settings(audit) == ["gain", "tone"]


class OneProgram(More):
    class Extra(StuckKnob):
        def get_text_for_raw_value(self, raw):
            return "Default"

    extra = staticmethod(lambda: OneProgram.Extra("Sound"))


def test_what_has_one_value_only_is_no_setting():
    assert reasons(audited(OneProgram)) == {"Sound": audit_module.ONE_VALUE}


class Power(More):
    extra = staticmethod(lambda: Knob("Power", 1.0, n_steps=2))

    def wet(self, audio):
        return super().wet(audio) if self.has[2] > 0.5 else audio.copy()


class Asleep(Power):
    """Loaded with the effect off: without that switch nothing would ever be heard of it."""

    extra = staticmethod(lambda: Knob("Power", 0.0, n_steps=2))


class Switch(Power):
    """An ordinary switch."""

    def wet(self, audio):
        return Plugin.wet(self, audio) * np.float32(1 + self.has[2])


def test_a_bypass_is_found_by_the_input_that_comes_back():
    assert reasons(audited(Power)) == {"Power": audit_module.IS_BYPASS}
    for kind in (Asleep, Switch):
        audit = audited(kind)
        assert audit.left_out == () and settings(audit) == ["gain", "tone", "power"]


class Inert(More):
    extra = staticmethod(lambda: Knob("Extra"))


def test_what_is_not_heard_stays_a_setting():
    """It may be heard at other settings of the rest, such as a ratio above its threshold."""
    assert settings(audited(Inert)) == ["gain", "tone", "extra"]


class HostsNumber(More):
    extra = staticmethod(lambda: Knob("Clock", 44.1 / 100, auto=False))

    def afterwards(self, wet):
        self.has[2] = self.sample_rate / 100_000


class Hidden(More):
    """A knob that hosts may not automate, and that is heard all the same."""

    extra = staticmethod(lambda: Knob("Azimuth", auto=False))

    def wet(self, audio):
        return super().wet(audio) * np.float32(0.5 + self.has[2])


class HiddenInert(More):
    extra = staticmethod(lambda: Knob("Azimuth", auto=False))


class HiddenAmongInert(Hidden):
    def knobs(self):
        return [*super().knobs(), *(Knob(f"Extra {n}", auto=False) for n in range(5))]


class HiddenAllInert(Plugin):
    n_loaded = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        HiddenAllInert.n_loaded += 1

    def knobs(self):
        return [*super().knobs(), *(Knob(f"Extra {n}", auto=False) for n in range(5))]


def test_many_hidden_knobs_are_tried_together_first():
    """Some plugins take minutes to load: what is not heard costs two sounds, however many."""
    audit = audited(HiddenAmongInert)
    assert settings(audit) == ["gain", "tone", "azimuth"]
    assert reasons(audit) == {f"Extra {n}": audit_module.UNHEARD for n in range(5)}
    assert set(reasons(audited(HiddenAllInert)).values()) == {audit_module.UNHEARD}
    assert HiddenAllInert.n_loaded == 1 + 3 + 2  # the trial, a, b, a, and both ends


class HiddenPutBack(Hidden):
    def afterwards(self, wet):
        self.has[2] = self._parameters[2]._raw = 0.5


def test_what_hosts_may_not_set_is_a_setting_only_where_it_is_heard_and_kept():
    assert reasons(audited(HostsNumber)) == {"Clock": audit_module.SHOWS}
    assert settings(audited(Hidden)) == ["gain", "tone", "azimuth"]
    assert reasons(audited(HiddenInert)) == {"Azimuth": audit_module.UNHEARD}
    assert reasons(audited(HiddenPutBack)) == {"Azimuth": audit_module.NOT_KEPT_SOUNDING}


class Named(More):
    extra = staticmethod(lambda: Knob("Bypass"))


def test_a_name_is_a_hint_where_trying_tells_nothing():
    assert reasons(audited(Named)) == {"Bypass": audit_module.IS_NAMED}


class Twins(Plugin):
    def knobs(self):
        names = ("Level", "Gain", "Level", "level")
        knobs = [Knob(name, 0.1 * (i + 1)) for i, name in enumerate(names)]
        return [*knobs[:2], StuckKnob("Gain"), *knobs[2:]]

    def wet(self, audio):
        return (audio * np.float32(self.has[3])).astype("f")


def test_parameters_of_one_name_are_told_apart_by_their_place(board):
    audit = audited(Twins)
    assert settings(audit) == ["level", "gain", "level-2", "level-3"]
    assert audit.indices == (0, 1, 3, 4)
    assert [p.default for p in audit.parameters] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    effect = board(Twins)
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"level-2": 0.75})
    )
    np.testing.assert_array_equal(wet, ramp() * np.float32(0.75))
    assert effective["level-2"] == 0.75


# --- sound: channels, ranges, repeatable --------------------------------------------------------


class StereoOnly(Plugin):
    def process(self, audio, sample_rate):
        if len(audio) != 2:
            raise ValueError("does not support 1-channel output")
        return super().process(audio, sample_rate)

    def wet(self, audio):
        assert np.array_equal(audio[0], audio[1])  # mono is given on both
        return super().wet(audio)


class NoChannels(Plugin):
    def process(self, audio, sample_rate):
        raise ValueError("5.1 only")


def test_channels_are_negotiated_and_recorded(board):
    assert audited(StereoOnly).n_channels == 2
    with pytest.raises(PluginError, match="neither mono nor stereo"):
        audited(NoChannels)
    effect = board(StereoOnly)
    assert effect.plugin.n_channels == 2
    wet, _ = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"gain": 0, "tone": 0.9})
    )
    assert wet.shape == ramp().shape
    np.testing.assert_allclose(wet, ramp(), rtol=1e-6)


class RateRanges(More):
    """Its texts hold for the rate that it was used at last: 44.1 kHz when it is loaded."""

    def knobs(self):
        knobs = super().knobs()
        knobs[2] = TimeKnob("Time", 0.5, label="ms")
        knobs[2].plugin = self
        return knobs


class TimeKnob(Knob):
    def get_text_for_raw_value(self, raw):
        return f"{raw * 441 * 44_100 / self.plugin.sample_rate:.5f}"


def test_ranges_are_those_at_the_sample_rate_of_the_render():
    (time,) = [p for p in audited(RateRanges).parameters if p.name == "time"]
    assert time.maximum == pytest.approx(441 * 44_100 / RATE, rel=1e-5)


class Leaking(Plugin):
    """What it was set to lives on in the next instance."""

    last = 0.0

    def wet(self, audio):
        before, Leaking.last = Leaking.last, self.has[0]
        return super().wet(audio) * np.float32(1 + before)


class LeakingWithin(Plugin):
    """State that lives from call to call, but not longer than the instance."""

    def wet(self, audio):
        self.memory = getattr(self, "memory", 0.0) + 1.0
        return super().wet(audio) * np.float32(self.memory)


class Noisy(Plugin):
    def wet(self, audio):
        return super().wet(audio) + np.random.default_rng().normal(0, 1e-4, audio.shape).astype("f")


class NoisyHidden(Noisy):
    def knobs(self):
        return [*super().knobs(), Knob("Azimuth", auto=False)]


@pytest.mark.parametrize(
    ("kind", "repeatable"),
    [(Plugin, True), (LeakingWithin, True), (Leaking, False), (Noisy, False), (NoisyHidden, False)],
)
def test_a_setting_has_to_give_the_same_bits_with_another_in_between(board, kind, repeatable):
    assert audited(kind).repeatable is repeatable
    effect = board(kind)
    assert Effect.from_dict(effect.to_dict()).plugin.repeatable is repeatable
    told = apply.plugin_warnings(effect)
    assert [line for line in told if "not repeatable" in line] == told
    assert bool(told) is not repeatable


def test_what_is_heard_of_a_noisy_plugin_proves_nothing():
    assert reasons(audited(NoisyHidden)) == {"Azimuth": audit_module.UNHEARD}


class Fussy(Plugin):
    """Fails at half of its settings: a render loses those pairs, and keeps the others."""

    def wet(self, audio):
        if self.has[0] > 0.5:
            raise RuntimeError("too loud")
        return super().wet(audio)


class NoState(Plugin):
    @property
    def raw_state(self):
        raise RuntimeError("no state")


@pytest.mark.parametrize("kind", [Fussy, NoState])
def test_plugins_that_fail_now_and_then_are_tried_to_the_end(kind):
    audit = audited(kind)
    assert settings(audit) == ["gain", "tone"] and audit.repeatable


class Fragile(Named):
    """Does not stand being set: nothing is, where it is only looked at."""

    def knobs(self):
        return [*super().knobs(), Knob("Azimuth", auto=False)]

    def process(self, audio, sample_rate):
        assert self._parameters[0].raw_value == 0.5, "a crash"
        return super().process(audio, sample_rate)


def test_a_plugin_that_crashes_at_some_settings_can_be_looked_at():
    with pytest.raises(AssertionError):
        audited(Fragile, depth=audit_module.SHALLOW)
    audit = audited(Fragile, depth=audit_module.PASSIVE)
    assert settings(audit) == ["gain", "tone"] and not audit.repeatable
    assert reasons(audit) == {"Bypass": audit_module.IS_NAMED, "Azimuth": audit_module.UNHEARD}


# --- the same through plugins.py ----------------------------------------------------------------


def ramp():
    return np.linspace(-0.25, 0.25, 999, dtype=np.float32)


@pytest.fixture
def board(monkeypatch, tmp_path):
    """board(kind): the one effect of that fake plugin, examined in this process."""
    path = tmp_path / "fake.vst3"
    path.write_bytes(b"code")

    def effects_of(kind):
        fake = SimpleNamespace(
            VST3Plugin=kind,
            ExternalPluginReloadType=SimpleNamespace(PersistsAudioOnReset=1, ClearsAudioOnReset=2),
        )
        monkeypatch.setattr(host, "pedalboard_module", lambda: fake)
        return [effect for effect, _ in host.examine_plugin(path, RATE)]

    def effect_of(kind):
        (effect,) = effects_of(kind)
        return effect

    effect_of.all = effects_of
    return effect_of


def test_the_file_names_the_plugin_and_what_it_proved_to_be(board, tmp_path):
    effect = board(PutBack)
    file = effect.plugin
    assert (file.path, file.version, file.plugin_name) == (str(tmp_path / "fake.vst3"), "1.2", None)
    assert file.sha256 == files.sha256_of(tmp_path / "fake.vst3")
    assert file.left_out == (("Extra", audit_module.NOT_KEPT_SOUNDING),)
    assert Effect.from_dict(effect.to_dict()) == effect


def test_each_plugin_of_a_file_is_one_effect(board):
    class Pair(Plugin):
        names = ("Big Gain", "Small Gain")

        def knobs(self):
            return [Knob("Gain" if self.name == "Big Gain" else "Trim"), Knob("Tone")]

    big, small = board.all(Pair)
    assert (big.name, small.name) == ("big-gain", "small-gain")
    assert small.plugin.plugin_name == "Small Gain"
    assert [p.name for p in small.parameters] == ["trim", "tone"]


def test_instruments_in_a_file_are_passed_over(board):
    class Mixed(Plugin):
        names = ("Organ", "Gain")

        @property
        def is_effect(self):
            return self.name == "Gain"

    (effect,) = board.all(Mixed)
    assert (effect.name, effect.plugin.plugin_name) == ("gain", "Gain")
    Mixed.names = ("Organ",)
    with pytest.raises(PluginError, match="instruments only"):
        board.all(Mixed)


def test_only_what_does_not_stick_is_said(board, monkeypatch, tmp_path):
    class Both(PutBack):
        def knobs(self):
            return [*super().knobs(), StuckKnob("Speed"), Knob("Bypass")]

    said = []

    class Listener(Progress):
        def say(self, text):
            said.append(text)

    board(Both)
    examine = host.examine_plugin
    monkeypatch.setattr(isolation, "_examine_in_child", lambda path, rate, _: examine(path, rate))
    apply.load_effects(tmp_path / "fake.vst3", RATE, Listener())
    assert said == [
        f"fake: parameter {name!r} left out ({why})."
        for name, why in (
            ("Extra", audit_module.NOT_KEPT_SOUNDING),
            ("Speed", audit_module.NOT_KEPT),
        )
    ]


@pytest.mark.parametrize("crashes", [0, 1, 2, 3])
def test_a_plugin_that_crashes_when_it_is_tried_is_tried_with_less(monkeypatch, tmp_path, crashes):
    depths = []

    class Child:
        def __init__(self, begin):
            pass

        def ask(self, request, *others):
            depths.append(request[2])
            if len(depths) <= crashes:
                raise ChildDied("signal SIGSEGV")
            return ["found"]

        def kill(self):
            pass

    monkeypatch.setattr(isolation, "ChildProcess", Child)
    if crashes == 3:
        with pytest.raises(PluginError, match="crashed while loading"):
            isolation._examine_in_child(tmp_path, RATE, Progress())
    else:
        assert isolation._examine_in_child(tmp_path, RATE, Progress()) == ["found"]
    assert depths == [2, 1, 0][: crashes + 1]


def test_a_file_is_tried_once_in_a_command(board, monkeypatch, tmp_path):
    board(Plugin)
    path, tried = tmp_path / "fake.vst3", []

    def examine(*arguments):
        tried.append(arguments[1])
        return host.examine_plugin(*arguments[:2])

    monkeypatch.setattr(isolation, "_examine_in_child", examine)
    for rate in (RATE, RATE, 48_000, RATE):
        apply.load_effects(path, rate)
    path.write_bytes(b"another version")
    apply.load_effects(path, RATE)
    assert tried == [RATE, 48_000, RATE]


def test_a_raw_value_is_set_exactly_where_a_range_begins_below_zero(board):
    effect = board(Plugin)
    for gain in (-20.0, -19.7, -0.001, 0.3, 20.0):
        asked = effect.complete({"gain": gain, "tone": 0.9})
        wet, effective = host.apply_in_this_process(effect, ramp(), RATE, asked)
        assert effective == asked
        np.testing.assert_allclose(wet, ramp() * 10 ** (gain / 20), rtol=1e-5)


class Coarse(More):
    """A hundred steps, which are too many for choices."""

    extra = staticmethod(lambda: Knob("Grains", 0.0, 1, 100, n_steps=100))

    def wet(self, audio):
        return (audio * np.float32(self.has[2])).astype("f")


def test_a_value_between_two_steps_is_told_as_the_step_that_was_heard(board):
    effect = board(Coarse)
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"grains": 21.4})
    )
    assert effective["grains"] == 21
    np.testing.assert_array_equal(wet, ramp() * np.float32(20 / 99))


class HalvesKnob(Knob):
    """The host is told at once that only halves can be had."""

    @property
    def raw_value(self):
        return self._raw

    @raw_value.setter
    def raw_value(self, value):
        self._raw = round(value * 16) / 16


def test_what_is_read_back_after_setting_is_the_setting(board):
    class Halves(Coarse):
        extra = staticmethod(lambda: Knob("Grains"))

    effect = board(Halves)
    Halves.extra = staticmethod(lambda: HalvesKnob("Grains"))
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"grains": 0.7})
    )
    assert effective["grains"] == 0.6875  # 11 sixteenths
    np.testing.assert_array_equal(wet, ramp() * np.float32(0.6875))


def test_a_setting_that_processing_changes_is_rendered_again_as_it_is_then(board):
    """Sound and setting belong together: a pair never tells one and holds the other."""

    class Linked(Coarse):
        extra = staticmethod(lambda: Knob("Grains", 0.1))
        limit = 1.0

        def afterwards(self, wet):
            self._parameters[2]._raw = self.has[2] = min(self.has[2], self.limit)

    effect = board(Linked)
    Linked.limit = 0.5  # which the trial did not meet
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"grains": 0.875})
    )
    assert effective["grains"] == 0.5
    np.testing.assert_array_equal(wet, ramp() * np.float32(0.5))
    again, still = host.apply_in_this_process(effect, ramp(), RATE, effective)
    assert still == effective
    np.testing.assert_array_equal(wet, again)


def test_a_setting_that_processing_changes_every_time_is_an_error(board):
    class Restless(Coarse):
        extra = staticmethod(lambda: Knob("Grains", 0.1))
        restless = False

        def afterwards(self, wet):
            if self.restless:
                self._parameters[2]._raw = self.has[2] = (self.has[2] + 0.3) % 1.0

    effect = board(Restless)
    Restless.restless = True
    with pytest.raises(PluginError, match="changes the setting during processing"):
        host.apply_in_this_process(effect, ramp(), RATE, effect.complete({"grains": 0.5}))


def test_another_version_in_the_place_of_the_plugin_is_not_taken_for_it(board, tmp_path):
    effect = board(Plugin)
    (tmp_path / "fake.vst3").write_bytes(b"another version")
    with pytest.raises(PluginError, match=r"fake\.vst3: not the file"):
        host.apply_in_this_process(effect, ramp(), RATE, effect.complete({}))


def test_a_plugin_that_has_other_parameters_now_is_told(board):
    effect = board(More)
    board(Plugin)
    with pytest.raises(PluginError, match=r"other parameters .*found 2"):
        host.apply_in_this_process(effect, ramp(), RATE, effect.complete({}))


# --- real ones ----------------------------------------------------------------------------------

MONO = "MultiComp", "AutoSat", "Comp", "Delay", "DynamicEQ", "EQ2", "GEQ31", "Gate", "Grains"
BUNDLES = [
    *(f"{'Za' if name == 'MultiComp' else 'Zam'}{name}" for name in (*MONO, "Phono", "Tube")),
    *("ZaMaximX2", "ZaMultiCompX2", "ZamCompX2", "ZamGateX2", "ZamHeadX2"),
]
NEVER_SETTINGS = {"Buffer Size", "Sample Rate", "Latency", "Current Program"}


def one_effect(path):
    ((effect, _),) = isolation.audited_effects(path, RATE)
    return effect


@pytest.mark.plugin
def test_a_real_switch_that_gives_the_input_back_and_real_programs(plugin_named):
    """Without a second input, the side chain of ZamDynamicEQ hears nothing, and nothing is done."""
    left_out = dict(one_effect(plugin_named("ZamDynamicEQ")).plugin.left_out)
    assert left_out["Sidechain"] == audit_module.IS_BYPASS
    assert left_out["Current Program"] == audit_module.SETS_OTHERS
    assert left_out["Control Gain"] == audit_module.MOVES
    assert left_out.keys() >= {"Buffer Size", "Sample Rate"}


@pytest.mark.plugin
def test_real_knobs_that_are_hidden_from_hosts_are_settings(plugin_named):
    effect = one_effect(plugin_named("ZamHeadX2"))
    assert [p.name for p in effect.parameters] == ["azimuth", "elevation", "width"]
    assert effect.plugin.n_channels == 2
    sound = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    left, right = (
        apply.apply(effect, sound, RATE, {"azimuth": azimuth, "width": 1.5})[0]
        for azimuth in (90, -80)
    )
    assert not np.array_equal(left, right)


@pytest.mark.plugin
@pytest.mark.parametrize("output", ["pairs.h5", "folder"])
def test_a_render_names_the_plugin_in_its_output(plugin_named, tmp_path, output):
    path = plugin_named("ZamGrains")
    recordings = write_recordings(tmp_path / "recordings")
    effects = list(apply.load_effects(path, SEGMENTS.sample_rate).values())
    render(
        [recordings], tmp_path / output, [(effects[0], {"freeze": 0})], SEGMENTS, SPLIT, 4, seed=2
    )
    if output == "folder":
        described = json.loads((tmp_path / "folder" / "pairs.json").read_text())["effects"]
    else:
        with storage.Reader(tmp_path / output, storage.PAIRS) as pairs:
            described = pairs.labels.effects
            grains = [pairs.labels.setting_of(row)["grains"] for row in range(4)]
            heard = pairs.rows(np.arange(4))
        assert all(value == round(value) for value in grains)  # as many as were heard
        again = np.stack([rerender_row(tmp_path / output, row) for row in range(4)])
        np.testing.assert_array_equal(again, heard)
    (saved,) = described
    file = saved["plugin"]
    assert (file["path"], file["version"]) == (str(path), effects[0].plugin.version)
    assert file["sha256"] == files.sha256_of(files.plugin_binary(path))
    assert file["repeatable"] is True and file["n_channels"] == 1
    assert ["Current Program", audit_module.ONE_VALUE] in file["left_out"]


def check_real_plugin(path, figure):
    """The same bits whatever was rendered before, in this process and in another one."""
    ((effect, audit),) = isolation.audited_effects(path, RATE)
    is_mono = not path.stem.endswith(("X2", "Verb"))
    assert effect.plugin.n_channels == (1 if is_mono else 2)
    assert not NEVER_SETTINGS & {p.description for p in effect.parameters}
    assert apply.plugin_warnings(effect) == []
    sound = np.random.default_rng(5).normal(0, 0.07, 2 * RATE).astype(np.float32)
    rng = np.random.default_rng(6)
    a, b = sample_setting(effect, rng), sample_setting(effect, rng)
    first, effective = apply.apply(effect, sound, RATE, a)
    apply.apply(effect, sound[::-1], RATE, b)
    again, still = apply.apply(effect, sound, RATE, effective)
    isolation.end_worker()
    elsewhere, _ = apply.apply(effect, sound, RATE, effective)
    assert effective == still
    assert first.tobytes() == again.tobytes() == elsewhere.tobytes()
    told = f"{effect.plugin.n_channels} channels, {len(effect.parameters)} settings, loaded in "
    figure(path.stem, f"{told}{audit.seconds_to_load:.2f} s; {audit.left_out}")


@pytest.mark.plugin
@pytest.mark.torture
def test_every_real_plugin_is_what_its_audit_says(plugin_named, amount, figure):
    for name in BUNDLES if amount(0, 1) else ["ZamGrains"]:
        check_real_plugin(plugin_named(name), figure)


@pytest.mark.plugin
@pytest.mark.torture
def test_the_list_of_names_decides_nothing_about_real_plugins(
    plugin_named, amount, monkeypatch, figure
):
    """It only words the reason of a few."""
    for name in BUNDLES if amount(0, 1) else ["ZamComp"]:
        path = plugin_named(name)
        with monkeypatch.context() as patch:
            patch.setattr(audit_module, "NOT_A_SETTING", re.compile("(?!)"))
            ((blind, _),) = host.examine_plugin(path, RATE)
        assert blind.parameters == one_effect(path).parameters, name
        figure(name, [pair for pair in blind.plugin.left_out if pair[0] not in NEVER_SETTINGS])
