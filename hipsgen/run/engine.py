"""Engines that render blocks: threads, processes or Dask, as a concurrent.futures.Executor.

A bounded number of tasks is in flight at any time.
"""

import ctypes
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from hipsgen.errors import ConfigError, MissingExtraError
from hipsgen.run import interrupt

Payload = TypeVar("Payload")
Result = TypeVar("Result")

ENGINES = ("threads", "processes", "dask")
_IN_FLIGHT = 2  # blocks per worker
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as in malloc.h of glibc


@contextmanager
def open_engine(name: str, workers: int) -> Iterator[Executor]:
    """Open an executor, and shut it down at the end of the `with` block.

    Parameters
    ----------
    name : str
        One of `ENGINES`, or the address of a Dask scheduler (``tcp://HOST:PORT``).
    workers : int
        Number of threads or processes.

    Raises
    ------
    ConfigError
        When the name is unknown, or the scheduler cannot be reached.
    MissingExtraError
        When Dask is not installed.
    """
    if name == "threads":
        with _threads(workers) as threads:
            yield threads
    elif name == "processes":
        # spawn: a fork would copy locks that other threads of this process hold
        context = multiprocessing.get_context("spawn")
        processes = ProcessPoolExecutor(workers, context, _begin_worker)
        try:
            yield processes
        except BaseException:  # unfinished tasks are of no use: the workers end with this process
            processes.shutdown(wait=False, cancel_futures=True)
            raise
        processes.shutdown()
    elif name == "dask" or name.startswith("tcp://"):
        with _dask_client(name, workers) as client:
            yield client.get_executor(pure=False)
    else:
        known = ", ".join(ENGINES)
        raise ConfigError(f"{{engine}} {name!r} is not one of: {known}, or tcp://HOST:PORT")


@contextmanager
def _threads(workers: int) -> Iterator[Executor]:
    """Open threads that stop at the next tile if the `with` block raises an exception."""
    abandoned = threading.Event()
    pool = ThreadPoolExecutor(workers, "hipsgen", interrupt.follow, (abandoned,))
    try:
        yield pool
    except BaseException:
        abandoned.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def check_engine(name: str) -> None:
    """Raise ConfigError for the address of a Dask scheduler that cannot be reached."""
    if name.startswith("tcp://"):
        with open_engine(name, 1):
            pass


def _begin_worker() -> None:
    """Initialize a worker process: it ignores Ctrl-C and ends together with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next tile; other allocators are left alone.

    By default glibc returns blocks of a megabyte to the system immediately and gets them back page
    by page, which takes 3 % of the time of a build.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)


@contextmanager
def _dask_client(name: str, workers: int) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingExtraError("{engine} dask", "dask") from error
    if name.startswith("tcp://"):
        try:
            client = Client(name)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{{engine}} {name}: {error}; is the scheduler running?") from error
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            # without a dashboard the scheduler still serves HTTP, by default on port 8787
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def run_bounded(
    executor: Executor,
    work: Callable[[Payload], Result],
    payloads: Iterable[Payload],
    workers: int,
) -> Iterator[Result]:
    """Yield the results of ``work(payload)`` as they are ready, in any order.

    Parameters
    ----------
    executor : Executor
        From `open_engine`.
    work : callable
        Picklable function of one payload.
    payloads : iterable
        Consumed lazily, with at most two payloads for each worker in flight.
    workers : int
        Number of workers of the executor.

    Raises
    ------
    Exception
        The first exception of a worker, after the waiting tasks were canceled.
    """
    ready: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    waiting = iter(payloads)
    in_flight: set[Future[Result]] = set()

    def launch() -> None:
        for payload in waiting:
            future = executor.submit(work, payload)
            in_flight.add(future)
            future.add_done_callback(ready.put)
            if len(in_flight) >= _IN_FLIGHT * workers:
                return

    try:
        launch()
        while in_flight:
            future = ready.get()
            in_flight.discard(future)
            result = future.result()
            launch()
            yield result
    finally:
        for future in in_flight:
            future.cancel()


def run_in_order(
    executor: Executor,
    work: Callable[[Payload], Result],
    payloads: Iterable[Payload],
    workers: int,
) -> Iterator[Result]:
    """Yield the results of ``work(payload)`` in the order of the payloads; see `run_bounded`."""
    in_flight: deque[Future[Result]] = deque()
    try:
        for payload in payloads:
            in_flight.append(executor.submit(work, payload))
            if len(in_flight) >= _IN_FLIGHT * workers:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()
    finally:
        for future in in_flight:
            future.cancel()
