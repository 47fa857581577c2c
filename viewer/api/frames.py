"""What passes between a notebook's kernel and the pages in its frames.

The kernel's wishes for a frame are numbered. A page asks for those that it has not done yet, which
is answered when there is one, does them, and tells up to which it came and what its screen shows.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hipsgen.errors import HipsgenError
from viewer.api.responses import RefusedError, by_method, json_response, read_json_object

# seconds that a page's question waits for a wish
_HELD = 10.0
# of such questions at once; a browser has six connections to a server, for all its frames together
_MOST_HELD = 3
# seconds after which the page of one frame more asks again
_LATER = 1.0
# of a page's words: a profile has thousands of points
_MAX_BODY = 4 * 1024 * 1024


class FrameError(HipsgenError):
    """A frame has no page that could answer."""


class FrameChannel:
    """Between the kernel's thread and the server's, for one frame.

    come: seconds for a page to take a wish; done: to do it, such as to read a remote coadd.
    """

    def __init__(self, come: float = 10.0, done: float = 60.0) -> None:
        self._come = come
        self._done = done
        self._changed = threading.Condition()
        self._wishes: list[dict[str, Any]] = []
        self._taken = 0
        self._told: tuple[int, dict[str, Any]] = (0, {})
        self._wakers: set[Callable[[], object]] = set()
        self.is_closed = False

    def command(self, **words: Any) -> int:
        """Have the page change; the number of this wish. Raises FrameError when closed."""
        with self._changed:
            if self.is_closed:
                raise FrameError("this frame is closed: make another with viewer.show")
            self._wishes.append(words)
            self._wake()
            return len(self._wishes)

    def ask(self) -> dict[str, Any]:
        """What the screen shows, when all wishes are done. Raises FrameError without a page."""
        number = self.command()
        with self._changed:
            if not self._until(lambda: self._taken >= number, self._come):
                raise FrameError(
                    f"no page has asked for {self._come:g} s: show the frame first, as the last "
                    "line of a cell, and look whether the browser could load it (`proxy` of "
                    "viewer.show says how it gets here)"
                )
            if not self._until(lambda: self._told[0] >= number, self._done):
                raise FrameError(
                    f"the page is busy for {self._done:g} s: wait until it has loaded, try again"
                )
            state = self._told[1]
        if state.get("error"):
            raise FrameError(str(state["error"]))
        return state

    def close(self) -> None:
        """Nothing is asked any more; who waits is let go."""
        with self._changed:
            self.is_closed = True
            self._wake()

    def after(self, seen: int) -> tuple[int, dict[str, Any]]:
        """For the page: the last number, and all wishes since `seen` as one; later words count."""
        with self._changed:
            number = len(self._wishes)
            self._taken = max(self._taken, number)
            self._changed.notify_all()
            return number, {k: v for wish in self._wishes[seen:] for k, v in wish.items()}

    def tell(self, number: int, state: dict[str, Any]) -> None:
        """By the page: the wishes up to this number are done, and that is on the screen."""
        with self._changed:
            # of two pages of one frame the later may have done less
            if number >= self._told[0]:
                self._told = (number, state)
                self._changed.notify_all()

    async def news(self, seen: int, seconds: float) -> None:
        """Wait for a wish that was not seen, or the end; not longer than so many seconds."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        with self._changed:
            if self.is_closed or len(self._wishes) > seen:
                return
            self._wakers.add(wake)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), seconds)
        finally:
            with self._changed:
                self._wakers.discard(wake)

    def _until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        found = self._changed.wait_for(lambda: is_so() or self.is_closed, seconds)
        if self.is_closed:
            raise FrameError("this frame was closed meanwhile: make another with viewer.show")
        return found

    def _wake(self) -> None:
        self._changed.notify_all()
        for wake in self._wakers:
            wake()


class Frames:
    """The frames of a server, and what their pages ask under /api/frames."""

    def __init__(self) -> None:
        self._channels: dict[str, FrameChannel] = {}
        self._held = 0

    def routes(self) -> list[Route]:
        """One for each frame: GET asks for wishes, POST tells of the screen."""
        path = "/api/frames/{name:str}"
        return [by_method(path, GET=self._wish, HEAD=self._wish, POST=self._state)]

    def open(self) -> tuple[str, FrameChannel]:
        """A new frame: its name, for the page, and the way to it."""
        name, channel = secrets.token_hex(8), FrameChannel()
        self._channels[name] = channel
        return name, channel

    def close(self, name: str) -> bool:
        """One frame less; whether it was the last."""
        if channel := self._channels.pop(name, None):
            channel.close()
        return not self._channels

    def close_all(self) -> None:
        """The server ends."""
        for name in list(self._channels):
            self.close(name)

    def _channel(self, request: Request) -> FrameChannel:
        """The channel of the frame that a page is in. Raises RefusedError."""
        channel = self._channels.get(request.path_params["name"])
        if channel is None:
            raise RefusedError(404, "this frame is closed")
        return channel

    async def _state(self, request: Request) -> Response:
        """The page tells what is on its screen."""
        channel = self._channel(request)
        content = await read_json_object(request, _MAX_BODY)
        number, state = content.get("number"), content.get("state")
        if not isinstance(number, int) or not isinstance(state, dict):
            raise RefusedError(400, "send number, of the last wish, and state, an object")
        channel.tell(number, state)
        return json_response({})

    async def _wish(self, request: Request) -> Response:
        """The page asks for wishes; the answer waits a while for one."""
        channel = self._channel(request)
        seen = request.query_params.get("seen", "")
        if not (seen.isascii() and seen.isdigit() and len(seen) < 10):
            raise RefusedError(400, f"seen={seen[:40]}: the number of the last wish that was done")
        is_held = self._held < _MOST_HELD
        if is_held:
            self._held += 1
            try:
                await channel.news(int(seen), _HELD)
            finally:
                self._held -= 1
        number, wish = channel.after(int(seen))
        return json_response({"number": number, "wish": wish, "pause": 0 if is_held else _LATER})
