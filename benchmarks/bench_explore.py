"""Measure the explorer: from a moved slider to the answer, for a segment of 2.73 s.

    python benchmarks/bench_explore.py                 # an untrained model of the preset small
    python benchmarks/bench_explore.py --run runs/small-1

One request renders the setting and analyses both sides: it is what is heard and seen. A second one
embeds the pair and places it on the map. Both are sent as the page sends them, one after the other,
and timed from sending to the decoded answer. Each value is another setting, so nothing is answered
from memory. Checked first: the wet audio has the bits of `dafxtool.apply_effect`.
"""

from __future__ import annotations

import http.client
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import check, options, print_header

import dafxtool
from dafxtool.api.explore import serve
from dafxtool.config import Configuration
from dafxtool.explorer.messages import unpack
from dafxtool.explorer.server import PageServer
from dafxtool.models.factory import build_model
from dafxtool.models.run import Run
from dafxtool.presets import PRESETS

EFFECTS = ("gain", "overdrive", "delay", "reverb", "pitch-shift", "overdrive > delay")


class Page:
    """Sends requests as one tab."""

    def __init__(self, server: PageServer) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port)
        cookie = f"dafxtool-{server.port}={server.url.partition('token=')[2]}"
        self.headers = {"Cookie": cookie, "X-Session": "benchmark0"}

    def ask(self, path: str, body: dict[str, Any]) -> tuple[bytes, float]:
        """Return an answer, and the time in ms until it is there."""
        started = time.perf_counter()
        self.connection.request("POST", path, json.dumps(body), self.headers)
        content = self.connection.getresponse().read()
        return content, 1000 * (time.perf_counter() - started)


def main() -> None:
    parser = options(__doc__, rounds=15, recordings=False)
    parser.add_argument("--run", type=Path, help="run folder; by default an untrained model")
    chosen = parser.parse_args()
    print_header("explore", "torch", "starlette")
    run = chosen.run or untrained(PRESETS["small"])
    with tempfile.TemporaryDirectory(), serve(run=run, device="cpu") as server:
        page = Page(server)
        page.ask("/map", {})
        print(f"{'effect':20} {'heard, ms':>12} {'placed, ms':>12} {'both, ms':>10} {'CPU, ms':>9}")
        for effect in EFFECTS:
            measure(page, effect, chosen.rounds)


def measure(page: Page, effect: str, rounds: int) -> None:
    """Move the first parameter of an effect, and print the medians."""
    described = unpack(page.ask("/effect", {"effect": effect})[0])[0]["effect"]
    first = described["parameters"][0]
    body = {"recording": "built-in-0", "start": 0, "effect": effect}
    times, started = [], None
    for position in np.linspace(0.1, 0.9, rounds + 2):
        value = first["minimum"] + (first["maximum"] - first["minimum"]) * float(position)
        body["setting"] = {first["name"]: float(np.float32(value))}
        content, audio = page.ask("/render", body)
        _, placed = page.ask("/place", body)
        times.append((audio, placed))
        if len(times) == 2:  # the first two are left out
            started = cpu_seconds()
            answer, arrays = unpack(content)
            line = answer["line"].removeprefix("--effect ").strip("'")
            wet = dafxtool.apply_effect(arrays["dry"], 24_000, line)
            check(np.array_equal(wet, arrays["wet"]), f"{effect}: other samples than apply_effect")
    assert started is not None
    cpu = 1000 * (cpu_seconds() - started) / rounds
    audio, placed = (statistics.median(column) for column in zip(*times[2:], strict=True))
    both = statistics.median(map(sum, times[2:]))
    print(f"{effect:20} {audio:12.0f} {placed:12.0f} {both:10.0f} {cpu:9.0f}")


def cpu_seconds() -> float:
    """Return the processor time of this process, which is the server, and of its children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def untrained(configuration: Configuration) -> Run:
    """Build a run with an untrained model, which is as fast as a trained one."""
    shape = (2, *configuration.spectrogram.shape)
    effects = [dafxtool.list_effects(name).effects[0].to_dict() for name in ("overdrive", "delay")]
    return Run(
        path=Path("untrained"),
        configuration=configuration,
        model=build_model(configuration.model, shape, configuration.spectrogram.exponent).eval(),
        mean=0.3,
        std=0.3,
        effects=effects,
        step=0,
        device="cpu",
        data={},
    )


if __name__ == "__main__":
    main()
