"""Serves the files of a survey: which may be seen, as what, and for how long they stay fresh."""

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

# HiPS has no place for a version in the URL of a tile, so this is how long one from before an
# update may be seen beside those from after it. Panning to and fro asks nothing; later a 304 says
# that the tile is still good, at a few hundred bytes instead of a megabyte.
TILE_FRESH = "public, max-age=60"
ALWAYS_ASK = "no-cache"

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


# one range; several are answered with all of the file, as RFC 9110 allows (14.2)
_RANGE = re.compile(r"bytes=([0-9]{0,99})-([0-9]{0,99})", re.IGNORECASE)

# bytes that are read and sent at a time, and that a slow client has in memory
_PIECE = 1 << 18

# what the machine cannot do just now: a tile that is not told of would be a hole in the sky
_FOR_NOW = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}

logger = logging.getLogger(__name__)


class SurveyFile(Response):
    """A part of an open file; whatever takes its place meanwhile, what was begun is sent."""

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
        # fewer bytes than content-length says: the server closes the connection
        except EOFError:
            logger.warning("%s became shorter while it was sent", self._file.name)
        except ConnectionError:
            raise  # of the client, not of the file
        except OSError as error:
            logger.warning("%s cannot be read to its end: %s", self._file.name, error)
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
        """Bytes of the file; other requests do not wait while the disk is read."""
        if is_cached(self._file, position, position + size):
            return os.pread(self._file.fileno(), size, position)
        return await run_in_threadpool(os.pread, self._file.fileno(), size, position)


async def serve_survey_file(
    roots: Iterable[Path], folder: Path, inner: str, request: Request
) -> Response:
    """Answer for one file of a survey; 404 for what is missing, hidden or not of a survey."""
    if _TILE.fullmatch(inner):
        return await serve_file(roots, f"{folder}/{inner}", request, TILE_FRESH)
    if _OTHER.fullmatch(inner):
        return await serve_file(roots, f"{folder}/{inner}", request)
    raise HTTPException(404)


async def serve_page_file(static: Path, inner: str, request: Request) -> Response:
    """Answer for one file of the page, under the same rules."""
    if not _PAGE.fullmatch(inner):
        raise HTTPException(404)
    return await serve_file([static.resolve()], f"{static}/{inner}", request)


async def serve_file(
    roots: Iterable[Path], path: str, request: Request, freshness: str = ALWAYS_ASK
) -> Response:
    """The file or the asked part of it, or 304 when the client's copy is good.

    404 unless it really lies beneath a root, 503 while the machine cannot read it.
    """
    file = await _open(roots, path)
    found = os.fstat(file.fileno())
    headers = {
        "etag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
        "last-modified": format_date_time(modified(found)),
        "cache-control": freshness,
    }
    if is_unchanged(request.headers, headers):
        file.close()
        return Response(status_code=304, headers=headers)
    headers |= {"content-type": media_type(path), "accept-ranges": "bytes"}
    # HEAD has no parts (RFC 9110, 14.2)
    part = asked_part(request.headers, headers["etag"], found.st_size)
    if part is None or request.method == "HEAD":
        headers["content-length"] = str(found.st_size)
        return SurveyFile(file, range(found.st_size), headers, 200)
    if not part:
        file.close()
        raise HTTPException(416, headers={"content-range": f"bytes */{found.st_size}"})
    headers["content-range"] = f"bytes {part[0]}-{part[-1]}/{found.st_size}"
    headers["content-length"] = str(len(part))
    return SurveyFile(file, part, headers, 206)


def media_type(name: str) -> str:
    """What a file is, told from its name; Starlette calls .fits an image, properties nothing."""
    return MEDIA_TYPES.get(os.path.splitext(name)[1], PLAIN_TEXT)


def is_unchanged(asked: Headers, answer: Mapping[str, str]) -> bool:
    """Whether the client's copy is good (RFC 9110, 13.1: an ETag wins over a date)."""
    if (tags := asked.get("if-none-match")) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or answer["etag"] in known
    if (since := asked.get("if-modified-since")) is None:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(answer["last-modified"])
    except (ValueError, TypeError, OverflowError):
        # not a date, or one without a zone: as if it had not been sent
        return False


def asked_part(asked: Headers, etag: str, size: int) -> range | None:
    """The range of bytes that is asked for, empty when there are none; None for all of them."""
    found = _RANGE.fullmatch(asked.get("range", "").strip())
    if not found or asked.get("if-range", etag) != etag:
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
        if error.errno in _FOR_NOW:
            raise HTTPException(503, error.strerror, {"retry-after": "1"}) from error
        raise HTTPException(404) from None
