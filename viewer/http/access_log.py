"""Access log: one JSON line per request, for the operator of the server."""

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
from hipsgen.images.uris import local_path

STDOUT = "-"
# characters of path and query: keeps lines below the size up to which writes to a pipe are atomic
# (4096 bytes on Linux; POSIX guarantees only 512)
_MAX_TARGET = 1500

logger = logging.getLogger(__name__)


def open_log(path: str) -> int:
    """Return the descriptor of a file opened for appending, or of stdout for '-'.

    Raises ConfigError when the file cannot be opened, or is on another machine.
    """
    if path == STDOUT:
        return 1
    try:
        return os.open(
            local_path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640
        )
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"--access-log {path}: {reason}; choose a writable file, or - for stdout"
        ) from error


class AccessLog:
    """Middleware that logs the client, target, status, size and duration of each request.

    Each line is one write, so that lines of several processes do not mix. A line is dropped if it
    cannot be written, or if a pipe is full at the moment: serving continues.
    """

    def __init__(self, app: ASGIApp, descriptor: int) -> None:
        self.app = app
        self._descriptor = descriptor
        self._writable = select.poll()
        self._writable.register(descriptor, select.POLLOUT)
        self._is_failing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it when its response has ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        time_of_day, start = datetime.now(UTC), time.perf_counter()
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
                    "time": time_of_day.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": target_of(scope),
                    "status": status,
                    "bytes": size,
                    "seconds": round(time.perf_counter() - start, 6),
                }
            )

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            if self._writable.poll(0):
                os.write(self._descriptor, line)
                self._is_failing = False
        except OSError as error:
            # warn once, not for every request
            if not self._is_failing:
                logger.warning("cannot write the access log: %s", error.strerror or error)
            self._is_failing = True


def target_of(scope: Scope) -> str:
    """Return the path and query as received, with the values of token parameters masked."""
    path = scope.get("raw_path", b"").decode("latin-1")
    query = "&".join(
        _masked(parameter) for parameter in scope["query_string"].decode("latin-1").split("&")
    )
    return (f"{path}?{query}" if query else path)[:_MAX_TARGET]


def _masked(parameter: str) -> str:
    name, _, _ = parameter.partition("=")
    return f"{name}=***" if "token" in unquote_plus(name).lower() else parameter
