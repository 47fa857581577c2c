"""URIs of coadd files: to and from paths, and a local file for one that is elsewhere."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from hipsgen.errors import CoaddError
from hipsgen.images.staging import needs_copy, staged

_STAMP = re.compile(r"\d+--?\d+")  # times before 1970 are negative


def uri_of(path: str | os.PathLike[str]) -> str:
    """file:// URI of a path, percent-encoded."""
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def path_of(uri: str) -> Path | None:
    """The path that a URI names, None when it is not on this machine's file systems."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    return None if parts.scheme else Path(uri)


def stamp_of(status: os.stat_result) -> str:
    """Size and time of modification of a file: what tells it from another in its place."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def is_stamp(identity: str) -> bool:
    """Whether an identity is a file's stamp, and not a dataset's name for itself."""
    return _STAMP.fullmatch(identity) is not None


@contextmanager
def local_file(uri: str) -> Iterator[Path]:
    """A path to read the content of a URI from, until the end of the `with` block.

    A remote file is copied; see `staging`. Raises CoaddError.
    """
    if needs_copy(uri):
        with staged(uri) as copy:
            yield copy
        return
    path = path_of(uri)
    if path is None or not path.exists():
        raise CoaddError("the file does not exist")
    yield path
