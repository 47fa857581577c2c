"""Serving of a survey's files: which are public, their media types, caching and ranges."""

import errno
import logging
import os
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from io import FileIO
from pathlib import Path
from wsgiref.handlers import format_date_time

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from viewer.http.files import is_cached, modified, open_if_cached, open_inside

MEDIA_TYPES = {
    ".fits": "application/fits",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
    ".json": "application/json",
}
PLAIN_TEXT = "text/plain; charset=utf-8"

# URLs of HiPS tiles contain no version, so this is how long an old tile may be shown next to new
# ones after an update. Within that time, panning back and forth sends no requests; later a 304
# confirms the cached tile with a few hundred bytes instead of a megabyte.
TILE_FRESH = "public, max-age=60"
ALWAYS_REVALIDATE = "no-cache"

_IMAGE = r"\.(?:fits|png|jpg|webp)"
_TILE = re.compile(rf"Norder[0-9]{{1,2}}/Dir[0-9]{{1,12}}/Npix[0-9]{{1,12}}{_IMAGE}")
_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_OTHER = re.compile(
    rf"Norder[0-9]{{1,2}}/Allsky{_IMAGE}"
    r"|properties|Moc\.fits|preview\.jpg|provenance\.fits|index\.html"
    r"|metadata\.(?:xml|fits|json|txt)"
    rf"|page/(?:aladin/)?{_WORD}"
)
_PAGE = re.compile(rf"(?:{_WORD}/){{0,3}}{_WORD}")

# a single range; a request for several gets the whole file, as RFC 9110 (14.2) allows
_RANGE = re.compile(r"bytes=([0-9]{0,99})-([0-9]{0,99})", re.IGNORECASE)

# bytes that are read and sent at a time, which is the memory that a slow client occupies
_PIECE = 1 << 18

# temporary errors, reported as 503: a 404 would look like a hole in the survey
_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}

logger = logging.getLogger(__name__)


class SurveyFile(Response):
    """Response with part of an open file, unaffected if another file takes its path meanwhile."""

    def __init__(self, file: FileIO, part: range, headers: Mapping[str, str], status: int) -> None:
        super().__init__(status_code=status, headers=headers)
        self._file = file
        self._part = part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part and close the file."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            if scope["method"] == "HEAD" or not self._part:
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_part(send)
        # fewer bytes than Content-Length: the server closes the connection
        except EOFError:
            logger.warning("%s was truncated while it was sent", self._file.name)
        except ConnectionError:
            raise  # about the client, not the file
        except OSError as error:
            logger.warning("%s could not be read completely: %s", self._file.name, error)
        finally:
            self._file.close()

    async def _send_part(self, send: Send) -> None:
        position, end = self._part.start, self._part.stop
        while position < end:
            piece = await self._read(position, min(_PIECE, end - position))
            if not piece:
                raise EOFError
            position += len(piece)
            more = position < end
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    async def _read(self, position: int, size: int) -> bytes:
        """Read bytes of the file, in a thread unless cached, so that other requests do not wait."""
        if is_cached(self._file, position, position + size):
            return os.pread(self._file.fileno(), size, position)
        return await run_in_threadpool(os.pread, self._file.fileno(), size, position)


async def serve_survey_file(
    roots: Iterable[Path], folder: Path, inner: str, request: Request
) -> Response:
    """Respond with a file of a survey, or 404 if it is missing, private or not part of a survey."""
    if _TILE.fullmatch(inner):
        return await serve_file(roots, f"{folder}/{inner}", request, TILE_FRESH)
    if _OTHER.fullmatch(inner):
        return await serve_file(roots, f"{folder}/{inner}", request)
    raise HTTPException(404)


async def serve_page_file(static: Path, inner: str, request: Request) -> Response:
    """Respond with one file of the page, by the same rules."""
    if not _PAGE.fullmatch(inner):
        raise HTTPException(404)
    return await serve_file([static.resolve()], f"{static}/{inner}", request)


async def serve_file(
    roots: Iterable[Path], path: str, request: Request, freshness: str = ALWAYS_REVALIDATE
) -> Response:
    """Respond with a file or the requested range of it, or 304 if the client's copy is current.

    Raises HTTPException: 404 unless its real path is inside a root, 416 for a range without bytes,
    503 for temporary errors.
    """
    file = await _open(roots, path)
    info = os.fstat(file.fileno())
    headers = {
        "etag": f'"{info.st_mtime_ns:x}-{info.st_size:x}"',
        "last-modified": format_date_time(modified(info)),
        "cache-control": freshness,
    }
    if is_not_modified(request.headers, headers):
        file.close()
        return Response(status_code=304, headers=headers)
    headers |= {"content-type": media_type(path), "accept-ranges": "bytes"}
    # ranges are defined for GET only (RFC 9110, 14.2)
    part = requested_range(request.headers, headers["etag"], info.st_size)
    if part is None or request.method == "HEAD":
        headers["content-length"] = str(info.st_size)
        return SurveyFile(file, range(info.st_size), headers, 200)
    if not part:
        file.close()
        raise HTTPException(416, headers={"content-range": f"bytes */{info.st_size}"})
    headers["content-range"] = f"bytes {part[0]}-{part[-1]}/{info.st_size}"
    headers["content-length"] = str(len(part))
    return SurveyFile(file, part, headers, 206)


def media_type(name: str) -> str:
    """Return the media type of a file name; Starlette has none for `properties`, and image/fits."""
    return MEDIA_TYPES.get(os.path.splitext(name)[1], PLAIN_TEXT)


def is_not_modified(request: Headers, response: Mapping[str, str]) -> bool:
    """Return whether the client's copy is current (RFC 9110, 13.1: ETags have precedence)."""
    if (tags := request.get("if-none-match")) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or response["etag"] in known
    if (since := request.get("if-modified-since")) is None:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(response["last-modified"])
    except (ValueError, TypeError, OverflowError):
        # no date, or one without a time zone: ignored
        return False


def requested_range(request: Headers, etag: str, size: int) -> range | None:
    """Return the requested range of bytes, empty if unsatisfiable, or None for the whole file."""
    found = _RANGE.fullmatch(request.get("range", "").strip())
    if not found or request.get("if-range", etag) != etag:
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    if first is None:
        return None if last is None else range(max(size - last, 0), size)
    if last is None:
        return range(first, size)
    return range(first, min(last + 1, size)) if first <= last else None


async def _open(roots: Iterable[Path], path: str) -> FileIO:
    try:
        file = open_if_cached(roots, path)
        return file if file else await run_in_threadpool(open_inside, roots, path)
    except OSError as error:
        if error.errno in _TRANSIENT:
            raise HTTPException(503, error.strerror, {"retry-after": "1"}) from error
        raise HTTPException(404) from None
