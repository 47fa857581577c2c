"""Several worker processes and their supervisor, which replaces those that die.

Not uvicorn's supervisor (0.54): it spawns, so that each worker imports everything again; it waits
without limit for workers that do not end; and its workers outlive it when it is killed.
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

PATIENCE = 1.5  # seconds for workers to end after SIGTERM
_TICK = 0.1  # seconds between checks
_SPACED = 1.0  # seconds from the start of a worker to that of its replacement

logger = logging.getLogger(__name__)


def supervise(count: int, work: Callable[[], None]) -> None:
    """Run the work in `count` processes until SIGINT or SIGTERM; replace those that die.

    The work must end soon after SIGTERM. No thread may run yet, since processes are forked.
    The supervisor holds the writing end of a pipe. When it is closed, by the supervisor as it stops
    or by the system when the supervisor is killed, the workers end.
    """
    context = multiprocessing.get_context("fork")
    watched, held = os.pipe()
    workers: dict[ForkProcess, float] = {}

    def start() -> None:
        worker = context.Process(target=_work, args=(work, watched, held))
        worker.start()
        workers[worker] = time.monotonic()

    with _signals() as asked:
        try:
            while not asked:
                ended = [worker for worker in workers if not worker.is_alive()]
                for worker in ended:
                    if time.monotonic() - workers[worker] >= _SPACED:
                        logger.warning(_exit_message(worker))
                        del workers[worker]
                while len(workers) < count:
                    start()
                wait([w.sentinel for w in workers if w not in ended], _TICK)
        finally:
            os.close(held)
            _await(list(workers))
            os.close(watched)
    # end as without a handler
    signal.raise_signal(asked[0])


def _work(work: Callable[[], None], watched: int, held: int) -> None:
    os.close(held)
    # Ctrl-C reaches all processes of a terminal; the supervisor handles it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_supervisor, args=(watched,), daemon=True).start()
    work()


def _end_with_supervisor(watched: int) -> None:
    os.read(watched, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _await(workers: list[ForkProcess]) -> None:
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()


def _exit_message(worker: ForkProcess) -> str:
    code = worker.exitcode or 0
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"process {worker.pid} ended ({cause}): another takes its place"


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM that have arrived so far."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _: asked.append(n)) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
