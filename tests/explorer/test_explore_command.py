"""The command: its address, its errors, and its end."""

import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from explorer_client import Client

from dafxtool.api.explore import serve
from dafxtool.errors import InputError
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


def failure_of(client, body):
    """Return how a search ended whose server has gone."""
    try:
        return client.stream("/match", **body)
    except Exception as error:
        return error


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent differently there")
def test_ctrl_c_ends_the_server_at_once_and_leaves_nothing(started, temporary):
    process, url = started
    ended = []
    assert url.startswith("http://127.0.0.1:") and "?token=" in url
    port = int(url.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)  # kept alive
    connection.request("GET", url[url.index("/?") :])
    assert connection.getresponse().status == 303
    client = Client(SimpleNamespace(port=port, url=url))
    body = {"recording": "file-0", "reference": "file-1", "mode": "other"}
    searching = threading.Thread(target=lambda: ended.append(failure_of(client, body)), daemon=True)
    searching.start()
    children = []
    while not children:  # the search is a child process
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.1)
    time_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert time.monotonic() - time_s < 8  # below 1 s on a quiet machine
    assert "Traceback" not in process.stderr.read()
    psutil.wait_procs(children, 3)
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


@pytest.mark.parametrize("start", [-1.0, 50.0])
def test_a_start_outside_the_recording_is_refused(recordings, start):
    with (
        pytest.raises(InputError, match="start"),
        serve(recordings / "plucks" / "0.wav", start=start),
    ):
        pass


def test_without_the_extra_the_message_names_it(invoke, monkeypatch):
    monkeypatch.setattr("dafxtool.api.explore.find_spec", lambda name: None)
    done = invoke("explore", "--no-browser")
    assert done.exit_code == 1 and "dafxtool[explore]" in done.output


def test_a_machine_without_a_browser_is_no_error():
    assert not open_browser("http://127.0.0.1", lambda url: False)


def test_the_command_of_a_setting_opens_it_again(server, recordings, run_folder):
    client = Client(server)
    answer, arrays = client.ask("/render", **client.scene("delay", start=1000, time=123))
    words = shlex.split(answer["command"])
    assert words[:2] == ["dafxtool", "explore"]
    assert words[2] == str(recordings / "plucks" / "0.wav")
    start, effect = float(words[words.index("--start") + 1]), words[words.index("--effect") + 1]
    with serve(words[2], run=run_folder, start=start, effect=effect) as again:
        first = Client(again).ask("/opening")[0]["first"]
        assert first["start"] == 1000 and first["effect"] == "delay"
        same = Client(again).ask("/render", recording="file-0", **first)[1]
    np.testing.assert_array_equal(same["wet"], arrays["wet"])


def test_without_a_run_everything_but_the_map_works(recordings, monkeypatch):
    def missing():
        raise InputError("no run")

    monkeypatch.setattr("dafxtool.api.explore.default_run", missing)
    with serve(recordings / "plucks") as server:
        client = Client(server)
        assert client.ask("/opening")[0]["run"] is None
        assert "no run" in client.stream("/map")[-1][0]["error"]
        assert client.refusal("/place", **client.scene("delay"))
        ends = {"a": client.scene("delay", time=90), "b": client.scene("delay", time=300)}
        steps = client.stream("/between", **ends, detailed=True)
        assert [each["kind"] for each, _ in steps] == ["path"] + ["step"] * 9
        assert "detailed" in client.stream("/between", **ends, detailed=False)[-1][0]["error"]
