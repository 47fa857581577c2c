"""By what names the viewer is asked when only this machine may ask it."""

import ipaddress
import re
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PORT = re.compile(r":[0-9]*$")
_REFUSED = (
    "this viewer is for this machine: ask it at http://127.0.0.1 or http://localhost; behind a"
    " proxy start it with --trusted-proxy\n"
)


def is_local(host: str) -> bool:
    """Whether a host that is listened on can be asked by this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HostCheck:
    """Refuses requests for names that sites have: a page of one whose name has come to mean
    127.0.0.1 would be asking, and its browser would believe that it asks that site.

    Addresses and names without a dot, such as localhost, no site can make mean something else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here (421)."""
        if scope["type"] != "http" or _is_good(Headers(scope=scope).get("host", "")):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse(_REFUSED, 421)(scope, receive, send)


@lru_cache(64)
def _is_good(host: str) -> bool:
    name = _PORT.sub("", host).lower().rstrip(".")
    if name.endswith(".localhost") or not re.search("[.:]", name):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
