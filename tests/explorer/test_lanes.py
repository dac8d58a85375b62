"""Threads of a server: the newest request wins, streams end when nobody reads them."""

import asyncio
import threading
import time

import pytest

from dafxtool.explorer.lanes import Closed, Lane, LatestOnly, Superseded


def test_of_many_requests_the_first_and_the_last_run():
    lane, latest, ran, gate = Lane("test"), LatestOnly(), [], threading.Event()

    def work(number):
        ran.append(number)
        gate.wait(5)
        return number

    async def send():
        first = asyncio.ensure_future(latest.run(lane, lambda: work(0)))
        await asyncio.sleep(0.05)
        others = [
            asyncio.ensure_future(latest.run(lane, lambda number=number: work(number)))
            for number in range(1, 50)
        ]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    results = asyncio.run(send())
    assert ran == [0, 49]
    assert results[0] == 0 and results[-1] == 49
    assert all(isinstance(each, Superseded) for each in results[1:-1])


def test_an_error_of_the_work_is_raised_and_the_lane_continues():
    lane = Lane("test")

    async def fail():
        with pytest.raises(ValueError, match="seven"):
            await lane.run(lambda: (_ for _ in ()).throw(ValueError("seven")))
        return await lane.run(lambda: 8)

    assert asyncio.run(fail()) == 8


def test_closing_a_stream_ends_the_work():
    lane, emitted, ended = Lane("test"), [], threading.Event()

    def work(emit):
        try:
            for number in range(10_000):
                emitted.append(number)
                emit(number)
                time.sleep(0.005)
        except Closed:
            ended.set()
            raise

    async def read():
        stream = lane.stream(work)
        async for number in stream:
            if number == 3:
                break
        await stream.aclose()

    asyncio.run(read())
    assert ended.wait(5)
    assert len(emitted) < 100
