"""Fixtures of the tests of effects."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from fake_plugins import RATE

from dafxtool.effects import apply
from dafxtool.effects.vst3 import examine, host


class ChildInThisProcess:
    """Answers as a child process of the examiner, without one: fakes exist in this process only."""

    def __init__(self, start, environment=None):
        self.answer = start()

    def ask(self, request, *limits):
        return self.answer(request, lambda message: None)

    def kill(self):
        pass


@pytest.fixture
def load_fake(monkeypatch, tmp_path):
    """Function that returns the effect of a class of fake plugins, audited in this process.

    Nothing that was remembered before is used.
    """
    path = tmp_path / "fake.vst3"
    path.write_bytes(b"code")
    numbers = itertools.count()

    def effects_of(kind):
        fake = SimpleNamespace(
            VST3Plugin=kind,
            ExternalPluginReloadType=SimpleNamespace(PersistsAudioOnReset=1, ClearsAudioOnReset=2),
        )
        monkeypatch.setattr(host, "pedalboard_module", lambda: fake)
        monkeypatch.setattr(examine, "ChildProcess", ChildInThisProcess)
        monkeypatch.setenv("DAFXTOOL_CACHE", str(tmp_path / f"cache-{next(numbers)}"))
        examine.forget()
        return list(apply.load_effects(path, RATE).values())

    def effect_of(kind):
        (effect,) = effects_of(kind)
        return effect

    effect_of.all = effects_of
    return effect_of
