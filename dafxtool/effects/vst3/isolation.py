"""Run plugins in a child process."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path

from dafxtool.effects.builtin import (
    Audio,
)
from dafxtool.effects.effect import Effect
from dafxtool.effects.vst3.audit import (
    DEEP,
    UNTRIED,
    Audit,
)
from dafxtool.effects.vst3.files import find_plugin, plugin_binary, sha256_of
from dafxtool.effects.vst3.host import apply_in_this_process, examine_plugin
from dafxtool.errors import PluginError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import ChildDied, ChildProcess, ChildSilent
from dafxtool.utils.progress import SILENT, Progress

SECONDS_BEFORE_NOTICE = 4.0  # of loading, until the user is told that it goes on
PLUGIN_SECONDS = 60.0  # for loading, and for each segment
USES_OF_A_PROCESS = 64  # long loops over plugins have crashed after 90 to 150


def audited_effects(
    path: Path | str, sample_rate: int = 24_000, progress: Progress = SILENT
) -> list[tuple[Effect, Audit]]:
    """What load_effects finds, with all that was found out; the same file is tried only once."""
    found = find_plugin(path)
    key = (str(found), sha256_of(plugin_binary(found)), int(sample_rate))
    if key not in _audited:
        _audited[key] = _examine_apart(found, sample_rate, progress)
    return _audited[key]


# --- examining in a process of its own ----------------------------------------------------------


_audited: dict[tuple[str, str, int], list[tuple[Effect, Audit]]] = {}  # by path, hash and rate


def _examine_apart(
    path: Path, sample_rate: int, progress: Progress, depth: int = DEEP
) -> list[tuple[Effect, Audit]]:
    """The effects in path, found out by another process, which may crash.

    One that crashes at some settings, or when its state is given back to it, can be rendered with
    all the same: it is tried again with less.
    """
    child = ChildProcess(_begin_examining)
    try:
        return list(
            child.ask(
                (path, int(sample_rate), depth),
                time_limit_s(),
                SECONDS_BEFORE_NOTICE,
                lambda: progress.say(
                    f"{path.name} is still being loaded and tried; some plugins take minutes."
                ),
            )
        )
    except ChildDied as death:
        if depth > UNTRIED:
            return _examine_apart(path, sample_rate, progress, depth - 1)
        raise PluginError(
            f"the plugin {path} crashed while it was loaded ({death}): leave it out, or try "
            "another version of it."
        ) from death
    except ChildSilent as silence:
        raise PluginError(
            f"the plugin {path} was not loaded within {time_limit_s():g} s: give it more with "
            "--plugin-timeout, or leave it out."
        ) from silence
    finally:
        child.kill()


def _begin_examining() -> child_process.Answer:
    def examine(
        request: tuple[Path, int, int], send: child_process.Send
    ) -> list[tuple[Effect, Audit]]:
        return examine_plugin(*request, lambda: send("still working"))

    return examine


# --- one process that plugins run in, for whoever needs a sound now and then --------------------

_time_limit_s = PLUGIN_SECONDS
_host: ChildProcess | None = None
_host_owner = 0  # the process that began it
_host_uses = 0
_host_lock = threading.Lock()


def limit_time(seconds: float) -> None:
    """What a plugin gets from now on for loading, and for each segment."""
    global _time_limit_s
    _time_limit_s = seconds


def time_limit_s() -> float:
    """What a plugin gets for loading, and for each segment."""
    return _time_limit_s


def apply_in_worker(
    effect: Effect, dry: Audio, sample_rate: int, complete: dict[str, float]
) -> tuple[Audio, dict[str, float]]:
    """apply_in_this_process in a process of its own, which is kept for the next time."""
    with _host_lock:
        try:
            answer = _worker().ask((effect, dry, sample_rate, complete), _time_limit_s)
        except PluginError:
            raise
        except BaseException as error:
            _end_host()
            if isinstance(error, ChildDied):
                raise PluginError(
                    f"{effect.setting_text(complete)} crashed ({error}): choose another setting, "
                    "or leave this plugin out."
                ) from error
            if isinstance(error, ChildSilent):
                raise PluginError(
                    f"{effect.setting_text(complete)} took more than {_time_limit_s:g} s: give it "
                    "more with --plugin-timeout, or leave this plugin out."
                ) from error
            raise
    wet, in_force = answer
    return wet, in_force


def _worker() -> ChildProcess:
    global _host, _host_owner, _host_uses
    if _host is not None and (_host_owner != os.getpid() or _host_uses >= USES_OF_A_PROCESS):
        _end_host()
    if _host is None:
        _host, _host_owner, _host_uses = ChildProcess(_begin_applying), os.getpid(), 0
    _host_uses += 1
    return _host


def _end_host() -> None:
    global _host
    if _host is not None and _host_owner == os.getpid():
        _host.kill()
    _host = None


atexit.register(_end_host)


def _begin_applying() -> child_process.Answer:
    return lambda request, send: apply_in_this_process(*request)
