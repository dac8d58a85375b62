"""Load, audit and apply real plugins, if zam-plugins is installed."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, write_recordings

import dafxtool
from dafxtool import storage
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects import apply
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.effects.known import plugin_warnings
from dafxtool.effects.vst3 import audit as audit_module
from dafxtool.effects.vst3 import examine, files, host, isolation
from dafxtool.errors import EffectError, PluginError

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


# Application


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
def test_output_has_the_same_bits_after_another_setting(load, name):
    effect, rng = load(name), np.random.default_rng(3)
    a, b = sample_setting(effect, rng), sample_setting(effect, rng)
    first, effective = apply.apply(effect, noise(), SAMPLE_RATE, a)
    assert effective == a
    other, _ = apply.apply(effect, noise(seed=1), SAMPLE_RATE, b)
    repeated, _ = apply.apply(effect, noise(), SAMPLE_RATE, effective)
    np.testing.assert_array_equal(first, repeated)
    assert first.shape == (12_000,) and first.dtype == np.float32
    assert not np.array_equal(first, other)
    assert effect.plugin.n_channels == (2 if name.endswith("X2") else 1)


@needs("ZamTube")
def test_noise_processed_by_the_host_while_loading_has_no_effect(load):
    """Without a new instance, one in seven had processed random noise while loading."""
    setting = {"tube-drive": 1, "bass": 2, "insane-boost": 0}
    wet = {
        apply.apply(load("ZamTube"), noise(600), SAMPLE_RATE, setting)[0].tobytes()
        for _ in range(20)
    }
    assert len(wet) == 1


@needs("ZamTube")
def test_the_load_values_are_nudged(load):
    """This makes the plugin compute its coefficients. The effective setting renders the same."""
    effect = load("ZamTube")
    wet, effective = apply.apply(effect, noise(), SAMPLE_RATE, {})
    default = effect.default_setting()
    drive = effect.parameter("tube-drive")
    moved = abs(drive.to_normalised(effective["tube-drive"]) - drive.to_normalised(drive.default))
    assert 1e-6 < moved < 2e-5
    assert effective == default | {"tube-drive": effective["tube-drive"]}
    repeated, still = apply.apply(effect, noise(), SAMPLE_RATE, effective)
    assert still == effective
    np.testing.assert_array_equal(wet, repeated)


@needs("ZamDelay")
@pytest.mark.parametrize("time_ms", [100, 160, 350])  # 160 ms is its value after loading
def test_the_echo_of_a_plugin_comes_at_its_set_time(load, time_ms):
    setting = {"time": time_ms, "dry-wet": 0.5, "feedback": 0.5, "lpf": 10_000}
    dry = np.eye(1, SAMPLE_RATE, dtype=np.float32)[0]
    wet, effective = apply.apply(load("ZamDelay"), dry, SAMPLE_RATE, setting)
    echo = np.argmax(np.abs(wet[1000:])) + 1000
    # Its low-pass filter smears an impulse over the next sample or two.
    assert echo - time_ms * SAMPLE_RATE / 1000 in (0, 1, 2)
    assert effective["time"] == time_ms


@needs("ZamComp")
def test_a_compressor_plugin_has_its_ratio(load):
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
def test_the_latency_of_a_plugin_is_compensated(load):
    dry = np.zeros(6000, dtype=np.float32)
    dry[3000] = 0.1
    wet, _ = apply.apply(load("ZaMaximX2"), dry, SAMPLE_RATE, {})
    assert np.argmax(np.abs(wet)) == 3000


@needs("ZamTube")
@pytest.mark.parametrize("n_samples", [1, 2, 3, 17])
def test_plugins_process_short_audio(load, n_samples):
    wet, _ = apply.apply(load("ZamTube"), noise(n_samples), SAMPLE_RATE, {})
    assert wet.shape == (n_samples,)


@needs("ZamTube")
def test_invalid_settings_of_plugins_are_refused(load):
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
    effect, outputs = load("ZamTube"), []
    thread = threading.Thread(
        target=lambda: outputs.append(apply.apply(effect, noise(), SAMPLE_RATE, {})[0])
    )
    thread.start()
    thread.join()
    np.testing.assert_array_equal(outputs[0], apply.apply(effect, noise(), SAMPLE_RATE, {})[0])


@needs("ZamTube")
def test_plugins_print_nothing_on_the_terminal():
    """In a new process, because some plugins print at its end."""
    script = (
        "import numpy as np, pathlib\n"
        "from dafxtool.effects import apply\n"
        "from dafxtool.effects.vst3 import examine, host\n"
        f"path = pathlib.Path({str(bundle('ZamTube'))!r})\n"
        "host.audit(path, *host.plugin_names(path)[1:] or [None], 24000)\n"
        "(effect, _), = examine.audited_file(path, 24000).effects\n"
        "for _ in range(3):\n"
        "    apply.apply(effect, np.zeros(1000, np.float32), 24000, {})\n"
        "print('done')\n"
    )
    package_folder = str(Path(dafxtool.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": package_folder}
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert (process.stdout, process.stderr) == ("done\n", "")


@needs("ZamTube")
def test_a_plugin_with_another_hash_is_refused(load):
    files.check_unchanged(load("ZamTube"))
    files.check_unchanged(builtin_effects()["delay"])
    other = replace(load("ZamTube"), plugin=replace(load("ZamTube").plugin, sha256="0" * 64))
    with pytest.raises(PluginError, match="not the file"):
        files.check_unchanged(other)


@needs("ZamTube")
def test_known_effects_have_unique_names(tmp_path):
    copy = tmp_path / "Copy.vst3"
    copy.symlink_to(bundle("ZamTube"))
    known = apply.known_effects([bundle("ZamTube"), bundle("ZamTube"), copy], SAMPLE_RATE)
    assert set(known) == set(builtin_effects()) | {"zamtube", "zamtube-2"}
    assert all(effect.name == name for name, effect in known.items())


# Audits

MONO = "MultiComp", "AutoSat", "Comp", "Delay", "DynamicEQ", "EQ2", "GEQ31", "Gate", "Grains"
BUNDLES = [
    *(f"{'Za' if name == 'MultiComp' else 'Zam'}{name}" for name in (*MONO, "Phono", "Tube")),
    *("ZaMaximX2", "ZaMultiCompX2", "ZamCompX2", "ZamGateX2", "ZamHeadX2"),
]
NEVER_SETTINGS = {"Buffer Size", "Sample Rate", "Latency", "Current Program"}


def one_effect(path):
    ((effect, _),) = examine.audited_file(path, SAMPLE_RATE).effects
    return effect


@pytest.mark.plugin
def test_bypass_program_and_meter_of_a_real_plugin_are_left_out(plugin_named):
    """Without a second input, the side chain of ZamDynamicEQ is silent: a bypass."""
    left_out = dict(one_effect(plugin_named("ZamDynamicEQ")).plugin.left_out)
    assert left_out["Sidechain"] == audit_module.IS_BYPASS
    assert left_out["Current Program"] == audit_module.SETS_OTHERS
    assert left_out["Control Gain"] == audit_module.MOVES
    assert left_out.keys() >= {"Buffer Size", "Sample Rate"}


@pytest.mark.plugin
def test_hidden_parameters_of_a_real_plugin_are_settings(plugin_named):
    effect = one_effect(plugin_named("ZamHeadX2"))
    assert [p.name for p in effect.parameters] == ["azimuth", "elevation", "width"]
    assert effect.plugin.n_channels == 2
    audio = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    left, right = (
        apply.apply(effect, audio, SAMPLE_RATE, {"azimuth": azimuth, "width": 1.5})[0]
        for azimuth in (90, -80)
    )
    assert not np.array_equal(left, right)


@pytest.mark.plugin
@pytest.mark.parametrize("output", ["pairs.h5", "folder"])
def test_a_render_stores_the_plugin_in_its_output(plugin_named, tmp_path, output):
    path = plugin_named("ZamGrains")
    recordings = write_recordings(tmp_path / "recordings")
    effects = list(apply.load_effects(path, SEGMENTS.sample_rate).values())
    render(
        [recordings], tmp_path / output, [(effects[0], {"freeze": 0})], SEGMENTS, SPLIT, 4, seed=2
    )
    if output == "folder":
        described = json.loads((tmp_path / "folder" / "pairs.json").read_text())["effects"]
    else:
        with storage.Hdf5Reader(tmp_path / output, storage.PAIRS) as pairs:
            described = pairs.labels.effects
            grains = [pairs.labels.setting_of(row)["grains"] for row in range(4)]
            stored = pairs.rows(np.arange(4))
        assert all(value == round(value) for value in grains)  # as rendered
        repeated = np.stack([rerender_row(tmp_path / output, row) for row in range(4)])
        np.testing.assert_array_equal(repeated, stored)
    (saved,) = described
    file = saved["plugin"]
    assert (file["path"], file["version"]) == (str(path), effects[0].plugin.version)
    assert file["sha256"] == files.sha256_of(files.plugin_binary(path))
    assert file["repeatable"] is True and file["n_channels"] == 1
    assert ["Current Program", audit_module.ONE_VALUE] in file["left_out"]


def check_real_plugin(path, figure):
    """Check that output has the same bits after other renders, in the same and a new process."""
    ((effect, audit),) = examine.audited_file(path, SAMPLE_RATE).effects
    is_mono = not path.stem.endswith(("X2", "Verb"))
    assert effect.plugin.n_channels == (1 if is_mono else 2)
    assert not NEVER_SETTINGS & {p.description for p in effect.parameters}
    assert plugin_warnings(effect) == []
    audio = np.random.default_rng(5).normal(0, 0.07, 2 * SAMPLE_RATE).astype(np.float32)
    rng = np.random.default_rng(6)
    a, b = sample_setting(effect, rng), sample_setting(effect, rng)
    first, effective = apply.apply(effect, audio, SAMPLE_RATE, a)
    apply.apply(effect, audio[::-1], SAMPLE_RATE, b)
    repeated, still = apply.apply(effect, audio, SAMPLE_RATE, effective)
    isolation.end_worker()
    elsewhere, _ = apply.apply(effect, audio, SAMPLE_RATE, effective)
    assert effective == still
    assert first.tobytes() == repeated.tobytes() == elsewhere.tobytes()
    summary = f"{effect.plugin.n_channels} channels, {len(effect.parameters)} settings, loaded in "
    figure(path.stem, f"{summary}{audit.seconds_to_load:.2f} s; {audit.left_out}")


@pytest.mark.plugin
@pytest.mark.robustness
def test_every_real_plugin_agrees_with_its_audit(plugin_named, amount, figure):
    for name in BUNDLES if amount(0, 1) else ["ZamGrains"]:
        check_real_plugin(plugin_named(name), figure)


@pytest.mark.plugin
@pytest.mark.robustness
def test_names_decide_about_no_parameter_of_real_plugins(plugin_named, amount, monkeypatch, figure):
    """Names give only the reason of a few parameters."""
    for name in BUNDLES if amount(0, 1) else ["ZamComp"]:
        path = plugin_named(name)
        with monkeypatch.context() as patch:
            patch.setattr(audit_module, "NOT_A_SETTING", re.compile("(?!)"))
            blind = host.audit(path, None, SAMPLE_RATE)
        assert blind.parameters == one_effect(path).parameters, name
        figure(name, [pair for pair in blind.left_out if pair[0] not in NEVER_SETTINGS])
