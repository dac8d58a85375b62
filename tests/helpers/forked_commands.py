"""Commands in forked processes: the real command line without its seconds of importing.

`Nursery` starts one Python that imports everything once and then forks a child for each command,
in a session of its own, with standard output and error in files. Where it is asked for one, it
has a name space of mounts to itself, so that a disk can be small without anybody else noticing.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS_TO_END = 120.0
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


@dataclass(frozen=True)
class Ended:
    """status is negative where a signal ended it."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def sentence(self) -> str:
        """The error that it ended with; AssertionError where there is not exactly one."""
        assert "Traceback" not in self.stderr and "Exception ignored" not in self.stderr, self
        errors = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 and self.stderr.rstrip().endswith(errors[0]), self
        return errors[0].removeprefix("Error: ")


class Child:
    """A command that runs."""

    def __init__(self, nursery: Nursery, pid: int, folder: Path) -> None:
        self.nursery, self.pid, self.folder = nursery, pid, folder
        self.began = time.monotonic()
        self._ended: Ended | None = None

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""
        if self._ended is None:
            status = self.nursery.ask({"poll": self.pid})
            if status is not None:
                self._ended = Ended(
                    status, self.text("stdout"), self.text("stderr"), time.monotonic() - self.began
                )
        return self._ended

    def text(self, stream: str) -> str:
        return (self.folder / stream).read_text("utf-8", "replace")

    def wait(self) -> Ended:
        until = time.monotonic() + SECONDS_TO_END
        while not (ended := self.ended()):
            assert time.monotonic() < until, f"it does not end: {self.text('stderr')}"
            time.sleep(0.002)
        return ended

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until condition() holds, or it has ended."""
        until = time.monotonic() + SECONDS_TO_END
        while not condition() and not self.ended():
            assert time.monotonic() < until, "it never came true"
            time.sleep(0.0005)

    def send(self, number: int) -> None:
        """A signal to it and to all processes that it began, as a terminal's Ctrl-C."""
        if self.ended():  # and was waited for: the number may be somebody else's by now
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # so young that it has no session of its own yet
            os.kill(self.pid, number)

    def left_behind(self, seconds: float = 5.0) -> list[int]:
        """Processes of its session that are still there after so many seconds."""
        return left_behind(self.pid, seconds)


class Nursery:
    def __init__(self, folder: Path, mounts: bool = False) -> None:
        self.folder = folder
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "NUMBA", "MKL")}
        self.process = subprocess.Popen(
            [*(UNSHARE if mounts else ()), sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | one_thread,
        )
        self.count = 0
        assert self.ask({"ready": True}) is True

    def ask(self, question: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments: object, most_bytes: int = 0) -> Child:
        """A command begins; most_bytes is the largest file that it may write."""
        self.count += 1
        folder = self.folder / f"command-{self.count}"
        folder.mkdir(parents=True)
        words = [os.fspath(str(argument)) for argument in arguments]
        asked = {"start": words, "folder": str(folder), "most_bytes": most_bytes}
        return Child(self, self.ask(asked), folder)

    def run(self, *arguments: object, most_bytes: int = 0) -> Ended:
        return self.start(*arguments, most_bytes=most_bytes).wait()

    def mount(self, folder: Path, options: str) -> bool:
        """mount -t tmpfs -o options, in the nursery's own name space; False where it is busy."""
        folder.mkdir(exist_ok=True)
        return bool(self.ask({"mount": str(folder), "options": options}))

    def seen(self, path: Path) -> Path:
        """A path of the nursery's name space as this process can reach it."""
        return Path(f"/proc/{self.ask({'number': True})}/root", *path.parts[1:])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def can_mount() -> bool:
    """Is there a name space of mounts to be had, in which tmpfs can be mounted?"""
    if not shutil.which("unshare"):
        return False
    tried = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(tried, capture_output=True).returncode == 0


def left_behind(session: int, seconds: float) -> list[int]:
    """Processes of a session that are still there after so many seconds."""
    until = time.monotonic() + seconds
    while (found := _of_session(session)) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def _of_session(number: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == number and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


# --- the other side -------------------------------------------------------------------------------


def _import_all() -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot
    import torch
    import torch._dynamo  # which the first optimizer imports
    import torch.utils.tensorboard

    import dafxtool.api.defaults
    import dafxtool.cli.embed
    import dafxtool.cli.render
    import dafxtool.cli.spectrogram
    import dafxtool.cli.train
    import dafxtool.dataset.render
    import dafxtool.latents.embed
    import dafxtool.training.tensorboard
    import dafxtool.training.train
    import dafxtool.utils.progress

    import_module("pedalboard.io")
    torch.set_num_threads(1)
    # A line each time that something was done, not every few seconds.
    dafxtool.utils.progress.TerminalProgress.__init__.__defaults__ = (None, 0.0, False)  # type: ignore[misc]
    dafxtool.training.tensorboard.N_EXAMPLES = 1  # nobody looks
    assert len(os.listdir("/proc/self/task")) == 1, "a fork copies one thread only"


def _forked(words: Sequence[str], folder: str, most_bytes: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # until the command says otherwise
    for descriptor, name in enumerate(("stdout", "stderr"), 1):
        file = os.open(Path(folder, name), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if most_bytes:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    status = 70
    try:
        status = _run(words)
    finally:
        # All that Python does at an exit but to take itself apart, which takes a second with torch.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(words: Sequence[str]) -> int:
    from dafxtool.cli import main

    sys.argv = ["dafxtool", *words]
    try:
        main(list(words))
    except SystemExit as ending:
        return int(ending.code or 0)
    except BaseException:
        traceback.print_exc()
    return 1


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    gc.collect()
    gc.freeze()  # a child's collector does not touch, and so copy, what all share
    statuses: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = True
        if "start" in asked:
            answer = _forked(asked["start"], asked["folder"], asked["most_bytes"])
        elif "poll" in asked:
            number = asked["poll"]
            if number not in statuses:
                done, status = os.waitpid(number, os.WNOHANG)
                if done:
                    statuses[number] = os.waitstatus_to_exitcode(status)
            answer = statuses.get(number)
        elif "number" in asked:
            answer = os.getpid()
        elif "mount" in asked:
            command = ["mount", "-t", "tmpfs", "-o", asked["options"], "tmpfs", asked["mount"]]
            answer = subprocess.run(command, capture_output=True).returncode == 0
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
