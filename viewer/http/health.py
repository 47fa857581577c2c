"""Whether the viewer can do its work, as those ask who keep it running."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

PATH = "/healthz"
PATIENCE = 5.0  # seconds for a file system


class Health:
    """Says ok when every root can be listed. Tells neither their names nor what is in them."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._look: asyncio.Future[str] | None = None

    async def answer(self, request: Request) -> Response:
        """200, or 503 with the reason in one line."""
        # one look for all who ask: a file system that hangs would take a thread of each
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(run_in_threadpool(self._complaint))
        look = self._look
        done, _ = await asyncio.wait({look}, timeout=PATIENCE)
        reason = look.result() if done else f"folders are not listed within {PATIENCE:g} s"
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    def _complaint(self) -> str:
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
