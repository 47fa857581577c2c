"""Paths of requests: doubled slashes, and redirects that are valid behind any proxy."""

import re
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SURVEYS = "/hips/"
# characters of a path segment or a query that need no percent-encoding (RFC 3986)
_SAFE = "%!$&'()*+,;=:@~"


class TidyPaths:
    """Middleware that treats // in the path of a survey as /, and makes redirects relative.

    Programs often join a URL that ends with a slash and a path that begins with one. Starlette
    redirects to an absolute URL, with the scheme and host of this server instead of the proxy's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_relative(message: Message) -> None:
            # 307: only the router's redirects, which add or remove the slash at the end
            if message["type"] == "http.response.start" and message["status"] == 307:
                MutableHeaders(scope=message)["location"] = _with_other_end(scope)
            await send(message)

        await self.app(_without_doubled_slashes(scope), receive, send_relative)


def _without_doubled_slashes(scope: Scope) -> Scope:
    if "//" not in scope["path"]:
        return scope
    path = re.sub("/{2,}", "/", scope["path"])
    if not path_below_root({**scope, "path": path}).startswith(SURVEYS):
        return scope
    return {**scope, "path": path, "raw_path": re.sub(b"/{2,}", b"/", scope.get("raw_path", b""))}


def _with_other_end(scope: Scope) -> str:
    """Return the requested URL, relative to itself, with a slash at the end, or without its own."""
    raw_path = scope.get("raw_path", b"")
    path = raw_path.rstrip(b"/")
    n_slashes = len(raw_path) - len(path)
    name = _quoted(path.rpartition(b"/")[2])
    return (f"{'../' * n_slashes}{name}" if n_slashes else f"./{name}/") + _query(scope)


def same_url(scope: Scope) -> str:
    """Return the requested URL, relative to itself: any proxy may add a prefix to the path."""
    return f"./{_quoted(scope.get('raw_path', b'').rpartition(b'/')[2])}{_query(scope)}"


def path_below_root(scope: Scope) -> str:
    """Return the path of a request below the root path."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _query(scope: Scope) -> str:
    query = _quoted(scope["query_string"], "/?")
    return f"?{query}" if query else ""


def _quoted(raw: bytes, safe: str = "") -> str:
    """Return a part of a URL percent-encoded for a header, whatever bytes a client has sent."""
    return quote(raw, safe=_SAFE + safe)
