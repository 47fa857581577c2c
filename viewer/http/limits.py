"""What reads coadds is done a few at a time, with few waiting, and nobody waits for long."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Answer = TypeVar("Answer")

_PIECE = 1 << 20
_SLOWEST = 60.0  # seconds for a piece


class BusyError(Exception):
    """Too many wait already, or it took too long; says so in one line."""


class ReadPool:
    """what: is read there, at_once of them; waiting: how many may stand in line.

    seconds: for each; room: bytes of answers that clients have not taken yet.
    """

    def __init__(
        self,
        what: str,
        at_once: int = 4,
        waiting: int = 32,
        seconds: float = 30.0,
        room: int = 768 << 20,
    ) -> None:
        self._what = what
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="hipsgen-read")
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._seconds = seconds
        self._left = room

    async def run(self, work: Callable[..., Answer], *words: Any) -> Answer:
        """The answer of a function that blocks. Raises BusyError.

        One that takes too long keeps its place until it ends, so that no more than `at_once` run.
        """
        (answer,) = await self.run_all(work, [words])
        return answer

    async def run_all(
        self, work: Callable[..., Answer], several: Sequence[tuple[Any, ...]]
    ) -> list[Answer]:
        """The answers of a function that blocks, for several arguments; see `run`.

        Together they take one place in line and have `seconds`. They run at the same time, but
        never more than `at_once` of them stand before the work of others.
        """
        if not self._room.acquire(blocking=False):
            raise BusyError(f"too many requests for {self._what}s at once: try again")
        turns = asyncio.Semaphore(self._at_once)

        async def one(words: tuple[Any, ...], place: _Place) -> Answer:
            async with turns:
                future = self._pool.submit(work, *words)
                place.take(future)
                return await asyncio.wrap_future(future)

        with _Place(self._room.release) as place:
            tasks = [asyncio.create_task(one(words, place)) for words in several]
            try:
                return await asyncio.wait_for(asyncio.gather(*tasks), self._seconds)
            except TimeoutError:
                raise BusyError(
                    f"the {self._what} could not be read within {self._seconds:g} s:"
                    " try a smaller region"
                ) from None
            finally:
                # nothing more is begun for a request that has ended
                for task in tasks:
                    task.cancel()

    async def run_response(self, make: Callable[..., bytes], *words: Any) -> "MeteredResponse":
        """The bytes that a function makes, to be sent; see `run`. They take room until then."""
        body = await self.run(make, *words)
        if len(body) > self._left:
            raise BusyError("too many large answers are on their way: try again")
        self._left -= len(body)
        return MeteredResponse(body, self._give_back)

    def _give_back(self, size: int) -> None:
        self._left += size


class _Place:
    """A place in line, given back when its request has ended and all work that was begun for it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self._holders = 1
        self._lock = threading.Lock()

    def __enter__(self) -> "_Place":
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def take(self, future: Future[Any]) -> None:
        """Hold the place until this work has ended, too."""
        with self._lock:
            self._holders += 1
        future.add_done_callback(lambda _: self._let_go())

    def _let_go(self) -> None:
        with self._lock:
            self._holders -= 1
            is_free = self._holders == 0
        if is_free:
            self._give_back()


class MeteredResponse(Response):
    """Bytes that go out piece by piece, as the client takes them. done: told their number then."""

    def __init__(self, body: bytes, done: Callable[[int], None]) -> None:
        super().__init__()
        self.headers["content-length"] = str(len(body))
        self._bytes, self._done = body, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; one who takes it too slowly is left, and the server breaks off."""
        size = len(self._bytes)
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            for at in range(0, size, _PIECE):
                piece, more = self._bytes[at : at + _PIECE], at + _PIECE < size
                message = {"type": "http.response.body", "body": piece, "more_body": more}
                await asyncio.wait_for(send(message), _SLOWEST)
        except TimeoutError:
            return
        finally:
            self._done(size)
