"""Telling how far a long step is.

Library functions take `progress: Progress = SILENT` and say what they do; only the command line
hands them something that prints. Everything goes to standard error, results never do. On a
terminal that is a bar with rate and time left; elsewhere (a log file, a job queue) one line now
and then.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from dafxtool.utils import signals
from dafxtool.utils.text import duration, printable

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Says nothing: the base of all that do, and what library functions use unless told."""

    def start(
        self, description: str, total: int | None = None, unit: str = "item", done: int = 0
    ) -> None:
        """A step begins, of `total` units (None where nobody knows).

        done  units of the total that an earlier run did: they count, but not for the rate
        """

    def advance(self, n: int = 1, **values: Any) -> None:
        """n more units are done; values (loss=0.31) are shown beside the count."""
        signals.check()

    def finish(self) -> None:
        """The step has ended, complete or not."""

    def say(self, text: str) -> None:
        """Print one line for the user."""

    def detail(self, text: str) -> None:
        """Print one line for users who want to know what was decided and why (--verbose)."""


SILENT = Progress()


class TerminalProgress(Progress):
    """Bars on a terminal, lines elsewhere.

    verbose                print details too
    stream                 where to print; standard error as it is at that time by default
    seconds_between_lines  where there is no terminal, the least time from line to line
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
        verbose: bool = False,
    ) -> None:
        self.verbose = verbose
        self.stream = stream if stream is not None else sys.stderr
        self.seconds_between_lines = seconds_between_lines
        self._step: _Bar | _Lines | None = None

    def start(
        self, description: str, total: int | None = None, unit: str = "item", done: int = 0
    ) -> None:
        self.finish()
        if self.stream.isatty():
            self._step = _Bar(self.stream, description, total, unit, done)
        else:
            interval = self.seconds_between_lines
            self._step = _Lines(self.stream, description, total, unit, done, interval)

    def advance(self, n: int = 1, **values: Any) -> None:
        super().advance(n, **values)
        if self._step is not None:
            self._step.advance(n, values)

    def finish(self) -> None:
        if self._step is not None:
            self._step.finish()
            self._step = None

    def detail(self, text: str) -> None:
        if self.verbose:
            self.say(text)

    def say(self, text: str) -> None:
        text = printable(text)
        if self._step is not None:
            self._step.say(text)
        else:
            _print_line(text, self.stream)


class _Bar:
    """tqdm's bar; a line that is said meanwhile appears above it."""

    def __init__(
        self, stream: TextIO, description: str, total: int | None, unit: str, done: int
    ) -> None:
        from tqdm import tqdm

        self.bar: Any = tqdm(
            desc=description,
            total=total,
            initial=done,
            unit=f" {unit}",
            file=stream,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def advance(self, n: int, values: dict[str, Any]) -> None:
        if values:
            self.bar.set_postfix({key: _text(v) for key, v in values.items()}, refresh=False)
        self.bar.update(n)

    def finish(self) -> None:
        self.bar.close()

    def say(self, text: str) -> None:
        self.bar.write(text, file=self.bar.fp)
        self.bar.fp.flush()


class _Lines:
    """A line at most every few seconds, and one at the end."""

    def __init__(
        self,
        stream: TextIO,
        description: str,
        total: int | None,
        unit: str,
        done: int,
        interval: float,
    ) -> None:
        self.stream, self.description, self.total, self.unit = stream, description, total, unit
        self.interval = interval
        self.done = self.done_before = done
        self.values: dict[str, Any] = {}
        self.began = self.last_line = time.monotonic()

    def advance(self, n: int, values: dict[str, Any]) -> None:
        self.done += n
        self.values.update(values)
        now = time.monotonic()
        if now - self.last_line >= self.interval:
            self.last_line = now
            self.say(self._state(now))

    def finish(self) -> None:
        self.say(self._state(time.monotonic(), ended=True))

    def say(self, text: str) -> None:
        _print_line(text, self.stream)

    def _state(self, now: float, ended: bool = False) -> str:
        """rendering: 120/300 pairs, 41.2 pairs/s, 0:04 left, loss 0.31"""
        seconds = max(now - self.began, 1e-9)
        rate = (self.done - self.done_before) / seconds
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        parts = [f"{count} {self.unit}s"]
        if ended:
            parts.append(f"in {duration(seconds)}")
        elif rate > 0:
            parts.append(f"{_text(rate)} {self.unit}s/s")
            if self.total is not None:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        parts += [f"{key} {_text(value)}" for key, value in self.values.items()]
        return f"{self.description}: {', '.join(parts)}"


def _print_line(text: str, stream: TextIO) -> None:
    """Whole: an interrupt may come between a text and an end of line that are written apart."""
    stream.write(f"{text}\n")
    stream.flush()


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
