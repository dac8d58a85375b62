"""Child processes answer, crash, hang and print, and end with their parent."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time

import psutil
import pytest

from dafxtool.errors import InputError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import (
    ChildDied,
    ChildProcess,
    ChildSilent,
    PrintedLog,
)

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # SIGTERM also kills on Windows
CRASH = "exit status" if sys.platform == "win32" else "SIGSEGV"
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="sleeps in the C library of POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills at once")

MODULE = """
import ctypes, faulthandler, os, signal, subprocess, sys, time
from dafxtool.errors import InputError

def start(offset=0):
    def answer(request, send):
        if request == "crash":
            faulthandler._sigsegv()
        if request == "exit":
            os._exit(7)
        if request == "sleep":
            time.sleep(3600)
        if request == "error":
            raise InputError("there is nothing.")
        if request == "bug":
            return {}["missing"]
        if request == "print":
            print("from Python")
            os.system("echo from the shell >&2")
        if request == "grandchild":
            grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
            return grandchild.pid
        if request == "interrupt":
            signal.raise_signal(signal.SIGINT)
        if request == "hold":  # as native code that hangs while it holds the GIL
            ctypes.PyDLL(None).sleep(3600)
        if request == "messages":
            for index in range(3):
                send(index)
        return os.getpid() if request == "process ID" else (request, offset)
    return answer

def start_with_error():
    raise InputError("it does not start.")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "answering.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import answering

    yield answering
    del sys.modules["answering"]


@pytest.fixture
def child(module, tmp_path):
    process = ChildProcess(module.start, (5,), PrintedLog(tmp_path / "printed.log"))
    process.title = "the child"
    yield process
    process.kill()


def test_a_child_answers_and_keeps_its_state(child):
    assert child.ask("a", 60) == ("a", 5)
    assert child.ask("b", 60) == ("b", 5)
    assert child.ask("process ID", 60) == child.process.pid != os.getpid()


def test_messages_arrive_before_the_answer(child):
    child.send("messages")
    messages = [child.receive() for _ in range(5)]
    expected = [("ready", None), *(("message", i) for i in range(3)), ("done", ("messages", 5))]
    assert messages == expected


@pytest.mark.parametrize(("request_", "status"), [("crash", CRASH), ("exit", "exit status 7")])
def test_a_dead_child_is_detected(child, request_, status):
    with pytest.raises(ChildDied, match=status):
        child.ask(request_, 60)


def test_a_silent_child_is_detected(child):
    notices = []
    child.ask("a", 60)
    with pytest.raises(ChildSilent):
        child.ask("sleep", 0.5, 0.1, lambda: notices.append("slow"))
    assert notices == ["slow"]


def test_errors_are_raised_in_the_parent(child):
    with pytest.raises(InputError, match="there is nothing"):
        child.ask("error", 60)
    with pytest.raises(RuntimeError, match="KeyError: 'missing'"):
        child.ask("bug", 60)
    assert child.ask("a", 60) == ("a", 5)  # the child is still running


def test_an_error_at_the_start_is_raised(module):
    child = ChildProcess(module.start_with_error)
    with pytest.raises(InputError, match="does not start"):
        child.ask("a", 60)
    child.kill()


def test_output_goes_to_the_log_only(child, tmp_path, capfd):
    child.ask("print", 60)
    child.close()
    output = capfd.readouterr()
    assert "from" not in output.out + output.err
    lines = (tmp_path / "printed.log").read_text().splitlines()
    assert sorted(lines) == ["--- the child", "from Python", "from the shell"]


def test_the_log_has_a_size_limit(tmp_path):
    log = PrintedLog(tmp_path / "log", most_bytes=100)
    for _ in range(50):
        log.write("loud", b"0123456789" * 10)
    assert len((tmp_path / "log").read_bytes()) < 200
    assert "size limit" in (tmp_path / "log").read_text()
    silent = PrintedLog(tmp_path / "other")
    silent.write("quiet", b"")
    assert not silent.written
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="Windows has no groups of processes")
def test_ctrl_c_of_the_terminal_does_not_reach_a_child(child):
    child.ask("a", 60)
    assert os.getpgid(child.process.pid) != os.getpgid(0)


def test_an_interrupt_does_not_end_a_child(child):
    """An interrupt may reach a child that shares the terminal."""
    assert child.ask("interrupt", 60) == ("interrupt", 5)


def test_processes_of_a_killed_child_are_killed(child):
    grandchild = psutil.Process(child.ask("grandchild", 60))
    child.kill()
    assert not psutil.wait_procs([grandchild], timeout=30)[1]


def test_processes_of_a_killed_child_are_killed_without_process_groups(child, monkeypatch):
    monkeypatch.delattr(os, "killpg", raising=False)
    grandchild = psutil.Process(child.ask("grandchild", 60))
    child.kill()
    assert not psutil.wait_procs([grandchild], timeout=30)[1]


def test_children_may_share_an_inbox(module):
    inbox: child_process.Inbox = queue.SimpleQueue()
    children = [ChildProcess(module.start, (index,), inbox=inbox) for index in range(3)]
    for child in children:
        child.send("a")
    answers = {}
    while len(answers) < 3:
        child, message = inbox.get(timeout=60)
        kind, content = child.unpack(message)
        if kind == "done":
            answers[children.index(child)] = content
    assert answers == {index: ("a", index) for index in range(3)}
    for child in children:
        child.close()
        assert child.process.returncode == 0
        assert inbox.get(timeout=60) == (child, None)


def test_large_requests_and_answers_are_complete(child):
    block = os.urandom(10_000_000)
    assert child.ask(block, 60) == (block, 5)


def test_output_of_start_up_files_goes_to_the_log(module, tmp_path, monkeypatch):
    """Standard output carries messages, and some installations print there when Python starts."""
    (tmp_path / "noisy").mkdir()
    noise = "import sys; print('welcome'); sys.stdout.write('no end of line')"
    (tmp_path / "noisy" / "sitecustomize.py").write_text(noise, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "noisy"))
    child = ChildProcess(module.start, (5,), PrintedLog(tmp_path / "printed.log"))
    assert child.ask("a", 60) == ("a", 5)
    child.kill()
    assert "welcome" in (tmp_path / "printed.log").read_text("utf-8")
    assert "no end of line" in (tmp_path / "printed.log").read_text("utf-8")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
def test_files_of_the_current_folder_are_not_imported(module, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "queue.py").write_text("raise SystemExit('not this one')", "utf-8")
    monkeypatch.chdir(tmp_path / "work")
    child = ChildProcess(module.start, (5,))
    assert child.ask("a", 60) == ("a", 5)
    child.kill()


STARTS = (
    "import answering\n"
    "from dafxtool.utils.child_process import ChildProcess\n"
    "child = ChildProcess(answering.start)\n"
    "print(child.ask('a', 60))\n"
    "child.close()\n"
)


@pytest.mark.parametrize("source", ["script", "stdin", "argument", "thread"])
def test_a_child_does_not_import_the_script_that_starts_it(tmp_path, source):
    """Scripts need no `if __name__ == "__main__"`, unlike with multiprocessing."""
    inner = "".join(f"    {line}\n" for line in STARTS.splitlines())
    threaded = f"import threading\ndef run():\n{inner}threading.Thread(target=run).start()\n"
    (tmp_path / "script.py").write_text(STARTS, "utf-8")
    arguments = {
        "script": ["script.py"],
        "stdin": ["-"],
        "argument": ["-c", STARTS],
        "thread": ["-c", threaded],
    }[source]
    result = subprocess.run(
        [sys.executable, *arguments], input=STARTS, capture_output=True, text=True, cwd=tmp_path
    )
    assert result.stdout.strip() == "('a', 0)", result.stderr


@pytest.mark.parametrize(
    ("status", "text"),
    [(-11, "signal SIGSEGV"), (3, "exit status 3"), (0xC0000005, "0xC0000005")],
)
def test_the_exit_status_is_described(status, text):
    assert text in child_process._describe_status(status)


# request_: what the child does when the parent ends. is_main: whether the main thread started it.
# Linux kills the child of a main thread. Other children notice by themselves, or after the time
# limit of their request if native code holds the GIL.
@pytest.mark.parametrize(
    ("request_", "is_main", "end"),
    [
        ("sleep", True, signal.SIGTERM),
        ("sleep", True, KILL),
        ("sleep", False, KILL),
        pytest.param("hold", True, KILL, marks=linux_only),
        pytest.param("hold", False, KILL, marks=posix_only),
    ],
)
def test_a_child_ends_with_its_parent(tmp_path, request_, is_main, end):
    script = (
        "import answering, sys, threading, time\n"
        "from dafxtool.utils.child_process import ChildProcess\n"
        "def run():\n"
        "    child = ChildProcess(answering.start)\n"
        "    print(child.ask('process ID', 60), flush=True)\n"
        f"    child.send({request_!r}, 1.0)\n"
        "    time.sleep(3600)\n" + ("run()" if is_main else "threading.Thread(target=run).start()")
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.2)  # until the child works on the request
        parent.send_signal(end)
        parent.wait()
        assert not psutil.wait_procs([child], timeout=60)[1]


def test_this_process_is_not_a_child():
    assert not child_process.is_child()
