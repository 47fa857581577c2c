"""Where the files of a survey lie. Paths are relative, with forward slashes."""

import errno
import fcntl
import mmap
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Protocol

import numpy as np

from hipsgen.errors import SurveyError

_PART = ".part"
_DIRECT = getattr(os, "O_DIRECT", 0)
_LARGE = 1 << 19  # bytes
_THREAD = threading.local()


@dataclass(frozen=True)
class Stat:
    """Size in bytes and time of the last change in seconds since 1970."""

    size: int
    mtime: float


class Store(Protocol):
    """A tree of files that appear whole or not at all."""

    def read(self, path: str) -> bytes:
        """Content of a file. Raises FileNotFoundError."""

    def write(self, path: str, data: bytes | memoryview) -> None:
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

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Store.write`: written beside its place, flushed to disk, then renamed."""
        target = str(self._at(path))
        folder, name = os.path.split(target)
        aside = os.path.join(folder, f".{name}.{secrets.token_hex(6)}{_PART}")
        try:
            handle = _create(aside, len(data))
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            handle = _create(aside, len(data))
        try:
            try:
                _fill(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(aside, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(aside)
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


def _create(path: str, size: int) -> int:
    """A new file, open for writing; one that is large past the page cache, where that can be.

    Tiles would only push the coadds out of it, at twice the processor's time. Asked for afterwards:
    a file system that refuses when a file is created leaves an empty one behind.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    if size >= _LARGE and _DIRECT:
        with suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | _DIRECT)
    return handle


def _fill(handle: int, data: bytes | memoryview) -> None:
    if fcntl.fcntl(handle, fcntl.F_GETFL) & _DIRECT:
        try:
            if _write_pages(handle, memoryview(data)):
                return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        # a file system that goes back on its word, or has no room
        fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) & ~_DIRECT)
        os.lseek(handle, 0, os.SEEK_SET)
        os.ftruncate(handle, 0)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _write_pages(handle: int, data: memoryview) -> bool:
    """Write from memory that begins on a page, in whole pages, then cut to size; False if short."""
    whole = len(data) // mmap.PAGESIZE * mmap.PAGESIZE
    if np.frombuffer(data, np.uint8).ctypes.data % mmap.PAGESIZE:
        whole = 0
    if whole and os.write(handle, data[:whole]) != whole:
        return False
    rest = data[whole:]
    if rest:
        room = _aligned(len(rest))
        room[: len(rest)] = rest
        if os.write(handle, room) != len(room):
            return False
    os.ftruncate(handle, len(data))
    return True


def _aligned(size: int) -> memoryview:
    """Memory of this thread, in whole pages, as direct writing wants it."""
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    room: mmap.mmap | None = getattr(_THREAD, "room", None)
    if room is None or len(room) < pages:
        room = _THREAD.room = mmap.mmap(-1, pages)
    return memoryview(room)[:pages]


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
