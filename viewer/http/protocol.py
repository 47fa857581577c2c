"""HTTP/1.1: files are sent by the system; slow or silent clients are disconnected.

This extends uvicorn's HttpToolsProtocol, whose parts are not a public interface. So pyproject.toml
allows no later uvicorn and httptools than those that the tests have run with, and
tests/viewer/test_protocol.py checks that what is used is there, and is all listed here:

- HttpToolsProtocol: app, cycle, flow, loop, on_body, on_headers_complete, on_response_complete,
  parser, pipeline, send_400_response, transport;
- its cycle: disconnected, expected_content_length, message_event, more_body, response_complete,
  response_started, send (a method of the cycle, which `__self__` leads to);
- its flow (FlowControl): drain, pause_reading, resume_reading, write_paused.
"""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import FileIO
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from viewer.http.files import ZERO_COPY, is_cached, prefetch

# seconds for a request to be said
PATIENCE = 30.0
# seconds for any of an answer to be taken: a program that reads 10 kB/s from the megabytes that its
# system has taken for it lets that take more for a minute and a half
TAKING = 150.0
# seconds for an answer to be begun to one who will ask no more
GRACE = 2.0
# seconds that are left to answers when the server stops
PARTING = 1.0
# bytes before the body of a request
LONGEST_HEAD = 1 << 16
# requests that wait for the answers to those before them
QUEUE = 32

_CORK = getattr(socket, "TCP_CORK", None)  # Linux
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # file systems that lack it
_WINDOW = 1 << 21  # bytes that are looked for in memory at a time: a FITS tile and a little
_MORSEL = 1 << 14  # bytes by which a full socket tells that there is room again
_PIECE = 1 << 12  # bytes of requests that are read at a time
_LOOKS = 8  # at whether an answer is taken, within TAKING


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with sendfile and with limits on time and size, which it lacks.

    Files are handed to the system, which sends them without a copy in our memory. A request must
    arrive within a time, its head has a largest length, and only a few pipelined requests wait.
    The application learns at once when its client stops sending (`http.disconnect`): most have
    left then. A response that is sent all the same still reaches a client that has not.
    """

    _deadline: asyncio.TimerHandle | None = None
    _look: asyncio.TimerHandle | None = None
    _taken, _since = 0, 0.0
    _head = 0
    _is_told = False  # whether an answer is under way
    _is_at_end = False  # whether the client sends no more

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = partial(self._with_files, self.app)
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: not self._unread)
        # to be writable is to have nothing left to write: what is sent past it keeps its place
        transport.set_write_buffer_limits(0)
        self._watch()
        self._look_whether_it_takes()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or the end of one, or many of them."""
        super().data_received(b"")  # ends the wait for the next request
        self._unread += data
        self._read()

    def on_response_complete(self) -> None:
        """One request less that waits."""
        self._is_told = False
        super().on_response_complete()
        if self._unread:
            super().data_received(b"")
            self._read()
            self.flow.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """It asks no more, but may wait for what it has asked; or it is gone, which looks alike."""
        # closes unless an answer is under way, which is the last one then
        super().shutdown()
        self._is_at_end = True
        if self.cycle is not None:
            self.cycle.message_event.set()
        self.loop.call_later(GRACE, self._end_of_grace)
        return True

    def _end_of_grace(self) -> None:
        if not self._is_told:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """What comes now is a body, or the next request."""
        self._head = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._head = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._forget()
        if self._look is not None:
            self._look.cancel()

    def send_400_response(self, msg: str) -> None:
        """A client talks nonsense, which it can be told unless it is in the midst of an answer."""
        cycle = self.cycle
        is_idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        is_waiting = cycle is not None and not (cycle.response_started or self.pipeline)
        if is_waiting:
            # nothing more is said to it
            cycle.disconnected = True
        if is_idle or is_waiting:
            super().send_400_response(msg)
            return
        self.transport.close()
        cycle.disconnected = True

    def shutdown(self) -> None:
        """The server stops: an answer under way has a moment to arrive."""
        super().shutdown()
        self.loop.call_later(PARTING, self.transport.abort)

    def _read(self) -> None:
        """Parse what has come, while not too many requests wait; the rest keeps the client waiting.

        uvicorn would parse all, and a client that does not wait for answers fill the memory.
        """
        while self._unread and len(self.pipeline) < QUEUE and not self.transport.is_closing():
            piece = bytes(self._unread[:_PIECE])
            del self._unread[:_PIECE]
            self._head += len(piece)
            try:
                self.parser.feed_data(piece)
            except HttpParserUpgrade as upgrade:
                # another protocol is not taken up, and what comes next is of this one
                self._unread[:0] = piece[upgrade.args[0] :]
            except HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            if self._head > LONGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")
        if self.transport.is_closing():
            self._unread.clear()
        elif self._unread:
            self.flow.pause_reading()
        self._watch()

    def _look_whether_it_takes(self) -> None:
        """Cut off who takes nothing for long, though there is something."""
        taken, now = _acknowledged(self.transport.get_extra_info("socket")), self.loop.time()
        if taken is None or taken != self._taken or not self.transport.get_write_buffer_size():
            self._taken, self._since = taken or 0, now
        elif now - self._since >= TAKING:
            self.transport.abort()
            return
        self._look = self.loop.call_later(TAKING / _LOOKS, self._look_whether_it_takes)

    def _watch(self) -> None:
        # whether a request has been said to its end, and is being answered
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _with_files(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with an extension for files."""
        cycle = send.__self__  # type: ignore[attr-defined]
        # it may have been refused before it was begun, for what came after its head
        if not cycle.disconnected:
            scope["extensions"] = {ZERO_COPY: {}}
            await app(scope, self._receiving(receive), self._sending(cycle, send))

    def _receiving(self, receive: Receive) -> Receive:
        """Tell of a client that sends no more as of one that has left."""
        is_complete = False

        async def receiving() -> Message:
            nonlocal is_complete
            if not (is_complete and self._is_at_end):
                message = await receive()
                if message["type"] != "http.request" or not is_complete:
                    is_complete = not message.get("more_body", False)
                    return message
            return {"type": "http.disconnect"}

        return receiving

    def _sending(self, cycle: Any, send: Send) -> Send:
        """Send files, too."""
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                # until it is known of what
                start = message
                return
            is_file = message["type"] == ZERO_COPY
            if is_file:
                self._fill_packets(True)
            if start is not None:
                self._is_told = True
                await send(start)
                start = None
            if is_file:
                await self._send_file(cycle, message)
                self._fill_packets(False)
                more = message.get("more_body", False)
                message = {"type": "http.response.body", "body": b"", "more_body": more}
            await send(message)

        return sending

    async def _send_file(self, cycle: Any, message: Message) -> None:
        """Send a part of a file, while there is a client. EOFError when the file is shorter."""
        file, first = message["file"], message["offset"]
        message["sent"] = 0
        end, known = first + message["count"], first
        while first < end:
            if first >= known:
                known = min(first + _WINDOW, end)
                # the disk keeps this file waiting, and no others
                if not is_cached(file, first, known):
                    await run_in_threadpool(prefetch, file, first, known)
            if self.flow.write_paused:
                await self.flow.drain()
            if cycle.disconnected or self.transport.is_closing():
                cycle.disconnected = True
                return
            sent = self._as_far_as_it_goes(file, first, known)
            cycle.expected_content_length -= sent
            if first + sent < known:
                # the transport tells when it is rid of this
                morsel = os.pread(file.fileno(), min(_MORSEL, known - first - sent), first + sent)
                if not morsel:
                    raise EOFError
                await cycle.send({"type": "http.response.body", "body": morsel, "more_body": True})
                sent += len(morsel)
            first += sent
            message["sent"] += sent

    def _fill_packets(self, on: bool) -> None:
        """A packet is not ended where we write it: the head of an answer goes with its file."""
        if _CORK is not None:
            with suppress(OSError):  # the client may be gone
                self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _CORK, on)

    def _as_far_as_it_goes(self, file: FileIO, first: int, end: int) -> int:
        out = self.transport.get_extra_info("socket").fileno()
        try:
            return os.sendfile(out, file.fileno(), first, end - first)
        except (BlockingIOError, ConnectionError, TimeoutError):
            # that the client is gone the transport finds out by itself
            return 0
        except OSError as error:
            if error.errno in _CANNOT:
                return 0
            raise


class _Flow(FlowControl):
    """Reads no more while there is something that was not parsed."""

    def __init__(self, transport: asyncio.Transport, may_read: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._may_read = may_read

    def resume_reading(self) -> None:
        if self._may_read():
            super().resume_reading()


def _acknowledged(client: Any) -> int | None:
    """Bytes that have arrived at the client's system; None where ours does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # struct tcp_info of linux/tcp.h: tcpi_bytes_acked
        told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    except OSError:
        return None
    return int.from_bytes(told[120:128], sys.byteorder) if len(told) == 128 else None
