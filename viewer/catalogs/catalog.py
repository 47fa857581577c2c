"""Catalogs over the images: which of their rows lie in a cone, and what these say."""

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
from hipsgen.images.uris import path_of, stamp_of, uri_of
from hipsgen.text import counted
from viewer.catalogs.filters import parse_filter
from viewer.catalogs.position_columns import PositionColumns
from viewer.catalogs.query import CatalogQuery, FoundRows, check, merged, pick, wanted
from viewer.catalogs.sky_index import Cone, SkyIndex
from viewer.catalogs.tables import Column, open_table

_MAX_PARTS = 8  # files that one answer is made of
_KEPT_PARTS = 16  # open at a time
_OPTIONS = re.compile(r",(ra|dec|unit|name)=")


@dataclass(frozen=True)
class CatalogFile:
    """A file of a catalog.

    ending: of the name that it would have, "" for that of the URI. circle: the cone in which all
    of it lies, None for anywhere.
    """

    uri: str
    name: str
    place: PositionColumns = field(default_factory=PositionColumns)
    ending: str = ""
    circle: Cone | None = None


class ColumnDescription(TypedDict):
    """A column of a catalog. kind: see `viewer.catalogs.tables.Column`."""

    name: str
    unit: str
    kind: str


class CatalogDescription(TypedDict):
    """A catalog. rows, left_out: None where it would take opening many files to know."""

    name: str
    source: str
    tables: int
    rows: int | None
    left_out: int | None
    columns: list[ColumnDescription]


class CatalogRows(FoundRows):
    """Rows, and what their columns are. problems: of files that could not be read."""

    columns: list[ColumnDescription]
    problems: list[str]


class Catalog:
    """Tables of the same columns, under one name."""

    def __init__(self, name: str, parts: Sequence[CatalogFile], source: str) -> None:
        """Raises InputError or MissingExtraError when it cannot be read."""
        self.name, self.source = name, source
        self._parts = tuple(parts)
        self._open: OrderedDict[str, tuple[str, SkyIndex]] = OrderedDict()
        self._lock = threading.Lock()
        circles = [part.circle or Cone(0.0, 0.0, 180.0) for part in parts]
        self._centers = np.array([circle.vector for circle in circles])
        self._radii = np.array([circle.radius for circle in circles])
        self._columns = self._first_that_is_read().table.columns

    def __str__(self) -> str:
        told = self.describe()
        if told["rows"] is None:
            return f"catalog {self.name}: {told['tables']} tables"
        but = f" ({told['left_out']} more have no position)" if told["left_out"] else ""
        return f"catalog {self.name}: {counted(told['rows'], 'row')}{but}"

    def describe(self) -> CatalogDescription:
        """What the page needs to know."""
        known = self._open.get(self._parts[0].uri) if len(self._parts) == 1 else None
        return {
            "name": self.name,
            "source": self.source,
            "tables": len(self._parts),
            "rows": len(known[1]) if known else None,
            "left_out": known[1].left_out if known else None,
            "columns": [_described(column) for column in self._columns],
        }

    def ask(self, question: CatalogQuery) -> CatalogRows:
        """The rows that answer a question, as JSON knows them.

        Raises FilterError, and InputError when none of the files there can be read.
        """
        if len(self._parts) == 1:  # and it may be another than before
            self._columns = self._table(self._parts[0]).table.columns
        kinds = {column.name: column.kind for column in self._columns}
        names = wanted(question, kinds)
        keep = parse_filter(question.filter, kinds) if question.filter.strip() else None
        parts = self._met_by(question.cone)
        picked, problems = [], []
        for part in parts[:_MAX_PARTS]:
            try:
                table = self._table(part)
                check(table, kinds, (*names, *(keep.columns if keep else ()), question.sort))
                picked.append(pick(table, question, keep, names))
            except HipsgenError as error:
                problems.append(f"{part.name}: {error}")
        if problems and not picked:
            raise InputError(problems[0])
        more = len(parts) > _MAX_PARTS or any(one.was_cut for one in picked)
        return {
            "columns": [_described(c) for c in self._columns if c.name in names],
            **merged(picked, question.limit, more),
            "problems": problems,
        }

    def _first_that_is_read(self) -> SkyIndex:
        """Of many files one may be damaged."""
        first: InputError | None = None
        for part in self._parts[:_MAX_PARTS]:
            try:
                return self._table(part)
            except InputError as error:
                first = first or error
        raise first or InputError(f"{self.source}: no table")

    def _met_by(self, cone: Cone) -> list[CatalogFile]:
        """The parts that a cone may touch, and first those it reaches deepest into."""
        chords = np.linalg.norm(self._centers - cone.vector, axis=1)
        apart = np.degrees(2 * np.arcsin(np.minimum(chords / 2, 1.0))) - self._radii
        order = np.argsort(apart, kind="stable")
        return [self._parts[k] for k in order if apart[k] <= cone.radius + 1e-9]

    def _table(self, part: CatalogFile) -> SkyIndex:
        """The table of a part, opened again when its file has changed."""
        stamp = _stamp(part.uri)
        with self._lock:
            known = self._open.get(part.uri)
            if known is None or known[0] != stamp:
                table = SkyIndex(open_table(part.uri, part.ending), part.place, part.name)
                known = self._open[part.uri] = stamp, table
                while len(self._open) > _KEPT_PARTS:
                    self._open.popitem(last=False)
            self._open.move_to_end(part.uri)
            return known[1]


def open_file(text: str) -> Catalog:
    """The catalog of `FILE[,ra=COLUMN,dec=COLUMN][,unit=deg|rad][,name=NAME]`.

    Raises InputError, ConfigError or MissingExtraError.
    """
    file, *pairs = _OPTIONS.split(text)
    given = dict(zip(pairs[::2], pairs[1::2], strict=True))
    unit = given.get("unit", "")
    if unit not in ("", "deg", "rad"):
        raise ConfigError(f"--catalog {text}: the unit of positions is deg or rad")
    if ("ra" in given) != ("dec" in given):
        raise ConfigError(f"--catalog {text}: name both columns, ra= and dec=")
    place = PositionColumns(given.get("ra", ""), given.get("dec", ""), unit)
    path = path_of(file)
    if path is not None and not path.is_file():
        known = "" if "," not in file else "; options are ra=, dec=, unit= and name="
        raise InputError(f"--catalog {file}: there is no such file{known}")
    uri = file if path is None else uri_of(path)
    stem = Path(file.rpartition("/")[2]).stem
    return Catalog(given.get("name") or stem, [CatalogFile(uri, file, place)], file)


def by_name(catalogs: Sequence[Catalog]) -> dict[str, Catalog]:
    """Each under a name of its own. Raises ConfigError for two of one name."""
    found = {catalog.name: catalog for catalog in catalogs}
    if len(found) < len(catalogs):
        names = [catalog.name for catalog in catalogs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two catalogs are called {twice!r}: --catalog FILE,name=ANOTHER")
    return found


def _stamp(uri: str) -> str:
    """What changes with a file; "" for one that is gone or not on this machine's file systems."""
    path = path_of(uri)
    try:
        return "" if path is None else stamp_of(os.stat(path))
    except OSError:
        return ""


def _described(column: Column) -> ColumnDescription:
    return {"name": column.name, "unit": column.unit, "kind": column.kind}
