"""Children that answer, crash, hang and print; and that end with their parent."""

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

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # with which Windows kills, too
CRASH = "exit status" if sys.platform == "win32" else "SIGSEGV"
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="sleeps in the C library of POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone kills at once")

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
        if request == "sentence":
            raise InputError("there is nothing.")
        if request == "bug":
            return {}["missing"]
        if request == "print":
            print("from Python")
            os.system("echo from elsewhere >&2")
        if request == "family":
            family = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
            return family.pid
        if request == "interrupt":
            signal.raise_signal(signal.SIGINT)
        if request == "hold":  # as native code that hangs with Python's lock
            ctypes.PyDLL(None).sleep(3600)
        if request == "tell":
            for index in range(3):
                send(index)
        return os.getpid() if request == "who" else (request, offset)
    return answer

def start_badly():
    raise InputError("it does not begin.")
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
    made = ChildProcess(module.start, (5,), PrintedLog(tmp_path / "printed.log"))
    made.title = "the child"
    yield made
    made.kill()


def test_it_answers_and_remembers(child):
    assert child.ask("a", 60) == ("a", 5)
    assert child.ask("b", 60) == ("b", 5)
    assert child.ask("who", 60) == child.process.pid != os.getpid()


def test_messages_come_on_the_way(child):
    child.send("tell")
    kinds = [child.receive() for _ in range(5)]
    assert kinds == [("ready", None), *(("said", i) for i in range(3)), ("done", ("tell", 5))]


@pytest.mark.parametrize(("deed", "manner"), [("crash", CRASH), ("exit", "exit status 7")])
def test_a_death_is_noticed(child, deed, manner):
    with pytest.raises(ChildDied, match=manner):
        child.ask(deed, 60)


def test_silence_is_noticed(child):
    told = []
    child.ask("a", 60)
    with pytest.raises(ChildSilent):
        child.ask("sleep", 0.5, 0.1, lambda: told.append("slow"))
    assert told == ["slow"]


def test_errors_are_raised_here(child):
    with pytest.raises(InputError, match="there is nothing"):
        child.ask("sentence", 60)
    with pytest.raises(RuntimeError, match="KeyError: 'missing'"):
        child.ask("bug", 60)
    assert child.ask("a", 60) == ("a", 5)  # and it lives on


def test_one_that_cannot_begin_says_why(module):
    child = ChildProcess(module.start_badly)
    with pytest.raises(InputError, match="does not begin"):
        child.ask("a", 60)
    child.kill()


def test_what_it_prints_is_kept_apart(child, tmp_path, capfd):
    child.ask("print", 60)
    child.close()
    heard = capfd.readouterr()
    assert "from" not in heard.out + heard.err
    lines = (tmp_path / "printed.log").read_text().splitlines()
    assert sorted(lines) == ["--- the child", "from Python", "from elsewhere"]


def test_the_log_has_an_end(tmp_path):
    log = PrintedLog(tmp_path / "log", most_bytes=100)
    for _ in range(50):
        log.write("loud", b"0123456789" * 10)
    assert len((tmp_path / "log").read_bytes()) < 200
    assert "is not kept" in (tmp_path / "log").read_text()
    silent = PrintedLog(tmp_path / "other")
    silent.write("quiet", b"")
    assert not silent.written
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="Windows has no groups of processes")
def test_the_terminals_ctrl_c_does_not_reach_it(child):
    child.ask("a", 60)
    assert os.getpgid(child.process.pid) != os.getpgid(0)


def test_an_interrupt_does_not_end_it(child):
    """Where it shares the terminal all the same."""
    assert child.ask("interrupt", 60) == ("interrupt", 5)


def test_what_it_has_started_ends_with_it(child):
    family = psutil.Process(child.ask("family", 60))
    child.kill()
    assert not psutil.wait_procs([family], timeout=30)[1]


def test_without_groups_of_processes_what_it_has_started_ends_too(child, monkeypatch):
    monkeypatch.delattr(os, "killpg", raising=False)
    family = psutil.Process(child.ask("family", 60))
    child.kill()
    assert not psutil.wait_procs([family], timeout=30)[1]


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


def test_large_requests_and_answers_arrive_whole(child):
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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 looks into the folder first")
def test_files_of_the_current_folder_are_no_modules(module, tmp_path, monkeypatch):
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


@pytest.mark.parametrize("way", ["script", "stdin", "argument", "thread"])
def test_it_needs_nothing_of_the_script_that_starts_it(tmp_path, way):
    """Not even `if __name__ == "__main__"`, without which multiprocessing would start for ever."""
    inner = "".join(f"    {line}\n" for line in STARTS.splitlines())
    threaded = f"import threading\ndef run():\n{inner}threading.Thread(target=run).start()\n"
    (tmp_path / "script.py").write_text(STARTS, "utf-8")
    words = {
        "script": ["script.py"],
        "stdin": ["-"],
        "argument": ["-c", STARTS],
        "thread": ["-c", threaded],
    }[way]
    done = subprocess.run(
        [sys.executable, *words], input=STARTS, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "('a', 0)", done.stderr


@pytest.mark.parametrize(
    ("status", "manner"),
    [(-11, "signal SIGSEGV"), (3, "exit status 3"), (0xC0000005, "0xC0000005")],
)
def test_the_manner_of_death_is_named(status, manner):
    assert manner in child_process._manner(status)


# What the child does when the parent ends, and how it was started. Linux kills the child of a main
# thread; the child of another one has to notice by itself, and if native code holds Python's lock,
# after the time limit of its request.
@pytest.mark.parametrize(
    ("deed", "is_main", "end"),
    [
        ("sleep", True, signal.SIGTERM),
        ("sleep", True, KILL),
        ("sleep", False, KILL),
        pytest.param("hold", True, KILL, marks=linux_only),
        pytest.param("hold", False, KILL, marks=posix_only),
    ],
)
def test_it_ends_with_its_parent(tmp_path, deed, is_main, end):
    script = (
        "import answering, sys, threading, time\n"
        "from dafxtool.utils.child_process import ChildProcess\n"
        "def run():\n"
        "    child = ChildProcess(answering.start)\n"
        "    print(child.ask('who', 60), flush=True)\n"
        f"    child.send({deed!r}, 1.0)\n"
        "    time.sleep(3600)\n" + ("run()" if is_main else "threading.Thread(target=run).start()")
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.2)  # so that it has begun with what it was sent
        parent.send_signal(end)
        parent.wait()
        assert not psutil.wait_procs([child], timeout=60)[1]


def test_only_children_are_children():
    assert not child_process.is_child()
