"""Find what fake plugins do to audio, and in which output."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from fake_plugins import RATE, FakeParameter, FakePlugin, audit, ramp

from dafxtool.effects.effect import Effect
from dafxtool.effects.known import plugin_warnings
from dafxtool.effects.vst3 import behaviour, host
from dafxtool.effects.vst3.audit_result import MEMORY, RANDOM_NUMBERS
from dafxtool.effects.vst3.output_channel import choose_output_channel, keep_output
from dafxtool.errors import PluginError

LEFT, RIGHT = 0, 1


def distorted(audio):
    return np.tanh(4 * audio).astype("f")


class Stereo(FakePlugin):
    """A plugin that accepts stereo only; each kind makes left and right of its input."""

    def process(self, audio, sample_rate):
        if len(audio) != 2:
            raise ValueError("does not support 1-channel output")
        return super().process(audio, sample_rate)

    def wet(self, audio):
        return np.stack(self.outputs(audio[0])).astype("f")

    def outputs(self, dry):
        return distorted(dry), distorted(dry)


class DryLeft(Stereo):
    def outputs(self, dry):
        return dry, distorted(dry)


class SilentLeft(Stereo):
    def outputs(self, dry):
        return 0 * dry, distorted(dry)


class SideOnly(Stereo):
    """Left and right are the input, apart from a soft sound of opposite sign."""

    def outputs(self, dry):
        return dry + 1e-5 * distorted(dry), dry - 1e-5 * distorted(dry)


class Rounding(Stereo):
    """The side is nothing but rounding errors."""

    def outputs(self, dry):
        return 0.5 * dry, 0.5 * dry + 1e-8 * np.sign(dry)


class Pan(Stereo):
    def outputs(self, dry):
        pan = 0.2 + 0.6 * self.values[0]
        return (1 - pan) * dry, pan * dry


class Width(Stereo):
    """Changes the difference of left and right, which equal channels do not have."""

    def wet(self, audio):
        mid, side = keep_output(audio, "mid"), keep_output(audio, "side") * self.values[0]
        return np.stack([mid + side, mid - side]).astype("f")


class Meter(Stereo):
    def wet(self, audio):
        return audio.copy()


class MonoMeter(FakePlugin):
    def wet(self, audio):
        return audio.copy()


class Volume(FakePlugin):
    def wet(self, audio):
        return (audio * np.float32(0.1 + self.values[0])).astype("f")


class Distortion(FakePlugin):
    def wet(self, audio):
        return distorted(audio)


class Generator(FakePlugin):
    """A tone whose frequency is a setting, whatever the input is."""

    def wet(self, audio):
        n = np.arange(audio.shape[1])
        return np.tile(0.1 * np.sin(0.1 * (1 + self.values[0]) * n), (len(audio), 1)).astype("f")


class Late(FakePlugin):
    """Gives the input back after the latency that it reports."""

    def wet(self, audio):
        return np.pad(audio, ((0, 0), (self.reported_latency_samples, 0)))[:, : audio.shape[1]]


class LaterThanReported(FakePlugin):
    def wet(self, audio):
        return np.pad(audio, ((0, 0), (300, 0)))[:, : audio.shape[1]]


class HiddenAmount(FakePlugin):
    """Does nothing until a parameter is set that hosts may not automate."""

    def make_parameters(self):
        return [*super().make_parameters(), FakeParameter("Amount", 0.0, auto=False)]

    def wet(self, audio):
        return np.tanh(audio * (1 + 20 * self.values[2])).astype("f") if self.values[2] else audio


class Sometimes(FakePlugin):
    """Does something only at high values of a parameter."""

    def wet(self, audio):
        return distorted(audio) if self.values[0] > 0.5 else audio.copy()


@pytest.mark.parametrize(
    ("kind", "channel", "remarks"),
    [
        (Stereo, "left", []),
        (DryLeft, "right", [behaviour.HEARD_IN.format("right")]),
        (SilentLeft, "right", [behaviour.HEARD_IN.format("right")]),
        (Rounding, "left", [behaviour.LEVEL_ONLY]),
        (Pan, "left", [behaviour.IMAGE_ONLY]),
        (Width, "left", [behaviour.IMAGE_ONLY]),
        (Meter, "left", [behaviour.METER]),
        (MonoMeter, "left", [behaviour.METER]),
        (Late, "left", [behaviour.METER]),
        (Volume, "left", [behaviour.LEVEL_ONLY]),
        (Distortion, "left", []),
        (LaterThanReported, "left", []),
        (Generator, "left", [behaviour.GENERATOR]),
        (HiddenAmount, "left", []),
    ],
)
def test_the_audit_identifies_the_behaviour_of_a_plugin(load_fake, kind, channel, remarks):
    result = audit(kind)
    assert (result.output_channel, list(result.remarks)) == (channel, remarks)
    effect = load_fake(kind)
    assert effect.plugin.output_channel == channel
    assert Effect.from_dict(effect.to_dict()) == effect
    assert plugin_warnings(effect) == [f"fake: {remark}." for remark in remarks]


def test_the_audit_counts_the_trials_without_effect():
    for kind, n_unchanged in ((Meter, 4), (Late, 4), (Distortion, 0), (DryLeft, 0)):
        result = audit(kind)
        assert (result.n_unchanged, result.n_trials) == (n_unchanged, 4)
    result = audit(Sometimes)
    assert 0 < result.n_unchanged < 4
    assert result.remarks == (behaviour.SOMETIMES.format(result.n_unchanged, 4),)


def test_an_effect_that_some_settings_switch_off_is_no_warning(load_fake):
    effect = load_fake(Sometimes)
    assert len(effect.plugin.remarks) == 1 and plugin_warnings(effect) == []


def apply_to_ramp(effect):
    return host.apply_in_this_process(effect, ramp(), RATE, effect.complete({}))[0]


def test_the_output_with_the_effect_is_kept(load_fake):
    np.testing.assert_array_equal(apply_to_ramp(load_fake(DryLeft)), distorted(ramp()))
    np.testing.assert_array_equal(apply_to_ramp(load_fake(Stereo)), distorted(ramp()))


@pytest.mark.parametrize("channel", ["left", "right", "mid", "side"])
def test_the_output_can_be_chosen(load_fake, channel):
    choose_output_channel(channel)
    try:
        effect = load_fake(DryLeft)
    finally:
        choose_output_channel("auto")
    left, right = ramp(), distorted(ramp())
    expected = {"left": left, "right": right, "mid": (left + right) / 2, "side": (left - right) / 2}
    np.testing.assert_allclose(apply_to_ramp(effect), expected[channel], atol=1e-7)


def test_the_side_of_a_mono_plugin_is_refused(load_fake):
    choose_output_channel("side")
    try:
        with pytest.raises(PluginError, match="mono"):
            load_fake(Distortion)
    finally:
        choose_output_channel("auto")


def test_mid_and_side_give_left_and_right_back():
    wet = np.random.default_rng(0).normal(size=(2, 100)).astype("f")
    mid, side = keep_output(wet, "mid"), keep_output(wet, "side")
    np.testing.assert_allclose(mid + side, wet[0], atol=1e-6)
    np.testing.assert_allclose(mid - side, wet[1], atol=1e-6)


# Random numbers and memory


class CallsRand(FakePlugin):
    """Adds noise of the C library's generator, which goes on from call to call."""

    def wet(self, audio):
        rand = ctypes.CDLL(None).rand
        noise = np.array([rand() for _ in range(64)], dtype=np.float64) / 2**31
        return (super().wet(audio) + 1e-3 * np.resize(noise, audio.shape)).astype("f")


class CallsRandWithClock(CallsRand):
    """Seeds the generator itself, with another number each time."""

    n_calls = 0

    def wet(self, audio):
        CallsRandWithClock.n_calls += 1
        ctypes.CDLL(None).srand(CallsRandWithClock.n_calls)
        return super().wet(audio)


def test_a_plugin_that_calls_rand_is_seeded_and_reported(load_fake):
    result = audit(CallsRand)
    assert result.repeatable and result.remarks == (RANDOM_NUMBERS,)
    effect = load_fake(CallsRand)
    first, repeated = apply_to_ramp(effect), apply_to_ramp(effect)
    np.testing.assert_array_equal(first, repeated)
    other, _ = host.apply_in_this_process(effect, ramp() / 2, RATE, effect.complete({}))
    assert not np.allclose(other * 2, first, rtol=0, atol=1e-5)  # each segment has its own noise
    assert audit(FakePlugin).remarks == (behaviour.LEVEL_ONLY,)


def test_a_plugin_that_seeds_by_itself_is_not_repeatable():
    result = audit(CallsRandWithClock)
    assert not result.repeatable and RANDOM_NUMBERS not in result.remarks
    assert MEMORY not in result.remarks
