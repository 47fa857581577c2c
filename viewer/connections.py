"""Clients that keep the server waiting are sent off: who stops in a request, or takes no answer."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# seconds for a request to be said, or for any byte of an answer to be taken
PATIENCE = 30.0
# seconds that are left to answers when the server stops
PARTING = 1.0


class Connection(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; but uvicorn waits for ever for a request that has begun."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or the end of one."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._forget()

    def send_400_response(self, msg: str) -> None:
        """A client talks nonsense, which it can be told unless it is in the midst of an answer."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self.transport.close()
        if self.cycle is not None:
            # for an answer that is still on its way
            self.cycle.disconnected = True

    def shutdown(self) -> None:
        """The server stops: an answer under way has a moment to arrive."""
        super().shutdown()
        self.loop.call_later(PARTING, self.transport.abort)

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
