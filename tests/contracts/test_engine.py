"""The contract of all engines: threads, processes and a local Dask cluster."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import pytest

from hipsgen.errors import ConfigError
from hipsgen.run.engine import open_engine, run_bounded

WORKERS = 2
BOUND = 2 * WORKERS  # in flight


def square(number: int) -> tuple[int, int]:
    return number, number * number


def slow_for_even(number: int) -> int:
    time.sleep(0.05 if number % 2 == 0 else 0.0)
    return number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError(f"no work for {number}")
    return number


def die(number: int) -> int:
    os._exit(3)


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


@pytest.fixture(scope="module", params=["threads", "processes", "dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "dask":
        pytest.importorskip("distributed", reason="needs the extra dask")
    with open_engine(request.param, WORKERS) as opened:
        yield opened


class Counted:
    """Payloads that count how many were taken."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken += 1
            yield number


class Watched:
    """An executor that records its futures."""

    def __init__(self, inner: Executor) -> None:
        self.inner, self.futures = inner, []

    def submit(self, *args: Any) -> Future[Any]:
        self.futures.append(self.inner.submit(*args))
        return self.futures[-1]


def test_results_are_those_of_a_plain_loop(executor: Executor):
    found = list(run_bounded(executor, square, range(50), WORKERS))
    assert sorted(found) == [square(n) for n in range(50)]


def test_no_work_gives_no_result(executor: Executor):
    assert list(run_bounded(executor, square, [], WORKERS)) == []


def test_results_may_come_in_any_order(executor: Executor):
    found = list(run_bounded(executor, slow_for_even, range(12), WORKERS))
    assert sorted(found) == list(range(12))


def test_the_number_of_payloads_in_flight_is_bounded(executor: Executor):
    payloads = Counted(40)
    got = 0
    for _ in run_bounded(executor, square, payloads, WORKERS):
        got += 1
        # got - 1 of the payloads taken were finished before the last one was submitted
        assert payloads.taken - got <= BOUND
    assert got == payloads.taken == 40


def test_the_workers_are_kept_busy(executor: Executor):
    payloads = Counted(40)
    results = run_bounded(executor, slow_for_even, payloads, WORKERS)
    next(results)
    assert payloads.taken >= BOUND
    results.close()


def test_an_exception_of_a_worker_is_raised_and_stops_the_rest(executor: Executor):
    payloads = Counted(1000)
    with pytest.raises(ValueError, match="no work for 3"):
        list(run_bounded(executor, fail_at_three, payloads, WORKERS))
    assert payloads.taken < 100
    assert list(run_bounded(executor, square, [7], WORKERS)) == [(7, 49)]


def test_closing_early_submits_no_more(executor: Executor):
    payloads, watched = Counted(1000), Watched(executor)
    results = run_bounded(watched, slow, payloads, WORKERS)  # type: ignore[arg-type]
    next(results)
    results.close()
    assert payloads.taken <= BOUND + 1
    assert len(watched.futures) == payloads.taken
    deadline = time.monotonic() + 20
    while not all(f.done() for f in watched.futures) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(f.done() for f in watched.futures)
    assert len(watched.futures) == payloads.taken <= BOUND + 1
    assert list(run_bounded(executor, square, [7], WORKERS)) == [(7, 49)]


class Idle(Executor):
    """Starts the first task and no other."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(Future())
        if len(self.futures) == 1:
            try:
                self.futures[0].set_result(work(*args))
            except ValueError as error:
                self.futures[0].set_exception(error)
        return self.futures[-1]


def test_closing_early_and_failing_cancel_waiting_tasks():
    idle = Idle()
    results = run_bounded(idle, square, range(100), WORKERS)
    next(results)
    results.close()
    assert [f.cancelled() for f in idle.futures] == [False] + [True] * BOUND
    idle = Idle()
    with pytest.raises(ValueError, match="no work for 3"):
        list(run_bounded(idle, fail_at_three, [3, 4, 5], WORKERS))
    assert [f.cancelled() for f in idle.futures] == [False, True, True]


def test_a_worker_that_dies_raises_an_error():
    from concurrent.futures.process import BrokenProcessPool

    with open_engine("processes", 1) as processes, pytest.raises(BrokenProcessPool):
        list(run_bounded(processes, die, range(3), 1))


def test_dask_runs_next_to_another_dask():
    """The scheduler uses no fixed port; otherwise a second one would warn that 8787 is in use."""
    pytest.importorskip("distributed", reason="needs the extra dask")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another Dask on this machine serves the purpose as well
            other.bind(("", 8787))
            other.listen()
        with open_engine("dask", 1) as dask:
            assert list(run_bounded(dask, square, [7], 1)) == [(7, 49)]
            port = dask._client.cluster.scheduler.http_server.port
    assert port != 8787


@pytest.mark.parametrize("name", ["mpi", "", "tcp:/x"])
def test_an_unknown_engine_is_rejected_with_a_list_of_engines(name: str):
    with pytest.raises(ConfigError, match="threads, processes, dask"), open_engine(name, 1):
        pass
