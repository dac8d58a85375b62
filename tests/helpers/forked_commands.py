"""Run commands in forked processes: the real command line without its import time.

`ForkServer` starts one Python process that imports everything once. It forks a child for each
command, in a session of its own, with standard output and error in files. It can have a mount
namespace of its own, to mount small disks that other processes cannot see.
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
class CommandResult:
    """Exit status (negative for a signal) and output of a command."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def last_line(self) -> str:
        """Return the last line of standard error; AssertionError for a traceback."""
        assert "Traceback" not in self.stderr and "Exception ignored" not in self.stderr, self
        return self.stderr.splitlines()[-1] if self.stderr.strip() else ""

    @property
    def error(self) -> str:
        """Return the error message; AssertionError unless there is exactly one, at the end."""
        assert "Traceback" not in self.stderr and "Exception ignored" not in self.stderr, self
        errors = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 and self.stderr.rstrip().endswith(errors[0]), self
        return errors[0].removeprefix("Error: ")


class ForkedCommand:
    """A command in a forked process."""

    def __init__(self, server: ForkServer, pid: int, folder: Path) -> None:
        self.server, self.pid, self.folder = server, pid, folder
        self.start_time = time.monotonic()
        self._result: CommandResult | None = None

    def result(self) -> CommandResult | None:
        """Return the result, None while the command runs."""
        if self._result is None:
            status = self.server.ask({"poll": self.pid})
            if status is not None:
                self._result = CommandResult(
                    status,
                    self.text("stdout"),
                    self.text("stderr"),
                    time.monotonic() - self.start_time,
                )
        return self._result

    def text(self, stream: str) -> str:
        """Read the output so far: stdout or stderr."""
        return (self.folder / stream).read_text("utf-8", "replace")

    def wait(self) -> CommandResult:
        """Wait for the end of the command."""
        deadline = time.monotonic() + SECONDS_TO_END
        while not (result := self.result()):
            assert time.monotonic() < deadline, f"it does not end: {self.text('stderr')}"
            time.sleep(0.002)
        return result

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until condition() is true or the command has ended."""
        deadline = time.monotonic() + SECONDS_TO_END
        while not condition() and not self.result():
            assert time.monotonic() < deadline, "the condition never became true"
            time.sleep(0.0005)

    def send(self, number: int) -> None:
        """Send a signal to the command and all processes it started, as Ctrl-C in a terminal."""
        if self.result():  # its process number may belong to another process by now
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it has no session of its own yet
            os.kill(self.pid, number)

    def leftover_processes(self, seconds: float = 5.0) -> list[int]:
        """Return the processes of its session that are still alive after some seconds."""
        return leftover_processes(self.pid, seconds)


class ForkServer:
    """Process that has imported everything, and forks a child for each command."""

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
        """Send a request to the process and return its answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments: object, max_bytes: int = 0) -> ForkedCommand:
        """Start a command. max_bytes limits the size of each file that it writes; 0: no limit."""
        self.count += 1
        folder = self.folder / f"command-{self.count}"
        folder.mkdir(parents=True)
        texts = [os.fspath(str(argument)) for argument in arguments]
        request = {"start": texts, "folder": str(folder), "max_bytes": max_bytes}
        return ForkedCommand(self, self.ask(request), folder)

    def run(self, *arguments: object, max_bytes: int = 0) -> CommandResult:
        """Run a command to its end."""
        return self.start(*arguments, max_bytes=max_bytes).wait()

    def mount(self, folder: Path, options: str) -> bool:
        """Mount a tmpfs in the namespace of the server; False where the folder is busy."""
        folder.mkdir(exist_ok=True)
        return bool(self.ask({"mount": str(folder), "options": options}))

    def visible_path(self, path: Path) -> Path:
        """Return a path in the namespace of the server as this process can open it."""
        return Path(f"/proc/{self.ask({'number': True})}/root", *path.parts[1:])

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def can_mount() -> bool:
    """Check whether a tmpfs can be mounted in a new mount namespace."""
    if not shutil.which("unshare"):
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(command, capture_output=True).returncode == 0


def leftover_processes(session: int, seconds: float) -> list[int]:
    """Return the processes of a session that are still alive after some seconds."""
    deadline = time.monotonic() + seconds
    while (processes := _processes_of_session(session)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return processes


def _processes_of_session(number: int) -> list[int]:
    processes = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == number and fields[0] != "Z":
            processes.append(int(path.parent.name))
    return processes


# --- in the server -------------------------------------------------------------------------------


def _import_all() -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot
    import torch
    import torch._dynamo  # which the first optimizer imports
    import torch.utils.tensorboard

    import dafxtool.api.defaults
    import dafxtool.api.embed
    import dafxtool.api.render
    import dafxtool.api.spectrogram
    import dafxtool.api.train
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
    # Print progress after each step, not every few seconds.
    initialise = dafxtool.utils.progress.TerminalProgress.__init__
    stream, _, *others = initialise.__defaults__ or ()
    initialise.__defaults__ = (stream, 0.0, *others)  # seconds between lines
    dafxtool.training.tensorboard.N_EXAMPLES = 1  # less work
    assert len(os.listdir("/proc/self/task")) == 1, "a fork copies only one thread"


def _fork(arguments: Sequence[str], folder: str, max_bytes: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # until the command sets its own handlers
    for descriptor, name in enumerate(("stdout", "stderr"), 1):
        file = os.open(Path(folder, name), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if max_bytes:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    status = 70
    try:
        status = _run(arguments)
    finally:
        # The exit of Python without freeing all modules, which takes a second with torch.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(arguments: Sequence[str]) -> int:
    from dafxtool.cli import main

    sys.argv = ["dafxtool", *arguments]
    try:
        main(list(arguments))
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
    gc.freeze()  # so that the garbage collector of a child does not copy shared memory
    statuses: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = True
        if "start" in request:
            answer = _fork(request["start"], request["folder"], request["max_bytes"])
        elif "poll" in request:
            number = request["poll"]
            if number not in statuses:
                done, status = os.waitpid(number, os.WNOHANG)
                if done:
                    statuses[number] = os.waitstatus_to_exitcode(status)
            answer = statuses.get(number)
        elif "number" in request:
            answer = os.getpid()
        elif "mount" in request:
            command = ["mount", "-t", "tmpfs", "-o", request["options"], "tmpfs", request["mount"]]
            answer = subprocess.run(command, capture_output=True).returncode == 0
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
