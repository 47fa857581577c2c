"""Host names accepted by a server that listens on a loopback address (against DNS rebinding)."""

import ipaddress
import re
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PORT = re.compile(r":[0-9]*$")
_MISDIRECTED = (
    "this viewer accepts only requests from this machine: use http://127.0.0.1 or"
    " http://localhost; behind a proxy, start it with --trusted-proxy\n"
)


def is_local(host: str) -> bool:
    """Return whether a listening address can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HostCheck:
    """Middleware that refuses requests whose Host header is the domain name of a site.

    A malicious site can make its own name resolve to 127.0.0.1 (DNS rebinding); the browser then
    lets its pages read this server's responses as if they were the site's own. Addresses, and
    names without a dot such as localhost, cannot be redirected in this way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or respond with 421."""
        if scope["type"] != "http" or _is_allowed(Headers(scope=scope).get("host", "")):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse(_MISDIRECTED, 421)(scope, receive, send)


@lru_cache(64)
def _is_allowed(host: str) -> bool:
    name = _PORT.sub("", host).lower().rstrip(".")
    if name.endswith(".localhost") or not re.search("[.:]", name):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
