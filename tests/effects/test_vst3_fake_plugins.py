"""Load and apply fake plugins: effective settings, caching, messages, errors."""

from __future__ import annotations

import numpy as np
import pytest
from fake_plugins import RATE, FakeParameter, FakePlugin, OneMore, ResetsValue, StuckParameter, ramp

from dafxtool.effects import apply
from dafxtool.effects.effect import Effect
from dafxtool.effects.vst3 import audit as audit_module
from dafxtool.effects.vst3 import files, host
from dafxtool.errors import PluginError
from dafxtool.utils.progress import Progress


def test_an_effect_stores_the_plugin_and_its_audit(load_fake, tmp_path):
    effect = load_fake(ResetsValue)
    file = effect.plugin
    assert (file.path, file.version, file.plugin_name) == (str(tmp_path / "fake.vst3"), "1.2", None)
    assert file.sha256 == files.sha256_of(tmp_path / "fake.vst3")
    assert file.left_out == (("Extra", audit_module.NOT_KEPT_SOUNDING),)
    assert Effect.from_dict(effect.to_dict()) == effect


def test_each_plugin_of_a_file_is_one_effect(load_fake):
    class Pair(FakePlugin):
        names = ("Big Gain", "Small Gain")

        def make_parameters(self):
            return [
                FakeParameter("Gain" if self.name == "Big Gain" else "Trim"),
                FakeParameter("Tone"),
            ]

    big, small = load_fake.all(Pair)
    assert (big.name, small.name) == ("big-gain", "small-gain")
    assert small.plugin.plugin_name == "Small Gain"
    assert [p.name for p in small.parameters] == ["trim", "tone"]


def test_instruments_in_a_file_are_left_out(load_fake):
    class Mixed(FakePlugin):
        names = ("Organ", "Gain")

        @property
        def is_effect(self):
            return self.name == "Gain"

    (effect,) = load_fake.all(Mixed)
    assert (effect.name, effect.plugin.plugin_name) == ("gain", "Gain")
    listener = Listener()
    apply.load_effects(effect.plugin.path, RATE, listener)
    assert [each for each in listener.messages if "Organ left out" in each]
    with pytest.raises(PluginError, match="instrument"):
        apply.parse_effect("organ", apply.known_effects([effect.plugin.path], RATE))
    Mixed.names = ("Organ",)
    with pytest.raises(PluginError, match="instruments only"):
        load_fake.all(Mixed)


class Listener(Progress):
    """Collects messages."""

    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def test_values_that_are_not_kept_are_reported(load_fake, tmp_path):
    class Both(ResetsValue):
        def make_parameters(self):
            return [*super().make_parameters(), StuckParameter("Speed"), FakeParameter("Bypass")]

    load_fake(Both)
    listener = Listener()
    apply.load_effects(tmp_path / "fake.vst3", RATE, listener)
    assert [each for each in listener.messages if "parameter" in each] == [
        f"fake: parameter {name!r} left out ({why})."
        for name, why in (
            ("Extra", audit_module.NOT_KEPT_SOUNDING),
            ("Speed", audit_module.NOT_KEPT),
        )
    ]


def test_raw_values_are_set_exactly_in_a_range_that_starts_below_zero(load_fake):
    effect = load_fake(FakePlugin)
    for gain in (-20.0, -19.7, -0.001, 0.3, 20.0):
        setting = effect.complete({"gain": gain, "tone": 0.9})
        wet, effective = host.apply_in_this_process(effect, ramp(), RATE, setting)
        assert effective == setting
        np.testing.assert_allclose(wet, ramp() * 10 ** (gain / 20), rtol=1e-5)


class Coarse(OneMore):
    """A parameter with a hundred steps, which are too many for choices."""

    extra = staticmethod(lambda: FakeParameter("Grains", 0.0, 1, 100, n_steps=100))

    def wet(self, audio):
        return (audio * np.float32(self.values[2])).astype("f")


def test_the_effective_value_is_that_of_the_nearest_step(load_fake):
    effect = load_fake(Coarse)
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"grains": 21.4})
    )
    assert effective["grains"] == 21
    np.testing.assert_array_equal(wet, ramp() * np.float32(20 / 99))


class SixteenthsParameter(FakeParameter):
    """A parameter that rounds to sixteenths when it is set."""

    @property
    def raw_value(self):
        return self._raw

    @raw_value.setter
    def raw_value(self, value):
        self._raw = round(value * 16) / 16


def test_the_effective_setting_is_read_back_after_setting(load_fake):
    class Sixteenths(Coarse):
        extra = staticmethod(lambda: FakeParameter("Grains"))

    effect = load_fake(Sixteenths)
    Sixteenths.extra = staticmethod(lambda: SixteenthsParameter("Grains"))
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"grains": 0.7})
    )
    assert effective["grains"] == 0.6875  # 11 sixteenths
    np.testing.assert_array_equal(wet, ramp() * np.float32(0.6875))


def test_a_setting_changed_by_processing_is_rendered_again(load_fake):
    """Audio and stored setting of a pair have to match."""

    class Linked(Coarse):
        extra = staticmethod(lambda: FakeParameter("Grains", 0.1))
        limit = 1.0

        def after_processing(self, wet):
            self._parameters[2]._raw = self.values[2] = min(self.values[2], self.limit)

    effect = load_fake(Linked)
    Linked.limit = 0.5  # the audit has not met this limit
    wet, effective = host.apply_in_this_process(
        effect, ramp(), RATE, effect.complete({"grains": 0.875})
    )
    assert effective["grains"] == 0.5
    np.testing.assert_array_equal(wet, ramp() * np.float32(0.5))
    repeated, still = host.apply_in_this_process(effect, ramp(), RATE, effective)
    assert still == effective
    np.testing.assert_array_equal(wet, repeated)


def test_a_setting_changed_by_every_processing_is_an_error(load_fake):
    class Restless(Coarse):
        extra = staticmethod(lambda: FakeParameter("Grains", 0.1))
        restless = False

        def after_processing(self, wet):
            if self.restless:
                self._parameters[2]._raw = self.values[2] = (self.values[2] + 0.3) % 1.0

    effect = load_fake(Restless)
    Restless.restless = True
    with pytest.raises(PluginError, match="changes the setting during processing"):
        host.apply_in_this_process(effect, ramp(), RATE, effect.complete({"grains": 0.5}))


def test_another_version_of_the_plugin_is_refused(load_fake, tmp_path):
    effect = load_fake(FakePlugin)
    (tmp_path / "fake.vst3").write_bytes(b"another version")
    with pytest.raises(PluginError, match=r"fake\.vst3: not the file"):
        host.apply_in_this_process(effect, ramp(), RATE, effect.complete({}))


def test_a_plugin_with_other_parameters_is_refused(load_fake):
    effect = load_fake(OneMore)
    load_fake(FakePlugin)
    with pytest.raises(PluginError, match=r"other parameters .*found 2"):
        host.apply_in_this_process(effect, ramp(), RATE, effect.complete({}))
