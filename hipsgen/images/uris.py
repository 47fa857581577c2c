"""URIs of coadd files: to and from paths, and a local file for one that is elsewhere."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

_STAMP = re.compile(r"\d+--?\d+")  # times before 1970 are negative


def uri_of(path: str | os.PathLike[str]) -> str:
    """file:// URI of a path, percent-encoded."""
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def path_of(uri: str) -> Path | None:
    """The path that a URI names, None when it is not on this machine's file systems."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # of brackets, which are for IPv6 only
        return Path(uri)
    if parts.scheme == "file":
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    return None if parts.scheme else Path(uri)


def stamp_of(status: os.stat_result) -> str:
    """Size and time of modification of a file: what tells it from another in its place."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def is_stamp(identity: str) -> bool:
    """Whether an identity is a file's stamp, and not a dataset's name for itself."""
    return _STAMP.fullmatch(identity) is not None
