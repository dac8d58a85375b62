import os
import signal
import weakref

import pytest

from dafxtool import interrupts
from dafxtool.progress import SILENT


@pytest.fixture(autouse=True)
def handlers_put_back():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        interrupts.watch()  # forget what was noted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_raised_at_once(number):
    interrupts.watch()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_forgets_is_raised_at_the_next_step():
    class Anything:
        pass

    interrupts.watch()
    thing = Anything()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del thing  # the callback's KeyboardInterrupt is printed, and that is all
    assert reference() is None
    with pytest.raises(KeyboardInterrupt):
        SILENT.advance()
    SILENT.advance()  # once is enough


def test_a_new_command_forgets_the_interrupt_of_the_last():
    interrupts.watch()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    interrupts.watch()
    SILENT.advance()


def test_in_a_step_an_interrupt_waits_for_its_end_and_a_second_one_does_not():
    interrupts.watch()
    with interrupts.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
