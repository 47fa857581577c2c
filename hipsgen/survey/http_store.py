"""A survey on a web server, to be read."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import quote

from hipsgen.errors import SurveyError
from hipsgen.survey.store import Readable, Stat, is_url, open_store

_TIMEOUT = 60.0  # seconds without a byte
_TRIES = 3
_PAUSE = 0.5  # seconds, doubled every time
_NOT_THERE = (403, 404, 410)  # an S3 bucket that may not be listed says 403


@dataclass(frozen=True)
class HttpStore:
    """The files under a URL. What is there cannot be listed."""

    url: str

    def __str__(self) -> str:
        return self.url

    def read(self, path: str) -> bytes:
        """See `Readable.read`. Raises SurveyError when the server does not answer."""
        return self._asked(path, "GET")[0]

    def stat(self, path: str) -> Stat | None:
        """See `Readable.stat`; the time is not asked for."""
        try:
            return Stat(self._asked(path, "HEAD")[1], 0.0)
        except FileNotFoundError:
            return None

    def list(self, folder: str = "") -> Iterator[str]:
        """Raises SurveyError."""
        raise SurveyError(f"{self.url}: a web server cannot be asked for a list of its files")

    def _asked(self, path: str, method: str) -> tuple[bytes, int]:
        """Content and stated length of a file. Raises FileNotFoundError."""
        url = f"{self.url.rstrip('/')}/{quote(path)}"
        request = urllib.request.Request(url, method=method)
        for left in reversed(range(_TRIES)):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                    return answer.read(), int(answer.headers.get("Content-Length") or 0)
            except urllib.error.HTTPError as error:
                if error.code in _NOT_THERE:
                    raise FileNotFoundError(url) from error
                if error.code < 500 or not left:
                    raise SurveyError(f"{url}: the server answers {error.code}") from error
            except (OSError, HTTPException, ValueError) as error:
                if not left:
                    reason = getattr(error, "reason", error)
                    raise SurveyError(f"{url} cannot be fetched ({reason})") from error
            time.sleep(_PAUSE * 2 ** (_TRIES - 1 - left))
        raise AssertionError


def open_readable(place: str | os.PathLike[str]) -> Readable:
    """Return the store of a folder or of an http(s) URL, to read from."""
    return HttpStore(str(place)) if is_url(place) else open_store(place)
