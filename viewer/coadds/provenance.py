"""Reads the provenance tables of surveys: which coadds contributed pixels at a position."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import aiofiles
from starlette.concurrency import run_in_threadpool

from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import to_vectors
from hipsgen.survey.provenance import FILE_NAME, UsedCoadd
from hipsgen.survey.provenance_rows import RowLayout, Rows, circles_of
from viewer.coadds.positions import (
    PositionIndex,
    Stamp,
    header,
    keep_index,
    open_index,
    stored_circles,
)
from viewer.http.files import open_inside, stamp

_PIECE = 1 << 20  # bytes of a table that are read at a time


@dataclass(frozen=True)
class _Table:
    """What is kept of a table. stamp: of its file."""

    stamp: Stamp
    layout: RowLayout
    index: PositionIndex

    def at(self, file: FileIO, ra: float, dec: float) -> list[UsedCoadd]:
        """Return the coadds at an ICRS position (degrees). file: the table."""
        try:
            near = self.index.near(to_vectors(ra, dec))
            return [c for c in self.layout.coadds(file, near) if c.contains(ra, dec)]
        except OSError as error:
            raise _unreadable(error) from error


class ProvenanceTables:
    """The provenance tables of surveys, whose rows are read from their files when needed.

    roots: resolved folders; tables outside of them are not read. read_only: write nothing there.
    """

    def __init__(self, roots: Iterable[Path], read_only: bool = False) -> None:
        self._roots = tuple(roots)
        self._read_only = read_only
        self._tables: dict[Path, _Table] = {}
        self._locks: dict[Path, asyncio.Lock] = {}

    async def at(self, folder: Path, ra: float, dec: float) -> list[UsedCoadd]:
        """Return the coadds at an ICRS position (degrees).

        Raises SurveyError if the table is missing or cannot be read.
        """
        with await self._open(folder) as file:
            async with self._locks.setdefault(folder, asyncio.Lock()):
                table = await self._current(folder, file)
            return await run_in_threadpool(table.at, file, ra, dec)

    async def pieces(self, folder: Path) -> AsyncIterator[Rows]:
        """Iterate over all rows of a table, several thousand at a time; raises like `at`."""
        with await self._open(folder) as file:
            async for rows in _pieces(file, await run_in_threadpool(RowLayout.of_file, file)):
                yield rows

    async def _open(self, folder: Path) -> FileIO:
        try:
            return await run_in_threadpool(open_inside, self._roots, folder / FILE_NAME)
        except OSError as error:
            raise _unreadable(error) from error

    async def _current(self, folder: Path, file: FileIO) -> _Table:
        """Return what is known about the table, after reading it if its file has changed."""
        now = stamp(os.fstat(file.fileno()))
        cached = self._tables.get(folder)
        if cached is None or cached.stamp != now:
            layout = await run_in_threadpool(RowLayout.of_file, file)
            index = await self._index(folder, file, now, layout)
            cached = self._tables[folder] = _Table(now, layout, index)
        return cached

    async def _index(
        self, folder: Path, file: FileIO, now: Stamp, layout: RowLayout
    ) -> PositionIndex:
        """Open the stored index of a table, or make it."""
        head = header(now, layout.count)
        if index := await run_in_threadpool(open_index, self._roots, folder, head):
            return index
        data = bytearray(head)
        async for rows in _pieces(file, layout):
            data += await run_in_threadpool(_circles, rows)
        to_write = None if self._read_only else folder
        return await run_in_threadpool(keep_index, self._roots, to_write, data)


def _circles(rows: Rows) -> bytes:
    return stored_circles(*circles_of(rows))


async def _pieces(file: FileIO, layout: RowLayout) -> AsyncIterator[Rows]:
    size = layout.dtype.itemsize
    step = max(1, _PIECE // size)
    try:
        async with aiofiles.open(file.fileno(), "rb", closefd=False) as table:
            await table.seek(layout.offset)
            for first in range(0, layout.count, step):
                yield layout.rows(await table.read(min(step, layout.count - first) * size))
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> SurveyError:
    return SurveyError(f"{FILE_NAME}: {error.strerror or error}")
