"""Where the files of a survey lie. Paths are relative, with forward slashes."""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Protocol

from hipsgen.errors import SurveyError

_PART = ".part"


@dataclass(frozen=True)
class Stat:
    """Size in bytes and time of the last change in seconds since 1970."""

    size: int
    mtime: float


class Store(Protocol):
    """A tree of files that appear whole or not at all."""

    def read(self, path: str) -> bytes:
        """Content of a file. Raises FileNotFoundError."""

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place, with its folders; a reader sees the old content or the new."""

    def list(self, folder: str = "") -> Iterator[str]:
        """Paths of all files under a folder, sorted; none if there is no such folder."""

    def stat(self, path: str) -> Stat | None:
        """Size and time of a file; None if there is none."""

    def delete(self, path: str) -> None:
        """Remove a file; no error if there is none."""


@dataclass(frozen=True)
class LocalStore:
    """A folder of this machine."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, path: str) -> bytes:
        """See `Store.read`."""
        try:
            return self._at(path).read_bytes()
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(path) from error

    def write(self, path: str, data: bytes) -> None:
        """See `Store.write`: written beside its place, flushed to disk, then renamed."""
        target = self._at(path)
        aside = target.with_name(f".{target.name}.{secrets.token_hex(6)}{_PART}")
        try:
            handle = open(aside, "xb")  # noqa: SIM115 - closed below, after the flush
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = open(aside, "xb")  # noqa: SIM115
        try:
            with handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(aside, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def list(self, folder: str = "") -> Iterator[str]:
        """See `Store.list`; unfinished files of a killed writer are not listed."""
        top = self._at(folder) if folder else self.root
        yield from _walk(top, f"{folder}/" if folder else "")

    def stat(self, path: str) -> Stat | None:
        """See `Store.stat`."""
        try:
            status = self._at(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(status.st_mode):
            return None
        return Stat(status.st_size, status.st_mtime)

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._at(path).unlink()

    def _at(self, path: str) -> Path:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "" in parts:
            raise SurveyError(f"{path!r} is not a path inside the survey")
        return self.root.joinpath(*parts)


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """Paths of the files under a folder; `a.txt` sorts before `a/x`, as the paths do."""
    try:
        with os.scandir(folder) as found:
            # links to folders are left out: they may lead round in a circle
            kept = [e for e in found if not (e.is_symlink() and e.is_dir())]
            entries = sorted((e.name + "/" * e.is_dir(), e.path) for e in kept)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, path in entries:
        if name.endswith("/"):
            yield from _walk(Path(path), prefix + name)
        elif not name.endswith(_PART):
            yield prefix + name


def open_store(place: str | os.PathLike[str]) -> Store:
    """The store for a place."""
    return LocalStore(Path(place))
