import os
import platform
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dafxtool
from dafxtool.effects import apply
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.effects.vst3 import files, host, isolation
from dafxtool.effects.vst3.parameter_text import describe_parameter, limit_frequency
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils.progress import Progress

SAMPLE_RATE = 24_000


def bundle(name):
    try:
        return files.find_plugin(f"{name}.vst3")
    except PluginError:
        return None


def needs(*names):
    absent = [name for name in names if bundle(name) is None]
    reason = f"{', '.join(absent)} is not installed (Debian's zam-plugins has it)"
    skip = pytest.mark.skipif(bool(absent), reason=reason)
    return lambda test: pytest.mark.plugin(skip(test))


def noise(n_samples=12_000, level=0.05, seed=0):
    return np.random.default_rng(seed).normal(0, level, n_samples).astype(np.float32)


def tone(frequency, n_samples=SAMPLE_RATE, level=0.25):
    return (level * np.sin(2 * np.pi * frequency / SAMPLE_RATE * np.arange(n_samples))).astype("f")


@pytest.fixture(scope="module")
def load():
    """Effects of a bundle by its name, each bundle examined once."""
    loaded = {}

    def load_one(name):
        if name not in loaded:
            (loaded[name],) = apply.load_effects(bundle(name), SAMPLE_RATE).values()
        return loaded[name]

    return load_one


# --- texts of parameters ------------------------------------------------------------------------


class FakeParameter:
    """A plugin's parameter, as pedalboard shows it."""

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
    """Tells the text of the value that is set, whatever it is asked for."""

    def get_text_for_raw_value(self, raw_value):
        return self.text(self.raw_value)


def describe(text, load_value=0.5, kind=FakeParameter, **attributes):
    return describe_parameter(kind(text, **attributes), "knob", load_value)


def test_even_numbers_become_a_linear_range():
    knob = describe(lambda x: f"{-30 + 60 * x:.6f}", label="dB")
    assert (knob.scale, knob.minimum, knob.maximum, knob.default) == ("linear", -30, 30, 0)
    assert knob.unit == "dB"


def test_numbers_in_octaves_become_a_logarithmic_range():
    knob = describe(lambda x: f"{20 * 1000**x:.3f} Hz")
    assert (knob.scale, knob.unit) == ("logarithmic", "Hz")
    assert knob.default == pytest.approx(20 * 1000**0.5, rel=1e-4)


def test_other_rising_numbers_become_a_table():
    knob = describe(lambda x: f"{1000 * x**2:.1f} ms")
    assert (knob.scale, knob.unit) == ("tabulated", "ms")
    assert len(knob.values) <= 101
    for position in (0.1, 0.333, 0.9):
        assert knob.from_normalised(position) == pytest.approx(1000 * position**2, abs=0.1)


def test_falling_numbers_keep_their_direction():
    knob = describe(lambda x: f"{100 - 100 * x:.2f} %", load_value=0.25)
    assert (knob.minimum, knob.maximum, knob.default) == (0, 100, 75)
    assert knob.to_normalised(100) == 0


def test_rounded_numbers_are_taken_in_the_middle_of_their_steps():
    knob = describe(lambda x: f"{round(40 * x**2)} dB")
    assert knob.scale == "tabulated"
    assert knob.from_normalised(0.5) == pytest.approx(10, abs=0.6)


def test_hertz_and_kilohertz_are_brought_together():
    knob = describe(lambda x: f"{900 + 200 * x:.1f} Hz" if x < 0.5 else f"{0.9 + 0.2 * x:.4f} kHz")
    assert (knob.unit, knob.minimum, knob.maximum) == ("Hz", 900, 1100)


def test_words_at_an_end_are_left_out():
    knob = describe(lambda x: "-inf dB" if x < 0.095 else f"{-60 + 60 * x:.1f} dB")
    assert (knob.minimum, knob.maximum, knob.positions[0]) == (-54, 0, 0.1)
    loaded_there = describe(lambda x: "off" if x < 0.095 else f"{x:.2f} s", load_value=0.0)
    assert (loaded_there.minimum, loaded_there.maximum, loaded_there.unit) == (0, 1, "")


@pytest.mark.parametrize(
    "text",
    [
        lambda x: f"{100 * abs(x - 0.5):.2f}",  # down and up
        lambda x: f"{int(50 - 100 * x)}L" if x < 0.5 else f"{int(100 * x - 50)}R",
        lambda x: f"setting {x:.3f}",
        lambda x: "",
    ],
)
def test_texts_without_sense_leave_the_raw_range(text):
    knob = describe(text, load_value=0.25)
    assert (knob.minimum, knob.maximum, knob.default, knob.unit) == (0, 1, 0.25, "")
    assert knob.from_normalised(0.25) == 0.25 and not knob.choices


def test_words_become_choices():
    knob = describe(lambda x: ["soft", "medium", "hard"][min(int(3 * x), 2)], load_value=0.9)
    assert knob.choices == ("soft", "medium", "hard") and knob.default == 2
    for index, word in enumerate(knob.choices):
        assert ["soft", "medium", "hard"][min(int(3 * knob.to_normalised(index)), 2)] == word


def test_switches_become_off_and_on():
    steps = describe(lambda x: "1.000000" if x > 0.5 else "0.000000", num_steps=2)
    assert steps.choices == ("off", "on")
    assert (steps.to_normalised(0), steps.to_normalised(1)) == (0, 1)
    told = describe(lambda x: "1" if x > 0.5 else "0")  # of a plugin that tells no steps
    assert told.choices == ("off", "on")
    assert told.to_normalised(0) < 0.5 < told.to_normalised(1)


def test_few_steps_become_choices_of_numbers():
    knob = describe(lambda x: str(1 + round(4 * x)), num_steps=5)
    assert knob.choices == ("1", "2", "3", "4", "5") and knob.default == 2
    assert knob.to_normalised(1) == 0.25


def test_a_plugin_that_shows_only_what_is_set_is_asked_by_setting():
    knob = describe(lambda x: f"{10 * x:.3f} dB", kind=SlowParameter)
    assert (knob.minimum, knob.maximum, knob.unit) == (0, 10, "dB")


@pytest.mark.parametrize("text", [lambda x: 20 + 19_980 * x, lambda x: 20 * 1000**x])
def test_frequencies_end_below_nyquist(text):
    whole = describe(lambda x: f"{text(x):.4f} Hz", load_value=1.0)
    knob = limit_frequency(whole, SAMPLE_RATE)
    assert knob.maximum == knob.default == knob.from_normalised(1.0) == 10_800
    for position in np.linspace(0, knob.to_normalised(10_800), 20):
        assert knob.from_normalised(position) == pytest.approx(text(position), rel=2e-3)
    assert limit_frequency(whole, 96_000) == whole


# --- real plugins -------------------------------------------------------------------------------


@needs("ZamTube")
def test_ranges_units_and_choices_of_a_real_plugin(load):
    tube = load("ZamTube")
    assert tube.name == "zamtube"
    assert [p.name for p in tube.parameters] == [
        "tube-drive",
        "bass",
        "mids",
        "treble",
        "tone-stack-model",
        "input-level",
        "insane-boost",
    ]
    drive, level = tube.parameter("tube-drive"), tube.parameter("input-level")
    assert (drive.minimum, drive.maximum) == (np.float32(0.1), 11)
    assert (level.minimum, level.maximum, level.default) == (-30, 30, 0)
    assert len(tube.parameter("tone-stack-model").choices) == 25
    assert tube.parameter("insane-boost").choices == ("off", "on")
    assert tube.plugin.n_channels == 1 and tube.plugin.version and len(tube.plugin.sha256) == 64
    assert Effect.from_dict(tube.to_dict()) == tube


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.plugin, pytest.mark.skipif(absent, reason=reason)])
        for name in ("ZamTube", "ZamDelay", "ZamComp", "ZamCompX2", "ZaMaximX2")
        for absent, reason in [(bundle(name) is None, f"{name} is not installed")]
    ],
)
def test_a_setting_gives_the_same_bits_whatever_came_before(load, name):
    effect, rng = load(name), np.random.default_rng(3)
    a, b = sample_setting(effect, rng), sample_setting(effect, rng)
    first, effective = apply.apply(effect, noise(), SAMPLE_RATE, a)
    assert effective == a
    other, _ = apply.apply(effect, noise(seed=1), SAMPLE_RATE, b)
    again, _ = apply.apply(effect, noise(), SAMPLE_RATE, effective)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (12_000,) and first.dtype == np.float32
    assert not np.array_equal(first, other)
    assert effect.plugin.n_channels == (2 if name.endswith("X2") else 1)


@needs("ZamTube")
def test_noise_that_the_host_plays_while_loading_is_not_heard(load):
    """Without a new instance, one of seven had heard random noise in its loading."""
    setting = {"tube-drive": 1, "bass": 2, "insane-boost": 0}
    wet = {
        apply.apply(load("ZamTube"), noise(600), SAMPLE_RATE, setting)[0].tobytes()
        for _ in range(20)
    }
    assert len(wet) == 1


@needs("ZamTube")
def test_the_setting_of_loading_is_left_by_a_hair(load):
    """So that the plugin works out its coefficients; what comes back renders the same again."""
    effect = load("ZamTube")
    wet, effective = apply.apply(effect, noise(), SAMPLE_RATE, {})
    default = effect.default_setting()
    drive = effect.parameter("tube-drive")
    moved = abs(drive.to_normalised(effective["tube-drive"]) - drive.to_normalised(drive.default))
    assert 1e-6 < moved < 2e-5
    assert effective == default | {"tube-drive": effective["tube-drive"]}
    again, still = apply.apply(effect, noise(), SAMPLE_RATE, effective)
    assert still == effective
    np.testing.assert_array_equal(wet, again)


@needs("ZamDelay")
@pytest.mark.parametrize("time_ms", [100, 160, 350])  # 160 ms is what it is loaded with
def test_echo_of_a_plugin_comes_at_the_time_that_was_asked_for(load, time_ms):
    setting = {"time": time_ms, "dry-wet": 0.5, "feedback": 0.5, "lpf": 10_000}
    dry = np.eye(1, SAMPLE_RATE, dtype=np.float32)[0]
    wet, effective = apply.apply(load("ZamDelay"), dry, SAMPLE_RATE, setting)
    echo = np.argmax(np.abs(wet[1000:])) + 1000
    # Its low-pass filter smears an impulse over the next sample or two.
    assert echo - time_ms * SAMPLE_RATE / 1000 in (0, 1, 2)
    assert effective["time"] == time_ms


@needs("ZamComp")
def test_compressor_plugin_keeps_its_ratio(load):
    setting = {"threshold": -40, "ratio": 4, "knee": 0, "makeup": 0, "attack": 1, "slew": 1}
    wet, _ = apply.apply(load("ZamComp"), tone(1000, 2 * SAMPLE_RATE), SAMPLE_RATE, setting)
    soft, _ = apply.apply(
        load("ZamComp"), tone(1000, 2 * SAMPLE_RATE, 0.25 / 10), SAMPLE_RATE, setting
    )
    louder_db = 20 * np.log10(np.abs(wet[-2400:]).max() / np.abs(soft[-2400:]).max())
    assert louder_db == pytest.approx(20 / 4, abs=1)  # 20 dB more in, a quarter of that out


@needs("ZamTube")
def test_drive_of_a_plugin_makes_harmonics(load):
    def third_harmonic_db(drive):
        wet, _ = apply.apply(load("ZamTube"), tone(500), SAMPLE_RATE, {"tube-drive": drive})
        spectrum = np.abs(np.fft.rfft(wet))
        return 20 * np.log10(spectrum[1500] / spectrum[500])

    assert third_harmonic_db(11) > third_harmonic_db(0.1) + 6


@needs("ZaMaximX2")
def test_latency_of_a_plugin_is_taken_out(load):
    dry = np.zeros(6000, dtype=np.float32)
    dry[3000] = 0.1
    wet, _ = apply.apply(load("ZaMaximX2"), dry, SAMPLE_RATE, {})
    assert np.argmax(np.abs(wet)) == 3000


@needs("ZamTube")
@pytest.mark.parametrize("n_samples", [1, 2, 3, 17])
def test_short_audio_passes_plugins(load, n_samples):
    wet, _ = apply.apply(load("ZamTube"), noise(n_samples), SAMPLE_RATE, {})
    assert wet.shape == (n_samples,)


@needs("ZamTube")
def test_mistakes_with_plugins_are_told(load):
    tube = load("ZamTube")
    with pytest.raises(EffectError, match="0 to 10"):
        apply.apply(tube, noise(), SAMPLE_RATE, {"bass": 11})
    with pytest.raises(PluginError, match="24000 Hz"):
        apply.apply(tube, noise(), 48_000, {})
    fewer = replace(tube, parameters=tube.parameters[:3])
    with pytest.raises(PluginError, match=r"zamtube: the plugin has other parameters .*found 10"):
        apply.apply(fewer, noise(), SAMPLE_RATE, {})


@needs("ZamTube")
def test_plugins_can_be_used_from_any_thread(load):
    effect, heard = load("ZamTube"), []
    thread = threading.Thread(
        target=lambda: heard.append(apply.apply(effect, noise(), SAMPLE_RATE, {})[0])
    )
    thread.start()
    thread.join()
    np.testing.assert_array_equal(heard[0], apply.apply(effect, noise(), SAMPLE_RATE, {})[0])


@needs("ZamTube")
def test_plugins_are_not_heard_on_the_terminal():
    """A whole process, because some of the noise came at its end."""
    script = (
        "import numpy as np, pathlib\n"
        "from dafxtool.effects import apply\n"
        "from dafxtool.effects.vst3 import host\n"
        f"(effect, _), = host.examine_plugin(pathlib.Path({str(bundle('ZamTube'))!r}), 24000)\n"
        "for _ in range(3):\n"
        "    apply.apply(effect, np.zeros(1000, np.float32), 24000, {})\n"
        "print('done')\n"
    )
    package_folder = str(Path(dafxtool.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": package_folder}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


@needs("ZamTube")
def test_a_plugin_that_is_another_file_now_is_told(load):
    files.check_unchanged(load("ZamTube"))
    files.check_unchanged(builtin_effects()["delay"])
    other = replace(load("ZamTube"), plugin=replace(load("ZamTube").plugin, sha256="0" * 64))
    with pytest.raises(PluginError, match="not the file"):
        files.check_unchanged(other)


@needs("ZamTube")
def test_known_effects_hold_built_in_ones_and_plugins_under_different_names():
    known = apply.known_effects([bundle("ZamTube"), bundle("ZamTube")], SAMPLE_RATE)
    assert set(known) == set(builtin_effects()) | {"zamtube", "zamtube-2"}
    assert all(effect.name == name for name, effect in known.items())


# --- no plugin needed ---------------------------------------------------------------------------


def test_built_in_effects_go_through_apply_too():
    gain = builtin_effects()["gain"]
    wet, effective = apply.apply(gain, noise(), SAMPLE_RATE, {"gain": -6.0206})
    np.testing.assert_allclose(wet, noise() / 2, rtol=1e-5)
    assert effective == {"gain": float(np.float32(-6.0206))}
    assert apply.apply(builtin_effects()["delay"], noise(), 8000, {})[1]["mix"] == 50


def test_missing_file_names_where_plugins_are(tmp_path, monkeypatch):
    monkeypatch.setenv("VST3_PATH", str(tmp_path))
    with pytest.raises(PluginError, match="nowhere: no plugin.*" + tmp_path.name):
        apply.load_effects("nowhere")


def test_bare_names_are_found_in_the_plugin_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("VST3_PATH", os.pathsep.join(["", str(tmp_path)]))
    (tmp_path / "Mine.vst3").mkdir()
    assert files.find_plugin("Mine") == files.find_plugin("Mine.vst3") == tmp_path / "Mine.vst3"


def test_dots_behind_a_link_lead_where_the_system_says(tmp_path):
    """By the rules of text they would lead to another file, which nobody hashed."""
    (tmp_path / "deep" / "folder").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "deep"):
        (place / "Mine.vst3").touch()
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "folder")
    found = files.find_plugin(tmp_path / "link" / ".." / "Mine.vst3")
    assert found == tmp_path.resolve() / "deep" / "Mine.vst3"
    (tmp_path / "Link.vst3").symlink_to(found)  # others stay: folders of plugins are made of links
    assert files.find_plugin(tmp_path / "Link.vst3") == tmp_path / "Link.vst3"


def test_other_files_are_no_plugins(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("text.txt", "folder"):
        with pytest.raises(PluginError, match=f"{name}: not a VST3 plugin"):
            apply.load_effects(tmp_path / name)


def make_bundle(folder, architecture, content=b"no library"):
    binary = folder / "Mine.vst3" / "Contents" / architecture / "Mine.so"
    binary.parent.mkdir(parents=True)
    binary.write_bytes(content)
    return folder / "Mine.vst3"


def test_plugin_for_another_machine_is_told(tmp_path):
    with pytest.raises(PluginError, match="found plan9-z80, expected"):
        apply.load_effects(make_bundle(tmp_path, "plan9-z80"))


@pytest.mark.skipif(sys.platform != "linux", reason="the folder's name is Linux's")
def test_broken_plugin_is_told(tmp_path):
    pytest.importorskip("pedalboard")
    path = make_bundle(tmp_path, f"{platform.machine()}-linux")
    with pytest.raises(PluginError, match="cannot be loaded as a VST3 plugin"):
        apply.load_effects(path)


def test_plugin_that_crashes_its_process_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PluginError, match=r"x\.vst3: the plugin crashed while loading"):
        isolation._examine_in_child(tmp_path / "x.vst3", SAMPLE_RATE, Progress())


def test_a_long_load_is_announced(tmp_path, monkeypatch):
    said = []

    class Listener(Progress):
        def say(self, text):
            said.append(text)

    monkeypatch.setattr(isolation, "SECONDS_BEFORE_NOTICE", 0.0)
    with pytest.raises(PluginError):
        isolation._examine_in_child(tmp_path / "x.vst3", SAMPLE_RATE, Listener())
    assert said == ["x.vst3: still loading and auditing. Some plugins take minutes."]


def test_sha256_is_that_of_the_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert files.sha256_of(tmp_path / "x") == digest


def test_quiet_silences_c_but_not_exceptions(capfd):
    print("before")
    with pytest.raises(ValueError, match="ours"), host.silence_native_output():
        os.write(1, b"noise")
        os.write(2, b"noise")
        host.ctypes.CDLL(None).puts(b"noise that C holds back")
        raise ValueError("ours")
    print("after")
    out, err = capfd.readouterr()
    assert out.split() == ["before", "after"] and err == ""
