"""Plugins in Python, with the interface of pedalboard, that behave or misbehave in one way."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from dafxtool.effects.vst3 import host
from dafxtool.effects.vst3.audit import audit_instances

RATE = 24_000  # Hz
CONTINUOUS = 2**31 - 1  # steps


class FakeParameter:
    """A parameter with the attributes of pedalboard: the value that the host remembers."""

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
    """A private property of pedalboard's plugins."""

    def __get__(self, plugin, kind=None):
        return self

    def __set__(self, plugin, value):
        pass


class FakePlugin:
    """A gain without faults. `values` are those of the plugin, _parameters those of the host."""

    version, manufacturer_name, is_effect, _reload_type = "1.2", "Nobody", True, ReloadType()
    names = ("Fake",)
    reported_latency_samples = 7

    def __init__(self, path="fake.vst3", plugin_name=None, initialization_timeout=None):
        self.name = plugin_name or self.names[0]
        self._parameters = self.make_parameters()
        self.values = [parameter.raw_value for parameter in self._parameters]
        self.sample_rate = 44_100

    @classmethod
    def get_plugin_names_for_file(cls, path):
        return list(cls.names)

    def make_parameters(self):
        return [FakeParameter("Gain", 0.5, -20.0, 20.0, "dB"), FakeParameter("Tone", 0.3)]

    def process(self, audio, sample_rate):
        self.sample_rate = sample_rate
        self.values = [parameter.raw_value for parameter in self._parameters]
        wet = self.wet(audio)
        self.after_processing(wet)
        return wet

    def wet(self, audio):
        gain, tone = self.values[:2]
        return (audio * np.float32(10 ** (2 * gain - 1)) * np.float32(tone + 0.1)).astype("f")

    def after_processing(self, wet):
        pass

    def reset(self):
        pass

    @property
    def raw_state(self):
        return tuple(self.values)

    @raw_state.setter
    def raw_state(self, state):
        for parameter, value in zip(self._parameters, self.values, strict=True):
            parameter._raw = value


class OneMore(FakePlugin):
    """A plugin with one more parameter, which `extra` builds."""

    extra = staticmethod(lambda: FakeParameter("Extra"))

    def make_parameters(self):
        return [*super().make_parameters(), self.extra()]


class StuckParameter(FakeParameter):
    raw_value = property(lambda self: 0.25, lambda self, value: None)


class ResetsValue(OneMore):
    """The plugin changes a value, and the host sees it only when it reads the state."""

    def after_processing(self, wet):
        self.values[2] = 0.5


def audit(kind, **options):
    """Audit a class of plugins."""

    @contextmanager
    def new_instance(seed):
        host.seed_native_random(seed)
        yield kind()

    return audit_instances(new_instance, RATE, **options)


def settings(audit):
    """Return the names of the settings that an audit found."""
    return [parameter.name for parameter in audit.parameters]


def reasons(audit):
    """Return the reason for each parameter that was left out."""
    return dict(audit.left_out)


def ramp():
    """Return a rising line, float32 (999,)."""
    return np.linspace(-0.25, 0.25, 999, dtype=np.float32)
