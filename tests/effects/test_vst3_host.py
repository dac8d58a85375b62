"""Find plugins, and load them without one that is installed."""

import os
import platform
import sys

import numpy as np
import pytest

from dafxtool.effects import apply
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.vst3 import examine, files, host
from dafxtool.errors import PluginError
from dafxtool.utils.progress import Progress

SAMPLE_RATE = 24_000


def noise(n_samples=12_000, level=0.05, seed=0):
    return np.random.default_rng(seed).normal(0, level, n_samples).astype(np.float32)


def test_apply_accepts_built_in_effects():
    gain = builtin_effects()["gain"]
    wet, effective = apply.apply(gain, noise(), SAMPLE_RATE, {"gain": -6.0206})
    np.testing.assert_allclose(wet, noise() / 2, rtol=1e-5)
    assert effective == {"gain": float(np.float32(-6.0206))}
    assert apply.apply(builtin_effects()["delay"], noise(), 8000, {})[1]["mix"] == 50


def test_a_missing_plugin_is_refused_with_the_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("VST3_PATH", str(tmp_path))
    with pytest.raises(PluginError, match="nowhere: no plugin.*" + tmp_path.name):
        apply.load_effects("nowhere")


def test_bare_names_are_found_in_the_plugin_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("VST3_PATH", os.pathsep.join(["", str(tmp_path)]))
    (tmp_path / "Mine.vst3").mkdir()
    assert files.find_plugin("Mine") == files.find_plugin("Mine.vst3") == tmp_path / "Mine.vst3"


def test_dots_after_a_link_are_resolved_as_by_the_system(tmp_path):
    """As text they would lead to another file, whose hash was not checked."""
    (tmp_path / "deep" / "folder").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "deep"):
        (folder / "Mine.vst3").touch()
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "folder")
    plugin = files.find_plugin(tmp_path / "link" / ".." / "Mine.vst3")
    assert plugin == tmp_path.resolve() / "deep" / "Mine.vst3"
    (tmp_path / "Link.vst3").symlink_to(plugin)  # other links are kept
    assert files.find_plugin(tmp_path / "Link.vst3") == tmp_path / "Link.vst3"


def test_other_files_are_refused_as_plugins(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("text.txt", "folder"):
        with pytest.raises(PluginError, match=f"{name}: not a VST3 plugin"):
            apply.load_effects(tmp_path / name)


@pytest.mark.parametrize("name", ["Old.so", "Old.dll", "Old.vst", "New.clap", "Other.component"])
def test_other_plugin_formats_and_other_systems_have_different_messages(tmp_path, name):
    (tmp_path / name / "Contents" / "MacOS").mkdir(parents=True)
    with pytest.raises(PluginError, match="Install the VST3 version") as caught:
        apply.load_effects(tmp_path / name)
    assert "machine" not in str(caught.value)


def make_bundle(folder, architecture, content=b"no library"):
    binary = folder / "Mine.vst3" / "Contents" / architecture / "Mine.so"
    binary.parent.mkdir(parents=True)
    binary.write_bytes(content)
    return folder / "Mine.vst3"


def test_a_plugin_for_another_machine_is_refused(tmp_path):
    with pytest.raises(PluginError, match="found plan9-z80, expected"):
        apply.load_effects(make_bundle(tmp_path, "plan9-z80"))


@pytest.mark.skipif(sys.platform != "linux", reason="the folder's name is Linux's")
def test_a_broken_plugin_is_refused(tmp_path):
    pytest.importorskip("pedalboard")
    path = make_bundle(tmp_path, f"{platform.machine()}-linux")
    with pytest.raises(PluginError, match="cannot be loaded as a VST3 plugin"):
        apply.load_effects(path)


def test_a_plugin_that_crashes_while_loading_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    path = tmp_path / "x.vst3"
    path.touch()
    with pytest.raises(PluginError, match=r"x\.vst3: the plugin crashed while loading"):
        examine.audited_file(path, SAMPLE_RATE)


def test_a_long_load_is_announced(tmp_path, monkeypatch):
    messages = []

    class Listener(Progress):
        def message(self, text):
            messages.append(text)

    monkeypatch.setattr(examine, "SECONDS_BEFORE_NOTICE", 0.0)
    path = tmp_path / "x.vst3"
    path.touch()
    with pytest.raises(PluginError):
        examine.audited_file(path, SAMPLE_RATE, Listener())
    assert messages == ["x.vst3: still loading and auditing. Some plugins take minutes."]


def test_the_hash_is_the_sha256_of_the_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert files.sha256_of(tmp_path / "x") == digest


def test_native_output_is_discarded_and_exceptions_pass(capfd):
    print("before")
    with pytest.raises(ValueError, match="ours"), host.silence_native_output():
        os.write(1, b"noise")
        os.write(2, b"noise")
        host.ctypes.CDLL(None).puts(b"noise buffered by C")
        raise ValueError("ours")
    print("after")
    out, err = capfd.readouterr()
    assert out.split() == ["before", "after"] and err == ""
