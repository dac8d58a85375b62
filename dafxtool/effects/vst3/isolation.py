"""Audit and apply plugins in a child process, so that a crash or hang does not end this one."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from pathlib import Path

from dafxtool.effects.effect import Effect
from dafxtool.effects.registry import Audio
from dafxtool.effects.vst3.audit import DEEP, PASSIVE, Audit
from dafxtool.effects.vst3.files import find_plugin, plugin_binary, sha256_of
from dafxtool.effects.vst3.host import examine_plugin
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import ChildDied, ChildProcess, ChildSilent
from dafxtool.utils.progress import SILENT, Progress

SECONDS_BEFORE_NOTICE = 4.0  # of loading, before a message says that it continues
PLUGIN_SECONDS = 60.0  # default time limit for loading, and for each segment
MOST_USES_OF_WORKER = 64  # long loops over plugins have crashed after 90 to 150 segments

_audits: dict[tuple[str, str, int], list[tuple[Effect, Audit]]] = {}  # by path, hash, sample rate


def audited_effects(
    path: Path | str, sample_rate: int = 24_000, progress: Progress = SILENT
) -> list[tuple[Effect, Audit]]:
    """Return the effects of a VST3 file with their audits, cached by file content and rate.

    path         a VST3 file, or the bare name of an installed plugin
    sample_rate  Hz

    PluginError as of load_effects.
    """
    plugin = find_plugin(path)
    key = (str(plugin), sha256_of(plugin_binary(plugin)), int(sample_rate))
    if key not in _audits:
        _audits[key] = _examine_in_child(plugin, sample_rate, progress)
    return _audits[key]


# Audit


def _examine_in_child(
    path: Path, sample_rate: int, progress: Progress, depth: int = DEEP
) -> list[tuple[Effect, Audit]]:
    """Call examine_plugin in a child process; after a crash, again with less depth.

    A plugin that crashes at some settings, or when its state is restored, can still be rendered.
    """
    child = ChildProcess(_start_examining)
    try:
        return list(
            child.ask(
                (path, int(sample_rate), depth),
                time_limit_s(),
                SECONDS_BEFORE_NOTICE,
                lambda: progress.message(
                    f"{path.name}: still loading and auditing. Some plugins take minutes."
                ),
            )
        )
    except ChildDied as death:
        if depth > PASSIVE:
            return _examine_in_child(path, sample_rate, progress, depth - 1)
        raise PluginError(
            f"{path}: the plugin crashed while loading ({death}). Leave it out, or try another "
            "version."
        ) from death
    except ChildSilent as silence:
        raise PluginError(
            f"{path}: the plugin was not loaded within {time_limit_s():g} s. Raise "
            "--plugin-timeout, or leave it out."
        ) from silence
    finally:
        child.kill()


def _start_examining() -> child_process.Answer:
    def examine(
        request: tuple[Path, int, int], send: child_process.Send
    ) -> list[tuple[Effect, Audit]]:
        return examine_plugin(*request, lambda: send("still working"))

    return examine


# Application: one worker process, shared by all calls

_time_limit_s = PLUGIN_SECONDS
_worker: ChildProcess | None = None
_worker_owner = 0  # id of the process that started it
_worker_uses = 0
_worker_lock = threading.Lock()


def limit_time(seconds: float) -> None:
    """Set the time limit of plugins for loading, and for each segment."""
    global _time_limit_s
    _time_limit_s = seconds


def time_limit_s() -> float:
    """Return the time limit of plugins for loading, and for each segment."""
    return _time_limit_s


def apply_in_worker(
    effect: Effect,
    dry: Audio,
    sample_rate: int,
    complete: dict[str, float],
    start: Callable[[], child_process.Answer],
) -> tuple[Audio, dict[str, float]]:
    """Apply an effect in the worker process; PluginError if it crashes or hangs.

    start  called in a new worker: returns the function that applies an effect
    """
    with _worker_lock:
        try:
            answer = _get_worker(start).ask((effect, dry, sample_rate, complete), _time_limit_s)
        except EffectError:
            raise
        except BaseException as error:
            end_worker()
            if isinstance(error, ChildDied):
                raise PluginError(
                    f"{effect.setting_text(complete)}: the plugin crashed ({error}). Choose "
                    "another setting, or leave this plugin out."
                ) from error
            if isinstance(error, ChildSilent):
                raise PluginError(
                    f"{effect.setting_text(complete)}: the plugin took more than "
                    f"{_time_limit_s:g} s. Raise --plugin-timeout, or leave this plugin out."
                ) from error
            raise
    wet, effective = answer
    return wet, effective


def _get_worker(start: Callable[[], child_process.Answer]) -> ChildProcess:
    """Return the worker of this process; start it first, or again after many uses."""
    global _worker, _worker_owner, _worker_uses
    is_used_up = _worker_uses >= MOST_USES_OF_WORKER
    if _worker is not None and (_worker_owner != os.getpid() or is_used_up):
        end_worker()
    if _worker is None:
        _worker, _worker_owner, _worker_uses = ChildProcess(start), os.getpid(), 0
    _worker_uses += 1
    return _worker


def end_worker() -> None:
    """Kill the worker process, if this process has started one."""
    global _worker
    if _worker is not None and _worker_owner == os.getpid():
        _worker.kill()
    _worker = None


atexit.register(end_worker)
