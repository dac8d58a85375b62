"""Ranges, units and choices from the texts of plugin parameters."""

import numpy as np
import pytest

from dafxtool.effects.vst3.parameter_text import describe_parameter, limit_frequency

SAMPLE_RATE = 24_000


class FakeParameter:
    """A parameter with the attributes of pedalboard."""

    def __init__(self, text, name="Knob", label="", num_steps=2**31 - 1, is_automatable=True):
        self.text, self.name, self.label = text, name, label
        self.num_steps, self.is_automatable = num_steps, is_automatable
        self.raw_value = 0.5

    def get_text_for_raw_value(self, raw_value):
        return self.text(raw_value)

    @property
    def string_value(self):
        return self.text(self.raw_value)


class SlowParameter(FakeParameter):
    """A parameter that returns the text of its current value for any value."""

    def get_text_for_raw_value(self, raw_value):
        return self.text(self.raw_value)


def describe(text, load_value=0.5, kind=FakeParameter, **attributes):
    return describe_parameter(kind(text, **attributes), "unnamed", load_value)


def test_even_numbers_become_a_linear_range():
    parameter = describe(lambda x: f"{-30 + 60 * x:.6f}", label="dB")
    assert (parameter.scale, parameter.minimum, parameter.maximum, parameter.default) == (
        "linear",
        -30,
        30,
        0,
    )
    assert parameter.unit == "dB"


def test_numbers_in_octaves_become_a_logarithmic_range():
    parameter = describe(lambda x: f"{20 * 1000**x:.3f} Hz")
    assert (parameter.scale, parameter.unit) == ("logarithmic", "Hz")
    assert parameter.default == pytest.approx(20 * 1000**0.5, rel=1e-4)


def test_other_monotonic_numbers_become_a_table():
    parameter = describe(lambda x: f"{1000 * x**2:.1f} ms")
    assert (parameter.scale, parameter.unit) == ("tabulated", "ms")
    assert len(parameter.values) <= 101
    for position in (0.1, 0.333, 0.9):
        assert parameter.from_normalised(position) == pytest.approx(1000 * position**2, abs=0.1)


def test_falling_numbers_keep_their_direction():
    parameter = describe(lambda x: f"{100 - 100 * x:.2f} %", load_value=0.25)
    assert (parameter.minimum, parameter.maximum, parameter.default) == (0, 100, 75)
    assert parameter.to_normalised(100) == 0


def test_rounded_numbers_count_at_the_middle_of_their_steps():
    parameter = describe(lambda x: f"{round(40 * x**2)} dB")
    assert parameter.scale == "tabulated"
    assert parameter.from_normalised(0.5) == pytest.approx(10, abs=0.6)


def test_hertz_and_kilohertz_become_one_unit():
    parameter = describe(
        lambda x: f"{900 + 200 * x:.1f} Hz" if x < 0.5 else f"{0.9 + 0.2 * x:.4f} kHz"
    )
    assert (parameter.unit, parameter.minimum, parameter.maximum) == ("Hz", 900, 1100)


def test_texts_at_an_end_are_left_out():
    parameter = describe(lambda x: "-inf dB" if x < 0.095 else f"{-60 + 60 * x:.1f} dB")
    assert (parameter.minimum, parameter.maximum, parameter.positions[0]) == (-54, 0, 0.1)
    loaded_at_end = describe(lambda x: "off" if x < 0.095 else f"{x:.2f} s", load_value=0.0)
    assert (loaded_at_end.minimum, loaded_at_end.maximum, loaded_at_end.unit) == (0, 1, "")


@pytest.mark.parametrize(
    "text",
    [
        lambda x: f"{100 * abs(x - 0.5):.2f}",  # down and up
        lambda x: f"{int(50 - 100 * x)}L" if x < 0.5 else f"{int(100 * x - 50)}R",
        lambda x: f"setting {x:.3f}",
        lambda x: "",
    ],
)
def test_other_texts_give_the_raw_range(text):
    parameter = describe(text, load_value=0.25)
    assert (parameter.minimum, parameter.maximum, parameter.default, parameter.unit) == (
        0,
        1,
        0.25,
        "",
    )
    assert parameter.from_normalised(0.25) == 0.25 and not parameter.choices


def test_texts_become_choices():
    parameter = describe(lambda x: ["soft", "medium", "hard"][min(int(3 * x), 2)], load_value=0.9)
    assert parameter.choices == ("soft", "medium", "hard") and parameter.default == 2
    for index, choice in enumerate(parameter.choices):
        assert ["soft", "medium", "hard"][min(int(3 * parameter.to_normalised(index)), 2)] == choice


def test_switches_become_off_and_on():
    steps = describe(lambda x: "1.000000" if x > 0.5 else "0.000000", num_steps=2)
    assert steps.choices == ("off", "on")
    assert (steps.to_normalised(0), steps.to_normalised(1)) == (0, 1)
    switch = describe(lambda x: "1" if x > 0.5 else "0")  # without a number of steps
    assert switch.choices == ("off", "on")
    assert switch.to_normalised(0) < 0.5 < switch.to_normalised(1)


def test_few_steps_become_choices_of_numbers():
    parameter = describe(lambda x: str(1 + round(4 * x)), num_steps=5)
    assert parameter.choices == ("1", "2", "3", "4", "5") and parameter.default == 2
    assert parameter.to_normalised(1) == 0.25


def test_a_plugin_that_shows_only_current_values_is_read_by_setting():
    parameter = describe(lambda x: f"{10 * x:.3f} dB", kind=SlowParameter)
    assert (parameter.minimum, parameter.maximum, parameter.unit) == (0, 10, "dB")


@pytest.mark.parametrize("text", [lambda x: 20 + 19_980 * x, lambda x: 20 * 1000**x])
def test_frequencies_end_below_nyquist(text):
    complete = describe(lambda x: f"{text(x):.4f} Hz", load_value=1.0)
    parameter = limit_frequency(complete, SAMPLE_RATE)
    assert parameter.maximum == parameter.default == parameter.from_normalised(1.0) == 10_800
    for position in np.linspace(0, parameter.to_normalised(10_800), 20):
        assert parameter.from_normalised(position) == pytest.approx(text(position), rel=2e-3)
    assert limit_frequency(complete, 96_000) == complete


def test_a_unit_of_the_label_is_dropped_where_the_text_is_the_raw_number():
    for decimals in (2, 4, 6):
        parameter = describe(lambda x, d=decimals: f"{x:.{d}f}", label="cents")
        assert (parameter.unit, parameter.minimum, parameter.maximum) == ("", 0, 1)
    assert describe(lambda x: f"{100 * x:.2f}", label="cents").unit == "cents"
    assert describe(lambda x: f"{x:.2f} s", label="").unit == "s"  # the text itself has a unit
    assert describe(lambda x: f"{x**2:.4f}", label="s").unit == "s"
