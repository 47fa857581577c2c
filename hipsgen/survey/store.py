"""Where the files of a survey lie. Paths are relative, with forward slashes."""

import errno
import fcntl
import itertools
import mmap
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Protocol

import numpy as np

from hipsgen.errors import SurveyError

_PART = ".part"
_DIRECT = getattr(os, "O_DIRECT", 0)
# names that no other writer takes, in this process or any other
_nonce, _numbers = secrets.token_hex(6), itertools.count()
_writing: set[str] = set()  # by this process, now
_NO_SETTLING = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.ENOENT)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@dataclass(frozen=True)
class Stat:
    """Size in bytes and time of the last change in seconds since 1970."""

    size: int
    mtime: float


class Readable(Protocol):
    """A tree of files to be read."""

    def read(self, path: str) -> bytes:
        """Content of a file. Raises FileNotFoundError."""

    def list(self, folder: str = "") -> Iterator[str]:
        """Paths of all files under a folder, sorted; none if there is no such folder."""

    def stat(self, path: str) -> Stat | None:
        """Size and time of a file; None if there is none."""


class Store(Readable, Protocol):
    """A tree of files that appear whole or not at all."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Put a file in place, with its folders; a reader sees the old content or the new."""

    def delete(self, path: str) -> None:
        """Remove a file; no error if there is none."""

    def fsync_directories(self, folders: Iterable[str]) -> None:
        """Make sure that what was put into folders is there after the machine stops, too."""

    def remove_partial_files(self) -> None:
        """Remove what writers that were killed left unfinished."""

    def free_space(self) -> int | None:
        """Bytes that can be written yet; None when nobody knows."""


@dataclass(frozen=True)
class LocalStore:
    """A folder of this machine."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, path: str) -> bytes:
        """See `Store.read`."""
        try:  # without waiting for somebody to write into a FIFO
            handle = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(path) from error
        if not S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise FileNotFoundError(path)
        with open(handle, "rb") as file:
            return file.read()

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Store.write`: written beside its place, flushed to disk, then renamed."""
        target = self._at(path)
        try:
            self._put(target, data)
        except FileNotFoundError:  # swept away by another build of this place, or its folder was
            self._put(target, data)

    def _put(self, target: str, data: bytes | memoryview) -> None:
        folder, name = os.path.split(target)
        part = f".{name}.{_nonce}-{os.getpid()}-{next(_numbers)}{_PART}"
        _writing.add(part)
        try:
            self._write_aside(os.path.join(folder, part), target, data)
        finally:
            _writing.discard(part)

    def _write_aside(self, aside: str, target: str, data: bytes | memoryview) -> None:
        try:
            handle = os.open(aside, _NEW, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(aside), exist_ok=True)
            handle = os.open(aside, _NEW, 0o666)
        try:
            try:
                _fill(handle, memoryview(data))
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
        top = Path(self._at(folder)) if folder else self.root
        yield from _walk(top, f"{folder}/" if folder else "")

    def stat(self, path: str) -> Stat | None:
        """See `Store.stat`."""
        try:
            status = os.stat(self._at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(status.st_mode):
            return None
        return Stat(status.st_size, status.st_mtime)

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._at(path))

    def fsync_directories(self, folders: Iterable[str]) -> None:
        """See `Store.settle`; some file systems do not need it, and refuse."""
        for folder in folders:
            try:
                handle = os.open(self._at(folder) if folder else self.root, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            except OSError as error:
                if error.errno not in _NO_SETTLING:
                    raise

    def remove_partial_files(self) -> None:
        """See `Store.sweep`; a writer that is alive begins the file anew."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                if name.startswith(".") and name.endswith(_PART) and name not in _writing:
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))

    def free_space(self) -> int | None:
        """See `Store.room`; quotas are not known."""
        place = self.root.absolute()
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def _at(self, path: str) -> str:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "" in parts:
            raise SurveyError(f"{path!r} is not a path inside the survey")
        return os.path.join(self.root, *parts)


def _fill(handle: int, data: memoryview) -> None:
    """Write all of a file; past the page cache if the data begin on a page and the place allows it.

    Tiles would only push the coadds out of the cache, at twice the processor's time.
    """
    on_a_page = data and np.frombuffer(data, np.uint8).ctypes.data % mmap.PAGESIZE == 0
    if on_a_page and _set_direct(handle, True):
        try:
            if _write_pages(handle, data):
                return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        # a file system that goes back on its word, or has no room
        _set_direct(handle, False)
        os.lseek(handle, 0, os.SEEK_SET)
        os.ftruncate(handle, 0)
    while data:
        data = data[os.write(handle, data) :]


def _set_direct(handle: int, direct: bool) -> bool:
    """Whether an open file could be told to be written directly, or not to.

    Not when it is created: a file system that refuses then leaves an empty one behind.
    """
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, _DIRECT if direct else 0)  # no other flag is in use
    except OSError:
        return False
    return bool(_DIRECT)


def _write_pages(handle: int, data: memoryview) -> bool:
    """Write whole pages directly, and the rest through the cache; False if short."""
    whole = len(data) // mmap.PAGESIZE * mmap.PAGESIZE
    if whole and os.write(handle, data[:whole]) != whole:
        return False
    _set_direct(handle, False)
    return os.write(handle, data[whole:]) == len(data) - whole


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


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is on a web server."""
    return str(place).startswith(("http://", "https://"))
