"""Child processes for what may crash, hang or print: plugins run nowhere else.

A child answers requests one after the other, for as long as it lives. Its parent sees that it has
died, or is silent for too long, and goes on without it; whatever it prints goes to a `PrintedLog`.
It is a new interpreter of its own, so it needs nothing of the script that began it, and may be
begun from any process and thread. It ends with its parent, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dafxtool.utils import signals

Send = Callable[[Any], None]
Answer = Callable[[Any, Send], Any]

SECONDS_TO_START = 120.0  # an interpreter and numpy, on a machine that is busy with other things
SECONDS_TO_END = 2.0
SECONDS_BETWEEN_LOOKS = 0.2
MOST_PRINTED_BYTES = 1 << 20  # that are kept of what children print

_is_child = False


class ChildDied(Exception):
    """A child that ended without an answer; its text tells how."""


class ChildSilent(Exception):
    """A child that has not said anything for as long as it was given."""


def is_child() -> bool:
    """Whether this process is one that is supervised, and may do what can crash."""
    return _is_child


class PrintedLog:
    """Where the output of children goes: the end of a file, which is made with the first byte.

    So much is kept of it and no more, whatever is printed.

    path  None: nothing is kept
    """

    def __init__(self, path: Path | None, most_bytes: int = MOST_PRINTED_BYTES) -> None:
        self.path = path
        self._left = most_bytes
        self._title = ""
        self._lock = threading.Lock()
        self._begun = False

    def write(self, title: str, printed: bytes) -> None:
        """Append what was printed, under a line that tells whose it is."""
        with self._lock:
            if self.path is None or self._left <= 0:
                return
            head = f"--- {title}\n".encode("utf-8", "replace") if title != self._title else b""
            self._title = title
            kept = head + printed[: self._left]
            self._left -= len(kept)
            if self._left <= 0:
                kept += b"\n--- the rest of what was printed is not kept\n"
            with suppress(OSError), self.path.open("ab") as file:
                file.write(kept)
                self._begun = True

    @property
    def written(self) -> bool:
        """Whether there is anything in it."""
        return self._begun


class ChildProcess:
    """A process that answers.

    begin, arguments  begin(*arguments) is called in the child, which imports it by its name, and
                      returns the function that answers: answer(request, say), where say(message)
                      sends something on the way
    printed           where its output goes
    descriptors       of open files that it is to have too, under the same numbers
    """

    def __init__(
        self,
        begin: Callable[..., Answer],
        arguments: tuple[Any, ...] = (),
        printed: PrintedLog | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.connection, theirs = Pipe()
        self.printed = printed or PrintedLog(None)
        self.title = "a worker process"
        # Linux ends it with the *thread* that began it, so other threads do without.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        code = f"from dafxtool.utils.child_process import serve; serve({theirs.fileno()}, {parent})"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                pass_fds=(theirs.fileno(), *descriptors),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        self._drain = threading.Thread(target=self._keep_printed, daemon=True)
        self._drain.start()
        self.ready = False
        self.last_heard = time.monotonic()
        with suppress(OSError):  # one that is dead already is found so when it is asked
            self.connection.send(sys.path)  # first: begin may have to be found there
            self.connection.send((begin, arguments))

    def send(self, request: Any) -> None:
        """Ask; answers come in the order of the requests. Raises ChildDied."""
        try:
            self.connection.send(request)
        except OSError:
            raise self._death() from None

    def receive(self) -> tuple[str, Any]:
        """The next message, waited for: ("ready", None) once, ("said", message), ("done", answer).

        Raises ChildDied, and what the answering function raised.
        """
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        self.last_heard = time.monotonic()
        if kind == "failed":
            raise content
        self.ready = True
        return kind, content

    def ask(
        self,
        request: Any,
        seconds: float,
        seconds_before_notice: float = float("inf"),
        notice: Callable[[], None] = lambda: None,
    ) -> Any:
        """The answer to one request. Raises ChildDied, ChildSilent, and what was raised there.

        seconds                that it is given, from when it has started
        seconds_before_notice  after which notice() is called, once
        """
        self.send(request)
        asked, told = time.monotonic(), False
        limit = seconds if self.ready else max(seconds, SECONDS_TO_START)
        heard, kind, content = asked, "", None
        while kind != "done":
            while not self.connection.poll(min(SECONDS_BETWEEN_LOOKS, seconds_before_notice)):
                signals.check()
                now = time.monotonic()
                if now - heard > limit:
                    raise ChildSilent
                if now - asked > seconds_before_notice and not told:
                    told = True
                    notice()
            kind, content = self.receive()
            heard, limit = time.monotonic(), seconds  # it has started
        return content

    def close(self) -> None:
        """Let it end, or end it."""
        self.connection.close()  # which it takes as the end
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """End it at once, and what it has begun."""
        self.connection.close()
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._drain.join(SECONDS_TO_END)

    def _death(self) -> ChildDied:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS_TO_END)
        self.kill()
        return ChildDied(_manner(self.process.returncode))

    def _keep_printed(self) -> None:
        pipe = self.process.stdout
        assert pipe is not None
        with pipe, suppress(OSError, ValueError):
            while block := os.read(pipe.fileno(), 1 << 16):
                self.printed.write(self.title, block)


def _manner(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def _environment() -> dict[str, str]:
    package_folder = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    paths = [package_folder, *([inherited] if inherited else [])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


# --- in the child -------------------------------------------------------------------------------


def serve(descriptor: int, parent: int) -> None:
    """What a child does: answer what comes through the connection, until that is closed."""
    global _is_child
    _is_child = True
    _die_with(parent)
    connection = Connection(descriptor)
    os.set_inheritable(descriptor, False)  # a plugin's own children would keep it open
    try:
        sys.path[:] = connection.recv()
        _answer_all(connection, *connection.recv())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has no more questions
    _leave()


def _answer_all(
    connection: Connection, begin: Callable[..., Answer], arguments: tuple[Any, ...]
) -> None:
    try:
        answer = begin(*arguments)
    except Exception as error:
        connection.send(("failed", _sendable(error)))
        return
    connection.send(("ready", None))
    while True:
        request = connection.recv()
        try:
            done = answer(request, lambda message: connection.send(("said", message)))
        except Exception as error:
            connection.send(("failed", _sendable(error)))
        else:
            connection.send(("done", done))


def _sendable(error: Exception) -> Exception:
    import pickle
    import traceback

    from dafxtool.errors import DafxError

    if isinstance(error, (DafxError, MemoryError)):
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
    return RuntimeError("in a worker process:\n" + "".join(traceback.format_exception(error)))


def _die_with(parent: int) -> None:
    """End when the parent has: at once where Linux can be asked to, else within a second.

    parent  its number, 0 for one that is to be looked for only
    """
    if sys.platform == "linux" and parent:
        die_with_parent = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(die_with_parent, signal.SIGKILL)

    at_first = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == at_first:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _leave() -> None:
    """End without goodbyes: what a plugin does at the end of its process may crash or hang."""
    os._exit(0)
