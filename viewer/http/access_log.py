"""One line for each request, as JSON, for whoever keeps the viewer running."""

import json
import logging
import os
import select
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hipsgen.errors import ConfigError

STDOUT = "-"
# with it a line is shorter than what a pipe takes in one piece (POSIX: 512 bytes, Linux: 4096)
_LONGEST = 1500

logger = logging.getLogger(__name__)


def open_log(place: str) -> int:
    """The descriptor of a file to append to, or that of stdout for '-'. Raises ConfigError."""
    if place == STDOUT:
        return 1
    try:
        return os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"--access-log {place}: {reason}; name a file that can be written, or - for stdout"
        ) from error


class AccessLog:
    """Writes down who asked what, and what came of it.

    Each line is one write, so those of several processes do not mix. One that cannot be written,
    or that nobody takes just now, is dropped: serving goes on.
    """

    def __init__(self, app: ASGIApp, descriptor: int) -> None:
        self.app = app
        self._descriptor = descriptor
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._is_failing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write its line when the answer has been given."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, start = datetime.now(UTC), time.perf_counter()
        status: int | None = None
        size = 0

        async def counting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            try:
                await send(message)
            finally:
                if scope["method"] != "HEAD":
                    size += len(message.get("body", b""))

        try:
            await self.app(scope, receive, counting)
        except Exception:
            status = status or 500
            raise
        finally:
            client = scope.get("client")
            self._write(
                {
                    "time": begun.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": target_of(scope),
                    "status": status,
                    "bytes": size,
                    "seconds": round(time.perf_counter() - start, 6),
                }
            )

    def _write(self, words: dict[str, Any]) -> None:
        line = json.dumps(words, separators=(",", ":")).encode() + b"\n"
        try:
            if self._room.poll(0):
                os.write(self._descriptor, line)
                self._is_failing = False
        except OSError as error:
            # once, not for every request
            if not self._is_failing:
                logger.warning("the access log is not written: %s", error.strerror or error)
            self._is_failing = True


def target_of(scope: Scope) -> str:
    """Path and query as they came, without what somebody may have put there as a token."""
    path = scope.get("raw_path", b"").decode("latin-1")
    query = "&".join(
        _without_token(word) for word in scope["query_string"].decode("latin-1").split("&")
    )
    return (f"{path}?{query}" if query else path)[:_LONGEST]


def _without_token(word: str) -> str:
    name, _, _ = word.partition("=")
    return f"{name}=***" if "token" in unquote_plus(name).lower() else word
