"""Tables of files: their columns, and the values of one at a time.

CSV, VOTable and FITS are read whole, by astropy; of Parquet a column is read when it is asked for.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import PurePosixPath
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from hipsgen.errors import InputError, MissingExtraError
from hipsgen.images.staging import local_file

ROOM = 1 << 30  # bytes of columns kept, of all Parquet files together
_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".xml": "votable",
    ".vot": "votable",
    ".votable": "votable",
    ".fits": "fits",
}
_EXACT = 2**53  # the integers that float64 has
_PARQUET = (".parquet", ".parq", ".pq")

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Column:
    """kind: integer, number, text or flag. unit: as the file writes it, "" for none."""

    name: str
    kind: str
    unit: str = ""
    ucd: str = ""


class Table(ABC):
    """columns: those of one value a row; others are left out. rows: how many."""

    columns: tuple[Column, ...]
    rows: int
    is_parquet = False

    @abstractmethod
    def values(self, name: str) -> Values:
        """A column, shape (rows,): numbers, bool, or str, in the order of the file.

        What is missing is NaN, "" or False. Integers are float64 then, longdouble if there are
        some that float64 would round. Raises InputError.
        """


def open_table(uri: str, ending: str = "") -> Table:
    """The table of a file, by the end of its name. Raises InputError, MissingExtraError."""
    name = PurePosixPath(unquote(urlsplit(uri).path)).name
    ending = ending or PurePosixPath(name).suffix.lower()
    if ending in _PARQUET:
        return _Parquet(uri, name)
    if ending not in _FORMATS:
        known = " ".join([*_FORMATS, *_PARQUET])
        raise InputError(f"{name} is no kind of table that is known by its name: {known}")
    return _Whole(uri, name, _FORMATS[ending])


class _Whole(Table):
    """What astropy reads."""

    def __init__(self, uri: str, name: str, form: str) -> None:
        from astropy.table import Table as Astropy

        try:
            with local_file(uri) as path:
                found = Astropy.read(path, format=form)
        except Exception as error:  # of the parser of each format
            raise InputError(f"{name} cannot be read: {_line(error)}") from error
        found.convert_bytestring_to_unicode()
        if form == "ascii.csv":
            _find_flags(found)
        kinds = {c.name: _kind_of(c.dtype) for c in found.columns.values() if c.ndim == 1}
        self.columns = tuple(
            Column(n, kind, str(found[n].unit or ""), str(found[n].meta.get("ucd", "")))
            for n, kind in kinds.items()
            if kind
        )
        self.rows = len(found)
        self._values = {
            c.name: _filled(_plain(found[c.name], c.kind), c.kind, _mask_of(found[c.name]))
            for c in self.columns
        }

    def values(self, name: str) -> Values:
        """See `Table.values`."""
        return self._values[name]


class _Shelf:
    """The columns that were asked for last, of all Parquet files, as many as there is room for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], Values] = OrderedDict()
        self._lock = Lock()

    def find(self, table: int, name: str) -> Values | None:
        """A column that is kept."""
        with self._lock:
            if (table, name) in self._kept:
                self._kept.move_to_end((table, name))
            return self._kept.get((table, name))

    def keep(self, table: int, name: str, values: Values) -> None:
        """Keep a column, and let those go that were asked for longest ago."""
        with self._lock:
            self._kept[table, name] = values
            size = sum(column.nbytes for column in self._kept.values())
            while size > ROOM and len(self._kept) > 1:
                size -= self._kept.popitem(last=False)[1].nbytes

    def names(self, table: int) -> set[str]:
        """Of the columns of a table that are kept."""
        with self._lock:
            return {name for number, name in self._kept if number == table}


shelf = _Shelf()
_numbers = count()


class _Parquet(Table):
    """What pyarrow reads. number: by which the shelf knows it."""

    is_parquet = True

    def __init__(self, uri: str, name: str) -> None:
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise MissingExtraError(f"reading {name}", "catalogs") from error
        self._open, self._uri, self._name = parquet.ParquetFile, uri, name
        self.number, self._lock = next(_numbers), Lock()
        try:
            with local_file(uri) as path, self._open(path) as file:
                self.rows, schema = file.metadata.num_rows, file.schema_arrow
        except Exception as error:  # pyarrow's, and those of each kind of place
            raise InputError(f"{name} cannot be read: {_line(error)}") from error
        units = _units_of(schema)
        self._masks = {_masked(n) for n in schema.names if _masked(n) in schema.names}
        self.columns = tuple(
            Column(field.name, kind, units.get(field.name, ""))
            for field in schema
            if (kind := _kind_of_arrow(field.type)) and field.name not in self._masks
        )

    def values(self, name: str) -> Values:
        """See `Table.values`."""
        with self._lock:  # so that a column is read once when several want it
            values = shelf.find(self.number, name)
            if values is None:
                values = self._read(name)
                shelf.keep(self.number, name, values)
            return values

    def _read(self, name: str) -> Values:
        try:
            with local_file(self._uri) as path, self._open(path) as file:
                found = file.read(columns=[name, *({_masked(name)} & self._masks)])
        except Exception as error:
            raise InputError(f"{self._name}, column {name}: {_line(error)}") from error
        if found.num_rows != self.rows:
            raise InputError(f"{self._name} has changed meanwhile: ask again")
        column, kind = found.column(name), self._kinds[name]
        if kind in ("text", "flag"):
            column = column.cast("string" if kind == "text" else "bool")
            column = column.fill_null("" if kind == "text" else False)
        missing = None
        if kind == "integer" and column.null_count:
            # pyarrow would make float64 of it
            missing = np.asarray(column.is_null().to_numpy(), bool)
            column = column.fill_null(0)
        if _masked(name) in self._masks:
            masked = np.asarray(found.column(_masked(name)).to_numpy(), bool)
            missing = masked if missing is None else missing | masked
        return _filled(np.asarray(column.to_numpy()), kind, missing)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return {column.name: column.kind for column in self.columns}


def _kind_of(dtype: np.dtype[Any]) -> str:
    kinds = {"i": "integer", "u": "integer", "f": "number", "b": "flag", "U": "text", "O": "text"}
    return kinds.get(dtype.kind, "")


def _kind_of_arrow(arrow: Any) -> str:
    from pyarrow import types

    if types.is_dictionary(arrow):
        arrow = arrow.value_type
    kinds = (
        ("flag", types.is_boolean),
        ("integer", types.is_integer),
        ("number", types.is_floating),
        ("text", types.is_string),
        ("text", types.is_large_string),
    )
    return next((kind for kind, fits in kinds if fits(arrow)), "")


def _masked(name: str) -> str:
    """What astropy calls the column that says which values of another are missing."""
    return f"{name}.mask"


def _mask_of(column: Any) -> Values | None:
    return np.ma.getmaskarray(column) if hasattr(column, "mask") else None


def _plain(column: Any, kind: str) -> Values:
    values = np.asarray(column)
    # what a VOTable holds of varying length comes as objects
    is_object = kind == "text" and values.dtype.kind == "O"
    return np.array([str(value) for value in values], str) if is_object else values


def _filled(values: Values, kind: str, missing: Values | None) -> Values:
    if missing is None or not missing.any():
        return values
    if kind == "text":
        return np.where(missing, "", values)
    if kind == "flag":
        return values & ~missing
    is_wide = kind == "integer" and bool(((values > _EXACT) | (values < -_EXACT))[~missing].any())
    # 64 bits of mantissa, or more
    return np.where(missing, np.nan, values.astype(np.longdouble) if is_wide else values)


def _find_flags(table: Any) -> None:
    """Make columns of nothing but True and False what they are: CSV knows only text."""
    for column in list(table.columns.values()):
        if column.dtype.kind != "U":
            continue
        words = np.char.lower(np.asarray(column))
        if np.isin(words, ("true", "false")).all():
            table[column.name] = words == "true"


def _units_of(schema: Any) -> dict[str, str]:
    """By column: as astropy and the Butler write them into a Parquet file."""
    from astropy.table.meta import get_header_from_yaml

    text = (schema.metadata or {}).get(b"table_meta_yaml", b"").decode("utf-8", "replace")
    found: dict[str, str] = {}
    if text:
        try:
            columns = get_header_from_yaml(text.split("\n"))["datatype"]
            found = {one["name"]: str(one["unit"]) for one in columns if one.get("unit")}
        except Exception:  # of a parser, on what somebody wrote: a table without units
            found = {}
    for field in schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode("utf-8", "replace")
        if unit:
            found[field.name] = unit
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
