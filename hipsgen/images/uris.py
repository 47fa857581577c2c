"""URIs of coadd files: conversion to and from paths, and stamps that identify a file's content."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from hipsgen.errors import ConfigError

# a scheme has at least two letters here, since Windows has drives; pathlib turns // into /
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
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


def is_uri(text: str) -> bool:
    """Whether a text looks like a URI; a path that does can be written as ./PATH."""
    return _URI.match(text) is not None


def local_path(place: str | os.PathLike[str]) -> Path:
    """Return the path that a user means by a path or a file URI; it never looks like a URI.

    Raises ConfigError for an empty text, and for any other URI.
    """
    text = os.fspath(place)
    if not text:
        raise ConfigError("the path is empty; the current folder is .", value=text)
    if not is_uri(text):
        path = Path(text)
        return path.absolute() if is_uri(str(path)) else path
    try:
        host = urlsplit(text).netloc
    except ValueError:  # brackets are valid in IPv6 addresses only
        return Path(text)
    path_or_none = path_of(text)
    if path_or_none is None:
        raise ConfigError(
            f"{text} is not on this machine: name a local path (./{text} if this is one)",
            value=text,
        )
    if host not in ("", "localhost"):
        raise ConfigError(
            f"{text} is on the host {host}: name a local path, or file:///PATH",
            value=text,
        )
    return path_or_none


def path_if_local(place: str) -> Path | None:
    """Return the path that a user means, None if it is a URI of another machine.

    Raises ConfigError for an empty text, and for a file URI that names another host.
    """
    return None if is_uri(place) and path_of(place) is None else local_path(place)


def stamp_of(status: os.stat_result) -> str:
    """Return size and modification time of a file, which identify its content."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def is_stamp(identity: str) -> bool:
    """Whether an identity is a file's stamp rather than a dataset's id."""
    return _STAMP.fullmatch(identity) is not None
