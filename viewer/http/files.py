"""Opening of files inside the served folders, and of no others."""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

_MAX_TIME = 253402300799.0  # the last second of the year 9999
# bytes between samples: about as many as systems read ahead, and evict, at a time
_SAMPLE_STEP = 1 << 17

# O_NONBLOCK: opening a FIFO does not wait for a writer
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def open_inside(roots: Iterable[Path], path: Path | str) -> FileIO:
    """Open a regular file; links are followed if they stay inside a root (a real path).

    The content of an open file does not change: a build replaces files instead of writing to them.
    Raises FileNotFoundError if it is no regular file or outside the roots, and OSError if it cannot
    be read.
    """
    with _resolve(path) as (real, name, flags):
        if not any(real.startswith(os.path.join(root, "")) for root in roots):
            raise FileNotFoundError("is outside the served folders")
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise FileNotFoundError("is not a regular file")
        return FileIO(real, opener=lambda *_: os.open(name, flags))


def open_if_cached(roots: Iterable[Path], path: str) -> FileIO | None:
    """Open a file like `open_inside`, but without waiting for a disk or network, else return None.

    It works for paths without links, whose folders the system has in memory (Linux 5.12 and
    later). It never blocks, so the server needs no thread for it.
    """
    # openat2 refuses links; only the path itself remains to be checked
    is_inside = any(path.startswith(os.path.join(root, "")) for root in roots)
    if _openat2 is None or not is_inside or ".." in path:
        return None
    descriptor = _openat2(os.fsencode(path))
    if descriptor < 0:
        return None
    file = FileIO(path, opener=lambda *_: descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise FileNotFoundError("is not a regular file")
    return file


def _load_openat2() -> Callable[[bytes], int] | None:
    """Return a function that calls openat2(2), which Python lacks, or None if not on Linux."""
    if sys.platform != "linux":
        return None
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    # struct open_how: flags, mode; RESOLVE_NO_SYMLINKS and RESOLVE_CACHED
    how = struct.pack("=QQQ", _FLAGS, 0, 0x04 | 0x20)
    # 437 is the number of openat2 on all architectures, -100 is AT_FDCWD
    number, cwd, size = ctypes.c_long(437), ctypes.c_long(-100), ctypes.c_size_t(len(how))
    return lambda path: int(call(number, cwd, ctypes.c_char_p(path), how, size))


_openat2 = _load_openat2()


@contextmanager
def _resolve(path: Path | str) -> Iterator[tuple[str, str, int]]:
    """Yield the real path, a name by which that very file can be opened, and the flags for it."""
    if not hasattr(os, "O_PATH"):
        real = os.path.realpath(path, strict=True)
        yield real, real, _FLAGS | os.O_NOFOLLOW
        return
    # Linux resolves the path once, reports the real path of the file that it has found, and opens
    # that file even if another has replaced it since
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        name = f"/proc/self/fd/{descriptor}"
        yield os.readlink(name), name, _FLAGS
    finally:
        os.close(descriptor)


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """Return a value that changes when a file is replaced.

    The inode number tells files of equal size apart that were written within one tick of the clock.
    """
    return status.st_mtime_ns, status.st_size, status.st_ino


def modified(status: os.stat_result) -> float:
    """Return the Unix time of the last change, limited to the years 1970 to 9999 (for dates)."""
    return min(max(status.st_mtime, 0.0), _MAX_TIME)


def is_cached(file: FileIO, first: int, end: int) -> bool:
    """Return whether a range of bytes is in the page cache, judging by samples."""
    byte = [bytearray(1)]
    try:
        return all(
            os.preadv(file.fileno(), byte, at, os.RWF_NOWAIT)
            for at in (*range(first, end, _SAMPLE_STEP), end - 1)
        )
    except (OSError, AttributeError):
        # the read would block, or the system does not support RWF_NOWAIT
        return False
