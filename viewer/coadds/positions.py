"""Which rows of a provenance table may lie at a position: circles around the coadds, in a file.

A large table takes seconds to read, so its circles are kept in `.hipsgen/positions` beside it, for
all processes and later starts; where that cannot be written, in an unlinked file. The file is
read for each search, from the page cache that all processes share. It is not mapped into memory: a
file on a network that another machine replaces would end the process with SIGBUS.
"""

import os
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import Vectors
from hipsgen.survey import paths
from hipsgen.survey.store import LocalStore
from viewer.http.files import open_inside

Stamp = tuple[int, int, int]

MIN_STORED = 10_000  # coadds; fewer are kept in memory
_HEADER = struct.Struct("<8s4q")
_MAGIC = b"hipspos1"
_NUMBERS = np.dtype("<f8")  # of a circle: x, y, z of the center, cosine of the radius
_SIZE = 4 * _NUMBERS.itemsize
_PIECE = 1 << 15  # circles that are read at a time: 1 MB
_MARGIN = 1e-6  # degrees; corners are rounded to 1e-8


class PositionIndex:
    """Circles around the coadds of a table.

    read: returns bytes of the file, given their number and offset. count: number of coadds.
    """

    def __init__(self, read: Callable[[int, int], bytes | bytearray], count: int) -> None:
        self._read, self._count = read, count

    def near(self, point: npt.NDArray[np.float64]) -> list[int]:
        """Return the rows, ascending, whose circle contains a point: ICRS unit vector (3,).

        Raises SurveyError if the file has been truncated.
        """
        found: list[int] = []
        for first in range(0, self._count, _PIECE):
            size = min(_PIECE, self._count - first) * _SIZE
            data = self._read(size, _HEADER.size + first * _SIZE)
            if len(data) < size:
                raise SurveyError(f"{paths.POSITIONS} is truncated: remove it")
            x, y, z, cosine = np.frombuffer(data, _NUMBERS).reshape(-1, 4).T
            # not a matrix product: BLAS would start threads
            is_near = x * point[0] + y * point[1] + z * point[2] >= cosine
            found += (first + np.flatnonzero(is_near)).tolist()
        return found


def header(stamp: Stamp, count: int) -> bytes:
    """Return the beginning of the file. stamp, count: of the table and its coadds."""
    return _HEADER.pack(_MAGIC, *stamp, count)


def stored_circles(centers: Vectors, radii: npt.NDArray[np.float64]) -> bytes:
    """Return circles as stored. centers: ICRS unit vectors (n, 3). radii: (n,), degrees."""
    reach = np.radians(np.minimum(radii + _MARGIN, 180.0))
    return np.column_stack([centers, np.cos(reach) - 1e-12]).astype(_NUMBERS).tobytes()


def open_index(roots: Iterable[Path], folder: Path, head: bytes) -> PositionIndex | None:
    """Open the stored index of a survey, or return None if it is not that of its table.

    Parameters
    ----------
    roots
        Resolved folders, outside of which nothing is read.
    folder
        The folder of the survey.
    head
        The header that the file must have.
    """
    count = _HEADER.unpack(head)[-1]
    try:
        file = open_inside(roots, folder / paths.POSITIONS)
        size = os.fstat(file.fileno()).st_size
        is_current = os.pread(file.fileno(), _HEADER.size, 0) == head
    except OSError:
        return None
    if not is_current or size != _HEADER.size + count * _SIZE:
        file.close()
        return None
    return _in_file(file, count)


def keep_index(roots: Iterable[Path], folder: Path | None, data: bytearray) -> PositionIndex:
    """Store an index and open it; a small one stays in memory.

    Parameters
    ----------
    roots
        As in `open_index`.
    folder
        The folder of the survey; None to store it in an unlinked file.
    data
        The header and all circles.
    """
    count = _HEADER.unpack_from(data)[-1]
    if count >= MIN_STORED:
        if folder is not None and (index := _store(roots, folder, data)):
            return index
        try:
            unlinked = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed with the index
            if unlinked.write(data) == len(data):
                return _in_file(unlinked, count)
        except OSError:
            pass  # no space for it: it stays in memory
    return PositionIndex(lambda size, at: data[at : at + size], count)


def _store(roots: Iterable[Path], folder: Path, data: bytearray) -> PositionIndex | None:
    """Write the file beside the table and open it; None if that is not possible."""
    try:
        LocalStore(folder).write(paths.POSITIONS, memoryview(data))
    except OSError:
        return None
    return open_index(roots, folder, bytes(data[: _HEADER.size]))


def _in_file(file: IO[bytes], count: int) -> PositionIndex:
    """Return an index whose file stays open as long as the index exists."""
    number = file.fileno()
    index = PositionIndex(lambda size, at: os.pread(number, size, at), count)
    weakref.finalize(index, file.close)
    return index
