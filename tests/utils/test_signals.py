"""Interrupts are raised exactly once, also where Python would ignore them."""

import signal
import subprocess
import sys
import weakref

import pytest
from click.testing import CliRunner

from dafxtool import cli
from dafxtool.cli import effects as effects_command
from dafxtool.utils import signals
from dafxtool.utils.progress import SILENT


@pytest.fixture(autouse=True)
def restored_handlers():
    handlers = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        signals.watch()  # forget recorded interrupts


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_an_interrupt_is_raised_at_once(number):
    signals.watch()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_ignores_is_raised_at_the_next_step():
    class Anything:
        pass

    signals.watch()
    thing = Anything()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing  # Python prints the callback's KeyboardInterrupt and continues
    assert reference() is None
    with pytest.raises(KeyboardInterrupt):
        SILENT.advance()
    SILENT.advance()  # raised only once


@pytest.mark.parametrize("is_reported", [False, True])
def test_the_end_of_a_command_replaces_every_handler(is_reported):
    signals.watch()
    signals.leave(is_reported)
    expected = signal.SIG_DFL if is_reported else signal.SIG_IGN
    assert {signal.getsignal(number) for number in signals.SIGNALS} == {expected}


def test_a_new_command_forgets_the_interrupt_of_the_previous_one():
    signals.watch()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signals.watch()
    SILENT.advance()


def test_a_deferred_interrupt_waits_for_check_and_a_second_one_does_not():
    signals.watch()
    with signals.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends a process on Windows")
def test_signals_during_a_handler_do_not_deadlock_the_process():
    """Send a second signal at every line that the handler of the first one runs."""
    program = """
import os, signal, sys
from dafxtool.utils import signals
signals.watch()
lines = set()
def trace(frame, event, argument):
    line = (frame.f_code.co_filename, frame.f_lineno)
    if event == "line" and line not in lines:
        lines.add(line)
        os.kill(os.getpid(), signal.SIGTERM)
    return trace
def handle(number, frame):
    try:
        signals._handle(number, frame)
    except KeyboardInterrupt:
        pass
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, handle)
sys.settrace(trace)
os.kill(os.getpid(), signal.SIGINT)
sys.settrace(None)
os.write(1, b"alive" if lines else b"no line was traced")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20)
    assert done.stdout == b"alive", done.stderr


def test_a_second_interrupt_before_the_first_is_reported_is_reported(monkeypatch):
    """Ctrl-C twice within microseconds prints our message instead of click's "Aborted!"."""
    calls = []

    def interruption(group, ctx, interrupt):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt  # the second, while the first is being handled
        return report(group, ctx, interrupt)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    report = cli.DafxGroup._interruption
    monkeypatch.setattr(cli.DafxGroup, "_interruption", interruption)
    monkeypatch.setattr(effects_command.command, "callback", interrupt)
    result = CliRunner().invoke(cli.main, ["effects"])
    assert result.exit_code == 130
    assert result.stderr.startswith("Interrupted")
    assert "Aborted" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be handled")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_status_names_the_signal(monkeypatch, number, status):
    monkeypatch.setattr(
        effects_command.command, "callback", lambda **_: signal.raise_signal(number)
    )
    result = CliRunner().invoke(cli.main, ["effects"])
    assert result.exit_code == status and result.stderr.startswith("Interrupted. ")
