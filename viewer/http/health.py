"""Health check of the server, for monitoring."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

PATH = "/healthz"
TIMEOUT = 5.0  # seconds for the file systems to respond


class Health:
    """Endpoint that checks that every root can be listed, without revealing names or contents."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._check: asyncio.Future[str] | None = None

    async def answer(self, request: Request) -> Response:
        """Respond with 200, or with 503 and the reason in one line."""
        # concurrent requests share one check: on a hanging file system, each would block a thread
        if self._check is None or self._check.done():
            self._check = asyncio.ensure_future(run_in_threadpool(self._problem))
        check = self._check
        done, _ = await asyncio.wait({check}, timeout=TIMEOUT)
        reason = check.result() if done else f"folders could not be listed within {TIMEOUT:g} s"
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    def _problem(self) -> str:
        problems = []
        for root in self._roots:
            try:
                with os.scandir(root) as listing:
                    next(listing, None)
            except OSError as error:
                problems.append(error.strerror or type(error).__name__)
        if not problems:
            return ""
        return f"{len(problems)} of {len(self._roots)} folders cannot be listed: {problems[0]}"
