"""HTTP/1.1: slow or silent clients are disconnected, requests are limited.

This extends uvicorn's HttpToolsProtocol, whose attributes are not a public interface. Therefore
pyproject.toml has upper bounds for uvicorn and httptools, the newest tested versions, and
tests/viewer/test_protocol.py compares the private names that are used with this list and with
what uvicorn has:

- HttpToolsProtocol: app, cycle, flow, loop, on_body, on_headers_complete, on_response_complete,
  parser, pipeline, send_400_response, transport;
- its cycle (RequestResponseCycle): disconnected, message_event, more_body, response_complete,
  response_started;
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

# seconds within which a request, head and body, must arrive
REQUEST_TIMEOUT = 30.0
# seconds within which a client must acknowledge some bytes of its response: when a program reads
# 10 kB/s from a receive buffer of megabytes, its system accepts more only after a minute and a half
SEND_TIMEOUT = 150.0
# seconds within which a response must start once the client has closed its side of the connection
HALF_CLOSED_TIMEOUT = 2.0
# seconds for responses to be completed when the server stops
SHUTDOWN_TIMEOUT = 1.0
# bytes of the head of a request: request line and headers
MAX_HEAD_SIZE = 1 << 16
# pipelined requests that are read ahead
MAX_PIPELINED = 32

_PIECE = 1 << 12  # bytes of requests that are parsed at a time
_CHECKS = 8  # of the client's progress, within SEND_TIMEOUT


class ClientLeftError(ConnectionError):
    """The application sent to a client that has disconnected (ASGI 2.4)."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits on time and size.

    A request must arrive within REQUEST_TIMEOUT, its head is limited to MAX_HEAD_SIZE, and at most
    MAX_PIPELINED requests are read ahead; a client must acknowledge some of its response within
    SEND_TIMEOUT. uvicorn has no such limits. When a client closes its side of the connection, the
    application receives `http.disconnect` at once, since most such clients have disconnected; a
    response that it sends nevertheless reaches a client that still reads.
    """

    _deadline: asyncio.TimerHandle | None = None
    _check: asyncio.TimerHandle | None = None
    _acked, _since = 0, 0.0  # bytes the client has acknowledged, and since when
    _head = 0  # bytes of the head so far
    _running: Any = None  # the cycle of the request that the application is handling
    _is_half_closed = False  # the client has closed its side

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = partial(self._run, self.app)
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeouts of a new connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: not self._unread)
        self._update_deadline()
        self._check_progress()

    def data_received(self, data: bytes) -> None:
        """Parse bytes of one or more requests."""
        super().data_received(b"")  # cancels the keep-alive timeout
        self._unread += data
        self._read()

    def on_response_complete(self) -> None:
        """Continue with the next pipelined request."""
        super().on_response_complete()
        if self._unread:
            super().data_received(b"")
            self._read()
            self.flow.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handle a half-closed connection: the client may still read, or may have disconnected."""
        # closes the connection, after the current response if there is one
        super().shutdown()
        self._is_half_closed = True
        if self.cycle is not None:
            self.cycle.message_event.set()
        self.loop.call_later(HALF_CLOSED_TIMEOUT, self._close_unless_responding)
        return True

    def _close_unless_responding(self) -> None:
        if self._running is None or not self._running.response_started:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Reset the size of the head: a body follows, or the next request."""
        self._head = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on bytes of a body, which do not count as head."""
        self._head = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeouts of a closed connection."""
        super().connection_lost(exc)
        self._cancel_deadline()
        if self._check is not None:
            self._check.cancel()

    def send_400_response(self, msg: str) -> None:
        """Respond to a malformed request with 400, unless another response has started."""
        cycle = self.cycle
        is_idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        is_waiting = cycle is not None and not (cycle.response_started or self.pipeline)
        if is_waiting:
            # discard the application's own response
            cycle.disconnected = True
        if is_idle or is_waiting:
            super().send_400_response(msg)
            return
        self.transport.close()
        cycle.disconnected = True

    def shutdown(self) -> None:
        """Stop the connection; pending responses have SHUTDOWN_TIMEOUT to be completed."""
        super().shutdown()
        self.loop.call_later(SHUTDOWN_TIMEOUT, self.transport.abort)

    def _read(self) -> None:
        """Parse what has arrived, up to MAX_PIPELINED requests; with more, pause reading.

        uvicorn parses everything, so a client that does not wait for responses would fill memory.
        """
        while (
            self._unread and len(self.pipeline) < MAX_PIPELINED and not self.transport.is_closing()
        ):
            piece = bytes(self._unread[:_PIECE])
            del self._unread[:_PIECE]
            self._head += len(piece)
            try:
                self.parser.feed_data(piece)
            except HttpParserUpgrade as upgrade:
                # upgrades are ignored: the rest is HTTP/1.1, too
                self._unread[:0] = piece[upgrade.args[0] :]
            except HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            if self._head > MAX_HEAD_SIZE and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")
        if self.transport.is_closing():
            self._unread.clear()
        elif self._unread:
            self.flow.pause_reading()
        self._update_deadline()

    def _check_progress(self) -> None:
        """Disconnect a client that has acknowledged none of its pending data for SEND_TIMEOUT."""
        acked, now = _acknowledged(self.transport.get_extra_info("socket")), self.loop.time()
        if acked is None or acked != self._acked or not self.transport.get_write_buffer_size():
            self._acked, self._since = acked or 0, now
        elif now - self._since >= SEND_TIMEOUT:
            self.transport.abort()
            return
        self._check = self.loop.call_later(SEND_TIMEOUT / _CHECKS, self._check_progress)

    def _update_deadline(self) -> None:
        # no deadline while a complete request is being responded to
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT, self.transport.close)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request."""
        cycle = self._running = send.__self__  # type: ignore[attr-defined]
        # a malformed body may have been refused with 400 before this task started
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
        """Report a half-closed connection as `http.disconnect` once the request is complete."""
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
    """Flow control that does not resume reading while received bytes are still unparsed."""

    def __init__(self, transport: asyncio.Transport, may_read: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._may_read = may_read

    def resume_reading(self) -> None:
        if self._may_read():
            super().resume_reading()


def _acknowledged(client: Any) -> int | None:
    """Return the bytes that the client's system has acknowledged, or None without TCP_INFO."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # struct tcp_info of linux/tcp.h: tcpi_bytes_acked
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    except OSError:
        return None
    return int.from_bytes(info[120:128], sys.byteorder) if len(info) == 128 else None
