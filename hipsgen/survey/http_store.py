"""Read a survey from a web server."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import quote

from hipsgen.errors import SurveyError
from hipsgen.files import FileTooLargeError, read_stream
from hipsgen.survey.store import MAX_SIZE, Readable, Stat, is_url, open_store

_TIMEOUT = 60.0  # seconds without receiving a byte
_ATTEMPTS = 3
_PAUSE = 0.5  # seconds, doubled after each attempt
_NOT_FOUND = (403, 404, 410)  # an S3 bucket that may not be listed responds with 403


@dataclass(frozen=True)
class HttpStore:
    """The files under a URL, which cannot be listed."""

    url: str

    def __str__(self) -> str:
        return self.url

    def read(self, path: str, limit: int = MAX_SIZE) -> bytes:
        """See `Readable.read`. Raises SurveyError if the server does not respond."""
        return self._request(path, "GET", limit)[0]

    def stat(self, path: str) -> Stat | None:
        """See `Readable.stat`."""
        try:
            return Stat(self._request(path, "HEAD")[1])
        except FileNotFoundError:
            return None

    def list(self, folder: str = "") -> Iterator[str]:
        """Raise SurveyError."""
        raise SurveyError(f"{self.url}: files on a web server cannot be listed; use a local copy")

    def _request(self, path: str, method: str, limit: int = 0) -> tuple[bytes, int]:
        """Return content and stated length of a file. Raises FileNotFoundError."""
        url = f"{self.url.rstrip('/')}/{quote(path)}"
        request = urllib.request.Request(url, method=method)
        for left in reversed(range(_ATTEMPTS)):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                    length = int(response.headers.get("Content-Length") or 0)
                    return read_stream(response, limit), length
            except FileTooLargeError as error:
                raise SurveyError(f"{url} cannot be read: {error.strerror}") from error
            except urllib.error.HTTPError as error:
                if error.code in _NOT_FOUND:
                    raise FileNotFoundError(url) from error
                if error.code < 500 or not left:
                    raise SurveyError(f"{url}: the server responds with {error.code}") from error
            except (OSError, HTTPException, ValueError) as error:
                if not left:
                    reason = getattr(error, "reason", error)
                    raise SurveyError(f"{url} cannot be fetched ({reason})") from error
            time.sleep(_PAUSE * 2 ** (_ATTEMPTS - 1 - left))
        raise AssertionError


def open_readable(place: str | os.PathLike[str]) -> Readable:
    """Return the store of a folder or of an http(s) URL, to read from."""
    return HttpStore(str(place)) if is_url(place) else open_store(place)
