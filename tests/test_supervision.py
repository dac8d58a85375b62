"""Children that answer, crash, hang and print; and that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dafxtool.errors import InputError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import (
    ChildDied,
    ChildProcess,
    ChildSilent,
    PrintedLog,
)

E = """
import os, signal, sys, time
from dafxtool.errors import InputError

def begin(offset=0):
    def answer(request, say):
        if request == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
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
        if request == "tell":
            for index in range(3):
                say(index)
        return os.getpid() if request == "who" else (request, offset)
    return answer

def begin_badly():
    raise InputError("it does not begin.")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "answering.py").write_text(E)
    monkeypatch.syspath_prepend(tmp_path)
    import answering

    yield answering
    del sys.modules["answering"]


@pytest.fixture
def child(module, tmp_path):
    made = ChildProcess(module.begin, (5,), PrintedLog(tmp_path / "printed.log"))
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


@pytest.mark.parametrize(("deed", "manner"), [("crash", "SIGSEGV"), ("exit", "exit status 7")])
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
    child = ChildProcess(module.begin_badly)
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
    assert not PrintedLog(tmp_path / "other").written
    assert not (tmp_path / "other").exists()


def test_it_is_not_asked_on_the_terminals_ctrl_c(child):
    child.ask("a", 60)
    assert os.getpgid(child.process.pid) != os.getpgid(0)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(tmp_path, end):
    script = (
        "import answering, os, time\n"
        "from dafxtool.utils.child_process import Child\n"
        "child = Child(answering.begin)\n"
        "print(child.ask('who', 60), flush=True)\n"
        "child.send('sleep')\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    number = int(parent.stdout.readline())
    parent.send_signal(end)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(number)


def is_running(process):
    """Neither gone nor a zombie that nobody has taken leave of."""
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_only_children_are_children():
    assert not child_process.is_child()
