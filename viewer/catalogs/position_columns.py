"""Which columns of a table say where its rows are on the sky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.errors import InputError
from viewer.catalogs.tables import Column, Table

# UCDs in lower case, from what is surely meant to what may be
_UCDS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
    ("pos_eq_ra_main", "pos_eq_dec_main"),
)
_LESSER_UCDS = (("pos.eq.ra", "pos.eq.dec"),)
_NAMES = (
    ("ra", "dec"), ("coord_ra", "coord_dec"), ("s_ra", "s_dec"), ("ra_icrs", "de_icrs"),
    ("_raj2000", "_dej2000"), ("raj2000", "dej2000"), ("ra_deg", "dec_deg"), ("radeg", "dedeg"),
    ("radeg", "decdeg"), ("ra_j2000", "dec_j2000"), ("alpha_j2000", "delta_j2000"),
    ("_ra", "_de"), ("ramean", "decmean"), ("right_ascension", "declination"), ("lon", "lat"),
)  # fmt: skip
# astropy's words for a unit, and what a value is worth in degrees
_DEGREES = {
    "deg": 1.0, "degree": 1.0, "degrees": 1.0,
    "rad": np.degrees(1.0), "radian": np.degrees(1.0), "radians": np.degrees(1.0),
    "hourangle": 15.0, "h": 15.0, "hour": 15.0, "hours": 15.0,
}  # fmt: skip
_SHOWN = 30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PositionColumns:
    """Names of columns, "" for those that are to be found. unit: deg, rad or "" likewise."""

    ra: str = ""
    dec: str = ""
    unit: str = ""


def find_positions(table: Table, place: PositionColumns, what: str) -> tuple[Floats, Floats]:
    """RA and Dec of all rows, degrees (taken for ICRS), shape (rows,) each.

    NaN: not known, or no direction. what: the table's name, for errors. Raises InputError.
    """
    ra, dec = _columns_of(table, place, what)
    values = [np.asarray(table.values(one.name), float) for one in (ra, dec)]
    scales = [_scale(one, place.unit) for one in (ra, dec)]
    if not any(scales) and _are_radians(table, ra, *values):
        scales = [_DEGREES["rad"]] * 2
    lon, lat = (v * (scale or 1.0) for v, scale in zip(values, scales, strict=True))
    is_direction = np.isfinite(lon) & (np.abs(lat) <= 90.0 + 1e-9)
    return np.where(is_direction, lon, np.nan), np.where(is_direction, lat, np.nan)


def _columns_of(table: Table, place: PositionColumns, what: str) -> tuple[Column, Column]:
    numbers = [c for c in table.columns if c.kind in ("number", "integer")]
    if place.ra or place.dec:
        by_name = {c.name: c for c in numbers}
        missing = [name for name in (place.ra, place.dec) if name not in by_name]
        if missing:
            raise InputError(f"{what}: no column {missing[0]!r} of numbers; {_listed(table)}")
        return by_name[place.ra], by_name[place.dec]
    by_ucd = {c.ucd.lower().replace(" ", ""): c for c in reversed(numbers)}
    by_name = {c.name.lower(): c for c in reversed(numbers)}
    for pairs, known in ((_UCDS, by_ucd), (_NAMES, by_name), (_LESSER_UCDS, by_ucd)):
        for ra, dec in pairs:
            if ra in known and dec in known:
                return known[ra], known[dec]
    raise InputError(
        f"{what}: which columns are the position? {_listed(table)}; name two of numbers: "
        "--catalog FILE,ra=COLUMN,dec=COLUMN"
    )


def _scale(column: Column, unit: str) -> float:
    """Degrees in a unit of a column, 0 where nothing says."""
    return float(_DEGREES.get((unit or column.unit).strip().lower(), 0.0))


def _are_radians(table: Table, ra: Column, lon: Floats, lat: Floats) -> bool:
    """Of columns without a unit: only Rubin's names have been both, in Parquet always degrees."""
    if table.is_parquet or ra.name.lower() != "coord_ra":
        return False
    # NaN is neither
    beyond = (np.abs(lat) > np.pi / 2) | (np.abs(lon) > 2 * np.pi)
    return not beyond.any()


def _listed(table: Table) -> str:
    names: Sequence[str] = [column.name for column in table.columns]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are {', '.join(names[:_SHOWN]) or 'no columns'}{more}"
