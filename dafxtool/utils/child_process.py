"""Run code that may crash, hang or print in child processes; plugins run only there.

A child answers requests one after the other. Its parent detects when the child dies or sends
nothing for too long, and continues. The child's output goes to a `PrintedLog`. A child is a new
interpreter: it does not import the script that started it, and any process or thread may start one.
It ends with its parent, even if the parent is killed.

Requests are sent through the child's standard input and messages through its standard output, which
exist on every system. The format is the number of parts, their lengths, a pickle, and its arrays.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dafxtool.utils import signals

Send = Callable[[Any], None]
Answer = Callable[[Any, Send], Any]

SECONDS_TO_START = 120.0  # for the interpreter and numpy on a busy machine
SECONDS_TO_END = 2.0
SECONDS_BETWEEN_CHECKS = 0.2
SECONDS_OF_GRACE = 10.0  # beyond the time limit, until a hanging child ends itself
LONGEST_TIMER_SECONDS = 1e6
MOST_PRINTED_BYTES = 1 << 20  # of children's output

PROTOCOL = 5  # of pickle; sends arrays without copying them
HELLO = b"dafxtool: messages follow\n"  # after anything that start-up files print before `serve`

_is_child = False


class ChildDied(Exception):
    """A child ended without an answer; the text is its exit status or signal."""


class ChildSilent(Exception):
    """A child sent no message within its time limit."""


def is_child() -> bool:
    """Return whether this process is a child and may run code that crashes."""
    return _is_child


class PrintedLog:
    """Collect the output of children in a file, which is created with the first byte.

    path        None: discard all output
    most_bytes  size limit; further output is discarded
    """

    def __init__(self, path: Path | None, most_bytes: int = MOST_PRINTED_BYTES) -> None:
        self.path = path
        self._bytes_left = most_bytes
        self._title = ""
        self._lock = threading.Lock()
        self._is_written = False

    def write(self, title: str, printed: bytes) -> None:
        """Append output under a line with the title of the child."""
        with self._lock:
            if self.path is None or self._bytes_left <= 0 or not printed:
                return
            head = f"--- {title}\n".encode("utf-8", "replace") if title != self._title else b""
            self._title = title
            block = head + printed[: self._bytes_left]
            self._bytes_left -= len(block)
            if self._bytes_left <= 0:
                block += b"\n--- size limit reached: further output is discarded\n"
            with suppress(OSError), self.path.open("ab") as file:
                file.write(block)
                self._is_written = True

    @property
    def written(self) -> bool:
        """Return whether anything was written."""
        return self._is_written


Message = list[bytearray]  # a pickle and its arrays
Inbox = queue.SimpleQueue[tuple["ChildProcess", "Message | None"]]  # None: the child has ended


class ChildProcess:
    """Start a process that answers requests.

    start, arguments  start(*arguments) is called in the child, which imports it by its name. It
                      returns the function answer(request, send), which may call send(message)
                      before it returns the answer
    printed           log of the child's output
    inbox             queue of its messages, if several children share one; see `unpack`
    environment       variables over those of this process
    """

    def __init__(
        self,
        start: Callable[..., Answer],
        arguments: tuple[Any, ...] = (),
        printed: PrintedLog | None = None,
        inbox: Inbox | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.printed = printed or PrintedLog(None)
        self.title = "a worker process"
        self._inbox: Inbox = queue.SimpleQueue() if inbox is None else inbox
        # Linux kills a child when the *thread* that started it ends, so only the main thread asks.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from dafxtool.utils.child_process import serve; serve({parent})",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment() | dict(environment or {}),
            start_new_session=True,  # protects it from the terminal's signals on POSIX
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # the same on Windows
        )
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_messages, self._read_printed)
        ]
        for thread in self._threads:
            thread.start()
        self.ready = False
        self.last_message_time = time.monotonic()
        with suppress(OSError):  # if the child is dead already, the first request raises ChildDied
            self._write(sys.path)  # first, because the child may import `start` from there
            self._write((start, arguments))

    def send(self, request: Any, seconds: float = float("inf")) -> None:
        """Send a request; answers arrive in the order of the requests. Raises ChildDied.

        seconds  time limit for each message; a child without a parent ends itself after it
        """
        try:
            self._write((request, seconds))
        except OSError:
            raise self._death() from None

    def receive(self, seconds: float | None = None) -> tuple[str, Any]:
        """Return the next message; see `unpack`. Raises queue.Empty after seconds."""
        return self.unpack(self._inbox.get(timeout=seconds)[1])

    def unpack(self, message: Message | None) -> tuple[str, Any]:
        """Return ("ready", None) once, then ("message", message) and ("done", answer).

        Raises ChildDied, and the exception of the answering function.
        """
        if message is None:
            raise self._death()
        kind, content = _loads(message)
        self.last_message_time = time.monotonic()
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
        """Return the answer to one request. Raises ChildDied, ChildSilent, and the child's error.

        seconds                time limit for each message after the child has started
        seconds_before_notice  time after which notice() is called once
        """
        self.send(request, seconds)
        request_time, is_notice_sent = time.monotonic(), False
        limit = seconds if self.ready else max(seconds, SECONDS_TO_START)
        message_time, kind, content = request_time, "", None
        while kind != "done":
            try:
                kind, content = self.receive(min(SECONDS_BETWEEN_CHECKS, seconds_before_notice))
                message_time, limit = time.monotonic(), seconds  # it has started
            except queue.Empty:
                signals.check()
                now = time.monotonic()
                if now - message_time > limit:
                    raise ChildSilent from None
                if now - request_time > seconds_before_notice and not is_notice_sent:
                    is_notice_sent = True
                    notice()
        return content

    def close(self) -> None:
        """Let the child end, and kill it if it takes too long."""
        self._close_input()  # asks the child to end
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """Kill the child and all processes that it started."""
        descendants = _descendants(self.process.pid) if self.process.poll() is None else []
        self.process.kill()
        for each in descendants:
            each.kill()
        if hasattr(os, "killpg"):  # also descendants whose own parent has ended
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close_input()
        for thread in self._threads:
            thread.join(SECONDS_TO_END)

    def _death(self) -> ChildDied:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS_TO_END)
        self.kill()
        return ChildDied(_describe_status(self.process.returncode))

    def _write(self, message: Any) -> None:
        assert self.process.stdin is not None
        try:
            _write(self.process.stdin, message)
        except ValueError as error:  # the stream is closed, because the child was killed
            raise BrokenPipeError from error

    def _close_input(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def _read_messages(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        with stream, suppress(OSError, ValueError, EOFError):
            while not (line := stream.readline()).endswith(HELLO):
                if not line:
                    raise EOFError
                self.printed.write(self.title, line)
            self.printed.write(self.title, line.removesuffix(HELLO))
            while True:
                self._inbox.put((self, _read(stream)))
        self._inbox.put((self, None))

    def _read_printed(self) -> None:
        stream = self.process.stderr
        assert stream is not None
        with stream, suppress(OSError, ValueError):
            while block := os.read(stream.fileno(), 1 << 16):
                self.printed.write(self.title, block)


def _write(stream: IO[bytes], message: Any) -> None:
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, PROTOCOL, buffer_callback=arrays.append)
    parts = [memoryview(pickled), *(array.raw() for array in arrays)]
    stream.write(struct.pack(f"<Q{len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def _read(stream: IO[bytes]) -> Message:
    """Return the next message. Raises EOFError at the end of the stream, also within a message."""
    (n_parts,) = struct.unpack("<Q", _read_part(stream, 8))
    sizes = struct.unpack(f"<{n_parts}Q", _read_part(stream, 8 * n_parts))
    return [_read_part(stream, size) for size in sizes]


def _read_part(stream: IO[bytes], n_bytes: int) -> bytearray:
    part = bytearray(n_bytes)
    if stream.readinto(part) < n_bytes:  # type: ignore[attr-defined]
        raise EOFError
    return part


def _loads(message: Message) -> Any:
    return pickle.loads(message[0], buffers=message[1:])


def _descendants(process_id: int) -> list[Any]:
    import psutil

    try:
        processes: list[Any] = psutil.Process(process_id).children(recursive=True)
    except psutil.Error:
        return []
    return processes


def _describe_status(status: int) -> str:
    """Describe the exit status of `subprocess`, which is negative for a signal."""
    if status >= 1 << 31:  # of Windows: 0xC0000005 is an access violation
        return f"exit status 0x{status:08X}"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def _environment() -> dict[str, str]:
    package_folder = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    paths = [package_folder, *([inherited] if inherited else [])]
    # PYTHONSAFEPATH: do not import files of the current folder.
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    return os.environ | own


# --- in the child -------------------------------------------------------------------------------


def serve(parent: int) -> None:
    """Answer requests from standard input until it ends.

    parent  process ID of the parent; 0 if only the end of the input shows that the parent ended
    """
    global _is_child
    _is_child = True
    requests, messages = _redirect_streams()
    _ignore_interrupts()
    _end_with_parent(parent)
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests, inbox), daemon=True).start()
    with suppress(OSError):  # the parent has ended
        sys.path[:] = _loads(inbox.get())
        _answer_all(inbox, messages)
    _exit()


def _redirect_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return the streams of requests and messages, and redirect standard output to standard error.

    They are copies, which processes started by a plugin do not inherit and keep open.
    """
    requests, messages = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.flush()
    os.dup2(2, 1)
    messages.write(HELLO)
    messages.flush()
    return requests, messages


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which the parent handles, and disable the crash dialog of Windows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)


def _read_requests(requests: IO[bytes], inbox: queue.SimpleQueue[Message]) -> None:
    """Read requests while the main thread works; the end of the input ends the process at once."""
    with suppress(OSError, EOFError):
        while True:
            inbox.put(_read(requests))
    _exit()


def _answer_all(inbox: queue.SimpleQueue[Message], messages: IO[bytes]) -> None:
    try:
        start, arguments = _loads(inbox.get())
        answer = start(*arguments)
    except Exception as error:
        _write(messages, ("failed", _sendable(error)))
        return
    _write(messages, ("ready", None))
    while True:
        request, seconds = _loads(inbox.get())

        def send(message: Any, limit: float = seconds) -> None:
            _write(messages, ("message", message))
            _limit_hang(limit)

        _limit_hang(seconds)
        try:
            done = answer(request, send)
        except Exception as error:
            _write(messages, ("failed", _sendable(error)))
        else:
            _write(messages, ("done", done))
        faulthandler.cancel_dump_traceback_later()


def _limit_hang(seconds: float) -> None:
    """End this process if native code hangs for longer, even while it holds the GIL.

    A running parent kills it earlier. Without a parent no Python thread could, because of the GIL.
    """
    if seconds + SECONDS_OF_GRACE < LONGEST_TIMER_SECONDS:
        faulthandler.dump_traceback_later(seconds + SECONDS_OF_GRACE, exit=True)


def _sendable(error: Exception) -> Exception:
    """Return the error if the parent can unpickle and report it, else one with its traceback."""
    import traceback

    from dafxtool.errors import DafxError

    if isinstance(error, (DafxError, MemoryError)):
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
    return RuntimeError("in a worker process:\n" + "".join(traceback.format_exception(error)))


def _end_with_parent(parent: int) -> None:
    """End this process when its parent ends, even if the input stays open.

    On Linux the kernel kills the child. Elsewhere a fork of the parent may keep the input open, so
    a thread checks the parent's process ID. Systems without fork do not have this problem.
    """
    if sys.platform == "linux" and parent:
        import ctypes

        die_with_parent = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(die_with_parent, signal.SIGKILL)
    first_parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == first_parent:
            time.sleep(1.0)
        _exit()

    if hasattr(os, "fork"):
        threading.Thread(target=watch, daemon=True).start()


def _exit() -> None:
    """End this process without cleanup, because a plugin's cleanup may crash or hang."""
    os._exit(0)
