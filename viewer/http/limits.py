"""Limits on reads (how many run or wait, and for how long) and on memory for responses.

Each client has a limited share, so that one of them cannot keep the others waiting.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from viewer.http.clients import current_client

Result = TypeVar("Result")

_PIECE = 1 << 20  # bytes that are sent at a time
_SEND_TIMEOUT = 60.0  # seconds for a client to accept a piece


class BusyError(Exception):
    """Too many requests are waiting, or one took too long; the message is one line."""


class TimedOutError(BusyError):
    """A request, or one of its calls, took too long."""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """The result of a call, or why there is none. number: of the call, from 0."""

    number: int
    result: Result | None = None
    error: str = ""


class ReadPool:
    """Thread pool with a bounded queue for blocking reads.

    what: what is read, for error messages. max_running, max_waiting: numbers of requests.
    timeout: seconds for each request. max_unsent: bytes of responses not yet sent to clients.
    max_late: number of calls that may go on after `run_each` has stopped waiting for them.

    A client has at most half of the places, all threads but one, and two thirds of the bytes.
    """

    def __init__(
        self,
        what: str,
        max_running: int = 5,
        max_waiting: int = 32,
        timeout: float = 30.0,
        max_unsent: int = 768 << 20,
        max_late: int = 16,
    ) -> None:
        self._what = what
        self._pool = ThreadPoolExecutor(max_running + max_late, thread_name_prefix="hipsgen-read")
        self._turns = threading.Semaphore(max_running)
        self._late: set[str] = set()
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
                turn = _Turn(self._turns)
                future = self._pool.submit(turn.run, work, args)
                # even if the request has ended by then
                future.add_done_callback(_Release(share.threads))
                slot.hold_for(future)
                try:
                    return await asyncio.wrap_future(future)
                finally:
                    turn.forgo()

        with _Slot(partial(self._leave, client)) as slot:
            tasks = [asyncio.create_task(one(args, slot)) for args in calls]
            try:
                return await asyncio.wait_for(asyncio.gather(*tasks), self._timeout)
            except TimeoutError:
                raise TimedOutError(
                    f"the {self._what} could not be read within {self._timeout:g} s:"
                    " try a smaller region"
                ) from None
            finally:
                # start no more calls for a request that has ended
                for task in tasks:
                    task.cancel()

    async def run_each(
        self,
        work: Callable[..., Result],
        calls: Sequence[tuple[Any, ...]],
        names: Sequence[str],
        seconds: float,
    ) -> AsyncIterator[Outcome[Result]]:
        """Iterate over the outcomes of several calls in the order in which they end; see `run_all`.

        Parameters
        ----------
        work, calls
            A blocking function and its arguments in each call.
        names
            What each call reads. While a call is late, others of the same name fail at once.
        seconds
            Time for each call from its start. A call that takes longer is late: it fails, and no
            longer counts among the calls that may run. All together have the pool's timeout.
        """
        client = current_client()
        share = self._enter(client)
        concurrent = asyncio.Semaphore(self._max_threads)

        async def one(number: int) -> Outcome[Result]:
            async with concurrent:
                if names[number] in self._late:
                    reason = f"the {self._what} is still being read for an earlier request"
                    return Outcome(number, error=f"{reason}: try again later")
                await share.threads.acquire()
                release = _Release(share.threads)
                return await self._in_time(
                    number, partial(work, *calls[number]), names[number], seconds, release
                )

        with _Slot(partial(self._leave, client)):
            tasks = [asyncio.create_task(one(number)) for number in range(len(calls))]
            missing = set(range(len(calls)))
            try:
                for ended in asyncio.as_completed(tasks, timeout=self._timeout):
                    outcome = await ended
                    missing.discard(outcome.number)
                    yield outcome
            except TimeoutError:
                for number in sorted(missing):
                    yield Outcome(number, error=self._too_slow(self._timeout))
            finally:
                for task in tasks:
                    task.cancel()

    async def _in_time(
        self,
        number: int,
        work: Callable[[], Result],
        name: str,
        seconds: float,
        release: "_Release",
    ) -> Outcome[Result]:
        """Return the outcome of a call; if it is late, let another call run in its place."""
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        turn = _Turn(self._turns, lambda: loop.call_soon_threadsafe(begun.set))
        future = self._pool.submit(turn.run, work, ())
        future.add_done_callback(release)
        result = asyncio.wrap_future(future)
        try:
            await begun.wait()
            if not (await asyncio.wait([result], timeout=seconds))[0]:
                self._late.add(name)
                future.add_done_callback(lambda _: self._late.discard(name))
                turn.end()
                release()
                return Outcome(number, error=self._too_slow(seconds))
            return Outcome(number, result.result())
        finally:
            turn.forgo()
            result.cancel()

    def _too_slow(self, seconds: float) -> str:
        return f"the {self._what} could not be read within {seconds:g} s"

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


class _Release:
    """Releases a thread of a client, once, when it is called from any thread."""

    def __init__(self, threads: asyncio.Semaphore) -> None:
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._first = threading.Lock()

    def __call__(self, _: object = None) -> None:
        if self._first.acquire(blocking=False):
            with suppress(RuntimeError):  # the server has stopped
                self._loop.call_soon_threadsafe(self._threads.release)


class _Turn:
    """The turn of a call, which at most `max_running` calls have. on_start: called when it runs."""

    def __init__(
        self, turns: threading.Semaphore, on_start: Callable[[], object] | None = None
    ) -> None:
        self._turns, self._on_start = turns, on_start
        self._lock = threading.Lock()
        self._has_turn = self._is_forgone = False

    def run(self, work: Callable[..., Result], args: tuple[Any, ...]) -> Result:
        """Wait for the turn and call the function, unless the turn has been forgone."""
        self._turns.acquire()
        self._has_turn = True
        try:
            if self._is_forgone:
                raise CancelledError
            if self._on_start is not None:
                self._on_start()
            return work(*args)
        finally:
            self.end()

    def end(self) -> None:
        """Let another call have the turn, even if this one still runs."""
        with self._lock:
            had_turn, self._has_turn = self._has_turn, False
        if had_turn:
            self._turns.release()

    def forgo(self) -> None:
        """Do not call the function if it has not been called yet."""
        self._is_forgone = True


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
