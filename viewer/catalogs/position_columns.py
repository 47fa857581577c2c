"""Finds the columns of a table that hold the positions of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.errors import InputError
from viewer.catalogs.tables import Column, Table

# UCDs in lower case, from the most to the least certain
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
# degrees per unit, by the names that astropy accepts for the unit
_DEGREES = {
    "deg": 1.0, "degree": 1.0, "degrees": 1.0,
    "rad": np.degrees(1.0), "radian": np.degrees(1.0), "radians": np.degrees(1.0),
    "hourangle": 15.0, "h": 15.0, "hour": 15.0, "hours": 15.0,
}  # fmt: skip
_SHOWN = 30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PositionColumns:
    """Names of the columns with positions, and their unit (deg or rad); "" for automatic."""

    ra: str = ""
    dec: str = ""
    unit: str = ""


def find_positions(table: Table, given: PositionColumns, table_name: str) -> tuple[Floats, Floats]:
    """Find RA and Dec of all rows.

    Parameters
    ----------
    table
        The table to read.
    given
        The columns and the unit that the user named; the rest is found by UCD and name.
    table_name
        Name of the table, for errors.

    Returns
    -------
    ra, dec
        Degrees, assumed to be ICRS, shape (rows,) each; NaN where missing or out of range.

    Raises
    ------
    InputError
        If the columns are missing or cannot be determined.
    """
    ra, dec = _position_columns(table, given, table_name)
    values = [np.asarray(table.values(one.name), float) for one in (ra, dec)]
    scales = [_degrees_per_unit(one, given.unit) for one in (ra, dec)]
    if not any(scales) and _are_radians(table, ra, *values):
        scales = [_DEGREES["rad"]] * 2
    lon, lat = (v * (scale or 1.0) for v, scale in zip(values, scales, strict=True))
    is_direction = np.isfinite(lon) & (np.abs(lat) <= 90.0 + 1e-9)
    return np.where(is_direction, lon, np.nan), np.where(is_direction, lat, np.nan)


def _position_columns(
    table: Table, given: PositionColumns, table_name: str
) -> tuple[Column, Column]:
    numbers = [c for c in table.columns if c.kind in ("number", "integer")]
    if given.ra or given.dec:
        by_name = {c.name: c for c in numbers}
        missing = [name for name in (given.ra, given.dec) if name not in by_name]
        if missing:
            raise InputError(
                f"{table_name}: no numeric column {missing[0]!r}; {_list_columns(table)}"
            )
        return by_name[given.ra], by_name[given.dec]
    by_ucd = {c.ucd.lower().replace(" ", ""): c for c in reversed(numbers)}
    by_name = {c.name.lower(): c for c in reversed(numbers)}
    for pairs, columns in ((_UCDS, by_ucd), (_NAMES, by_name), (_LESSER_UCDS, by_ucd)):
        for ra, dec in pairs:
            if ra in columns and dec in columns:
                return columns[ra], columns[dec]
    raise InputError(
        f"{table_name}: cannot determine which columns are RA and Dec; {_list_columns(table)}; "
        "name them: --catalog FILE,ra=COLUMN,dec=COLUMN"
    )


def _degrees_per_unit(column: Column, unit: str) -> float:
    """Return the degrees per unit of a column, 0 if the unit is unknown."""
    return float(_DEGREES.get((unit or column.unit).strip().lower(), 0.0))


def _are_radians(table: Table, ra: Column, lon: Floats, lat: Floats) -> bool:
    """Whether columns without a unit are radians.

    Only Rubin's coord_ra and coord_dec have been written in both units; in Parquet always degrees.
    """
    if table.is_parquet or ra.name.lower() != "coord_ra":
        return False
    # NaN compares false
    beyond = (np.abs(lat) > np.pi / 2) | (np.abs(lon) > 2 * np.pi)
    return not beyond.any()


def _list_columns(table: Table) -> str:
    names: Sequence[str] = [column.name for column in table.columns]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"available: {', '.join(names[:_SHOWN]) or 'no columns'}{more}"
