"""What stands between the viewer and the world: under which path it is seen, by whom, and how."""

import hmac
import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hipsgen.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# beneath one of these a path could be meant with the root or without
_OWN = {"api", "healthz", "hips", "static"}


def check_root_path(path: str) -> str:
    """The path as the application needs it, '' for none: /sky. Raises ConfigError."""
    trimmed = path.rstrip("/")
    if trimmed and not _PATH.fullmatch(trimmed):
        raise ConfigError(f"--root-path {path!r} is not a path like /sky")
    if trimmed.split("/")[1:2] and trimmed.split("/")[1] in _OWN:
        raise ConfigError(
            f"--root-path {path!r} begins like the viewer's own paths"
            f" ({', '.join(sorted(_OWN))}): choose another, like /sky"
        )
    return trimmed


def parse_networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks between commas. Raises ConfigError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        return tuple(ipaddress.ip_network(word) for word in words)
    except ValueError as error:
        raise ConfigError(
            f"--trusted-proxy {text!r}: {error}; give addresses like 127.0.0.1,10.0.0.0/8"
        ) from None


class BehindProxy:
    """Puts into a request what a proxy knows of it: the client, http or https, the host, the path.

    root_path: what the site has before our paths; whether the proxy takes it away is up to it.
    only_beneath: whether nothing answers elsewhere; then the root path may be a secret.
    trusted: whom X-Forwarded-For, -Proto and -Host are believed. Clients can send them, too, and
    proxies add to them, so it is the last value that counts; of addresses the last that is not a
    trusted proxy's.
    """

    def __init__(
        self,
        app: ASGIApp,
        root_path: str = "",
        trusted: Sequence[Network] = (),
        only_beneath: bool = False,
    ) -> None:
        self.app = app
        self._root_path = root_path
        self._only_beneath = only_beneath
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as the client made it."""
        if scope["type"] == "http":
            if self._only_beneath and not self._is_beneath(scope["path"]):
                await PlainTextResponse("Not Found", 404)(scope, receive, send)
                return
            scope = self._placed(self._told(scope))
        await self.app(scope, receive, send)

    def _is_beneath(self, path: str) -> bool:
        root = f"{self._root_path}/".encode()
        # in a time that does not tell how much of it was right
        return hmac.compare_digest(path.encode()[: len(root)], root)

    def _told(self, scope: Scope) -> Scope:
        # most viewers have no proxy, and every tile comes by here
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

    def _placed(self, scope: Scope) -> Scope:
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
    """An IP address, with or without a port."""
    bracketed = re.fullmatch(r"\[(.*)\](?::[0-9]*)?", word) or re.fullmatch(
        r"([0-9.]*):[0-9]*", word
    )
    try:
        found = ipaddress.ip_address(bracketed[1] if bracketed else word)
    except ValueError:
        return None
    # what a socket that listens to both calls 127.0.0.1
    return getattr(found, "ipv4_mapped", None) or found
