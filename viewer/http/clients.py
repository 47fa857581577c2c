"""The client whose request is handled, by which shares of the server's resources are counted."""

import ipaddress
from contextvars import ContextVar

from starlette.types import Scope

_address: ContextVar[str] = ContextVar("address", default="")


def remember_client(scope: Scope) -> None:
    """Store the address of the client of a request, for all functions that the request calls."""
    client = scope.get("client")
    _address.set(str(client[0]) if client else "")


def current_client() -> str:
    """Return the client of the current request: its address, of IPv6 only the network (/64).

    One client can use all addresses of such a network.
    """
    text = _address.get()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.version == 4:
        return text
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
