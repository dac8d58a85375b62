"""Progress: a bar on a terminal, lines elsewhere, nothing when silent."""

from __future__ import annotations

import io
import re

import pytest

from dafxtool.utils import progress as module
from dafxtool.utils.progress import SILENT, TerminalProgress
from dafxtool.utils.text import duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by clock[0], in seconds, which only the test changes."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_silent_progress_prints_nothing(capsys):
    SILENT.start("rendering", 3, "pair")
    SILENT.advance(2, loss=1.0)
    SILENT.message("a message")
    SILENT.finish()
    assert capsys.readouterr() == ("", "")


def test_lines_are_printed_regularly_with_rate_and_remaining_time(clock):
    stream = io.StringIO()
    progress = TerminalProgress(stream, seconds_between_lines=15)
    progress.start("rendering", 300, "pair")
    for _ in range(20):
        clock[0] += 1
        progress.advance(5, loss=0.123456)
    progress.finish()
    assert stream.getvalue().splitlines() == [
        "rendering: 75/300 pairs, 5 pairs/s, 0:45 left, loss 0.1235",
        "rendering: 100/300 pairs, in 0:20, loss 0.1235",
    ]


def test_units_of_an_earlier_run_are_counted_but_not_in_the_rate(clock):
    stream = io.StringIO()
    progress = TerminalProgress(stream, seconds_between_lines=10)
    progress.start("rendering", 1000, "pair", done=900)
    clock[0] += 10
    progress.advance(20)
    assert stream.getvalue() == "rendering: 920/1000 pairs, 2 pairs/s, 0:40 left\n"


def test_a_step_of_unknown_length_shows_its_count(clock):
    stream = io.StringIO()
    progress = TerminalProgress(stream, seconds_between_lines=1)
    progress.start("reading", None, "file")
    clock[0] += 2
    progress.advance(7)
    assert stream.getvalue() == "reading: 7 files, 3.5 files/s\n"


def test_a_terminal_shows_a_bar_and_messages_above_it():
    stream = Terminal()
    progress = TerminalProgress(stream)
    progress.start("rendering", 10, "pair")
    progress.advance(4, loss=0.5)
    progress.message("skipped a.wav")
    progress.finish()
    text = stream.getvalue()
    assert re.search(r"rendering:\s+40%.*4/10 .*pair.*loss=0\.5", text)
    assert re.search(r"(^|[\r\n])skipped a\.wav\n", text)


def test_advancing_outside_a_step_and_finishing_twice_do_nothing():
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    progress.advance(3)
    progress.finish()
    progress.start("rendering", 1, "pair")
    progress.finish()
    progress.finish()
    assert stream.getvalue() == "rendering: 0/1 pair, in 0:00\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
