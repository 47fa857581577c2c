"""Files that are not on this machine's file systems: where they are, and asking again for them."""

import os
import re
import time
import zipfile
from collections.abc import Callable
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from hipsgen.errors import CoaddError, MissingExtraError
from hipsgen.images import butler_server
from hipsgen.images.butler_server import dataset_of, places_of

MEMBERS = ("zip-path", "unzip")  # what the Butler calls the member of a zip file in a fragment
_WAITS = (1.0,)  # seconds before another attempt; lsst.resources makes some of its own
_FAILURES = 4  # one after the other, and a server is left alone: each takes up to minutes
_DEAD = 60.0  # seconds for which a server that did not answer is not asked again
_PIECE = 1 << 24  # bytes of a request
_UNREACHABLE = ("Connection refused", "Name or service not known", "Could not connect to the endp")
_REFUSED = re.compile(
    r"(status|status code:?|HTTP|\() ?(401|403)\b|\b(401|403) (Client|Unauth|Forbid)"
    r"|\b(Unauthorized|Forbidden|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch)\b"
)
_STUMBLED = re.compile(r"status code: 5\d\d")  # which lsst.resources calls "file not found"
_URL = re.compile(r"\S+://\S+|\burl: \S+")  # whose tract may well be 403
_QUERY = re.compile(r"\?[^\s'\"<>)]*")  # of a signed URL, which is nobody's business
_HOST = re.compile(r"host='([^']+)', port=(\d+)")
_PACKAGES = {"requests", "httpx2", "boto3", "botocore", "backoff", "defusedxml", "fsspec"}
_failures: dict[str, int] = {}  # of servers, since they last gave something
_silent: dict[str, float] = {}  # servers that did not answer, and until when they are left alone
_Result = TypeVar("_Result")


def patiently(uri: str, attempt: Callable[[], _Result]) -> _Result:
    """What an attempt gives, made again if that might help. Raises CoaddError."""
    place, server = uri.split("#", 1)[0], _server_of(uri)
    for wait in (*_WAITS, None):
        _check_answers(server, place)
        try:
            result = attempt()
            _failures.pop(server, None)
            return result
        except (CoaddError, MissingExtraError):
            raise
        except Exception as error:  # of the library of each kind of place
            advice = advice_on(error, uri)
            gone = isinstance(error, FileNotFoundError) and not _STUMBLED.search(str(error))
            if gone and not advice:
                raise CoaddError(f"the file does not exist: {place}") from None
            if advice or wait is None:
                said = " ".join(_QUERY.sub("", str(error)).split())[:200] or type(error).__name__
                if not advice:
                    _failures[server] = _failures.get(server, 0) + 1
                    if _failures[server] >= _FAILURES:
                        _silent[server] = time.monotonic() + _DEAD
                raise CoaddError(f"{place} cannot be fetched: {advice or said}") from None
            time.sleep(wait)
    raise AssertionError


def _check_answers(server: str, place: str) -> None:
    if _silent.get(server, 0.0) > time.monotonic():
        raise CoaddError(f"{place} cannot be fetched: {server} does not answer, as before")


def place_of(uri: str) -> Any:
    """The ResourcePath of a file; of a dataset of a Butler server, for the next hour."""
    dataset = dataset_of(uri)
    try:
        if dataset is not None:
            places = places_of(dataset)
            if dataset.component not in places:
                raise CoaddError(f"stored in components: {', '.join(sorted(places))}")
            place = places[dataset.component]
            _check_answers(_server_of(str(place)), uri)
            return place
        from lsst.resources import ResourcePath

        return ResourcePath(uri)  # which needs another package for some schemes
    except ImportError as error:
        raise MissingExtraError(f"reading {urlsplit(uri).scheme}:// files", "remote") from error


def member_of(uri: str) -> str:
    """The member of a zip file that a URI names, "" if it names a whole file."""
    name, _, value = uri.partition("#")[2].partition("&component-")[0].partition("=")
    return unquote(value) if name in MEMBERS else ""  # as the Butler does, who does not quote it


def copy_to(place: Any, into: IO[bytes]) -> None:
    """Copy all of a file, or of a member of a zip file."""
    member, place = member_of(str(place)), place.replace(fragment="")
    if not member:
        size = place.size()
        with place.open("rb") as source:
            _pour(source, size, into)
        return
    with place.open("rb") as source, zipfile.ZipFile(source) as packed:
        if member not in packed.namelist():
            raise CoaddError(f"{_QUERY.sub('', str(place))} holds no {member}")
        with packed.open(member) as file:
            _pour(file, packed.getinfo(member).file_size, into)


def _pour(source: Any, size: int, into: IO[bytes]) -> None:
    """All of a stream, and no request for more than there is."""
    while size > 0:
        piece = source.read(min(_PIECE, size))
        if not piece:
            raise OSError(f"the connection ended {size} bytes too early")
        into.write(piece)
        size -= len(piece)


def wants_package(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, is that a package of the extra is not installed."""
    while error is not None:
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if missing.partition(".")[0] in _PACKAGES:
            return True
        error = error.__cause__ or error.__context__
    return False


def _server_of(uri: str) -> str:
    """Who is asked for a URI: of S3, its name is that of a bucket."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return os.environ.get("S3_ENDPOINT_URL", "S3 (S3_ENDPOINT_URL is not set)")
    return parts.netloc


def advice_on(error: Exception, uri: str) -> str:
    """What to do about an error that another attempt does not mend, "" for one that it might.

    uri: of what was asked for.
    """
    server = _server_of(uri)
    said = _URL.sub(
        "", f"{type(error).__name__} {error} {error.__cause__ or ''} {error.__context__ or ''}"
    )
    if any(words in said for words in _UNREACHABLE):
        asked = _HOST.search(said)  # the place of a file, and not the Butler server that named it
        server = f"{asked[1]}:{asked[2]}" if asked and dataset_of(uri) else server
        _silent[server] = time.monotonic() + _DEAD
        return f"{server} does not answer: is it running, and can this machine reach it?"
    if token := butler_server.advice_on(error):
        return token
    if "NoCredentials" in said:
        return f"{server} asks for credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "SSLError" in said:
        return f"{server} does not answer in https: {' '.join(said.split())[-120:]}"
    if isinstance(error, PermissionError) or _REFUSED.search(said):
        return (
            "access is refused; credentials are those of lsst.resources: LSST_RESOURCES_WEBDAV_"
            "CONFIG or a bearer token for WebDAV, AWS_ACCESS_KEY_ID and the like for S3"
        )
    if isinstance(error, zipfile.BadZipFile):
        return "it is no zip file"
    return ""
