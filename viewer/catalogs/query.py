"""Cone queries on tables: rows filtered, sorted, limited and converted for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from hipsgen.errors import InputError
from viewer.catalogs.filters import Filter, FilterError, unknown_column
from viewer.catalogs.sky_index import Cone, Floats, Rows, SkyIndex

MAX_ROWS = 20_000
MAX_COLUMNS = 64
_DEFAULT_COLUMNS = 12  # returned if the query names none
Keys = npt.NDArray[np.floating[Any]]
_MAX_SAFE_INTEGER = 2**53  # JavaScript represents integers exactly up to this


@dataclass(frozen=True)
class CatalogQuery:
    """A query of a catalog.

    Parameters
    ----------
    cone
        Where the rows must lie.
    filter
        Condition on the rows, see `viewer.catalogs.filters`; "" for all rows.
    columns
        Names of the columns to return, or lists of names separated by commas (a name may contain
        commas itself); empty for the first few.
    sort
        A numeric column, ascending, or descending with "-" before its name; "" for the distance
        from the center of the cone.
    limit
        Maximum number of rows.
    """

    cone: Cone
    filter: str = ""
    columns: tuple[str, ...] = ()
    sort: str = ""
    limit: int = 2000


class QueryResult(NamedTuple):
    """Rows of one table. sort_keys: what they are sorted by, ascending."""

    sort_keys: Keys
    ra: Floats
    dec: Floats
    values: list[list[Any]]
    is_truncated: bool


def selected_columns(query: CatalogQuery, kinds: Mapping[str, str]) -> list[str]:
    """Return the names of the columns to show, in the table's order. Raises FilterError."""
    sort = query.sort.removeprefix("-")
    lists = ([text] if text in kinds else text.split(",") for text in query.columns)
    wanted = [name for names in lists for name in names if name]
    for name in (*wanted, *([sort] if sort else [])):
        if name not in kinds:
            raise unknown_column(name, kinds)
    if sort and kinds[sort] == "text":
        raise FilterError(f"sort={query.sort}: a text column; choose a numeric one")
    if len(wanted) > MAX_COLUMNS:
        raise FilterError(f"{len(wanted)} columns requested; the limit is {MAX_COLUMNS}")
    selected = set(wanted or list(kinds)[:_DEFAULT_COLUMNS])
    return [name for name in kinds if name in selected]


def check_columns(index: SkyIndex, kinds: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise InputError if a table lacks a column or has it with another kind."""
    number = {"integer": "number"}
    own = {c.name: number.get(c.kind, c.kind) for c in index.table.columns}
    for name in (name.removeprefix("-") for name in names if name):
        kind = number.get(kinds[name], kinds[name])
        if own.get(name) != kind:
            raise InputError(f"no column {name!r} of kind {kind}, as in the first table")


def select_rows(
    index: SkyIndex, query: CatalogQuery, row_filter: Filter | None, names: Sequence[str]
) -> QueryResult:
    """Return the first rows of a table in the query's order, with the named columns."""
    rows, keys = _nearest(index, query, row_filter)
    if sort := query.sort.removeprefix("-"):
        keys = _sort_keys(index.values(sort, rows))
        keys = -keys if query.sort.startswith("-") else keys
    first = _smallest(keys, query.limit)
    return QueryResult(
        keys[first],
        *index.positions(rows[first]),
        [_json_values(index, name, rows[first]) for name in names],
        len(first) < len(keys),
    )


def _nearest(index: SkyIndex, query: CatalogQuery, row_filter: Filter | None) -> tuple[Rows, Keys]:
    """Return index rows that pass the filter, and their distances (degrees).

    These are all rows of the cone if they must be sorted by a column. Otherwise, if more rows than
    the limit match, a smaller cone with more than `limit` matching rows is enough.
    """
    cones = [query.cone] if query.sort else index.expanding_cones(query.cone, query.limit)
    for cone in cones:
        rows, distances = index.rows_in(cone)
        if row_filter is not None:
            values = {name: index.values(name, rows) for name in row_filter.columns}
            is_kept = row_filter(values, len(rows))
            rows, distances = rows[is_kept], distances[is_kept]
        if len(rows) > query.limit:
            break
    return rows, distances


def _sort_keys(values: npt.NDArray[Any]) -> Keys:
    """Return values as floating-point numbers, which float64 would round if they are integers."""
    # longdouble has a mantissa of at least 64 bits
    is_wide = values.dtype.kind in "iu" and values.dtype.itemsize == 8
    return np.asarray(values, np.longdouble if is_wide or values.dtype == np.longdouble else float)


def _smallest(keys: Keys, limit: int) -> npt.NDArray[np.int64]:
    """Return the indices of the `limit` smallest keys, sorted; NaN counts as largest."""
    if len(keys) <= limit:
        return np.argsort(keys, kind="stable")
    smallest = np.argpartition(keys, limit)[:limit]
    return smallest[np.argsort(keys[smallest], kind="stable")]


class QueryRows(TypedDict):
    """Rows in the query's order. ra, dec: degrees, one per row. more: whether others match."""

    ra: list[float]
    dec: list[float]
    rows: list[tuple[object, ...]]
    more: bool


def merge_results(results: Sequence[QueryResult], limit: int, more: bool) -> QueryRows:
    """Merge the rows of several tables, in order. more: whether others are known to match."""
    if not results:
        return {"ra": [], "dec": [], "rows": [], "more": more}
    keys, ra, dec = (np.concatenate([result[k] for result in results]) for k in range(3))
    by_column = zip(*(result.values for result in results), strict=True)
    columns = [_exact_integers(list(chain.from_iterable(parts))) for parts in by_column]
    rows = list(zip(*columns, strict=True))
    first = _smallest(keys, limit)
    return {
        "ra": ra[first].tolist(),
        "dec": dec[first].tolist(),
        "rows": [rows[k] for k in first],
        "more": more or len(first) < len(keys),
    }


def _json_values(index: SkyIndex, name: str, rows: Rows) -> list[Any]:
    """Return values of a column for JSON: None for NaN and infinity."""
    values = index.values(name, rows)
    kind = next(column.kind for column in index.table.columns if column.name == name)
    if values.dtype.kind == "f":
        objects = values.astype(object)
        if kind == "integer":
            objects = np.array([int(v) if np.isfinite(v) else v for v in values], object)
        objects[~np.isfinite(values)] = None
        return list(objects.tolist())
    return list(values.tolist())


def _exact_integers(values: list[Any]) -> list[Any]:
    """Convert a column to text if JavaScript would round any of its integers."""
    is_large = any(type(v) is int and abs(v) > _MAX_SAFE_INTEGER for v in values)
    return [None if v is None else str(v) for v in values] if is_large else values
