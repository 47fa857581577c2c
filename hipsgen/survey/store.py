"""Where the files of a survey lie. Paths are relative, with forward slashes."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
        return self._at(path).read_bytes()

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
        for place, folders, files in os.walk(top):
            folders.sort()
            base = Path(place).relative_to(self.root).as_posix()
            for name in sorted(files):
                if not name.endswith(_PART):
                    yield name if base == "." else f"{base}/{name}"

    def stat(self, path: str) -> Stat | None:
        """See `Store.stat`."""
        try:
            status = self._at(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stat(status.st_size, status.st_mtime)

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        self._at(path).unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "" in parts:
            raise SurveyError(f"{path!r} is not a path inside the survey")
        return self.root.joinpath(*parts)


def open_store(place: str | os.PathLike[str]) -> Store:
    """The store for a place."""
    return LocalStore(Path(place))
