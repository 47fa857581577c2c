"""Answers what lies beneath a position: the coadds that gave pixels to a survey there."""

import asyncio
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import aiofiles

from hipsgen.errors import SurveyError
from hipsgen.survey.provenance import FILE_NAME, Provenance, UsedCoadd
from viewer.coadds.pixels import name_of
from viewer.http.files import open_inside, stamp


class Inspector:
    """Asks the provenance tables of surveys; each is read once, and again when it changes.

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
        return await asyncio.to_thread((await self._known(folder)).at, ra, dec)

    async def all(self, folder: Path) -> Sequence[UsedCoadd]:
        """The coadds of a survey; see `at`."""
        return (await self._known(folder)).coadds

    async def _known(self, folder: Path) -> Provenance:
        try:
            return await self._table(folder / FILE_NAME)
        except OSError as error:
            raise SurveyError(f"{FILE_NAME}: {error.strerror or error}") from error

    async def _table(self, path: Path) -> Provenance:
        with await asyncio.to_thread(open_inside, self._roots, path) as file:
            now = stamp(os.fstat(file.fileno()))
            async with self._lock:
                known = self._tables.get(path)
                if known is None or known[0] != now:
                    async with aiofiles.open(file.fileno(), "rb", closefd=False) as table:
                        data = await table.read()
                    known = (now, await asyncio.to_thread(Provenance.from_bytes, data))
                    self._tables[path] = known
        return known[1]


def parse_position(ra: str | None, dec: str | None) -> tuple[float, float]:
    """Degrees from a query's text. Raises ValueError that says what is wrong."""
    try:
        lon, lat = float(ra or ""), float(dec or "")
    except ValueError:
        raise ValueError(f"ra={ra!s:.40}, dec={dec!s:.40}: give two numbers in degrees") from None
    # NaN compares false
    if not (-360 <= lon <= 360 and -90 <= lat <= 90):
        raise ValueError(f"ra={lon:g}, dec={lat:g}: ra is 0 to 360, dec -90 to 90 degrees")
    return lon % 360.0, lat


def describe_coadd(coadd: UsedCoadd) -> dict[str, Any]:
    """What the page tells of a coadd; `coadd` names it to the API."""
    return {
        "coadd": name_of(coadd),
        "data_id": dict(coadd.ref.data_id),
        "dataset_type": coadd.ref.dataset_type,
        "run": coadd.ref.run,
        "uuid": coadd.ref.dataset_id,
        "band": coadd.ref.band,
        "uri": coadd.ref.uri,
        "hdu": coadd.ref.hdu,
        "unit_in": coadd.unit_in,
        "scale": _number(coadd.scale),
        "t_min": _number(coadd.t_min),
        "t_max": _number(coadd.t_max),
    }


def _number(value: float) -> float | None:
    # JSON knows no NaN
    return value if math.isfinite(value) else None
