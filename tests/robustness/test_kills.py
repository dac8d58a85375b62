"""Commands that are killed or interrupted at seeded moments lose no reported progress."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from forked_commands import CommandResult, ForkedCommand, leftover_processes
from outputs import OutputCase, cases_of, names_in, reported

pytestmark = pytest.mark.robustness

KEYS = ("render", "folder", "spectrogram", "train", "embed")
TWICE = -signal.SIGINT  # Ctrl-C twice in short succession
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, TWICE)
INTERRUPTED = "Interrupted. "


@dataclass(frozen=True)
class Undisturbed:
    case: OutputCase
    output: Path
    seconds: float
    max_progress: int


@pytest.fixture(scope="module")
def undisturbed(fork_server, output_cases, tmp_path_factory):
    """undisturbed("train"): each output of a command that is not disturbed."""
    outputs: dict[str, list[Undisturbed]] = {}

    def run(case: OutputCase) -> Undisturbed:
        output = tmp_path_factory.mktemp("complete") / case.name
        times = []
        for more in ([], ["--overwrite"]):
            result = fork_server.run(*case.command(output, *more))
            assert result.status == 0, result
            times.append(result.seconds)
        return Undisturbed(case, output, min(times), case.progress(output))

    def of(key: str) -> list[Undisturbed]:
        if key not in outputs:
            outputs[key] = [run(case) for case in cases_of(output_cases, key)]
        return outputs[key]

    return of


def wait_for_moment(
    command: ForkedCommand, complete: Undisturbed, output: Path, rng: np.random.Generator
) -> None:
    """Wait for a random time, or until just after the output has reached a random progress."""
    if complete.max_progress > 1 and rng.random() < 0.6:
        progress = int(rng.integers(1, complete.max_progress + 1))
        command.wait_for(lambda: complete.case.progress(output) >= progress)
        time.sleep(rng.random() * 0.004)
    else:
        time.sleep(rng.random() * complete.seconds)


def check_end(result: CommandResult, number: int) -> str:
    """Check how a command ended: killed, interrupted, or complete before the signal."""
    if result.status == 0:
        return "complete"
    if result.status == -abs(number) and (number == signal.SIGKILL or not result.stderr):
        return "killed"  # by another signal than SIGKILL only before the command has started
    expected = 128 + abs(number)
    assert result.status == expected or (number == TWICE and result.status == -signal.SIGINT), (
        result
    )
    assert INTERRUPTED in result.last_line, result
    return "interrupted"


@pytest.mark.parametrize("key", KEYS)
def test_no_reported_progress_is_lost_at_any_moment(
    fork_server, undisturbed, amount, figure, tmp_path, key
):
    rng = np.random.default_rng([2026, KEYS.index(key)])
    complete_outputs = undisturbed(key)
    counts: dict[str, int] = {}
    start = time.monotonic()
    for moment in range(amount(3, 50)):
        complete, number = (
            complete_outputs[moment % len(complete_outputs)],
            SIGNALS[moment % len(SIGNALS)],
        )
        output = tmp_path / str(moment) / complete.case.name
        output.parent.mkdir()
        command = fork_server.start(*complete.case.command(output))
        wait_for_moment(command, complete, output, rng)
        command.send(abs(number))
        if number == TWICE:
            time.sleep(rng.random() * 0.02)
            command.send(signal.SIGINT)
        result = command.wait()
        end = check_end(result, number)
        signal_name = signal.Signals(abs(number)).name + (" twice" if number == TWICE else "")
        counts[f"{signal_name} {end}"] = counts.get(f"{signal_name} {end}", 0) + 1
        assert command.leftover_processes() == []
        if end == "complete":
            assert complete.case.contents(output) == complete.case.contents(complete.output)
        complete.case.check(output, complete.output, reported(result.stderr))
        if output.exists() and not complete.case.can_resume:
            continue  # complete, as checked above
        resumed = fork_server.run(*complete.case.resume_command(output))
        assert resumed.status == 0, resumed
        assert complete.case.contents(output) == complete.case.contents(complete.output)
        assert names_in(output.parent) - names_below(output) == {output.name}, "files are left over"
    figure(f"{key}: moments, by signal and end", dict(sorted(counts.items())))
    figure(f"{key}: seconds", round(time.monotonic() - start, 1))


def names_below(output: Path) -> set[str]:
    """Return the paths inside an output folder; their contents are compared elsewhere."""
    return {f"{output.name}/{name}" for name in names_in(output)} if output.is_dir() else set()


# --- two commands on one output -------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_two_commands_on_one_output_refuse_each_other(fork_server, undisturbed, tmp_path, key):
    """The first is stopped in the middle of its work; the second ends with any options."""
    for complete in undisturbed(key):
        output = tmp_path / complete.case.key / complete.case.name
        command = fork_server.start(*complete.case.command(output))
        is_folder = key in ("folder", "train")
        lock = output / ".lock" if is_folder else output.parent / f".{output.name}.lock"
        command.wait_for(lock.exists)
        assert not command.result()
        time.sleep(0.03)
        command.send(signal.SIGSTOP)
        for more in ([], ["--overwrite"], *([["--resume"]] if complete.case.can_resume else [])):
            second = fork_server.run(*complete.case.command(output, *more))
            assert second.status == 1
            assert f"by another process (process ID {command.pid})" in second.error
        command.send(signal.SIGCONT)
        assert command.wait().status == 0
        assert complete.case.contents(output) == complete.case.contents(complete.output)
        assert names_in(output.parent) - names_below(output) == {output.name}


@pytest.mark.parametrize("key", KEYS)
def test_two_commands_at_once_never_mix(fork_server, undisturbed, amount, figure, tmp_path, key):
    """Both start at almost the same time, so either may be first. Also with --overwrite."""
    rng = np.random.default_rng([7, KEYS.index(key)])
    complete_outputs, n_refused = undisturbed(key), 0
    for race in range(amount(1, 12)):
        complete = complete_outputs[race % len(complete_outputs)]
        output = tmp_path / str(race) / complete.case.name
        more = ["--overwrite"] if race % 2 else []
        commands = [fork_server.start(*complete.case.command(output, *more))]
        time.sleep(rng.random() * complete.seconds * rng.choice([0.1, 1.0]))
        commands.append(fork_server.start(*complete.case.command(output, *more)))
        results = [command.wait() for command in commands]
        for result in results:
            if result.status:
                n_refused += 1
                assert re.search(
                    "being written by another|exists already|holds|contains a run", result.error
                )
        assert any(result.status == 0 for result in results)
        assert complete.case.contents(output) == complete.case.contents(complete.output)
        assert names_in(output.parent) - names_below(output) == {output.name}
    figure(f"{key}: refused, of two at once", n_refused)


# --- the real program, with worker processes --------------------------------------------------


def test_a_killed_render_leaves_no_workers(undisturbed, amount, figure, tmp_path):
    """The signal reaches only the parent: workers must notice its end themselves."""
    rng = np.random.default_rng(19)
    (complete,) = undisturbed("render")
    arguments = [*complete.case.arguments]
    arguments[arguments.index("--workers") + 1] = "2"
    case, n_in_time = replace(complete.case, arguments=tuple(arguments)), 0
    python = (sys.executable, "-m", "dafxtool")
    for moment in range(amount(1, 8)):
        number = (signal.SIGKILL, signal.SIGTERM)[moment % 2]
        output = tmp_path / str(moment) / case.name
        process = subprocess.Popen(
            [*python, *case.command(output, "-q")], start_new_session=True, stderr=subprocess.PIPE
        )
        progress = int(rng.integers(1, complete.max_progress // 2))
        deadline = time.monotonic() + 60
        while case.progress(output) < progress and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        n_in_time += process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=60)
        assert leftover_processes(process.pid, 10.0) == []
        case.check(output, complete.output, 0)
        resumed = subprocess.run([*python, *case.resume_command(output), "-q"], capture_output=True)
        assert resumed.returncode == 0, resumed.stderr
        assert output.read_bytes() == complete.output.read_bytes()
        assert names_in(output.parent) == {output.name}
    figure(f"renders with workers that were killed, of {amount(1, 8)}", n_in_time)
