"""Commands that are killed or interrupted at seeded moments lose nothing that they told of."""

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
from forked_commands import Child, Ended, left_behind
from outputs import Writing, chosen, names_in, reported

pytestmark = pytest.mark.torture

KEYS = ("render", "folder", "spectrogram", "train", "embed")
TWICE = -signal.SIGINT  # Ctrl-C, and again by somebody who does not wait
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, TWICE)
TOLD = "interrupted: the same command with --resume|interrupted: nothing half-written was kept"


@dataclass(frozen=True)
class Undisturbed:
    writing: Writing
    output: Path
    seconds: float
    most: int  # of what `reached` tells


@pytest.fixture(scope="module")
def undisturbed(nursery, writings, tmp_path_factory):
    """undisturbed("train"): each output of the command as it is when nothing happens."""
    made: dict[str, list[Undisturbed]] = {}

    def run(writing: Writing) -> Undisturbed:
        output = tmp_path_factory.mktemp("whole") / writing.name
        times = []
        for more in ([], ["--overwrite"]):
            ended = nursery.run(*writing.words(output, *more))
            assert ended.status == 0, ended
            times.append(ended.seconds)
        return Undisturbed(writing, output, min(times), writing.reached(output))

    def of(key: str) -> list[Undisturbed]:
        if key not in made:
            made[key] = [run(writing) for writing in chosen(writings, key)]
        return made[key]

    return of


def wait_until(child: Child, whole: Undisturbed, output: Path, rng: np.random.Generator) -> None:
    """One of two kinds of moments: by the clock, or a hair after the output has grown so far."""
    if whole.most > 1 and rng.random() < 0.6:
        wanted = int(rng.integers(1, whole.most + 1))
        child.wait_for(lambda: whole.writing.reached(output) >= wanted)
        time.sleep(rng.random() * 0.004)
    else:
        time.sleep(rng.random() * whole.seconds)


def check_end(ended: Ended, number: int) -> str:
    """What became of it: killed, interrupted, or complete before the signal came."""
    if ended.status == 0:
        return "complete"
    if ended.status == -abs(number) and (number == signal.SIGKILL or not ended.stderr):
        return "killed"  # by a gentle signal only before the command has begun
    assert ended.status == 1 or (number == TWICE and ended.status == -signal.SIGINT), ended
    assert re.match(TOLD, ended.sentence), ended
    return "interrupted"


@pytest.mark.parametrize("key", KEYS)
def test_nothing_is_lost_at_any_moment(nursery, undisturbed, amount, figure, tmp_path, key):
    rng = np.random.default_rng([2026, KEYS.index(key)])
    wholes = undisturbed(key)
    ways: dict[str, int] = {}
    began = time.monotonic()
    for moment in range(amount(3, 50)):
        whole, number = wholes[moment % len(wholes)], SIGNALS[moment % len(SIGNALS)]
        output = tmp_path / str(moment) / whole.writing.name
        output.parent.mkdir()
        child = nursery.start(*whole.writing.words(output))
        wait_until(child, whole, output, rng)
        child.send(abs(number))
        if number == TWICE:
            time.sleep(rng.random() * 0.02)
            child.send(signal.SIGINT)
        ended = child.wait()
        way = check_end(ended, number)
        named = signal.Signals(abs(number)).name + (" twice" if number == TWICE else "")
        ways[f"{named} {way}"] = ways.get(f"{named} {way}", 0) + 1
        assert child.left_behind() == []
        if way == "complete":
            assert whole.writing.contents(output) == whole.writing.contents(whole.output)
        whole.writing.check(output, whole.output, reported(ended.stderr))
        if output.exists() and not whole.writing.resumes:
            continue  # whole, as was seen, and nothing is left to do
        again = nursery.run(*whole.writing.again(output))
        assert again.status == 0, again
        assert whole.writing.contents(output) == whole.writing.contents(whole.output)
        assert names_in(output.parent) - below(output) == {output.name}, "something is left over"
    figure(f"{key}: moments, by signal and end", dict(sorted(ways.items())))
    figure(f"{key}: seconds", round(time.monotonic() - began, 1))


def below(output: Path) -> set[str]:
    """What is inside of an output that is a folder; its contents were compared already."""
    return {f"{output.name}/{name}" for name in names_in(output)} if output.is_dir() else set()


# --- two commands on one output -------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_two_commands_on_one_output_refuse_each_other(nursery, undisturbed, tmp_path, key):
    """The first is held in the middle of its work; whatever the second is told, it stays away."""
    for whole in undisturbed(key):
        output = tmp_path / whole.writing.key / whole.writing.name
        child = nursery.start(*whole.writing.words(output))
        inside = key in ("folder", "train")
        lock = output / ".lock" if inside else output.parent / f".{output.name}.lock"
        child.wait_for(lock.exists)
        assert not child.ended()
        time.sleep(0.03)
        child.send(signal.SIGSTOP)
        for more in ([], ["--overwrite"], *([["--resume"]] if whole.writing.resumes else [])):
            second = nursery.run(*whole.writing.words(output, *more))
            assert second.status == 1
            assert f"by another process (process ID {child.pid})" in second.sentence
        child.send(signal.SIGCONT)
        assert child.wait().status == 0
        assert whole.writing.contents(output) == whole.writing.contents(whole.output)
        assert names_in(output.parent) - below(output) == {output.name}


@pytest.mark.parametrize("key", KEYS)
def test_two_commands_at_once_never_mix(nursery, undisturbed, amount, figure, tmp_path, key):
    """Started so shortly one after the other that either may be first, also to replace it."""
    rng = np.random.default_rng([7, KEYS.index(key)])
    wholes, refused = undisturbed(key), 0
    for race in range(amount(1, 12)):
        whole = wholes[race % len(wholes)]
        output = tmp_path / str(race) / whole.writing.name
        more = ["--overwrite"] if race % 2 else []
        children = [nursery.start(*whole.writing.words(output, *more))]
        time.sleep(rng.random() * whole.seconds * rng.choice([0.1, 1.0]))
        children.append(nursery.start(*whole.writing.words(output, *more)))
        ended = [child.wait() for child in children]
        for each in ended:
            if each.status:
                refused += 1
                assert re.search("being written by another|exists already|holds", each.sentence)
        assert any(each.status == 0 for each in ended)
        assert whole.writing.contents(output) == whole.writing.contents(whole.output)
        assert names_in(output.parent) - below(output) == {output.name}
    figure(f"{key}: of two at once, refused", refused)


# --- the real program, with processes of its own --------------------------------------------------


def test_a_killed_render_leaves_no_workers(undisturbed, amount, figure, tmp_path):
    """The signal reaches the parent alone: workers have to find out by themselves."""
    rng = np.random.default_rng(19)
    (whole,) = undisturbed("render")
    arguments = [*whole.writing.arguments]
    arguments[arguments.index("--workers") + 1] = "2"
    writing, in_time = replace(whole.writing, arguments=tuple(arguments)), 0
    python = (sys.executable, "-m", "dafxtool")
    for moment in range(amount(1, 8)):
        number = (signal.SIGKILL, signal.SIGTERM)[moment % 2]
        output = tmp_path / str(moment) / writing.name
        process = subprocess.Popen(
            [*python, *writing.words(output, "-q")], start_new_session=True, stderr=subprocess.PIPE
        )
        wanted, until = int(rng.integers(1, whole.most // 2)), time.monotonic() + 60
        while writing.reached(output) < wanted and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.002)
        in_time += process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=60)
        assert left_behind(process.pid, 10.0) == []
        writing.check(output, whole.output, 0)
        again = subprocess.run([*python, *writing.again(output), "-q"], capture_output=True)
        assert again.returncode == 0, again.stderr
        assert output.read_bytes() == whole.output.read_bytes()
        assert names_in(output.parent) == {output.name}
    figure(f"renders with workers that were killed, of {amount(1, 8)}", in_time)
