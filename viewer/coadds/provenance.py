"""Reads the provenance tables of surveys: which coadds contributed pixels at a position."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import aiofiles
from starlette.concurrency import run_in_threadpool

from hipsgen.errors import SurveyError
from hipsgen.files import check_size
from hipsgen.survey.provenance import FILE_NAME, Provenance, UsedCoadd
from hipsgen.survey.store import MAX_SIZE
from viewer.http.files import open_inside, stamp


class ProvenanceTables:
    """The provenance tables of surveys, cached until their files change.

    roots: resolved folders; tables outside of them are not read.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._tables: dict[Path, tuple[tuple[int, int, int], Provenance]] = {}
        self._lock = asyncio.Lock()

    async def at(self, folder: Path, ra: float, dec: float) -> list[UsedCoadd]:
        """Return the coadds at an ICRS position (degrees).

        Raises SurveyError if the table is missing or cannot be read.
        """
        return await run_in_threadpool((await self._provenance(folder)).at, ra, dec)

    async def all(self, folder: Path) -> Sequence[UsedCoadd]:
        """Return all coadds of a survey; raises like `at`."""
        return (await self._provenance(folder)).coadds

    async def _provenance(self, folder: Path) -> Provenance:
        try:
            return await self._table(folder / FILE_NAME)
        except OSError as error:
            raise SurveyError(f"{FILE_NAME}: {error.strerror or error}") from error

    async def _table(self, path: Path) -> Provenance:
        with await run_in_threadpool(open_inside, self._roots, path) as file:
            now = stamp(os.fstat(file.fileno()))
            async with self._lock:
                cached = self._tables.get(path)
                if cached is None or cached[0] != now:
                    check_size(file, MAX_SIZE)
                    async with aiofiles.open(file.fileno(), "rb", closefd=False) as table:
                        data = await table.read()
                    cached = (now, await run_in_threadpool(Provenance.from_bytes, data))
                    self._tables[path] = cached
        return cached[1]
