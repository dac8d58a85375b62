"""Match a reference in a child process, which sends each improved answer at once."""

from __future__ import annotations

import queue
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError, InputError
from dafxtool.matching.answer import Answer
from dafxtool.matching.chain import Stage
from dafxtool.matching.match import settings_of
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import HIGHEST_RATE, prepare_files, read_recording
from dafxtool.matching.search.candidate import Summary
from dafxtool.matching.unpaired.match import match_like
from dafxtool.matching.unpaired.statistics import SAMPLE_RATE
from dafxtool.utils import child_process
from dafxtool.utils.child_process import ChildDied, ChildProcess, ChildSilent
from dafxtool.utils.progress import Progress

SECONDS_BETWEEN_MESSAGES = 120.0
SECONDS_BETWEEN_CHECKS = 0.2
MODES = ("auto", "same", "other")


@dataclass(frozen=True)
class Task:
    """A recording and its reference.

    mode     "same": the reference is the same performance with the effect; "other": it has other
             content; "auto": "same" if the recordings can be aligned, else "other"
    effects  candidates; None takes all built-in ones
    """

    dry: Path
    reference: Path
    mode: str = "auto"
    effects: tuple[Effect, ...] | None = None


class _Messages(Progress):
    """Send the best chain when it improves, and the number of candidates so far."""

    def __init__(self, send: child_process.Send) -> None:
        self._send = send
        self._best = float("inf")
        self._n_done = 0

    def advance(self, n: int = 1, **values: Any) -> None:
        self._n_done += n
        self._send({"kind": "progress", "done": self._n_done})

    def message(self, text: str) -> None:
        self._send({"kind": "message", "text": text})

    def found(self, result: Any) -> None:
        if isinstance(result, Summary) and result.stages and result.distance < self._best:
            self._best = result.distance
            self._send({"kind": "best", "stages": [_stage(each) for each in result.stages]})


def _stage(stage: Stage) -> dict[str, Any]:
    return {"effect": stage.effect.name, "setting": dict(stage.setting)}


def start_matching() -> child_process.Answer:
    """Return the function that answers a Task, in the child process."""

    def answer(task: Task, send: child_process.Send) -> dict[str, Any]:
        progress = _Messages(send)
        options = Options(
            effects=None if task.effects is None else [(each, {}) for each in task.effects],
            budget="fast",
        )
        if task.mode != "other":
            try:
                prepared = prepare_files(task.dry, task.reference, _search_rate(task))
            except InputError:
                if task.mode == "same":
                    raise
            else:
                return _described(match_pair(prepared, options, progress), "same")
        send({"kind": "message", "text": "the reference has other content: matching statistics"})
        ours, theirs = (read_recording(each, SAMPLE_RATE) for each in (task.dry, task.reference))
        options = replace(options, level="keep")
        return _described(match_like(ours, [theirs], options, progress), "other")

    return answer


def _search_rate(task: Task) -> int:
    """Return the sample rate of the search in Hz; a plugin determines it."""
    rates = [file.sample_rate for each in task.effects or () for file in each.plugins]
    return rates[0] if rates else HIGHEST_RATE


def _described(answer: Answer, mode: str) -> dict[str, Any]:
    return {
        "kind": "answer",
        "mode": mode,
        "stages": [_stage(each) for each in answer.best.stages],
        "verdict": answer.verdict,
        "distance": answer.distance,
        "distanceUnprocessed": answer.distance_unprocessed,
        "settings": [list(row) for row in settings_of(answer)],
        "others": [[_stage(each) for each in other.stages] for other in answer.candidates],
        "seconds": answer.seconds,
    }


def match(task: Task) -> Generator[dict[str, Any], None, None]:
    """Yield messages of the search, the answer last.

    Closing the iterator ends the search at once. DafxError as of match_pair and match_like.
    """
    child = ChildProcess(start_matching)
    try:
        child.send(task, SECONDS_BETWEEN_MESSAGES)
        while True:
            try:
                kind, content = child.receive(SECONDS_BETWEEN_CHECKS)
            except queue.Empty:
                yield {"kind": "alive"}
                continue
            if kind in ("message", "done"):
                yield content
            if kind == "done":
                return
    except ChildDied as death:
        raise DafxError(f"the search crashed ({death}). Start it again.") from death
    except ChildSilent as silence:
        raise DafxError("the search does not answer. Start it again.") from silence
    finally:
        child.kill()


def candidates(effects: Sequence[Effect]) -> tuple[Effect, ...] | None:
    """Return the candidate effects: the stages of chains; None (all effects) for no effect."""
    parts = [part for each in effects for part in ([s.effect for s in each.stages] or [each])]
    return tuple({each.name: each for each in parts}.values()) or None
