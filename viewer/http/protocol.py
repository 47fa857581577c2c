"""HTTP/1.1: slow or silent clients are disconnected, requests are limited.

This extends uvicorn's HttpToolsProtocol, whose attributes are not a public interface. Therefore
pyproject.toml has upper bounds for uvicorn and httptools, the newest versions that were tested, and
tests/viewer/test_protocol.py compares the private names that are used with this list and with
what uvicorn has:

- HttpToolsProtocol: app, cycle, flow, loop, on_body, on_headers_complete, on_response_complete,
  parser, pipeline, send_400_response, transport;
- its cycle: disconnected, message_event, more_body, response_complete, response_started;
- its flow (FlowControl): pause_reading, resume_reading.

The `send` that an application gets is a bound method of the cycle (`__self__`).
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# seconds in which a request, head and body, must arrive
PATIENCE = 30.0
# seconds in which a client must take some bytes of its response: a program that reads 10 kB/s from
# megabytes in its system's buffer lets the system take the next ones after a minute and a half
TAKING = 150.0
# seconds in which a response must start once the client has closed its side of the connection
GRACE = 2.0
# seconds for responses to be completed when the server stops
PARTING = 1.0
# bytes of the head of a request
LONGEST_HEAD = 1 << 16
# pipelined requests
QUEUE = 32

_PIECE = 1 << 12  # bytes of requests that are parsed at a time
_LOOKS = 8  # checks of whether a client takes its response, within TAKING


class ClientLeftError(ConnectionError):
    """Raised in an application that sends more to a client that has left (ASGI 2.4)."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits on time and size.

    A request must arrive within PATIENCE, its head is limited to LONGEST_HEAD, and QUEUE pipelined
    requests are read ahead; a client must take some of its response within TAKING. uvicorn has no
    such limits. When a client closes its side of the connection, the application receives
    `http.disconnect` at once, since most clients have left then; a response that it sends all the
    same reaches a client that still reads.
    """

    _deadline: asyncio.TimerHandle | None = None
    _look: asyncio.TimerHandle | None = None
    _taken, _since = 0, 0.0
    _head = 0
    _running: Any = None  # the cycle of the request that is being answered
    _is_half_closed = False  # the client sends no more

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = partial(self._run, self.app)
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: not self._unread)
        self._watch()
        self._look_whether_it_takes()

    def data_received(self, data: bytes) -> None:
        """Some bytes of one or more requests."""
        super().data_received(b"")  # ends keep-alive's wait for a request
        self._unread += data
        self._read()

    def on_response_complete(self) -> None:
        """Go on with the next pipelined request."""
        super().on_response_complete()
        if self._unread:
            super().data_received(b"")
            self._read()
            self.flow.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has closed its side: it may still read, or may have left."""
        # closes the connection, or does so after the response that is being made
        super().shutdown()
        self._is_half_closed = True
        if self.cycle is not None:
            self.cycle.message_event.set()
        self.loop.call_later(GRACE, self._end_of_grace)
        return True

    def _end_of_grace(self) -> None:
        if self._running is None or not self._running.response_started:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """A body follows, or the next request."""
        self._head = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some bytes of a body."""
        self._head = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        self._forget()
        if self._look is not None:
            self._look.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request with 400, unless another response has started."""
        cycle = self.cycle
        is_idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        is_waiting = cycle is not None and not (cycle.response_started or self.pipeline)
        if is_waiting:
            # the application's own response is not sent
            cycle.disconnected = True
        if is_idle or is_waiting:
            super().send_400_response(msg)
            return
        self.transport.close()
        cycle.disconnected = True

    def shutdown(self) -> None:
        """The server stops: responses have PARTING to be completed."""
        super().shutdown()
        self.loop.call_later(PARTING, self.transport.abort)

    def _read(self) -> None:
        """Parse what has arrived up to QUEUE requests; with more, stop reading from the client.

        uvicorn parses everything, so that a client which does not wait for responses fills memory.
        """
        while self._unread and len(self.pipeline) < QUEUE and not self.transport.is_closing():
            piece = bytes(self._unread[:_PIECE])
            del self._unread[:_PIECE]
            self._head += len(piece)
            try:
                self.parser.feed_data(piece)
            except HttpParserUpgrade as upgrade:
                # no other protocol is spoken: the rest is HTTP/1.1, too
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
        """Disconnect a client that has taken nothing of what is buffered for it for TAKING."""
        taken, now = _acknowledged(self.transport.get_extra_info("socket")), self.loop.time()
        if taken is None or taken != self._taken or not self.transport.get_write_buffer_size():
            self._taken, self._since = taken or 0, now
        elif now - self._since >= TAKING:
            self.transport.abort()
            return
        self._look = self.loop.call_later(TAKING / _LOOKS, self._look_whether_it_takes)

    def _watch(self) -> None:
        # whether a complete request is being answered
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request."""
        cycle = self._running = send.__self__  # type: ignore[attr-defined]
        # a malformed body may have been refused with 400 before this task has started
        if cycle.disconnected:
            return

        async def sending(message: Message) -> None:
            await send(message)
            if message.get("more_body", False) and self.transport.is_closing():
                cycle.disconnected = True
                raise ClientLeftError

        with suppress(ClientLeftError):
            await app(scope, self._receiving(receive), sending)

    def _receiving(self, receive: Receive) -> Receive:
        """Report a half-closed connection as `http.disconnect`, once the request is complete."""
        is_complete = False

        async def receiving() -> Message:
            nonlocal is_complete
            if not (is_complete and self._is_half_closed):
                message = await receive()
                if message["type"] != "http.request" or not is_complete:
                    is_complete = not message.get("more_body", False)
                    return message
            return {"type": "http.disconnect"}

        return receiving


class _Flow(FlowControl):
    """Does not resume reading while there are bytes that were not parsed."""

    def __init__(self, transport: asyncio.Transport, may_read: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._may_read = may_read

    def resume_reading(self) -> None:
        if self._may_read():
            super().resume_reading()


def _acknowledged(client: Any) -> int | None:
    """Bytes that the client's system has acknowledged; None where TCP_INFO does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # struct tcp_info of linux/tcp.h: tcpi_bytes_acked
        told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    except OSError:
        return None
    return int.from_bytes(told[120:128], sys.byteorder) if len(told) == 128 else None
