"""Limits on reads (how many run or wait, and for how long) and on memory for responses."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Result = TypeVar("Result")

_PIECE = 1 << 20  # bytes that are sent at a time
_SEND_TIMEOUT = 60.0  # seconds for a client to accept a piece


class BusyError(Exception):
    """Too many requests are waiting, or one took too long; the message is one line."""


class ReadPool:
    """Thread pool with a bounded queue for blocking reads.

    what: what is read, for error messages. max_running, max_waiting: numbers of requests.
    timeout: seconds for each request. max_unsent: bytes of responses not yet sent to clients.
    """

    def __init__(
        self,
        what: str,
        max_running: int = 4,
        max_waiting: int = 32,
        timeout: float = 30.0,
        max_unsent: int = 768 << 20,
    ) -> None:
        self._what = what
        self._max_running = max_running
        self._pool = ThreadPoolExecutor(max_running, thread_name_prefix="hipsgen-read")
        self._slots = threading.BoundedSemaphore(max_running + max_waiting)
        self._timeout = timeout
        self._available = max_unsent

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Return the result of a blocking function. Raises BusyError.

        A function that times out keeps its slot until it ends, so that no more than `max_running`
        run at any time.
        """
        (result,) = await self.run_all(work, [args])
        return result

    async def run_all(
        self, work: Callable[..., Result], calls: Sequence[tuple[Any, ...]]
    ) -> list[Result]:
        """Return the results of a blocking function for several tuples of arguments; see `run`.

        Together the calls occupy one slot and share one timeout. They run concurrently, but at most
        `max_running` of them are queued ahead of other requests' calls.
        """
        if not self._slots.acquire(blocking=False):
            raise BusyError(f"too many requests for {self._what}s at once: try again")
        concurrent = asyncio.Semaphore(self._max_running)

        async def one(args: tuple[Any, ...], slot: _Slot) -> Result:
            async with concurrent:
                future = self._pool.submit(work, *args)
                slot.hold_for(future)
                return await asyncio.wrap_future(future)

        with _Slot(self._slots.release) as slot:
            tasks = [asyncio.create_task(one(args, slot)) for args in calls]
            try:
                return await asyncio.wait_for(asyncio.gather(*tasks), self._timeout)
            except TimeoutError:
                raise BusyError(
                    f"the {self._what} could not be read within {self._timeout:g} s:"
                    " try a smaller region"
                ) from None
            finally:
                # start no more calls for a request that has ended
                for task in tasks:
                    task.cancel()

    async def run_response(self, make: Callable[..., bytes], *args: Any) -> "MeteredResponse":
        """Return a response with the bytes of a function (see `run`), limited by `max_unsent`."""
        body = await self.run(make, *args)
        if len(body) > self._available:
            raise BusyError("too many large responses are being sent: try again")
        self._available -= len(body)
        return MeteredResponse(body, self._release)

    def _release(self, size: int) -> None:
        self._available += size


class _Slot:
    """A slot of the queue, released when its request and all calls started for it have ended."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._holders = 1
        self._lock = threading.Lock()

    def __enter__(self) -> "_Slot":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def hold_for(self, future: Future[Any]) -> None:
        """Hold the slot until this call has ended, too."""
        with self._lock:
            self._holders += 1
        future.add_done_callback(lambda _: self._drop())

    def _drop(self) -> None:
        with self._lock:
            self._holders -= 1
            is_free = self._holders == 0
        if is_free:
            self._release()


class MeteredResponse(Response):
    """Response sent in pieces as the client accepts them; calls `done` with its size afterwards."""

    def __init__(self, body: bytes, done: Callable[[int], None]) -> None:
        super().__init__()
        self.headers["content-length"] = str(len(body))
        self._bytes, self._done = body, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces; if the client is too slow, stop: the server closes the connection."""
        size = len(self._bytes)
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            for at in range(0, size, _PIECE):
                piece, more = self._bytes[at : at + _PIECE], at + _PIECE < size
                message = {"type": "http.response.body", "body": piece, "more_body": more}
                await asyncio.wait_for(send(message), _SEND_TIMEOUT)
        except TimeoutError:
            return
        finally:
            self._done(size)
