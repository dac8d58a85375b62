"""Tasks in threads: order of the results, limits of torch, and errors."""

import threading

import pytest
import torch

from dafxtool.utils.threads import threads_for


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_have_the_order_of_the_tasks():
    second = threading.Event()

    def run(task):
        if task == 0:
            assert second.wait(10)  # the first task ends after the second
        if task == 1:
            second.set()
        return 10 * task

    with threads_for("cpu") as threads:
        assert threads.number == 3
        assert list(threads.map(run, range(20))) == [10 * task for task in range(20)]


def test_torch_is_limited_to_one_thread_and_restored():
    with threads_for("cpu") as threads:
        assert set(threads.map(lambda _: torch.get_num_threads(), range(12))) == {1}
    assert torch.get_num_threads() == 3


def test_at_most_ahead_tasks_are_submitted_early():
    submitted = []

    def tasks():
        for task in range(50):
            submitted.append(task)
            yield task

    with threads_for("cpu") as threads:
        results = threads.map(lambda task: task, tasks(), ahead=4)
        assert next(results) == 0
        assert len(submitted) == 5


def test_an_error_reaches_the_caller_and_cancels_the_other_tasks():
    done = []

    def run(task):
        if task == 2:
            raise ValueError("two")
        done.append(task)

    with pytest.raises(ValueError, match="two"), threads_for("cpu") as threads:
        list(threads.map(run, range(1000)))
    assert len(done) < 100
    assert torch.get_num_threads() == 3
