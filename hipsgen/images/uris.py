"""URIs of coadd files: conversion to and from paths, and stamps that identify a file's content."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

_STAMP = re.compile(r"\d+--?\d+")  # times before 1970 are negative


def uri_of(path: str | os.PathLike[str]) -> str:
    """Return the file:// URI of a path, percent-encoded."""
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def path_of(uri: str) -> Path | None:
    """Return the path that a URI names, None if it is not on this machine's file systems."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets are valid in IPv6 addresses only
        return Path(uri)
    if parts.scheme == "file":
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    return None if parts.scheme else Path(uri)


def stamp_of(status: os.stat_result) -> str:
    """Return size and modification time of a file, which identify its content."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def is_stamp(identity: str) -> bool:
    """Whether an identity is a file's stamp rather than a dataset's id."""
    return _STAMP.fullmatch(identity) is not None
