"""Tables in files: their columns, and the values of one column at a time.

CSV, VOTable and FITS are read whole, by astropy. Parquet columns are read on demand.
"""

import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from hipsgen.errors import InputError, MissingExtraError
from hipsgen.images.staging import local_file
from hipsgen.text import human_size

CACHE_SIZE = 1 << 30  # bytes of cached columns of all Parquet files together
_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".xml": "votable",
    ".vot": "votable",
    ".votable": "votable",
    ".fits": "fits",
}
_SHARE_OF_MEMORY = 2  # a table that is read whole has at most half of it
_MAX_EXACT_INTEGER = 2**53  # float64 represents integers exactly up to this
_PARQUET = (".parquet", ".parq", ".pq")

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Column:
    """A column. kind: integer, number, text or flag. unit: as in the file, "" for none."""

    name: str
    kind: str
    unit: str = ""
    ucd: str = ""


class Table(ABC):
    """A table. columns: those with one value per row, without the others. rows: their number."""

    columns: tuple[Column, ...]
    rows: int
    is_parquet = False

    @abstractmethod
    def values(self, name: str) -> Values:
        """Return a column, shape (rows,): numbers, bool, or str, in the order of the file.

        Missing values are NaN, "" or False. Integers with missing values are converted to float64,
        or to longdouble if float64 would round any of them. Raises InputError.
        """


def open_table(uri: str, extension: str = "") -> Table:
    """Open the table in a file; its extension decides the format.

    Raises InputError or MissingExtraError.
    """
    name = PurePosixPath(unquote(urlsplit(uri).path)).name
    extension = extension or PurePosixPath(name).suffix.lower()
    if extension in _PARQUET:
        return _ParquetTable(uri, name)
    if extension not in _FORMATS:
        supported = " ".join([*_FORMATS, *_PARQUET])
        raise InputError(f"{name}: the extension names no supported table format: {supported}")
    return _AstropyTable(uri, name, _FORMATS[extension])


class _AstropyTable(Table):
    """A table that astropy reads whole."""

    def __init__(self, uri: str, name: str, table_format: str) -> None:
        from astropy.table import Table as Astropy

        try:
            with local_file(uri) as path:
                _check_size(path)
                if table_format == "votable":
                    _check_is_complete(path)
                table = Astropy.read(path, format=table_format)
        except Exception as error:  # every parser has its own
            raise InputError(f"{name} cannot be read: {_one_line(error)}") from error
        table.convert_bytestring_to_unicode()
        if table_format == "ascii.csv":
            _convert_booleans(table)
        kinds = {c.name: _kind_of(c.dtype) for c in table.columns.values() if c.ndim == 1}
        self.columns = tuple(
            Column(n, kind, str(table[n].unit or ""), str(table[n].meta.get("ucd", "")))
            for n, kind in kinds.items()
            if kind
        )
        self.rows = len(table)
        self._values = {
            c.name: _filled(_strings(table[c.name], c.kind), c.kind, _mask_of(table[c.name]))
            for c in self.columns
        }

    def values(self, name: str) -> Values:
        """See `Table.values`."""
        return self._values[name]


def _check_is_complete(path: Path) -> None:
    """Raise InputError for a VOTable whose data are elsewhere, which astropy would request."""
    from astropy.utils.data import get_readable_fileobj

    def check(element: str, attributes: Mapping[str, str]) -> None:
        if element.rpartition(":")[2] == "STREAM" and "href" in attributes:
            raise InputError(
                f"its data are in {attributes['href'][:80]!r}, which is not opened: save it with"
                " its data"
            )

    parser = expat.ParserCreate()
    parser.StartElementHandler = check
    # astropy reports errors of the syntax
    with suppress(expat.ExpatError), get_readable_fileobj(path, encoding="binary") as file:
        parser.ParseFile(file)


class _ColumnCache:
    """The most recently used columns of all Parquet files, up to `CACHE_SIZE` bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], Values] = OrderedDict()
        self._lock = Lock()

    def find(self, table: int, name: str) -> Values | None:
        """Return a cached column, or None."""
        with self._lock:
            if (table, name) in self._kept:
                self._kept.move_to_end((table, name))
            return self._kept.get((table, name))

    def keep(self, table: int, name: str, values: Values) -> None:
        """Cache a column, and evict the least recently used ones."""
        with self._lock:
            self._kept[table, name] = values
            size = sum(column.nbytes for column in self._kept.values())
            while size > CACHE_SIZE and len(self._kept) > 1:
                size -= self._kept.popitem(last=False)[1].nbytes

    def names(self, table: int) -> set[str]:
        """Return the names of the cached columns of a table."""
        with self._lock:
            return {name for number, name in self._kept if number == table}


column_cache = _ColumnCache()
_numbers = count()


class _ParquetTable(Table):
    """A table that pyarrow reads. number: identifies it in the column cache."""

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
        except Exception as error:  # pyarrow's, or those of the storage
            raise InputError(f"{name} cannot be read: {_one_line(error)}") from error
        units = _units_of(schema)
        self._masks = {_mask_name(n) for n in schema.names if _mask_name(n) in schema.names}
        self.columns = tuple(
            Column(field.name, kind, units.get(field.name, ""))
            for field in schema
            if (kind := _kind_of_arrow(field.type)) and field.name not in self._masks
        )

    def values(self, name: str) -> Values:
        """See `Table.values`."""
        with self._lock:  # concurrent requests read a column once
            values = column_cache.find(self.number, name)
            if values is None:
                values = self._read(name)
                column_cache.keep(self.number, name, values)
            return values

    def _read(self, name: str) -> Values:
        try:
            with local_file(self._uri) as path, self._open(path) as file:
                table = file.read(columns=[name, *({_mask_name(name)} & self._masks)])
        except Exception as error:
            raise InputError(f"{self._name}, column {name}: {_one_line(error)}") from error
        if table.num_rows != self.rows:
            raise InputError(f"{self._name} changed while it was read: try again")
        column, kind = table.column(name), self._kinds[name]
        if kind in ("text", "flag"):
            column = column.cast("string" if kind == "text" else "bool")
            column = column.fill_null("" if kind == "text" else False)
        missing = None
        if kind == "integer" and column.null_count:
            # pyarrow would convert it to float64
            missing = np.asarray(column.is_null().to_numpy(), bool)
            column = column.fill_null(0)
        if _mask_name(name) in self._masks:
            masked = np.asarray(table.column(_mask_name(name)).to_numpy(), bool)
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
    return next((kind for kind, is_kind in kinds if is_kind(arrow)), "")


def _mask_name(name: str) -> str:
    """Return the name that astropy gives to the mask of a column in Parquet files."""
    return f"{name}.mask"


def _mask_of(column: Any) -> Values | None:
    return np.ma.getmaskarray(column) if hasattr(column, "mask") else None


def _strings(column: Any, kind: str) -> Values:
    values = np.asarray(column)
    # variable-length strings of a VOTable are read as objects
    is_object = kind == "text" and values.dtype.kind == "O"
    return np.array([str(value) for value in values], str) if is_object else values


def _filled(values: Values, kind: str, missing: Values | None) -> Values:
    if missing is None or not missing.any():
        return values
    if kind == "text":
        return np.where(missing, "", values)
    if kind == "flag":
        return values & ~missing
    is_wide = kind == "integer" and bool(_is_rounded(values)[~missing].any())
    # longdouble has a mantissa of at least 64 bits
    return np.where(missing, np.nan, values.astype(np.longdouble) if is_wide else values)


def _is_rounded(integers: Values) -> Values:
    """Whether float64 would round integers; abs() would overflow for the smallest of them."""
    return np.asarray((integers > _MAX_EXACT_INTEGER) | (integers < -_MAX_EXACT_INTEGER))


def _check_size(path: Path) -> None:
    """Raise InputError if a table is too large to be read whole."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = path.stat().st_size
    if size > memory // _SHARE_OF_MEMORY:
        raise InputError(
            f"it has {human_size(size)} and would be read whole, but this machine has "
            f"{human_size(memory)} of memory: convert it to Parquet"
        )


def _convert_booleans(table: Any) -> None:
    """Convert text columns that contain only True and False: CSV has no booleans."""
    for column in list(table.columns.values()):
        if column.dtype.kind != "U":
            continue
        texts = np.char.lower(np.asarray(column))
        if np.isin(texts, ("true", "false")).all():
            table[column.name] = texts == "true"


def _units_of(schema: Any) -> dict[str, str]:
    """Return units by column, as astropy and the Butler write them into a Parquet file."""
    from astropy.table.meta import get_header_from_yaml

    text = (schema.metadata or {}).get(b"table_meta_yaml", b"").decode("utf-8", "replace")
    units: dict[str, str] = {}
    if text:
        try:
            columns = get_header_from_yaml(text.split("\n"))["datatype"]
            units = {one["name"]: str(one["unit"]) for one in columns if one.get("unit")}
        except Exception:  # from the YAML parser: malformed metadata means no units
            units = {}
    for field in schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode("utf-8", "replace")
        if unit:
            units[field.name] = unit
    return units


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
