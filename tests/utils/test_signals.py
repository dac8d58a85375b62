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
def handlers_put_back():
    kept = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        signals.watch()  # forget what was noted


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_an_interrupt_is_raised_at_once(number):
    signals.watch()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_forgets_is_raised_at_the_next_step():
    class Anything:
        pass

    signals.watch()
    thing = Anything()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing  # the callback's KeyboardInterrupt is printed, and that is all
    assert reference() is None
    with pytest.raises(KeyboardInterrupt):
        SILENT.advance()
    SILENT.advance()  # once is enough


@pytest.mark.parametrize("told", [False, True])
def test_the_end_of_a_command_puts_every_handler_back(told):
    signals.watch()
    signals.leave(told)
    expected = signal.SIG_DFL if told else signal.SIG_IGN
    assert {signal.getsignal(number) for number in signals.SIGNALS} == {expected}


def test_a_new_command_forgets_the_interrupt_of_the_last():
    signals.watch()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signals.watch()
    SILENT.advance()


def test_in_a_step_an_interrupt_waits_for_its_end_and_a_second_one_does_not():
    signals.watch()
    with signals.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends a process on Windows")
def test_signals_that_come_while_one_is_being_noted_do_not_stop_the_process_for_ever():
    """A second one at every line of what the first one runs, as from a queue in a hurry."""
    program = """
import os, signal, sys
from click.testing import CliRunner

from dafxtool import cli
from dafxtool.utils import signals
from dafxtool.cli import effects as effects_command
signals.watch()
met = set()
def trace(frame, event, argument):
    place = (frame.f_code.co_filename, frame.f_lineno)
    if event == "line" and place not in met:
        met.add(place)
        os.kill(os.getpid(), signal.SIGTERM)
    return trace
def noting(number, frame):
    try:
        signals._interrupted(number, frame)
    except KeyboardInterrupt:
        pass
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, noting)
sys.settrace(trace)
os.kill(os.getpid(), signal.SIGINT)
sys.settrace(None)
os.write(1, b"alive" if met else b"unmet")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20)
    assert done.stdout == b"alive", done.stderr


def test_a_second_interrupt_before_the_first_is_told_is_told_too(monkeypatch):
    """Ctrl-C twice within microseconds: no "Aborted!" of click's, but our sentence."""
    calls = []

    def interruption(group, ctx):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt  # the second, while the first is being handled
        return tell(group, ctx)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    tell = cli.DafxGroup._interruption
    monkeypatch.setattr(cli.DafxGroup, "_interruption", interruption)
    monkeypatch.setattr(effects_command.command, "callback", interrupted)
    result = CliRunner().invoke(cli.main, ["effects"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: interrupted")
    assert "Aborted" not in result.stderr
