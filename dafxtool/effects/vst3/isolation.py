"""Apply plugins in a child process, so that a crash or hang does not end this one."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from dafxtool.effects.effect import Effect
from dafxtool.effects.registry import Audio
from dafxtool.effects.vst3.memory import fill_memory
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import ChildDied, ChildProcess, ChildSilent

SECONDS_BEFORE_NOTICE = 4.0  # of work on one plugin, before a message says that it continues
PLUGIN_SECONDS = 60.0  # default time limit for loading, and for each segment
MOST_USES_OF_WORKER = 64  # long loops over plugins have crashed after 90 to 150 segments
USE_WITHOUT_LOADING = 0.125  # of a use: it is loading that the loops were long of

# Application: one worker process, shared by all calls

_time_limit_s = PLUGIN_SECONDS
_worker: ChildProcess | None = None
_worker_owner = 0  # id of the process that started it
_worker_uses = 0.0
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
    keep_loaded: bool = False,
) -> tuple[Audio, dict[str, float]]:
    """Apply an effect in the worker process; PluginError if it crashes or hangs.

    start        called in a new worker: returns the function that applies an effect
    keep_loaded  whether a plugin stays loaded for the next call
    """
    request = (effect, dry, sample_rate, complete, keep_loaded)
    with _worker_lock:
        try:
            worker = _get_worker(start, USE_WITHOUT_LOADING if keep_loaded else 1.0)
            answer = worker.ask(request, _time_limit_s)
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


def _get_worker(start: Callable[[], child_process.Answer], use: float) -> ChildProcess:
    """Return the worker of this process; start it first, or again after many uses.

    use  by how much the number of uses rises
    """
    global _worker, _worker_owner, _worker_uses
    is_used_up = _worker_uses >= MOST_USES_OF_WORKER
    if _worker is not None and (_worker_owner != os.getpid() or is_used_up):
        end_worker()
    if _worker is None:
        _worker, _worker_owner, _worker_uses = (
            ChildProcess(start, environment=fill_memory()),
            os.getpid(),
            0.0,
        )
    _worker_uses += use
    return _worker


def end_worker() -> None:
    """Kill the worker process, if this process has started one."""
    global _worker
    if _worker is not None and _worker_owner == os.getpid():
        _worker.kill()
    _worker = None


atexit.register(end_worker)
