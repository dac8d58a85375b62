"""Audit plugins when they are first used, and remember the audits."""

from __future__ import annotations

import json
import multiprocessing
import os

import pytest
from fake_plugins import RATE, FakePlugin

from dafxtool.effects import apply
from dafxtool.effects.vst3 import audit as audit_module
from dafxtool.effects.vst3 import examine
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils import cache
from dafxtool.utils.child_process import ChildDied

LOADED = []  # names of the plugins that were loaded


class Bundle(FakePlugin):
    """A file of three plugins, and LOADED has the name of each instance."""

    names = ("mda Overdrive", "mda Delay", "mda Piano")

    def __init__(self, path="", plugin_name=None, initialization_timeout=None):
        super().__init__(path, plugin_name, initialization_timeout)
        LOADED.append(self.name)

    @property
    def is_effect(self):
        return self.name != "mda Piano"


@pytest.fixture
def bundle(load_fake, tmp_path):
    """Path of a bundle of which nothing is remembered."""
    load_fake.all(Bundle)
    os.environ["DAFXTOOL_CACHE"] = str(tmp_path / "empty")  # restored by load_fake
    examine.forget()
    LOADED.clear()
    return tmp_path / "fake.vst3"


def test_only_the_named_plugin_is_audited(bundle):
    known = apply.known_effects([bundle], RATE)
    assert {"mda-overdrive", "mda-delay", "overdrive"} <= set(known)
    assert LOADED == []
    apply.parse_effect("overdrive", known)
    assert LOADED == []
    choice = apply.parse_effect("mda-delay:tone=0.5", known)
    assert choice.effect.plugin.plugin_name == "mda Delay" and choice.fixed == {"tone": 0.5}
    assert set(LOADED) == {"mda Delay"}
    assert [path.name for path in known.unused_files()] == []


def test_a_plugin_may_be_named_as_it_names_itself(bundle):
    known = apply.known_effects([bundle], RATE)
    for text in ("mda Overdrive", "MDA OVERDRIVE:tone=0.5", "mda_overdrive", "mda-overdrive"):
        assert apply.parse_effect(text, known).effect.plugin.plugin_name == "mda Overdrive"
    with pytest.raises(EffectError, match="mda-overdrive"):
        apply.parse_effect("mda Overdrivee", known)


def test_all_plugins_are_audited_where_all_are_requested(bundle):
    effects = apply.load_effects(bundle, RATE)
    assert list(effects) == ["mda-overdrive", "mda-delay"]
    known = apply.known_effects([bundle], RATE)
    assert [name for name, effect in known.items() if effect.plugin] == list(effects)
    assert "mda-piano" not in known


def test_an_audit_is_remembered_by_another_process(bundle):
    first = apply.load_effects(bundle, RATE)
    n_loaded = len(LOADED)
    examine.forget()  # as a new process
    assert apply.load_effects(bundle, RATE) == first
    assert len(LOADED) == n_loaded
    apply.load_effects(bundle, 48_000)
    assert len(LOADED) > n_loaded
    n_loaded = len(LOADED)
    bundle.write_bytes(b"another version")
    apply.load_effects(bundle, RATE)
    assert len(LOADED) > n_loaded


def test_an_audit_for_doctor_is_always_fresh(bundle):
    first = examine.audited_file(bundle, RATE)
    n_loaded = len(LOADED)
    assert examine.audited_file(bundle, RATE).effects == first.effects
    assert len(LOADED) == n_loaded
    fresh = examine.audited_file(bundle, RATE, is_fresh=True)
    assert len(LOADED) == 2 * n_loaded
    assert fresh.left_out == (("mda Piano", examine.IS_INSTRUMENT),)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other", "list", "folder"])
def test_a_damaged_entry_is_replaced(bundle, damage):
    first = examine.audited_file(bundle, RATE)
    entries = sorted((cache.cache_folder() / "plugin-audits").glob("*.json"))
    assert len(entries) == 3  # two effects and the instrument
    for path in entries:
        text = path.read_text()
        if damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_text(
                {
                    "truncated": text[: len(text) // 2],
                    "flipped": text.replace("-20.0", "-30.0").replace("instrument", "instrumfnt"),
                    "empty": "",
                    "other": json.dumps({"content": {}, "key": {}, "sha256": ""}),
                    "list": "[1, 2]",
                }[damage]
            )
    examine.forget()
    n_loaded = len(LOADED)
    assert examine.audited_file(bundle, RATE).effects == first.effects
    assert len(LOADED) == 2 * n_loaded
    if damage != "folder":  # which cannot be replaced, and is no error
        examine.forget()
        examine.audited_file(bundle, RATE)
        assert len(LOADED) == 2 * n_loaded


def test_a_cache_that_cannot_be_written_is_no_error(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("DAFXTOOL_CACHE", str(tmp_path / "fake.vst3" / "below-a-file"))
    assert len(examine.audited_file(bundle, RATE).effects) == 2


def _write_often(number):
    for repetition in range(40):
        cache.write_entry("race", {"name": "same"}, [number] * (1000 + repetition))


def test_concurrent_writers_leave_a_complete_entry(tmp_path, monkeypatch):
    monkeypatch.setenv("DAFXTOOL_CACHE", str(tmp_path))
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "fork")
    writers = [context.Process(target=_write_often, args=(number,)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        content = cache.read_entry("race", {"name": "same"})
        if content is not None:
            seen += 1
            assert len(set(content)) == 1 and len(content) >= 1000
    for writer in writers:
        writer.join()
    assert seen and len(cache.read_entry("race", {"name": "same"})) == 1039
    assert [path.suffix for path in (tmp_path / "race").iterdir()] == [".json"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has another folder")
def test_the_cache_folder_follows_the_system(tmp_path, monkeypatch):
    monkeypatch.delenv("DAFXTOOL_CACHE")
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "dafxtool"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # invalid by the specification
    assert cache.cache_folder() == tmp_path / ".cache" / "dafxtool"
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache.cache_folder() == tmp_path / "Library" / "Caches" / "dafxtool"


@pytest.mark.parametrize("crashes", [0, 1, 2, 3])
def test_after_a_crash_the_audit_is_less_deep(load_fake, monkeypatch, tmp_path, crashes):
    load_fake(FakePlugin)
    depths, path = [], tmp_path / "fake.vst3"
    in_this_process = examine.ChildProcess

    class Child(in_this_process):
        def ask(self, request, *limits):
            if request[0] == "audit":
                depths.append(request[4])
                if len(depths) <= crashes:
                    raise ChildDied("signal SIGSEGV")
            return super().ask(request, *limits)

    monkeypatch.setattr(examine, "ChildProcess", Child)
    if crashes == 3:
        with pytest.raises(PluginError, match="crashed while loading"):
            examine.audited_file(path, RATE, is_fresh=True)
    else:
        (examined,) = examine.audited_file(path, RATE, is_fresh=True).effects
        assert examined[1].repeatable is (crashes < 2)
    assert depths == [audit_module.DEEP, audit_module.SHALLOW, audit_module.PASSIVE][: crashes + 1]
    depths.clear()
    monkeypatch.setattr(examine, "ChildProcess", in_this_process)
    examine.forget()
    assert examine.audited_plugin(path, "Fake", RATE)[1].repeatable  # only whole audits are kept
