"""Serves the files of a survey: which may be seen, as what, and for how long they stay fresh."""

import os
import re
import stat
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

MEDIA_TYPES = {
    ".fits": "application/fits",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
    ".json": "application/json",
}
PLAIN_TEXT = "text/plain; charset=utf-8"

TILE_FRESH = "public, max-age=3600"
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


class SurveyFile(FileResponse):
    """A file in few large reads: a FITS tile is 1 MB."""

    chunk_size = 1 << 20


def serve_survey_file(
    roots: Iterable[Path], folder: Path, inner: str, request_headers: Headers
) -> Response:
    """Answer for one file of a survey; 404 for what is missing, hidden or not of a survey."""
    if _TILE.fullmatch(inner):
        return serve_file(roots, folder / inner, request_headers, TILE_FRESH)
    if _OTHER.fullmatch(inner):
        return serve_file(roots, folder / inner, request_headers)
    raise HTTPException(404)


def serve_page_file(static: Path, inner: str, request_headers: Headers) -> Response:
    """Answer for one file of the page, under the same rules."""
    if not _PAGE.fullmatch(inner):
        raise HTTPException(404)
    return serve_file([static.resolve()], static / inner, request_headers)


def serve_file(
    roots: Iterable[Path], path: Path, request_headers: Headers, freshness: str = ALWAYS_ASK
) -> Response:
    """The file, or 304 when the client's copy is good; 404 unless it really lies beneath a root."""
    real, found = _real_file(roots, path)
    headers = {
        "etag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
        "cache-control": freshness,
    }
    kind = media_type(path.name)
    response = SurveyFile(real, headers=headers, media_type=kind, stat_result=found)
    if is_unchanged(request_headers, response.headers):
        kept = ("etag", "last-modified", "cache-control")
        return Response(status_code=304, headers={key: response.headers[key] for key in kept})
    return response


def media_type(name: str) -> str:
    """What a file is, told from its name; Starlette calls .fits an image, properties nothing."""
    return MEDIA_TYPES.get(Path(name).suffix, PLAIN_TEXT)


def is_unchanged(asked: Headers, answer: Headers) -> bool:
    """Whether the client's copy is good (RFC 9110, 13.1: an ETag wins over a date)."""
    if (tags := asked.get("if-none-match")) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or answer["etag"] in known
    if (since := asked.get("if-modified-since")) is None:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(answer["last-modified"])
    except (ValueError, TypeError):
        # not a date, or one without a zone: as if it had not been sent
        return False


def _real_file(roots: Iterable[Path], path: Path) -> tuple[Path, os.stat_result]:
    """The file behind a path, links followed, if it is a regular one beneath a root."""
    try:
        real = path.resolve(strict=True)
        found = real.stat()
    except (OSError, RuntimeError):
        raise HTTPException(404) from None
    if not stat.S_ISREG(found.st_mode) or not any(real.is_relative_to(r) for r in roots):
        raise HTTPException(404)
    return real, found
