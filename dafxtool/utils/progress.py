"""Report the progress of long steps.

Library functions accept `progress: Progress = SILENT`; the command line passes an object that
prints. Progress goes to standard error, results to standard output. A terminal shows a bar with
rate and remaining time; a log file or job queue gets a line every few seconds.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from dafxtool.utils import signals
from dafxtool.utils.text import duration, printable

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Report nothing: the base class, and the default of library functions."""

    def start(
        self, description: str, total: int | None = None, unit: str = "item", done: int = 0
    ) -> None:
        """Start a step.

        total  number of units, None if unknown
        done   units of the total that an earlier run completed; not part of the rate
        """

    def advance(self, n: int = 1, **values: Any) -> None:
        """Report n more completed units, and values such as loss=0.31 to show with the count.

        Raises KeyboardInterrupt for a recorded interrupt; see `signals`.
        """
        signals.check()

    def finish(self) -> None:
        """End the step, complete or not."""

    def message(self, text: str) -> None:
        """Print one line for the user."""

    def detail(self, text: str) -> None:
        """Print one line with --verbose: a decision and its reason."""

    def found(self, result: Any) -> None:
        """Take an intermediate result, such as the best candidate of a search so far."""


SILENT = Progress()


class TerminalProgress(Progress):
    """Show bars on a terminal and print lines elsewhere.

    stream                 output, by default standard error at the time of construction
    seconds_between_lines  minimum time between lines if the stream is no terminal
    verbose                print details, too
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
            self.message(text)

    def message(self, text: str) -> None:
        text = printable(text)
        if self._step is not None:
            self._step.message(text)
        else:
            _print_line(text, self.stream)


class _Bar:
    """A progress bar of tqdm; messages appear above it."""

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

    def message(self, text: str) -> None:
        self.bar.write(text, file=self.bar.fp)
        self.bar.fp.flush()


class _Lines:
    """Progress as text: a line at most every `interval` seconds, and one at the end."""

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
        self.start_time = self.last_line_time = time.monotonic()

    def advance(self, n: int, values: dict[str, Any]) -> None:
        self.done += n
        self.values.update(values)
        now = time.monotonic()
        if now - self.last_line_time >= self.interval:
            self.last_line_time = now
            self.message(self._state(now))

    def finish(self) -> None:
        self.message(self._state(time.monotonic(), is_finished=True))

    def message(self, text: str) -> None:
        _print_line(text, self.stream)

    def _state(self, now: float, is_finished: bool = False) -> str:
        """Format the progress: "rendering: 120/300 pairs, 41.2 pairs/s, 0:04 left, loss 0.31"."""
        seconds = max(now - self.start_time, 1e-9)
        rate = (self.done - self.done_before) / seconds
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        parts = [f"{count} {self.unit}{'' if (self.total or self.done) == 1 else 's'}"]
        if is_finished:
            parts.append(f"in {duration(seconds)}")
        elif rate > 0:
            parts.append(f"{_text(rate)} {self.unit}s/s")
            if self.total is not None:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        parts += [f"{key} {_text(value)}" for key, value in self.values.items()]
        return f"{self.description}: {', '.join(parts)}"


def _print_line(text: str, stream: TextIO) -> None:
    """Print a line with one write, so that no interrupt separates text and end of line."""
    stream.write(f"{text}\n")
    stream.flush()


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
