"""Read and write the files of a survey. Paths are relative, with forward slashes."""

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
from typing import Protocol

import numpy as np

from hipsgen.errors import SurveyError
from hipsgen.files import FileTooLargeError, NotRegularError, check_regular, read_regular
from hipsgen.images.uris import local_path

MAX_SIZE = 1 << 31  # bytes of a file that is read whole; provenance of a million coadds has 0.6 GB
SMALL = 1 << 20  # the same for properties and other files of settings
_PART = ".part"
_DIRECT = getattr(os, "O_DIRECT", 0)
# for names of temporary files that no other writer uses, in this process or any other
_nonce, _numbers = secrets.token_hex(6), itertools.count()
_writing: set[str] = set()  # temporary files that this process is writing
_FSYNC_UNSUPPORTED = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.ENOENT)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@dataclass(frozen=True)
class Stat:
    """Size of a file in bytes."""

    size: int


class Readable(Protocol):
    """A readable tree of files."""

    def read(self, path: str, limit: int = MAX_SIZE) -> bytes:
        """Return the content of a file of at most `limit` bytes.

        Raises FileNotFoundError if there is no regular file, SurveyError if it is larger.
        """

    def list(self, folder: str = "") -> Iterator[str]:
        """Iterate over the paths of all files under a folder, sorted; none if it does not exist."""

    def stat(self, path: str) -> Stat | None:
        """Return the size of a file, None if it does not exist."""


class Store(Readable, Protocol):
    """A writable tree of files, in which files appear complete or not at all."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write a file, creating its folders; a reader sees either the old content or the new."""

    def delete(self, path: str) -> None:
        """Remove a file, if it exists."""

    def fsync_directories(self, folders: Iterable[str]) -> None:
        """Flush folders to disk, so that their entries survive a crash of the machine."""

    def remove_partial_files(self) -> None:
        """Remove the unfinished files of writers that were killed."""

    def free_space(self) -> int | None:
        """Return the free space in bytes, None if unknown."""


@dataclass(frozen=True)
class LocalStore:
    """A folder on this machine."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, path: str, limit: int = MAX_SIZE) -> bytes:
        """See `Store.read`."""
        try:
            return read_regular(self._absolute(path), limit)
        except (IsADirectoryError, NotADirectoryError, NotRegularError) as error:
            raise FileNotFoundError(path) from error
        except FileTooLargeError as error:
            raise SurveyError(f"{path} of {self} cannot be read: {error.strerror}") from error

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Store.write`: written to a temporary file, flushed to disk, then renamed."""
        target = self._absolute(path)
        try:
            self._write_and_rename(target, data)
        except FileNotFoundError:  # another build removed the temporary file or its folder
            self._write_and_rename(target, data)

    def _write_and_rename(self, target: str, data: bytes | memoryview) -> None:
        folder, name = os.path.split(target)
        part = f".{name}.{_nonce}-{os.getpid()}-{next(_numbers)}{_PART}"
        _writing.add(part)
        try:
            self._write_part(os.path.join(folder, part), target, data)
        finally:
            _writing.discard(part)

    def _write_part(self, part_path: str, target: str, data: bytes | memoryview) -> None:
        try:
            handle = os.open(part_path, _NEW, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(part_path), exist_ok=True)
            handle = os.open(part_path, _NEW, 0o666)
        try:
            try:
                _write_all(handle, memoryview(data))
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(part_path, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part_path)
            raise

    def list(self, folder: str = "") -> Iterator[str]:
        """See `Store.list`; unfinished files of a killed writer are omitted."""
        top = Path(self._absolute(folder)) if folder else self.root
        yield from _walk(top, f"{folder}/" if folder else "")

    def stat(self, path: str) -> Stat | None:
        """See `Store.stat`."""
        try:
            return Stat(check_regular(self._absolute(path)).st_size)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, NotRegularError):
            return None

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._absolute(path))

    def fsync_directories(self, folders: Iterable[str]) -> None:
        """See `Store.fsync_directories`; some file systems neither need nor support it."""
        for folder in folders:
            try:
                handle = os.open(self._absolute(folder) if folder else self.root, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            except OSError as error:
                if error.errno not in _FSYNC_UNSUPPORTED:
                    raise

    def remove_partial_files(self) -> None:
        """See `Store.remove_partial_files`; a live writer whose file is removed starts again."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                if name.startswith(".") and name.endswith(_PART) and name not in _writing:
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))

    def free_space(self) -> int | None:
        """See `Store.free_space`; quotas are not considered."""
        location = self.root.absolute()
        while not location.exists():
            location = location.parent
        return shutil.disk_usage(location).free

    def _absolute(self, path: str) -> str:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "" in parts:
            raise SurveyError(f"{path!r} is not a relative path inside the survey")
        return os.path.join(self.root, *parts)


def _write_all(handle: int, data: memoryview) -> None:
    """Write a file, bypassing the page cache if possible.

    That requires data that begin at a page, and support by the file system. Tiles would displace
    the coadds from the cache, and cost twice the CPU time.
    """
    is_aligned = data and np.frombuffer(data, np.uint8).ctypes.data % mmap.PAGESIZE == 0
    if is_aligned and _set_direct(handle, True):
        try:
            if _write_pages(handle, data):
                return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        # O_DIRECT was accepted but the write failed, or the disk is full
        _set_direct(handle, False)
        os.lseek(handle, 0, os.SEEK_SET)
        os.ftruncate(handle, 0)
    while data:
        data = data[os.write(handle, data) :]


def _set_direct(handle: int, direct: bool) -> bool:
    """Switch direct writing of an open file on or off; return whether it is supported.

    This is not done when creating the file: a file system that refuses would leave an empty one.
    """
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, _DIRECT if direct else 0)  # no other flag is set
    except OSError:
        return False
    return bool(_DIRECT)


def _write_pages(handle: int, data: memoryview) -> bool:
    """Write whole pages directly and the rest through the cache; False after a short write."""
    whole_pages = len(data) // mmap.PAGESIZE * mmap.PAGESIZE
    if whole_pages and os.write(handle, data[:whole_pages]) != whole_pages:
        return False
    _set_direct(handle, False)
    return os.write(handle, data[whole_pages:]) == len(data) - whole_pages


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """Iterate over the paths of the files under a folder; `a.txt` sorts before `a/x`."""
    try:
        with os.scandir(folder) as found:
            # links to folders are omitted: they may be circular
            entries_kept = [e for e in found if not (e.is_symlink() and e.is_dir())]
            entries = sorted((e.name + "/" * e.is_dir(), e.path) for e in entries_kept)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, path in entries:
        if name.endswith("/"):
            yield from _walk(Path(path), prefix + name)
        elif not name.endswith(_PART):
            yield prefix + name


def open_store(location: str | os.PathLike[str]) -> Store:
    """Return the store for a folder."""
    return LocalStore(Path(location))


def location_of(survey: str | os.PathLike[str]) -> str:
    """Return the location of a survey: an http(s) URL, or the path of a path or a file URI.

    Raises ConfigError for any other URI.
    """
    return str(survey) if is_url(survey) else str(local_path(survey))


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether a location is on a web server."""
    return str(location).startswith(("http://", "https://"))
