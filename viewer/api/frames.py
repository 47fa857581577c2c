"""/api/frames: commands from a notebook's kernel to the pages in its frames, and their state back.

The kernel's commands to a frame are numbered. A page requests the commands that it has not executed
yet (long polling: the response waits for one), executes them, and reports the number of the last
one together with its state, which is what its screen shows.
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

# seconds that a page's request waits for a command
_POLL_SECONDS = 10.0
# waiting requests at a time: a browser has six connections to a server, for all its frames together
_MAX_WAITING = 3
# seconds after which the pages of further frames repeat their request
_RETRY_SECONDS = 1.0
# bytes of a page's state: a profile has thousands of points
_MAX_BODY = 4 * 1024 * 1024


class FrameError(HipsgenError):
    """A frame is closed, or its page does not respond or reports an error."""


class FrameChannel:
    """Connects the kernel's thread and the server's thread, for one frame.

    Parameters
    ----------
    pickup_seconds
        Time that a page has to fetch a command.
    reply_seconds
        Time that it then has to execute it, which may include reading a remote coadd.
    """

    def __init__(self, pickup_seconds: float = 10.0, reply_seconds: float = 60.0) -> None:
        self._pickup_seconds = pickup_seconds
        self._reply_seconds = reply_seconds
        self._changed = threading.Condition()
        self._commands: list[dict[str, Any]] = []
        self._fetched = 0
        self._reported: tuple[int, dict[str, Any]] = (0, {})
        self._wakers: set[Callable[[], object]] = set()
        self.is_closed = False

    def command(self, **changes: Any) -> int:
        """Send changes to the page; return the command's number. Raises FrameError if closed."""
        with self._changed:
            if self.is_closed:
                raise FrameError("this frame is closed: make another with viewer.show")
            self._commands.append(changes)
            self._wake()
            return len(self._commands)

    def ask(self) -> dict[str, Any]:
        """Return the page's state after all commands. Raises FrameError if no page responds."""
        number = self.command()
        with self._changed:
            if not self._wait(lambda: self._fetched >= number, self._pickup_seconds):
                raise FrameError(
                    f"no page has responded for {self._pickup_seconds:g} s: show the frame first, "
                    "as the last line of a cell, and check that the browser could load it "
                    "(`proxy` of viewer.show sets how it reaches this server)"
                )
            if not self._wait(lambda: self._reported[0] >= number, self._reply_seconds):
                raise FrameError(
                    f"the page has been busy for {self._reply_seconds:g} s: wait until it has "
                    "loaded, then try again"
                )
            state = self._reported[1]
        if state.get("error"):
            raise FrameError(str(state["error"]))
        return state

    def close(self) -> None:
        """Close the channel, and wake all waiting threads and requests."""
        with self._changed:
            self.is_closed = True
            self._wake()

    def commands_since(self, seen: int) -> tuple[int, dict[str, Any]]:
        """Return the last number, and the commands after `seen` merged: later changes win."""
        with self._changed:
            number = len(self._commands)
            self._fetched = max(self._fetched, number)
            self._changed.notify_all()
            return number, {k: v for one in self._commands[seen:] for k, v in one.items()}

    def report(self, number: int, state: dict[str, Any]) -> None:
        """Record the page's state after the commands up to a number."""
        with self._changed:
            # if a frame is open in two pages, one of them may lag behind
            if number >= self._reported[0]:
                self._reported = (number, state)
                self._changed.notify_all()

    async def wait_for_command(self, seen: int, seconds: float) -> None:
        """Wait for a command after `seen` or for the channel to close, for at most `seconds`."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        with self._changed:
            if self.is_closed or len(self._commands) > seen:
                return
            self._wakers.add(wake)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), seconds)
        finally:
            with self._changed:
                self._wakers.discard(wake)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        is_met = self._changed.wait_for(lambda: condition() or self.is_closed, seconds)
        if self.is_closed:
            raise FrameError("this frame has been closed: make another with viewer.show")
        return is_met

    def _wake(self) -> None:
        self._changed.notify_all()
        for wake in self._wakers:
            wake()


class Frames:
    """The frames of a server, and the endpoints for their pages."""

    def __init__(self) -> None:
        self._channels: dict[str, FrameChannel] = {}
        self._waiting = 0

    def routes(self) -> list[Route]:
        """Return the route for a frame: GET fetches commands, POST reports the page's state."""
        path = "/api/frames/{name:str}"
        return [by_method(path, GET=self._fetch, HEAD=self._fetch, POST=self._report)]

    def open(self) -> tuple[str, FrameChannel]:
        """Open a frame; return its name, for the page, and its channel."""
        name, channel = secrets.token_hex(8), FrameChannel()
        self._channels[name] = channel
        return name, channel

    def close(self, name: str) -> bool:
        """Close a frame; return whether it was the last."""
        if channel := self._channels.pop(name, None):
            channel.close()
        return not self._channels

    def close_all(self) -> None:
        """Close all frames."""
        for name in list(self._channels):
            self.close(name)

    def _channel(self, request: Request) -> FrameChannel:
        """Return the channel of a page's frame. Raises RefusedError if it is closed."""
        channel = self._channels.get(request.path_params["name"])
        if channel is None:
            raise RefusedError(404, "this frame is closed")
        return channel

    async def _report(self, request: Request) -> Response:
        """Record the state of a page."""
        channel = self._channel(request)
        content = await read_json_object(request, _MAX_BODY)
        number, state = content.get("number"), content.get("state")
        if not isinstance(number, int) or not isinstance(state, dict):
            raise RefusedError(400, "number must be that of the last command, and state an object")
        channel.report(number, state)
        return json_response({})

    async def _fetch(self, request: Request) -> Response:
        """Return the commands since `seen`; wait a while for one."""
        channel = self._channel(request)
        seen = request.query_params.get("seen", "")
        if not (seen.isascii() and seen.isdigit() and len(seen) < 10):
            raise RefusedError(
                400, f"seen={seen[:40]}: give the number of the last command that was executed"
            )
        may_wait = self._waiting < _MAX_WAITING
        if may_wait:
            self._waiting += 1
            try:
                await channel.wait_for_command(int(seen), _POLL_SECONDS)
            finally:
                self._waiting -= 1
        number, changes = channel.commands_since(int(seen))
        pause = 0 if may_wait else _RETRY_SECONDS
        return json_response({"number": number, "wish": changes, "pause": pause})
