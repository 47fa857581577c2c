"""The rows of tables that answer a question, sorted, cut and made ready for JSON."""

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
_FIRST_COLUMNS = 12  # of a table when none is asked for
_EXACT = 2**53  # the integers that JavaScript has


@dataclass(frozen=True)
class CatalogQuery:
    """What is asked of a catalog.

    filter: see `viewer.catalogs.filters`, "" for all rows. columns: empty for the first few.
    sort: a column of numbers, smallest first, or largest with "-" before it; "" for the nearest
    first.
    """

    cone: Cone
    filter: str = ""
    columns: tuple[str, ...] = ()
    sort: str = ""
    limit: int = 2000


class QueryResult(NamedTuple):
    """Rows of one part. key: what they are sorted by."""

    key: Floats
    ra: Floats
    dec: Floats
    values: list[list[Any]]
    was_cut: bool


def wanted(question: CatalogQuery, kinds: Mapping[str, str]) -> list[str]:
    """Names of columns, in the order of the table. Raises FilterError."""
    sort = question.sort.removeprefix("-")
    for name in (*question.columns, *([sort] if sort else [])):
        if name not in kinds:
            raise unknown_column(name, kinds)
    if sort and kinds[sort] == "text":
        raise FilterError(f"sort={question.sort}: a column of text; choose one of numbers")
    if len(question.columns) > MAX_COLUMNS:
        raise FilterError(f"{len(question.columns)} columns: {MAX_COLUMNS} are the most")
    chosen = set(question.columns or list(kinds)[:_FIRST_COLUMNS])
    return [name for name in kinds if name in chosen]


def check(sky: SkyIndex, kinds: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise InputError when a table lacks a column, or has it of another kind."""
    number = {"integer": "number"}
    own = {c.name: number.get(c.kind, c.kind) for c in sky.table.columns}
    for name in (name.removeprefix("-") for name in names if name):
        kind = number.get(kinds[name], kinds[name])
        if own.get(name) != kind:
            raise InputError(f"no column {name!r} of kind {kind}, as in the first table")


def pick(
    sky: SkyIndex, question: CatalogQuery, keep: Filter | None, names: Sequence[str]
) -> QueryResult:
    """The rows of a table that come first, with the columns of these names."""
    places, key = _nearest(sky, question, keep)
    if sort := question.sort.removeprefix("-"):
        key = np.asarray(sky.values(sort, places), np.float64)
        key = -key if question.sort.startswith("-") else key
    first = _first(key, question.limit)
    return QueryResult(
        key[first],
        *sky.positions(places[first]),
        [_plain(sky, name, places[first]) for name in names],
        len(first) < len(key),
    )


def _nearest(sky: SkyIndex, question: CatalogQuery, keep: Filter | None) -> tuple[Rows, Floats]:
    """Places of rows that a filter keeps, and their distances (degrees).

    All of a cone if they are to be sorted; else, where there are more than the limit, those of a
    smaller cone that has more, too.
    """
    cones = [question.cone] if question.sort else sky.growing(question.cone, question.limit)
    for cone in cones:
        places, far = sky.within(cone)
        if keep is not None:
            values = {name: sky.values(name, places) for name in keep.columns}
            is_kept = keep(values, len(places))
            places, far = places[is_kept], far[is_kept]
        if len(places) > question.limit:
            break
    return places, far


def _first(key: Floats, limit: int) -> npt.NDArray[np.int64]:
    """Where the `limit` smallest are, sorted; NaN is the largest."""
    if len(key) <= limit:
        return np.argsort(key, kind="stable")
    some = np.argpartition(key, limit)[:limit]
    return some[np.argsort(key[some], kind="stable")]


class FoundRows(TypedDict):
    """Rows in the order that was asked for. ra, dec: degrees, one a row. more: there are others."""

    ra: list[float]
    dec: list[float]
    rows: list[tuple[object, ...]]
    more: bool


def merged(picked: Sequence[QueryResult], limit: int, more: bool) -> FoundRows:
    """Rows of several parts as those of one table."""
    if not picked:
        return {"ra": [], "dec": [], "rows": [], "more": more}
    key, ra, dec = (np.concatenate([one[k] for one in picked]) for k in range(3))
    by_column = zip(*(one.values for one in picked), strict=True)
    columns = [_exact(list(chain.from_iterable(parts))) for parts in by_column]
    rows = list(zip(*columns, strict=True))
    first = _first(key, limit)
    return {
        "ra": ra[first].tolist(),
        "dec": dec[first].tolist(),
        "rows": [rows[k] for k in first],
        "more": more or len(first) < len(key),
    }


def _plain(sky: SkyIndex, name: str, places: npt.NDArray[np.int64]) -> list[Any]:
    """Values of a column as JSON knows them: None for NaN and infinity."""
    values = sky.values(name, places)
    kind = next(column.kind for column in sky.table.columns if column.name == name)
    if values.dtype.kind == "f":
        made = values.astype(object)
        if kind == "integer":
            made = np.array([int(v) if np.isfinite(v) else v for v in values], object)
        made[~np.isfinite(values)] = None
        return list(made.tolist())
    return list(values.tolist())


def _exact(values: list[Any]) -> list[Any]:
    """The same as text if there are integers among them that JavaScript would round."""
    is_large = any(type(v) is int and abs(v) > _EXACT for v in values)
    return [None if v is None else str(v) for v in values] if is_large else values
