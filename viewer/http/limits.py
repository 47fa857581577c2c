"""Limits on reads (how many run or wait, and for how long) and on memory for responses.

Each client has a share of everything, so that one of them cannot keep the others waiting.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from viewer.http.clients import current_client

Result = TypeVar("Result")

_PIECE = 1 << 20  # bytes that are sent at a time
_SEND_TIMEOUT = 60.0  # seconds for a client to accept a piece


class BusyError(Exception):
    """Too many requests are waiting, or one took too long; the message is one line."""


class ReadPool:
    """Thread pool with a bounded queue for blocking reads.

    what: what is read, for error messages. max_running, max_waiting: numbers of requests.
    timeout: seconds for each request. max_unsent: bytes of responses not yet sent to clients.

    A client has at most half of the places, all threads but one, and two thirds of the bytes.
    """

    def __init__(
        self,
        what: str,
        max_running: int = 5,
        max_waiting: int = 32,
        timeout: float = 30.0,
        max_unsent: int = 768 << 20,
    ) -> None:
        self._what = what
        self._pool = ThreadPoolExecutor(max_running, thread_name_prefix="hipsgen-read")
        self._slots = threading.BoundedSemaphore(max_running + max_waiting)
        self._max_slots = (max_running + max_waiting + 1) // 2
        self._max_threads = max(1, max_running - 1)
        self._shares: dict[str, _Share] = {}
        self._lock = threading.Lock()
        self._timeout = timeout
        self._available = max_unsent
        self._max_unsent = max_unsent * 2 // 3
        self._unsent: Counter[str] = Counter()

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

        Together the calls occupy one slot and share one timeout. They run concurrently, but of each
        request only as many are queued as its client may have threads.
        """
        client = current_client()
        share = self._enter(client)
        concurrent = asyncio.Semaphore(self._max_threads)

        async def one(args: tuple[Any, ...], slot: _Slot) -> Result:
            async with concurrent:
                await share.threads.acquire()
                future = self._pool.submit(work, *args)
                # even if the request has ended by then
                loop = asyncio.get_running_loop()
                future.add_done_callback(partial(_release, share.threads, loop))
                slot.hold_for(future)
                return await asyncio.wrap_future(future)

        with _Slot(partial(self._leave, client)) as slot:
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

    def _enter(self, client: str) -> "_Share":
        """Occupy a slot for a client, and return its share. Raises BusyError."""
        with self._lock:
            share = self._shares.get(client) or _Share(asyncio.Semaphore(self._max_threads))
            if share.slots >= self._max_slots:
                raise BusyError(
                    f"too many requests for {self._what}s at once from your address: wait for"
                    " their responses"
                )
            if not self._slots.acquire(blocking=False):
                raise BusyError(f"too many requests for {self._what}s at once: try again")
            share.slots += 1
            self._shares[client] = share
            return share

    def _leave(self, client: str) -> None:
        with self._lock:
            self._shares[client].slots -= 1
            if not self._shares[client].slots:
                del self._shares[client]
        self._slots.release()

    async def run_response(self, make: Callable[..., bytes], *args: Any) -> "MeteredResponse":
        """Return a response with the bytes of a function (see `run`), limited by `max_unsent`."""
        body = await self.run(make, *args)
        client, size = current_client(), len(body)
        if size > self._available or size + self._unsent[client] > self._max_unsent:
            raise BusyError("too many large responses are being sent: try again")
        self._available -= size
        self._unsent[client] += size
        return MeteredResponse(body, partial(self._sent, client))

    def _sent(self, client: str, size: int) -> None:
        self._available += size
        self._unsent[client] -= size
        if not self._unsent[client]:
            del self._unsent[client]


@dataclass
class _Share:
    """What a client occupies: slots, and threads of the pool."""

    threads: asyncio.Semaphore
    slots: int = 0


def _release(threads: asyncio.Semaphore, loop: asyncio.AbstractEventLoop, _: object) -> None:
    """Release a thread, when called from any."""
    with suppress(RuntimeError):  # the server has stopped
        loop.call_soon_threadsafe(threads.release)


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
