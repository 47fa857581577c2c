"""Several worker processes and their supervisor, which replaces those that die.

uvicorn's own supervisor (0.54) is not used: it spawns workers, so that each of them imports
everything again; it waits without limit for workers that do not exit; and its workers keep running
when it is killed.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess

STOP_TIMEOUT = 1.5  # seconds for workers to end after SIGTERM
_POLL_INTERVAL = 0.1  # seconds between checks
_RESTART_INTERVAL = 1.0  # minimum seconds from the start of a worker to that of its replacement

logger = logging.getLogger(__name__)


def supervise(count: int, work: Callable[[], None]) -> None:
    """Run the work in `count` processes until SIGINT or SIGTERM; replace those that die.

    The work must end soon after SIGTERM. No thread may be running yet, since processes are forked.
    The supervisor holds the write end of a pipe. When it is closed, by the supervisor as it stops
    or by the system when the supervisor is killed, the workers exit.
    """
    context = multiprocessing.get_context("fork")
    read_end, write_end = os.pipe()
    workers: dict[ForkProcess, float] = {}

    def start() -> None:
        worker = context.Process(target=_work, args=(work, read_end, write_end))
        worker.start()
        workers[worker] = time.monotonic()

    with _received_signals() as received:
        try:
            while not received:
                ended = [worker for worker in workers if not worker.is_alive()]
                for worker in ended:
                    if time.monotonic() - workers[worker] >= _RESTART_INTERVAL:
                        logger.warning(_exit_message(worker))
                        del workers[worker]
                while len(workers) < count:
                    start()
                wait([w.sentinel for w in workers if w not in ended], _POLL_INTERVAL)
        finally:
            os.close(write_end)
            _await(list(workers))
            os.close(read_end)
    # terminate by the signal, as without a handler
    signal.raise_signal(received[0])


def _work(work: Callable[[], None], read_end: int, write_end: int) -> None:
    os.close(write_end)
    # Ctrl-C reaches all processes of a terminal; the supervisor handles it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_supervisor, args=(read_end,), daemon=True).start()
    work()


def _end_with_supervisor(read_end: int) -> None:
    os.read(read_end, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _await(workers: list[ForkProcess]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()


def _exit_message(worker: ForkProcess) -> str:
    code = worker.exitcode or 0
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"process {worker.pid} ended ({cause}): starting a replacement"


@contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Collect the numbers of SIGINT and SIGTERM that arrive, without acting on them."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _: received.append(n)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
