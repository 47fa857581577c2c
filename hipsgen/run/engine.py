"""Where blocks are worked on: anything that is a concurrent.futures.Executor.

The driver keeps a bounded number of blocks in flight and takes results as they come, in any order.
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
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@contextmanager
def open_engine(name: str, workers: int) -> Iterator[Executor]:
    """An executor: threads or processes of this machine, a local Dask cluster, or tcp://address.

    Raises ConfigError for another name, MissingExtraError when Dask is not installed.
    """
    if name == "threads":
        with _threads(workers) as threads:
            yield threads
    elif name == "processes":
        # spawn: a fork would copy locks that threads of this process hold
        context = multiprocessing.get_context("spawn")
        processes = ProcessPoolExecutor(workers, context, _begin_worker)
        try:
            yield processes
        except BaseException:  # what they are at is of no use: they go with this process
            processes.shutdown(wait=False, cancel_futures=True)
            raise
        processes.shutdown()
    elif name == "dask" or name.startswith("tcp://"):
        with _dask_client(name, workers) as client:
            yield client.get_executor(pure=False)
    else:
        known = ", ".join(ENGINES)
        raise ConfigError(f"{{engine}} {name!r} is none of: {known}, or a Dask address tcp://...")


@contextmanager
def _threads(workers: int) -> Iterator[Executor]:
    """Threads that stop at the next tile when the body is left by an exception."""
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
    """Raise ConfigError for a Dask address at which nobody answers."""
    if name.startswith("tcp://"):
        with open_engine(name, 1):
            pass


def _begin_worker() -> None:
    """Of a process: it ends when the one that started it does, and Ctrl-C is for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def keep_freed_memory() -> None:
    """Let this process keep what it frees for the next tile, where its allocator can be told so.

    glibc gives a megabyte back at once and takes it again page by page, 3 % of the work's time.
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
    """Results of work(payload) as they are ready, with a bounded number in flight.

    The first exception of a worker is raised here, after what is in flight was let go.
    """
    ready: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    waiting = iter(payloads)
    flying: set[Future[Result]] = set()

    def launch() -> None:
        for payload in waiting:
            future = executor.submit(work, payload)
            flying.add(future)
            future.add_done_callback(ready.put)
            if len(flying) >= _IN_FLIGHT * workers:
                return

    try:
        launch()
        while flying:
            future = ready.get()
            flying.discard(future)
            result = future.result()
            launch()
            yield result
    finally:
        for future in flying:
            future.cancel()


def run_in_order(
    executor: Executor,
    work: Callable[[Payload], Result],
    payloads: Iterable[Payload],
    workers: int,
) -> Iterator[Result]:
    """Results of work(payload) in the order of the payloads, with a bounded number in flight."""
    flying: deque[Future[Result]] = deque()
    try:
        for payload in payloads:
            flying.append(executor.submit(work, payload))
            if len(flying) >= _IN_FLIGHT * workers:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    finally:
        for future in flying:
            future.cancel()
