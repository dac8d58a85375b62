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


def test_results_come_in_order_whatever_is_ready_first():
    second = threading.Event()

    def work(piece):
        if piece == 0:
            assert second.wait(10)  # the first piece ends after the second
        if piece == 1:
            second.set()
        return 10 * piece

    with threads_for("cpu") as threads:
        assert threads.number == 3
        assert list(threads.map(work, range(20))) == [10 * piece for piece in range(20)]


def test_torch_gives_each_thread_one_and_has_its_own_again_afterwards():
    with threads_for("cpu") as threads:
        assert set(threads.map(lambda _: torch.get_num_threads(), range(12))) == {1}
    assert torch.get_num_threads() == 3


def test_no_more_is_begun_than_was_allowed():
    taken = []

    def pieces():
        for piece in range(50):
            taken.append(piece)
            yield piece

    with threads_for("cpu") as threads:
        made = threads.map(lambda piece: piece, pieces(), ahead=4)
        assert next(made) == 0
        assert len(taken) == 5


def test_an_error_reaches_the_caller_and_ends_the_work():
    done = []

    def work(piece):
        if piece == 2:
            raise ValueError("two")
        done.append(piece)

    with pytest.raises(ValueError, match="two"), threads_for("cpu") as threads:
        list(threads.map(work, range(1000)))
    assert len(done) < 100
    assert torch.get_num_threads() == 3
