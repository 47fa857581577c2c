"""Catalogs: tables of objects, queried by cone and drawn over the images."""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from hipsgen.errors import ConfigError, HipsgenError, InputError
from hipsgen.images.uris import path_if_local, path_of, stamp_of, uri_of
from hipsgen.text import counted
from viewer.catalogs.filters import parse_filter
from viewer.catalogs.position_columns import PositionColumns
from viewer.catalogs.query import (
    CatalogQuery,
    QueryRows,
    check_columns,
    merge_results,
    select_rows,
    selected_columns,
)
from viewer.catalogs.sky_index import Cone, SkyIndex
from viewer.catalogs.tables import Column, open_table

_MAX_PARTS = 8  # files read for one query
_KEPT_PARTS = 16  # files kept open
_OPTIONS = re.compile(r",(ra|dec|unit|name)=")


@dataclass(frozen=True)
class CatalogFile:
    """A file of a catalog.

    Parameters
    ----------
    uri, name
        Where the file is, and its name in messages.
    columns
        The columns of its positions.
    extension
        File extension that decides the format, such as ".parquet"; "" for that of the URI.
    bounds
        A cone that contains all rows, or None if unknown.
    """

    uri: str
    name: str
    columns: PositionColumns = field(default_factory=PositionColumns)
    extension: str = ""
    bounds: Cone | None = None


class ColumnDescription(TypedDict):
    """A column of a catalog. kind: see `viewer.catalogs.tables.Column`."""

    name: str
    unit: str
    kind: str


class CatalogDescription(TypedDict):
    """A catalog. rows, left_out: None if counting them would mean opening many files."""

    name: str
    source: str
    tables: int
    rows: int | None
    left_out: int | None
    columns: list[ColumnDescription]


class CatalogRows(QueryRows):
    """Rows and the description of their columns. problems: one for each unreadable file."""

    columns: list[ColumnDescription]
    problems: list[str]


class Catalog:
    """One or more tables with the same columns, under one name."""

    def __init__(self, name: str, parts: Sequence[CatalogFile], source: str) -> None:
        """Open the first readable table. Raises InputError or MissingExtraError."""
        self.name, self.source = name, source
        self._parts = tuple(parts)
        self._open: OrderedDict[str, tuple[str, SkyIndex]] = OrderedDict()
        self._lock = threading.Lock()
        bounds = [part.bounds or Cone(0.0, 0.0, 180.0) for part in parts]
        self._centers = np.array([cone.vector for cone in bounds])
        self._radii = np.array([cone.radius for cone in bounds])
        self._columns = self._first_readable().table.columns

    def __str__(self) -> str:
        summary = self.describe()
        if summary["rows"] is None:
            return f"catalog {self.name}: {summary['tables']} tables"
        left_out = summary["left_out"]
        note = f" ({left_out} more have no position)" if left_out else ""
        return f"catalog {self.name}: {counted(summary['rows'], 'row')}{note}"

    def describe(self) -> CatalogDescription:
        """Return the description that /api/catalogs lists."""
        opened = self._open.get(self._parts[0].uri) if len(self._parts) == 1 else None
        return {
            "name": self.name,
            "source": self.source,
            "tables": len(self._parts),
            "rows": len(opened[1]) if opened else None,
            "left_out": opened[1].left_out if opened else None,
            "columns": [_described(column) for column in self._columns],
        }

    def rows(self, query: CatalogQuery) -> CatalogRows:
        """Return the rows that match a query, as JSON values.

        Files that cannot be read are reported in `problems`.

        Raises
        ------
        FilterError
            If the filter, a column or the sort key is invalid.
        InputError
            If there are files in the cone, and none of them can be read.
        """
        if len(self._parts) == 1:  # the file may have been replaced by one with other columns
            self._columns = self._table(self._parts[0]).table.columns
        kinds = {column.name: column.kind for column in self._columns}
        names = selected_columns(query, kinds)
        row_filter = parse_filter(query.filter, kinds) if query.filter.strip() else None
        parts = self._overlapping(query.cone)
        filter_columns = row_filter.columns if row_filter else ()
        results, problems = [], []
        for part in parts[:_MAX_PARTS]:
            try:
                table = self._table(part)
                check_columns(table, kinds, (*names, *filter_columns, query.sort))
                results.append(select_rows(table, query, row_filter, names))
            except HipsgenError as error:
                problems.append(f"{part.name}: {error}")
        if problems and not results:
            raise InputError(problems[0])
        more = len(parts) > _MAX_PARTS or any(result.is_truncated for result in results)
        return {
            "columns": [_described(c) for c in self._columns if c.name in names],
            **merge_results(results, query.limit, more),
            "problems": problems,
        }

    def _first_readable(self) -> SkyIndex:
        """Return the first table that can be read: one of many files may be damaged."""
        first: InputError | None = None
        for part in self._parts[:_MAX_PARTS]:
            try:
                return self._table(part)
            except InputError as error:
                first = first or error
        raise first or InputError(f"{self.source}: no table")

    def _overlapping(self, cone: Cone) -> list[CatalogFile]:
        """Return the parts that may overlap a cone, the deepest overlap first."""
        chords = np.linalg.norm(self._centers - cone.vector, axis=1)
        distances = np.degrees(2 * np.arcsin(np.minimum(chords / 2, 1.0))) - self._radii
        order = np.argsort(distances, kind="stable")
        return [self._parts[k] for k in order if distances[k] <= cone.radius + 1e-9]

    def _table(self, part: CatalogFile) -> SkyIndex:
        """Return the table of a part, reopened if its file has changed."""
        stamp = _stamp(part.uri)
        with self._lock:
            opened = self._open.get(part.uri)
            if opened is None or opened[0] != stamp:
                table = SkyIndex(open_table(part.uri, part.extension), part.columns, part.name)
                opened = self._open[part.uri] = stamp, table
                while len(self._open) > _KEPT_PARTS:
                    self._open.popitem(last=False)
            self._open.move_to_end(part.uri)
            return opened[1]


def open_file(text: str) -> Catalog:
    """Open the catalog `FILE[,ra=COLUMN,dec=COLUMN][,unit=deg|rad][,name=NAME]`.

    Raises InputError, ConfigError or MissingExtraError.
    """
    file, *pairs = _OPTIONS.split(text)
    given = dict(zip(pairs[::2], pairs[1::2], strict=True))
    unit = given.get("unit", "")
    if unit not in ("", "deg", "rad"):
        raise ConfigError(f"--catalog {text}: unit must be deg or rad")
    if ("ra" in given) != ("dec" in given):
        raise ConfigError(f"--catalog {text}: name both columns, ra= and dec=")
    columns = PositionColumns(given.get("ra", ""), given.get("dec", ""), unit)
    path = path_if_local(file) if file else Path(file)
    if path is not None and not path.is_file():
        hint = "" if "," not in file else "; options are ra=, dec=, unit= and name="
        raise InputError(f"--catalog {file}: there is no such file{hint}")
    uri = file if path is None else uri_of(path)
    stem = Path(file.rpartition("/")[2]).stem
    return Catalog(given.get("name") or stem, [CatalogFile(uri, file, columns)], file)


def by_name(catalogs: Sequence[Catalog]) -> dict[str, Catalog]:
    """Return the catalogs by name. Raises ConfigError for two of the same name."""
    named = {catalog.name: catalog for catalog in catalogs}
    if len(named) < len(catalogs):
        names = [catalog.name for catalog in catalogs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two catalogs are called {twice!r}: --catalog FILE,name=ANOTHER")
    return named


def _stamp(uri: str) -> str:
    """Return a stamp that changes with a file; "" for a missing or remote file."""
    path = path_of(uri)
    try:
        return "" if path is None else stamp_of(os.stat(path))
    except OSError:
        return ""


def _described(column: Column) -> ColumnDescription:
    return {"name": column.name, "unit": column.unit, "kind": column.kind}
