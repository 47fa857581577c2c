"""Unlinked files in the folder for temporary files (TMPDIR).

Such a file is unlinked before anything is written to it, so that it disappears when the process
ends, even if it is killed.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hipsgen.errors import CoaddError
from hipsgen.text import human_size

_OPEN_FILES = Path("/proc/self/fd")  # by their numbers


def free_space() -> int:
    """Return the free bytes of the disk with these files."""
    return shutil.disk_usage(tempfile.gettempdir()).free


@dataclass
class ScratchFile:
    """An open file, unlinked where the system permits it; path: by which it can be opened again."""

    file: IO[bytes]
    path: Path

    @classmethod
    def create(cls) -> "ScratchFile":
        """Create an empty file."""
        file: IO[bytes]
        if _OPEN_FILES.exists():
            file = tempfile.TemporaryFile(prefix="hipsgen-")  # noqa: SIM115  (it is unlinked)
            return cls(file, _OPEN_FILES / str(file.fileno()))
        # not Linux: deleted when it is discarded
        file = tempfile.NamedTemporaryFile(prefix="hipsgen-", suffix=".fits", delete=False)  # noqa: SIM115
        return cls(file, Path(file.name))

    @property
    def size(self) -> int:
        """Size in bytes."""
        return os.fstat(self.file.fileno()).st_size

    def discard(self) -> None:
        """Close and delete the file."""
        self.file.close()
        if self.path.parent != _OPEN_FILES:
            self.path.unlink(missing_ok=True)


class ScratchWriter:
    """Appends to a file as long as there is room for it.

    make_room: called with a number of bytes before they are written; returns whether there is room
    for them.
    """

    def __init__(self, file: IO[bytes], make_room: Callable[[int], bool]) -> None:
        self._file, self._make_room, self._size = file, make_room, 0

    def write(self, data: bytes) -> None:
        """Append bytes. Raises CoaddError if they do not fit."""
        self.reserve(len(data))
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:  # a quota, for example
            raise self._no_room(len(data), error.strerror or str(error)) from error
        self._size += len(data)

    def reserve(self, count: int) -> None:
        """Make room for bytes that are about to be written. Raises CoaddError if there is none."""
        if not self._make_room(count):
            raise self._no_room(count, f"{human_size(free_space())} are free; a tenth is reserved")

    def allocate(self, count: int) -> None:
        """Append zero bytes, allocated on the disk. Raises CoaddError if they do not fit."""
        self.reserve(count)
        try:
            os.posix_fallocate(self._file.fileno(), self._size, count)
        except OSError as error:
            raise self._no_room(count, error.strerror or str(error)) from error
        self._size += count

    def _no_room(self, count: int, reason: str) -> CoaddError:
        size = human_size(self._size + count)
        return CoaddError(
            f"{size} or more of its content do not fit into {tempfile.gettempdir()} ({reason}): "
            "set TMPDIR to a folder with more space, or decompress the file yourself"
        )
