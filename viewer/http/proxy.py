"""Operation behind a reverse proxy: the root path, and headers of trusted proxies."""

import hmac
import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hipsgen.errors import ConfigError
from viewer.http.clients import remember_client

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# a root path that begins with one of these would make paths ambiguous: with the root, or without?
_RESERVED = {"api", "healthz", "hips", "static"}


def check_root_path(path: str) -> str:
    """Return a root path such as /sky without a trailing slash, '' for none. Raises ConfigError."""
    trimmed = path.rstrip("/")
    if trimmed and not _PATH.fullmatch(trimmed):
        raise ConfigError(f"--root-path {path!r} is not a path like /sky")
    if trimmed.split("/")[1:2] and trimmed.split("/")[1] in _RESERVED:
        raise ConfigError(
            f"--root-path {path!r} begins with one of the viewer's own paths"
            f" ({', '.join(sorted(_RESERVED))}): choose another, like /sky"
        )
    return trimmed


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse comma-separated addresses and networks. Raises ConfigError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        return tuple(ipaddress.ip_network(word) for word in words)
    except ValueError as error:
        raise ConfigError(
            f"--trusted-proxy {text!r}: {error}; give addresses like 127.0.0.1,10.0.0.0/8"
        ) from None


class BehindProxy:
    """Middleware that restores client, scheme, host and path of requests that a proxy forwards.

    root_path: prefix of the site's URLs; the proxy may strip it from requests or leave it.
    only_below_root_path: respond with 404 to all other paths, so that the root path can be secret.
    trusted: proxies whose X-Forwarded-For, -Proto and -Host headers are used. Clients can send
    these headers, too, and proxies append to them, so the last value counts; of addresses, the last
    one that is not a trusted proxy's.
    """

    def __init__(
        self,
        app: ASGIApp,
        root_path: str = "",
        trusted: Sequence[Network] = (),
        only_below_root_path: bool = False,
    ) -> None:
        self.app = app
        self._root_path = root_path
        self._only_below_root_path = only_below_root_path
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as the client made it."""
        if scope["type"] == "http":
            if self._only_below_root_path and not self._is_below_root_path(scope["path"]):
                await PlainTextResponse("Not Found", 404)(scope, receive, send)
                return
            scope = self._with_root_path(self._as_forwarded(scope))
            remember_client(scope)
        await self.app(scope, receive, send)

    def _is_below_root_path(self, path: str) -> bool:
        root = f"{self._root_path}/".encode()
        # in a time that does not reveal how many characters of a secret root path are right
        return hmac.compare_digest(path.encode()[: len(root)], root)

    def _as_forwarded(self, scope: Scope) -> Scope:
        # the cheap check first: most servers have no proxy, and this runs for every tile
        peer = _address(scope["client"][0]) if self._trusted and scope.get("client") else None
        if peer is None or not self._trusts(peer):
            return scope
        headers = Headers(scope=scope)
        scope = {**scope, "client": (str(self._client(peer, headers)), 0)}
        proto = _values(headers, "x-forwarded-proto")[-1].lower()
        if proto in ("http", "https"):
            scope["scheme"] = proto
        host = _values(headers, "x-forwarded-host")[-1]
        if _HOST.fullmatch(host):
            others = [(key, value) for key, value in scope["headers"] if key != b"host"]
            scope["headers"] = [(b"host", host.encode()), *others]
        return scope

    def _client(self, peer: Address, headers: Headers) -> Address:
        client = peer
        for word in reversed(_values(headers, "x-forwarded-for")):
            address = _address(word)
            if address is None or not self._trusts(client):
                break
            client = address
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _with_root_path(self, scope: Scope) -> Scope:
        root, path = self._root_path, scope["path"]
        if not root:
            return scope
        scope = {**scope, "root_path": root}
        if path != root and not path.startswith(f"{root}/"):
            scope["path"] = root + path
            scope["raw_path"] = root.encode() + scope.get("raw_path", b"")
        return scope


def _values(headers: Headers, name: str) -> list[str]:
    return [word.strip() for word in ",".join(headers.getlist(name)).split(",")]


def _address(word: str) -> Address | None:
    """Return the IP address in a text with or without a port, or None if there is none."""
    bracketed = re.fullmatch(r"\[(.*)\](?::[0-9]*)?", word) or re.fullmatch(
        r"([0-9.]*):[0-9]*", word
    )
    try:
        found = ipaddress.ip_address(bracketed[1] if bracketed else word)
    except ValueError:
        return None
    # a dual-stack socket reports 127.0.0.1 as ::ffff:127.0.0.1
    return getattr(found, "ipv4_mapped", None) or found
