"""Requests by the pages of other sites: they may read the surveys, and change nothing."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viewer.http.paths import SURVEYS, path_below_root

_READING = {"GET", "HEAD", "OPTIONS"}
_EXPOSED = "Accept-Ranges, Content-Length, Content-Range, ETag"
# a browser sends a preflight before any of these headers (Fetch, 3.2): a token, a suffix range
_PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD",
    "access-control-allow-headers": "Authorization, Cache-Control, If-Modified-Since,"
    " If-None-Match, If-Range, Range",
    "access-control-max-age": "86400",
}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_FOREIGN = (
    "requests by pages of other sites are refused: if this is the viewer's own page, have the"
    " proxy in front of it pass on the header Host or X-Forwarded-Host"
)


class CrossOrigin:
    """Middleware for CORS under /hips, and against changes by other sites (CSRF) everywhere.

    may_change: whether pages of any site may send changes, which is safe below a secret path.
    """

    def __init__(self, app: ASGIApp, may_change: bool = False) -> None:
        self.app = app
        self._may_change = may_change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or respond to it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if path_below_root(scope).startswith(SURVEYS):
            send = _shared(send)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                # before the token is required: preflights have none
                await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, send)
                return
        if not (scope["method"] in _READING or self._may_change) and _is_foreign(headers):
            await JSONResponse({"error": _FOREIGN}, 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    """Return whether a browser says that the page of another site has sent a request.

    A page can set none of these headers, except X-Forwarded-Host, which needs a preflight.
    """
    origin = headers.get("origin")
    if origin is None or headers.get("sec-fetch-site") == "same-origin":
        return False
    scheme, _, host = origin.lower().partition("://")
    forwarded = ",".join(headers.getlist("x-forwarded-host")).split(",")
    port = _DEFAULT_PORTS.get(scheme, "")
    own = {
        name.strip().lower().removesuffix(port) for name in (headers.get("host", ""), *forwarded)
    }
    return not host or host not in own


def _shared(send: Send) -> Send:
    """Let the pages of other sites read the response."""

    async def send_shared(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = "*"
            headers["access-control-expose-headers"] = _EXPOSED
        await send(message)

    return send_shared
