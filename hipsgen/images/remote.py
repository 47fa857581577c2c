"""Access to remote files: locating them, copying them, retrying, and explaining failures."""

import os
import re
import time
import zipfile
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from hipsgen.errors import CoaddError, MissingExtraError
from hipsgen.files import NotRegularError, open_regular
from hipsgen.images import access, butler_server
from hipsgen.images.butler_server import component_paths, dataset_of
from hipsgen.images.scratch import ScratchWriter

MEMBERS = ("zip-path", "unzip")  # keys of a zip member in the fragment of a Butler URI
_WAITS = (1.0,)  # seconds before each retry; lsst.resources retries by itself, too
_MAX_FAILURES = 4  # consecutive failures, each of up to minutes, after which a server is avoided
_AVOIDED_FOR = 60.0  # seconds for which a server that did not respond is avoided
_CHUNK = 1 << 24  # bytes per request
_UNREACHABLE = ("Connection refused", "Name or service not known", "Could not connect to the endp")
_REFUSED = re.compile(
    r"(status|status code:?|HTTP|\() ?(401|403)\b|\b(401|403) (Client|Unauth|Forbid)"
    r"|\b(Unauthorized|Forbidden|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch)\b"
)
# lsst.resources reports these as "file not found"
_SERVER_ERROR = re.compile(r"status code: 5\d\d")
_URL = re.compile(r"\S+://\S+|\burl: \S+")  # not searched for a status: a tract may be 403
_QUERY = re.compile(r"\?[^\s'\"<>)]*")  # the secret part of a signed URL
_HOST = re.compile(r"host='([^']+)', port=(\d+)")
_PACKAGES = {"requests", "httpx2", "boto3", "botocore", "backoff", "defusedxml", "fsspec"}
_failures: dict[str, int] = {}  # consecutive failures by server
_avoided: dict[str, float] = {}  # avoided servers, and until when (monotonic time)
_Result = TypeVar("_Result")


def with_retries(uri: str, attempt: Callable[[], _Result]) -> _Result:
    """Return the result of an attempt, repeated if that might help. Raises CoaddError."""
    place, server = uri.split("#", 1)[0], _server_of(uri)
    for wait in (*_WAITS, None):
        _check_not_avoided(server, place)
        try:
            result = attempt()
            _failures.pop(server, None)
            return result
        except (CoaddError, MissingExtraError):
            raise
        except Exception as error:  # each protocol's library has its own errors
            advice = advice_on(error, uri)
            is_missing = isinstance(error, FileNotFoundError) and not _SERVER_ERROR.search(
                str(error)
            )
            if is_missing and not advice:
                raise CoaddError(f"the file does not exist: {place}") from None
            if advice or wait is None:
                message = " ".join(_QUERY.sub("", str(error)).split())[:200] or type(error).__name__
                if not advice:
                    _failures[server] = _failures.get(server, 0) + 1
                    if _failures[server] >= _MAX_FAILURES:
                        _avoided[server] = time.monotonic() + _AVOIDED_FOR
                raise CoaddError(f"{place} cannot be fetched: {advice or message}") from None
            time.sleep(wait)
    raise AssertionError


def _check_not_avoided(server: str, place: str) -> None:
    if _avoided.get(server, 0.0) > time.monotonic():
        raise CoaddError(
            f"{place} cannot be fetched: {server} did not respond; next attempt within"
            f" {_AVOIDED_FOR:.0f} s"
        )


def resource_path(uri: str) -> Any:
    """Return the ResourcePath of a file; that of a Butler server's dataset is valid for an hour."""
    dataset = dataset_of(uri)
    access.check(uri, is_located_by_server=dataset is not None)
    try:
        if dataset is not None:
            paths = component_paths(dataset)
            if dataset.component not in paths:
                raise CoaddError(f"stored in components: {', '.join(sorted(paths))}")
            place = paths[dataset.component]
            _check_not_avoided(_server_of(str(place)), uri)
            return place
        from lsst.resources import ResourcePath

        return ResourcePath(uri)  # some schemes need another package
    except ImportError as error:
        raise MissingExtraError(f"reading {urlsplit(uri).scheme}:// files", "remote") from error


def member_of(uri: str) -> str:
    """Return the member of a zip file that a URI names, "" if it names a whole file."""
    name, _, value = uri.partition("#")[2].partition("&component-")[0].partition("=")
    return unquote(value) if name in MEMBERS else ""  # the Butler does not quote it


def copy_to(place: Any, into: ScratchWriter) -> None:
    """Copy a file, or a member of a zip file. Raises CoaddError if there is no room for it."""
    member, place = member_of(str(place)), place.replace(fragment="")
    if not member:
        size = place.size()
        with _open(place) as source:
            _copy_stream(source, size, into)
        return
    with _open(place) as source, zipfile.ZipFile(source) as archive:
        if member not in archive.namelist():
            raise CoaddError(f"{_QUERY.sub('', str(place))} contains no {member}")
        with archive.open(member) as file:
            _copy_stream(file, archive.getinfo(member).file_size, into)


def _open(place: Any) -> Any:
    """Open a file; on this machine, only a regular one. Raises CoaddError for another."""
    if not place.isLocal:
        return place.open("rb")
    try:
        return open_regular(place.ospath)
    except NotRegularError as error:
        raise CoaddError(f"{place.ospath}: {error.strerror}") from error


def _copy_stream(source: Any, size: int, into: ScratchWriter) -> None:
    """Copy `size` bytes of a stream, without a request beyond its end."""
    into.reserve(size)
    while size > 0:
        chunk = source.read(min(_CHUNK, size))
        if not chunk:
            raise OSError(f"the connection ended {size} bytes too early")
        into.write(chunk)
        size -= len(chunk)


def lacks_package(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is that a package of the extra is not installed."""
    while error is not None:
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if missing.partition(".")[0] in _PACKAGES:
            return True
        error = error.__cause__ or error.__context__
    return False


def _server_of(uri: str) -> str:
    """Return the server of a URI; for S3 the host of a URI is a bucket."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return os.environ.get("S3_ENDPOINT_URL", "S3 (S3_ENDPOINT_URL is not set)")
    return parts.netloc


def advice_on(error: Exception, uri: str) -> str:
    """Return what to do about an error that a retry does not solve, "" for any other.

    uri: of the file that was requested.
    """
    server = _server_of(uri)
    message = _URL.sub(
        "", f"{type(error).__name__} {error} {error.__cause__ or ''} {error.__context__ or ''}"
    )
    if any(phrase in message for phrase in _UNREACHABLE):
        host = _HOST.search(message)  # the file's host rather than the Butler server
        server = f"{host[1]}:{host[2]}" if host and dataset_of(uri) else server
        _avoided[server] = time.monotonic() + _AVOIDED_FOR
        return f"{server} does not respond: is it running, and can this machine reach it?"
    if token := butler_server.advice_on(error):
        return token
    if "NoCredentials" in message:
        return f"{server} requires credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "SSLError" in message:
        return f"{server} has no valid https: {' '.join(message.split())[-120:]}"
    if isinstance(error, PermissionError) or _REFUSED.search(message):
        return (
            "access is refused: set the credentials of lsst.resources, LSST_RESOURCES_WEBDAV_"
            "CONFIG or a bearer token for WebDAV, AWS_ACCESS_KEY_ID and the like for S3"
        )
    if isinstance(error, zipfile.BadZipFile):
        return "it is not a zip file"
    return ""
