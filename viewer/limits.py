"""What reads coadds is done a few at a time, with few waiting, and nobody waits for long."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class BusyError(Exception):
    """Too many wait already, or it took too long; says so in one line."""


class Desk:
    """at_once: how many are served; waiting: how many may stand in line; seconds: for each."""

    def __init__(self, at_once: int = 4, waiting: int = 32, seconds: float = 30.0) -> None:
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="hipsgen-read")
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._seconds = seconds

    async def do(self, work: Callable[..., Answer], *words: Any) -> Answer:
        """The answer of a function that blocks. Raises BusyError.

        One that takes too long keeps its place until it ends, so that no more than `at_once` run.
        """
        if not self._room.acquire(blocking=False):
            raise BusyError("too many requests for coadds at once: try again")
        future = self._pool.submit(work, *words)
        future.add_done_callback(lambda _: self._room.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            future.cancel()
            raise BusyError(
                f"the coadd could not be read within {self._seconds:g} s: try a smaller region"
            ) from None
