"""The command: its address, its errors, and its end."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from dafxtool.explorer.server import open_browser


@pytest.fixture
def temporary(tmp_path):
    """A folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def started(recordings, tmp_path, temporary):
    """Start the command in a folder without runs; return the process and its address."""
    command = [sys.executable, "-m", "dafxtool", "explore", str(recordings), "--no-browser"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent differently there")
def test_ctrl_c_ends_the_server_at_once_and_leaves_nothing(started, temporary):
    process, url = started
    assert url.startswith("http://127.0.0.1:") and "?token=" in url
    port = int(url.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)  # kept alive
    connection.request("GET", url[url.index("/?") :])
    assert connection.getresponse().status == 303
    children = psutil.Process(process.pid).children(recursive=True)
    time_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert time.monotonic() - time_s < 3
    assert "Traceback" not in process.stderr.read()
    assert not any(child.is_running() for child in children)
    assert os.listdir(temporary) == []


def test_a_port_that_is_taken_is_an_error(invoke, recordings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = invoke("explore", recordings, "--no-browser", "--port", taken.getsockname()[1])
    assert done.exit_code == 1 and "--port" in done.output


@pytest.mark.parametrize(
    "arguments",
    [("missing.wav",), ("--effect", "nothing"), ("--run", "missing"), ("--effect", "delay:time=x")],
)
def test_wrong_arguments_are_errors_before_anything_is_served(
    invoke, tmp_path, arguments, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = invoke("explore", "--no-browser", *arguments)
    assert done.exit_code == 1 and done.output.startswith("Error: ")


def test_without_the_extra_the_message_names_it(invoke, monkeypatch):
    monkeypatch.setattr("dafxtool.api.explore.find_spec", lambda name: None)
    done = invoke("explore", "--no-browser")
    assert done.exit_code == 1 and "dafxtool[explore]" in done.output


def test_a_machine_without_a_browser_is_no_error():
    assert not open_browser("http://127.0.0.1", lambda url: False)
