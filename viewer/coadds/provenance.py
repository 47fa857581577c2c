"""Reads the provenance tables of surveys: which coadds gave pixels at a position."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import aiofiles
from starlette.concurrency import run_in_threadpool

from hipsgen.errors import SurveyError
from hipsgen.survey.provenance import FILE_NAME, Provenance, UsedCoadd
from viewer.http.files import open_inside, stamp


class ProvenanceTables:
    """The provenance tables of surveys; each is read once, and again when it changes.

    roots: real folders; a table that lies elsewhere is not read.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._tables: dict[Path, tuple[tuple[int, int, int], Provenance]] = {}
        self._lock = asyncio.Lock()

    async def at(self, folder: Path, ra: float, dec: float) -> list[UsedCoadd]:
        """The coadds at an ICRS position (degrees).

        Raises SurveyError without a table, or with one that cannot be read.
        """
        return await run_in_threadpool((await self._known(folder)).at, ra, dec)

    async def all(self, folder: Path) -> Sequence[UsedCoadd]:
        """The coadds of a survey; see `at`."""
        return (await self._known(folder)).coadds

    async def _known(self, folder: Path) -> Provenance:
        try:
            return await self._table(folder / FILE_NAME)
        except OSError as error:
            raise SurveyError(f"{FILE_NAME}: {error.strerror or error}") from error

    async def _table(self, path: Path) -> Provenance:
        with await run_in_threadpool(open_inside, self._roots, path) as file:
            now = stamp(os.fstat(file.fileno()))
            async with self._lock:
                known = self._tables.get(path)
                if known is None or known[0] != now:
                    async with aiofiles.open(file.fileno(), "rb", closefd=False) as table:
                        data = await table.read()
                    known = (now, await run_in_threadpool(Provenance.from_bytes, data))
                    self._tables[path] = known
        return known[1]
