"""Originals, the files of coadds: which of them a server may open.

Provenance tables, which name them, may come from anybody. Therefore only files beneath certain
roots are opened: those that the operator names, and those that the build of the survey recorded.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from hipsgen.errors import CoaddError, ConfigError
from hipsgen.images import access
from hipsgen.images.uris import path_if_local, path_of
from hipsgen.survey import paths
from hipsgen.survey.originals import recorded_roots
from viewer.http.files import stamp

_SCHEMES = ("http", "https", "dav", "davs", "s3", "gs")
_PORTS = {"http": "80", "https": "443"}
# servers interpret these segments of a path in different ways
_UNCLEAR = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|[\\\x00-\x1f\x7f]")

Result = TypeVar("Result")


class NotAllowedError(CoaddError):
    """A file may not be opened, as it is beneath none of the roots."""


@dataclass(frozen=True)
class Root:
    """A folder, a file or a URL prefix; server: scheme and host, "" for this machine."""

    server: str
    path: str

    def covers(self, server: str, path: str) -> bool:
        """Whether an address is this one, or below it."""
        below = os.path.join(self.path, "")
        return server == self.server and (path == self.path or path.startswith(below))


def check_originals(named: Iterable[str]) -> tuple[str, ...]:
    """Return the folders and URL prefixes that an operator names. Raises ConfigError."""
    for text in (named := tuple(named)):
        path = path_if_local(text) if text else None
        if path is not None and not path.exists():
            raise ConfigError(f"--originals {text} does not exist: name a folder or a URL prefix")
        if path is None and (_remote(text) is None or urlsplit(text).scheme not in _SCHEMES):
            raise ConfigError(
                f"--originals {text!r} is neither a folder nor a URL prefix"
                f" ({', '.join(f'{scheme}://' for scheme in _SCHEMES)})"
            )
    return named


class Originals:
    """The roots of all surveys. named: folders and URL prefixes; None to allow every file."""

    def __init__(self, named: Sequence[str] | None) -> None:
        self._named = None if named is None else tuple(map(_root, named))
        self._recorded: dict[Path, tuple[object, tuple[Root | None, ...]]] = {}
        self._lock = threading.Lock()

    def limited(
        self, folders: Callable[[], Iterable[Path]], work: Callable[..., Result]
    ) -> Callable[..., Result]:
        """Return a function that may open only the originals of the surveys in some folders."""
        if self._named is None:
            return work

        def limited_work(*args: object) -> Result:
            with access.limited_by(_Limits(self._roots(folders()))):
                return work(*args)

        return limited_work

    def _roots(self, folders: Iterable[Path]) -> list[Root]:
        recorded = (root for folder in folders for root in self._recorded_by(folder))
        return [root for root in (*(self._named or ()), *recorded) if root is not None]

    def _recorded_by(self, folder: Path) -> tuple[Root | None, ...]:
        """Return the recorded roots of a survey, read again after each build."""
        now = [_stamp(folder / name) for name in (paths.BUILD, paths.TOP)]
        with self._lock:
            cached = self._recorded.get(folder)
            if cached is None or cached[0] != now:
                cached = now, tuple(map(_root, recorded_roots(folder)))
                self._recorded[folder] = cached
        return cached[1]


@dataclass(frozen=True)
class _Limits:
    """The roots that count for a request; see `access.Limits`."""

    roots: Sequence[Root]

    def real_path(self, path: Path) -> Path:
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError):  # a circular link, a NUL
            real = ""
        if not any(root.covers("", real) for root in self.roots):
            raise _refused(str(path))
        return Path(real)

    def check(self, uri: str, is_option: bool = False) -> None:
        path = path_of(uri)
        if path is not None:
            self.real_path(path)
            return
        found = _remote(uri)
        if found is None or not any(
            root.server == found.server if is_option else root.covers(found.server, found.path)
            for root in self.roots
        ):
            raise _refused(uri)


def _refused(place: str) -> NotAllowedError:
    shown = "".join(c if c.isprintable() else "?" for c in place.partition("?")[0])[:200]
    return NotAllowedError(
        f"{shown}: not allowed, serve with --originals and a folder or URL that contains it"
    )


def _root(text: str) -> Root | None:
    """Return the root that a text names, None if it is neither a path nor a URL prefix."""
    path = path_of(text)
    if path is None:
        return _remote(text)
    try:
        return Root("", os.path.realpath(path))
    except (OSError, ValueError):
        return None


def _remote(uri: str) -> Root | None:
    """Return server and path of a URI, None if it is not clear which file it means."""
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        return None
    scheme = access.http_scheme(parts.scheme)
    host = parts.netloc.lower().removesuffix(f":{_PORTS.get(scheme, '')}")
    if not host or _UNCLEAR.search(path):
        return None
    return Root(f"{scheme}://{host}", path.rstrip("/"))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        return stamp(path.stat())
    except OSError:
        return None
