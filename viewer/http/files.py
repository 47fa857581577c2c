"""Opens files that lie beneath served folders, and no others."""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

_LAST_SECOND = 253402300799.0  # of the year 9999
_SAMPLED = 1 << 17  # bytes; systems read ahead, and forget, about as many at a time

# not to wait for somebody to write into a FIFO
_CAREFULLY = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def open_inside(roots: Iterable[Path], path: Path | str) -> FileIO:
    """The regular file at a path, opened; links are followed that stay beneath a (real) root.

    What is opened stays as it is: a build replaces files, it does not write into them.
    Raises FileNotFoundError for what is none or lies elsewhere, OSError when it cannot be read.
    """
    with _resolve(path) as (real, name, flags):
        if not any(real.startswith(os.path.join(root, "")) for root in roots):
            raise FileNotFoundError("leads out of the served folders")
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise FileNotFoundError("is not a file")
        return FileIO(real, opener=lambda *_: os.open(name, flags))


def open_if_cached(roots: Iterable[Path], path: str) -> FileIO | None:
    """The same without ever waiting for a disk or a network; None where that cannot be.

    So it is for what lies there by itself, without links, and whose folders the system has in
    memory (Linux since 5.12). A server that answers many needs no thread for it.
    """
    # the system looks at links, we at the name itself
    is_beneath = any(path.startswith(os.path.join(root, "")) for root in roots)
    if _openat2 is None or not is_beneath or ".." in path:
        return None
    found = _openat2(os.fsencode(path))
    if found < 0:
        return None
    file = FileIO(path, opener=lambda *_: found)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        file.close()
        raise FileNotFoundError("is not a file")
    return file


def _system_call() -> Callable[[bytes], int] | None:
    """What calls openat2 (2), which Python lacks; its number is the same on all processors."""
    if sys.platform != "linux":
        return None
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    # struct open_how: flags, mode; RESOLVE_NO_SYMLINKS and RESOLVE_CACHED
    how = struct.pack("=QQQ", _CAREFULLY, 0, 0x04 | 0x20)
    number, here, size = ctypes.c_long(437), ctypes.c_long(-100), ctypes.c_size_t(len(how))
    return lambda path: int(call(number, here, ctypes.c_char_p(path), how, size))


_openat2 = _system_call()


@contextmanager
def _resolve(path: Path | str) -> Iterator[tuple[str, str, int]]:
    """Where a path leads, without links; by what name that can be opened, and how."""
    if not hasattr(os, "O_PATH"):
        real = os.path.realpath(path, strict=True)
        yield real, real, _CAREFULLY | os.O_NOFOLLOW
        return
    # Linux goes all the way at once, tells where it arrived, and opens that, whatever is there now
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        here = f"/proc/self/fd/{found}"
        yield os.readlink(here), here, _CAREFULLY
    finally:
        os.close(found)


def stamp(found: os.stat_result) -> tuple[int, int, int]:
    """What differs once a file is replaced, be it by one as long within a tick of the clock."""
    return found.st_mtime_ns, found.st_size, found.st_ino


def modified(found: os.stat_result) -> float:
    """Unix time of the last change; a clock that went wild is brought back to years with dates."""
    return min(max(found.st_mtime, 0.0), _LAST_SECOND)


def is_cached(file: FileIO, first: int, end: int) -> bool:
    """Whether bytes can be read without waiting for the disk, as far as samples tell."""
    byte = [bytearray(1)]
    try:
        return all(
            os.preadv(file.fileno(), byte, at, os.RWF_NOWAIT)
            for at in (*range(first, end, _SAMPLED), end - 1)
        )
    except (OSError, AttributeError):
        # it would wait, or the system cannot tell
        return False
