"""Parameters and settings: scales, text, random settings, grids and sweeps."""

import json
import pickle

import numpy as np
import pytest

from dafxtool.effects.effect import (
    Effect,
    PluginFile,
    grid_settings,
    sample_setting,
    sweep_settings,
)
from dafxtool.effects.parameter import Parameter, plain_text
from dafxtool.effects.vst3.host import NUDGE
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils.text import slug, unique_slugs

DRIVE = Parameter("drive", "dB", 0, 40, 20)
TONE = Parameter("tone", "Hz", 100, 10_000, 1000, "logarithmic")
MODEL = Parameter("model", "", 0, 2, 1, choices=("1959 Bassman 5F6-A", "JTM 45", "-1"))
FALLING = Parameter(
    "decay", "ms", 10, 1000, 10, "tabulated", positions=(0.0, 0.5, 1.0), values=(1000, 100, 10)
)
CUT = Parameter("cut", "Hz", 20, 1000, 20, "tabulated", positions=(0.0, 0.5), values=(20, 1000))
AMP = Effect("amp", (DRIVE, TONE, MODEL), "an amplifier")


def is_float32(value):
    return value == float(np.float32(value))


def test_from_normalised_follows_the_scale():
    assert DRIVE.from_normalised(0.25) == 10
    assert TONE.from_normalised(0.5) == pytest.approx(1000, rel=1e-6)  # the geometric mean
    assert FALLING.from_normalised(0.25) == 550
    assert MODEL.from_normalised(0.9) == 2


@pytest.mark.parametrize("parameter", [DRIVE, TONE, FALLING])
def test_to_normalised_is_the_inverse(parameter):
    for normalised in np.linspace(0, 1, 41):
        value = parameter.from_normalised(normalised)
        assert is_float32(value)
        assert parameter.to_normalised(value) == pytest.approx(normalised, abs=1e-6)


def test_ends_of_a_range_are_rounded_like_values():
    # float32(0.3) is above 0.3, and float32(0.7) is below 0.7.
    parameter = Parameter("rate", "Hz", 0.3, 0.7, 0.3)
    assert parameter.check(0.7, "x") == parameter.maximum == parameter.from_normalised(1.0)
    assert parameter.check(0.3, "x") == parameter.minimum


@pytest.mark.parametrize("value", [-0.001, 40.1, float("nan"), float("inf")])
def test_a_value_out_of_range_is_refused_with_the_range(value):
    with pytest.raises(EffectError, match=r"amp: drive is out of range .*0 to 40 dB"):
        DRIVE.check(value, "amp")


@pytest.mark.parametrize("numbers", [np.geomspace(1e-6, 1e6, 500), -np.geomspace(1e-3, 1e3, 500)])
def test_plain_text_reads_back_to_the_same_float32(numbers):
    for number in np.float32(numbers):
        text = plain_text(number)
        assert "e" not in text
        assert np.float32(float(text)) == number


@pytest.mark.parametrize(
    ("parameter", "typed", "value"),
    [
        (DRIVE, "12.5", 12.5),
        (DRIVE, " 12.5 dB", 12.5),
        (TONE, "3.2kHz", 3200),
        (TONE, "3.2k", 3200),
        (TONE, "440 hz", 440),
        (FALLING, "0.35 s", 350),
        (MODEL, "jtm-45", 1),
        (MODEL, "JTM 45", 1),
        (MODEL, "2", 2),
        (MODEL, "-1", 2),  # the name of a choice
        (Parameter("ratio", ":1", 1, 20, 4), "4:1", 4),
    ],
)
def test_values_are_read_from_text(parameter, typed, value):
    assert parameter.parse(typed, "amp") == value


@pytest.mark.parametrize("typed", ["loud", "12 Hz", "", "1,5", "1.2.3", "12 dB 3"])
def test_text_that_is_no_value_is_refused(typed):
    with pytest.raises(EffectError, match=r"cannot read the value of drive.*0 to 40 dB"):
        DRIVE.parse(typed, "amp")


def test_unknown_choice_lists_the_choices():
    with pytest.raises(EffectError, match="jtm-45"):
        MODEL.parse("vox", "amp")
    with pytest.raises(EffectError, match="jtm-45"):
        MODEL.check(0.5, "amp")


def test_an_index_that_could_be_a_name_is_refused():
    divisor = Parameter("divisor", "", 0, 2, 0, choices=("1", "2", "4"))
    assert divisor.parse("4", "amp") == 2
    assert divisor.parse("2", "amp") == 1  # the choice named 2, not the one at index 2


@pytest.mark.parametrize(
    ("parameter", "value", "text"),
    [
        (TONE, 3200, "3.2 kHz"),
        (TONE, 123.456, "123 Hz"),
        (FALLING, 350, "350 ms"),
        (FALLING, 1000, "1 s"),
        (DRIVE, 6, "6 dB"),
        (DRIVE, 1e-7, "0 dB"),
        (Parameter("gain", "dB", -24, 12, 0), -6, "-6 dB"),
        (Parameter("ratio", ":1", 1, 20, 4), 4, "4:1"),
        (Parameter("q", "", 0.5, 8, 1), 0.71, "0.71"),
        (MODEL, 1, "JTM 45"),
    ],
)
def test_values_are_formatted_to_three_digits(parameter, value, text):
    assert parameter.text(value) == text


def test_slugs_can_be_typed_and_are_unique():
    assert slug("Mode open/shut") == "mode-open-shut"
    assert slug(" -0.5 ") == "-0.5"
    assert slug("???") == "unnamed"
    assert unique_slugs(["Level", "level", "LEVEL"]) == ["level", "level-2", "level-3"]


def test_a_table_of_a_part_of_the_range_is_sampled_uniformly():
    rng = np.random.default_rng(0)
    values = [CUT.sample(rng) for _ in range(2000)]
    assert np.mean(np.array(values) > 510) == pytest.approx(0.5, abs=0.05)
    assert CUT.linspace(3) == [20, 510, 1000]


def test_random_settings_are_float32_in_range_and_uniform_in_octaves():
    rng = np.random.default_rng(0)
    settings = [sample_setting(AMP, rng) for _ in range(2000)]
    for setting in settings:
        assert setting == AMP.complete(setting)
        assert all(is_float32(value) for value in setting.values())
    tones = np.array([setting["tone"] for setting in settings])
    assert np.mean(tones < 1000) == pytest.approx(0.5, abs=0.04)  # two decades, the lower one
    counts = np.bincount([int(setting["model"]) for setting in settings])
    assert counts.min() > 600  # of 667 each


def test_fixing_a_parameter_keeps_the_other_random_values():
    free = sample_setting(AMP, np.random.default_rng(7))
    fixed = sample_setting(AMP, np.random.default_rng(7), {"drive": 3})
    assert fixed == free | {"drive": 3}


def test_grid_is_every_combination():
    settings = grid_settings(AMP, 3, {"tone": 500})
    assert len(settings) == 9
    assert {(s["drive"], s["model"]) for s in settings} == {
        (drive, model) for drive in (0, 20, 40) for model in (0, 1, 2)
    }
    assert {s["tone"] for s in settings} == {500}
    assert grid_settings(Effect("clean"), 5) == [{}]
    with pytest.raises(EffectError, match=r"found 100,000,000, expected at most 100,000"):
        grid_settings(Effect("big", tuple(renamed(DRIVE, i) for i in range(8))), 10)


def renamed(parameter, number):
    return Parameter.from_dict(parameter.to_dict() | {"name": f"{parameter.name}-{number}"})


def test_sweep_moves_one_parameter_at_a_time():
    settings = sweep_settings(AMP, 5, {"model": 2})
    assert len(settings) == 10
    default = AMP.default_setting() | {"model": 2}
    for setting in settings:
        assert sum(setting[name] != default[name] for name in default) <= 1
    assert [s["drive"] for s in settings[:5]] == [0, 10, 20, 30, 40]
    assert sweep_settings(Effect("clean"), 5) == [{}]
    with pytest.raises(EffectError, match="1 or more"):
        sweep_settings(AMP, 0)


def test_frequency_ranges_end_below_nyquist():
    tone = AMP.at(16_000).parameter("tone")
    assert tone.maximum == 7200
    assert AMP.at(96_000) == AMP
    assert AMP.at(16_000).at(16_000) == AMP.at(16_000)
    assert AMP.at(2000).parameter("tone").default == 900
    with pytest.raises(EffectError, match="sample rate"):
        AMP.at(200)


def test_plugin_ranges_are_valid_only_at_their_sample_rate():
    file = PluginFile("x.vst3", None, "1.0", "00", 1, 24_000)
    effect = Effect("x", (DRIVE,), plugin=file)
    assert effect.at(24_000) is effect
    with pytest.raises(PluginError, match=r"24000 Hz.*48000 Hz"):
        effect.at(48_000)


def test_unknown_parameter_names_similar_ones():
    with pytest.raises(EffectError, match="Did you mean drive"):
        AMP.complete({"drvie": 1})
    with pytest.raises(EffectError, match="There is none"):
        Effect("clean").complete({"drive": 1})


def test_labels_show_the_values_farthest_from_the_default():
    assert AMP.label({"drive": 12.5, "tone": 3200}) == "amp, drive 12.5 dB, tone 3.2 kHz"
    gain = Effect("gain", (Parameter("gain", "dB", -24, 12, 0),))
    assert gain.label({"gain": -6}) == "gain -6 dB"
    many = Effect("many", tuple(renamed(DRIVE, i) for i in range(8)))
    setting = many.default_setting() | {"drive-3": 40}
    assert many.label(setting).count("drive") == 4
    assert "drive-3 40 dB" in many.label(setting)


@pytest.mark.parametrize(
    "effect",
    [AMP, Effect("x", (FALLING, CUT), "y", PluginFile("x.vst3", "X", "1.0", "00", 2, 24_000))],
)
def test_an_effect_is_restored_from_json_and_pickle(effect):
    assert Effect.from_dict(json.loads(json.dumps(effect.to_dict()))) == effect
    assert pickle.loads(pickle.dumps(effect)) == effect
    with pytest.raises(TypeError):
        Effect.from_dict(effect.to_dict() | {"colour": "red"})


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter("mix", "%", 0, 100, 0),
        Parameter("drive", "", 0, 1, 1),
        Parameter("tone", "Hz", 20, 20_000, 1000, "logarithmic"),
    ],
)
def test_an_inaudible_distance_from_the_default_is_not_shown(parameter):
    """The host moves a plugin's parameters by this distance from the values that it loads with."""
    default = parameter.to_normalised(parameter.default)
    sign = 1 if default < 0.5 else -1
    nudged = parameter.from_normalised(default + sign * NUDGE)
    assert nudged != parameter.default
    assert parameter.text(nudged) == parameter.text(parameter.default)
    assert parameter.parse(parameter.value_text(nudged), "x") == nudged  # still exact as a setting
    far = parameter.from_normalised(default + sign * 0.01)
    assert parameter.text(far) != parameter.text(parameter.default)
