"""Check that threads of a server process only the newest request and end unread streams."""

import asyncio
import threading
import time

import pytest

from dafxtool.explorer.worker_threads import Closed, LatestOnly, Superseded, WorkerThread


def test_of_many_requests_the_first_and_the_last_run():
    thread, latest, ran, gate = WorkerThread("test"), LatestOnly(), [], threading.Event()

    def work(number):
        ran.append(number)
        gate.wait(5)
        return number

    async def send():
        first = asyncio.ensure_future(latest.run(thread, lambda: work(0)))
        await asyncio.sleep(0.05)
        others = [
            asyncio.ensure_future(latest.run(thread, lambda number=number: work(number)))
            for number in range(1, 50)
        ]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    results = asyncio.run(send())
    assert ran == [0, 49]
    assert results[0] == 0 and results[-1] == 49
    assert all(isinstance(each, Superseded) for each in results[1:-1])


def test_an_error_of_the_work_is_raised_and_the_thread_continues():
    thread = WorkerThread("test")

    async def fail():
        with pytest.raises(ValueError, match="seven"):
            await thread.run(lambda: (_ for _ in ()).throw(ValueError("seven")))
        return await thread.run(lambda: 8)

    assert asyncio.run(fail()) == 8


def test_closing_a_stream_ends_the_work():
    thread, emitted, ended = WorkerThread("test"), [], threading.Event()

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
        stream = thread.stream(work)
        async for number in stream:
            if number == 3:
                break
        await stream.aclose()

    asyncio.run(read())
    assert ended.wait(5)
    assert len(emitted) < 100
