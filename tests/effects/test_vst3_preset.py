"""Presets become settings: header and chunks, values, wrong and damaged files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from fake_plugins import FakePlugin

import dafxtool
from dafxtool.effects.apply import apply, known_effects, parse_effects
from dafxtool.effects.vst3 import files, preset
from dafxtool.errors import ArgumentError, PluginError

RATE = 24_000
OWN, OTHER = "0123456789ABCDEF" * 2, "F" * 32


def preset_bytes(identifier=OWN, content=b"state", position=None, length=None):
    """Build a preset with one chunk, as Steinberg describes the format."""
    start = preset.HEADER.size
    where = start + len(content) if position is None else position
    header = struct.pack("<4si32sq", b"VST3", 1, identifier.encode(), where)
    chunk = struct.pack("<4sqq", b"Comp", start, len(content) if length is None else length)
    return header + content + struct.pack("<4si", b"List", 1) + chunk


class WithPreset(FakePlugin):
    """A gain whose presets are two raw values in text."""

    hidden = 1.0  # state that is no parameter

    @property
    def preset_data(self):
        return preset_bytes(content=" ".join(map(str, self.values)).encode())

    def load_preset(self, path):
        with open(path, "rb") as file:
            data = file.read()
        values, _, hidden = data[preset.HEADER.size : data.index(b"List")].partition(b"|")
        if values == b"refuse":
            raise RuntimeError("failed to load")
        self.hidden = float(hidden or 1)
        self.values = [float(each) for each in values.split()]

    def process(self, audio, sample_rate):
        if self.values != [parameter.raw_value for parameter in self._parameters]:
            self.values = [parameter.raw_value for parameter in self._parameters]
        return (super().process(audio, sample_rate) * self.hidden).astype("f")


def write(path, data):
    path.write_bytes(data)
    return path


def test_values_are_those_of_the_preset(tmp_path, load_fake):
    effect = load_fake(WithPreset)
    path = write(tmp_path / "a.vstpreset", preset_bytes(content=b"0.75 0.3"))
    setting, difference_db = preset.read_in_this_process(path, OWN, effect)
    assert setting == {"gain": pytest.approx(10.0, abs=1e-4), "tone": pytest.approx(0.3)}
    assert difference_db == -np.inf


def test_state_that_is_no_parameter_is_noticed(tmp_path, load_fake):
    effect = load_fake(WithPreset)
    path = write(tmp_path / "a.vstpreset", preset_bytes(content=b"0.75 0.3|0.5"))
    _, difference_db = preset.read_in_this_process(path, OWN, effect)
    assert difference_db == pytest.approx(0.0, abs=0.1)  # half of the level: as loud as the rest


def test_a_preset_of_another_class_is_for_another_plugin(tmp_path, load_fake):
    effect = load_fake(WithPreset)
    path = write(tmp_path / "a.vstpreset", preset_bytes(OTHER))
    assert preset.read_in_this_process(path, OTHER, effect) is None


def test_a_preset_that_the_plugin_refuses(tmp_path, load_fake):
    effect = load_fake(WithPreset)
    path = write(tmp_path / "a.vstpreset", preset_bytes(content=b"refuse"))
    with pytest.raises(PluginError, match="does not accept"):
        preset.read_in_this_process(path, OWN, effect)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF" + bytes(200),
        preset_bytes()[:30],
        preset_bytes()[:-5],
        preset_bytes(position=10**9),
        preset_bytes(position=-1),
        preset_bytes(length=10**6),
        preset_bytes(length=-1),
    ],
)
def test_damaged_presets_are_refused_before_a_plugin_sees_them(tmp_path, data):
    path = write(tmp_path / "a.vstpreset", data)
    with pytest.raises(PluginError, match="preset"):
        preset.class_id(path)


def test_headers(tmp_path):
    assert preset.class_id(write(tmp_path / "a.vstpreset", preset_bytes(OTHER))) == OTHER
    with pytest.raises(PluginError):
        preset.class_id(tmp_path / "missing.vstpreset")
    with pytest.raises(ArgumentError):
        dafxtool.list_effects(plugins=tmp_path / "a.vstpreset")


def zamtube():
    try:
        return files.find_plugin("ZamTube")
    except PluginError:
        return None


@pytest.mark.plugin
@pytest.mark.skipif(zamtube() is None, reason="ZamTube is not installed")
def test_a_real_preset_sounds_like_its_setting(tmp_path):
    pedalboard = pytest.importorskip("pedalboard")
    plugin = pedalboard.VST3Plugin(str(zamtube()))
    plugin.parameters["tube_drive"].raw_value = 0.3
    plugin.parameters["tone_stack_model"].raw_value = 0.5
    dry = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    expected = plugin.process(dry[None], RATE)[0]
    path = write(tmp_path / "warm.vstpreset", plugin.preset_data)
    known = known_effects([zamtube(), path], RATE)
    (choice,) = parse_effects(["zamtube"], known)
    assert set(choice.fixed) == {parameter.name for parameter in choice.effect.parameters}
    wet, effective = apply(choice.effect, dry, RATE, choice.fixed)
    assert effective == choice.fixed
    # Instances of ZamTube now and then differ by 5e-5; another setting differs by more than 0.01.
    np.testing.assert_allclose(wet, expected, atol=1e-3)
    (other,) = parse_effects(["zamtube:tube-drive=5 > delay"], known)
    assert other.fixed["zamtube.tube-drive"] == 5
    assert other.fixed["zamtube.bass"] == choice.fixed["bass"]
    with pytest.raises(PluginError, match="another plugin"):
        parse_effects(["delay"], known_effects([zamtube(), path], RATE))
    wrong = write(tmp_path / "x.vstpreset", path.read_bytes().replace(b"5A0000", b"5B0000", 1))
    with pytest.raises(PluginError, match="another plugin"):
        parse_effects(["zamtube"], known_effects([zamtube(), wrong], RATE))
    second = write(tmp_path / "second.vstpreset", path.read_bytes())
    with pytest.raises(PluginError, match="second preset"):
        parse_effects(["zamtube"], known_effects([zamtube(), path, second], RATE))
