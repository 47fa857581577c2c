"""Opens files that lie beneath served folders, and no others."""

import os
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

_LAST_SECOND = 253402300799.0  # of the year 9999

# neither wait for somebody to write into a FIFO, nor follow a link put there since it was resolved
_CAREFULLY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(roots: Iterable[Path], path: Path) -> FileIO:
    """The regular file at a path, opened; links are followed that stay beneath a (real) root.

    What is opened stays as it is: a build replaces files, it does not write into them.
    Raises FileNotFoundError for what is none or lies elsewhere, OSError when it cannot be read.
    """
    try:
        real = path.resolve(strict=True)
    except RuntimeError:
        raise FileNotFoundError("links lead round in a circle") from None
    if not any(real.is_relative_to(root) for root in roots):
        raise FileNotFoundError("leads out of the served folders")
    file = FileIO(real, opener=lambda name, _: os.open(name, _CAREFULLY))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError("is not a file")
    return file


def stamp(found: os.stat_result) -> tuple[int, int, int]:
    """What differs once a file is replaced, be it by one as long within a tick of the clock."""
    return found.st_mtime_ns, found.st_size, found.st_ino


def modified(found: os.stat_result) -> datetime:
    """When a file was last changed; a clock that went wild is brought back to years with dates."""
    return datetime.fromtimestamp(min(max(found.st_mtime, 0.0), _LAST_SECOND), UTC)
