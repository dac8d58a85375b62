"""Fixtures of the tests of effects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_plugins import RATE

from dafxtool.effects.vst3 import host


@pytest.fixture
def load_fake(monkeypatch, tmp_path):
    """Function that returns the effect of a class of fake plugins, audited in this process."""
    path = tmp_path / "fake.vst3"
    path.write_bytes(b"code")

    def effects_of(kind):
        fake = SimpleNamespace(
            VST3Plugin=kind,
            ExternalPluginReloadType=SimpleNamespace(PersistsAudioOnReset=1, ClearsAudioOnReset=2),
        )
        monkeypatch.setattr(host, "pedalboard_module", lambda: fake)
        return [effect for effect, _ in host.examine_plugin(path, RATE)]

    def effect_of(kind):
        (effect,) = effects_of(kind)
        return effect

    effect_of.all = effects_of
    return effect_of
