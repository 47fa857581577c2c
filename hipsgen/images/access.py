"""Limits on the files that may be read, for a server that reads them on behalf of its clients.

Every function that opens the file of a coadd calls `real_path` or `check` first. Without limits,
which only a server sets, every file may be read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from hipsgen.images.uris import path_of

# WebDAV is HTTP
_HTTP = {"http": "http", "https": "https", "dav": "http", "davs": "https"}


class Limits(Protocol):
    """What may be read; both methods raise CoaddError for anything else."""

    def real_path(self, path: Path) -> Path:
        """Return the path of a file on this machine, with its links resolved."""

    def check(self, uri: str, is_option: bool = False) -> None:
        """Check a URI; is_option: the request is OPTIONS, which returns no content."""


_limits: ContextVar[Limits | None] = ContextVar("limits", default=None)
# whether each request is checked, so that redirects are checked too
_checks_requests: ContextVar[bool] = ContextVar("checks_requests", default=False)


@contextmanager
def limited_by(limits: Limits) -> Iterator[None]:
    """Limit what this thread may read inside the `with` block."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)
        _checks_requests.set(False)


def real_path(path: Path) -> Path:
    """Return the path by which a file may be opened. Raises CoaddError if it may not be read."""
    limits = _limits.get()
    return path if limits is None else limits.real_path(path)


def check(uri: str, is_located_by_server: bool = False) -> None:
    """Check that a URI may be read, and from now on each request for it. Raises CoaddError.

    is_located_by_server: whether the server returns the URL of the file, as a Butler server does.
    """
    limits = _limits.get()
    if limits is None:
        return
    limits.check(uri.partition("#")[0])
    is_http = path_of(uri) is None and urlsplit(uri).scheme in _HTTP
    if is_http:
        _check_every_request()
    # the endpoints of other protocols (S3, GCS) are set in the configuration of this machine
    _checks_requests.set(is_http and not is_located_by_server)


def http_scheme(scheme: str) -> str:
    """Return the scheme of the requests for a URI: http for dav, https for davs."""
    return _HTTP.get(scheme, scheme)


@cache
def _check_every_request() -> None:
    """Have urllib3, on which all HTTP clients of lsst.resources are built, check each request.

    They follow redirects by themselves, each in its own way.
    """
    try:
        from urllib3.connectionpool import HTTPConnectionPool
    except ImportError:  # without it, none of these clients is installed
        return
    original = HTTPConnectionPool.urlopen

    @wraps(original)
    def urlopen(pool: HTTPConnectionPool, method: str, url: str, *args: Any, **options: Any) -> Any:
        limits = _limits.get()
        if limits is not None and _checks_requests.get():
            host = f"[{pool.host}]" if ":" in pool.host else pool.host
            server = f"{pool.scheme}://{host}:{pool.port}"
            # a proxy is sent the whole URL
            limits.check(server + url if url.startswith("/") else url, method == "OPTIONS")
        return original(pool, method, url, *args, **options)

    HTTPConnectionPool.urlopen = urlopen  # type: ignore[method-assign,assignment]
