"""Open and read regular files only: a FIFO may block forever, and a device may have no end."""

import errno
import os
import stat
from io import BufferedReader, FileIO
from typing import Protocol

from hipsgen.text import human_size

_Path = str | os.PathLike[str]
_CHUNK = 1 << 20  # bytes
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegularError(OSError):
    """The file is a FIFO, a socket or a device."""


class FileTooLargeError(OSError):
    """The file has more bytes than are read of a file of its kind."""


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes | None:
        """Return up to `size` bytes, none at the end."""


def check_regular(path: _Path) -> os.stat_result:
    """Return the status of a regular file; symbolic links are followed.

    Raises NotRegularError for a FIFO, a socket or a device, IsADirectoryError for a folder, and
    OSError if it does not exist or access is denied.
    """
    return _checked(os.stat(path), path)


def open_regular(path: _Path) -> BufferedReader:
    """Open a regular file for reading, without blocking; symbolic links are followed.

    Raises like `check_regular`, and OSError if it cannot be read.
    """
    check_regular(path)  # opening a device may have an effect
    return open(path, "rb", opener=_open)


def read_regular(path: _Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises like `open_regular`, and FileTooLargeError.
    """
    with open_regular(path) as file:
        return read_whole(file, limit)


def read_whole(file: BufferedReader | FileIO, limit: int) -> bytes:
    """Return the content of an open regular file of at most `limit` bytes.

    Raises FileTooLargeError, before anything is read if its size says so.
    """
    # files of /proc have no size, and may have no end
    return file.read() if check_size(file, limit) else read_stream(file, limit)


def check_size(file: BufferedReader | FileIO, limit: int) -> int:
    """Return the size of an open file in bytes. Raises FileTooLargeError above `limit` bytes."""
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise _too_large(size, limit)
    return size


def read_stream(stream: _Stream, limit: int) -> bytes:
    """Return the rest of a stream, such as a response of a server.

    Raises FileTooLargeError as soon as it has more than `limit` bytes.
    """
    found = bytearray()
    while chunk := stream.read(_CHUNK):
        found += chunk
        if len(found) > limit:
            raise _too_large(len(found), limit)
    return bytes(found)


def _open(path: str, flags: int) -> int:
    # O_NONBLOCK: do not block if a FIFO has replaced the file since it was checked
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _checked(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _checked(status: os.stat_result, path: _Path) -> os.stat_result:
    if stat.S_ISREG(status.st_mode):
        return status
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")
    raise NotRegularError(errno.EINVAL, f"it is {kind}, not a regular file", os.fspath(path))


def _too_large(size: int, limit: int) -> FileTooLargeError:
    reason = f"it has {human_size(size)} or more; the limit is {human_size(limit)}"
    return FileTooLargeError(errno.EFBIG, reason)
