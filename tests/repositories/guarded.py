"""The Butler server of daf_butler, for those who have the token: Gafaelfawr does this at sites."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.repositories.remote import TOKEN


def create_app() -> Callable[..., Awaitable[None]]:
    """What uvicorn runs."""
    from lsst.daf.butler.remote_butler.server import create_app as butler_app

    app = butler_app()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        known = f"Bearer {TOKEN}".encode()
        path = scope.get("path", "")
        if scope["type"] != "http" or path.endswith("/butler.yaml"):  # which anybody may read
            await app(scope, receive, send)
        elif dict(scope["headers"]).get(b"authorization") != known:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return guarded
