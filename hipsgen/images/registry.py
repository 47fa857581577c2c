"""The interface to the registry of a Butler repository, and what its implementations share.

`registry_butler.ButlerRegistry` uses lsst.daf.butler; `registry_sql.SqlRegistry` reads the tables
of a repository that daf_butler refuses. Both return the same results, and neither writes.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import Polygon
from hipsgen.errors import InputError
from hipsgen.images.butler_server import advice_on
from hipsgen.images.database import explain_error
from hipsgen.sky.polygon import to_lonlat

READABLE_STORAGE_CLASSES = ("Exposure", "ExposureF", "CellCoadd", "MultipleCellCoadd")
COADD_DIMENSIONS = frozenset({"skymap", "tract", "patch"})
# refers to the complete expression, not the user's
_POSITION = re.compile(r" \(line: \d+, pos: \d+\)")
_GLOB = re.compile(r"[*?\[]")
_SHOWN = 12  # largest number of names in a message


@dataclass(frozen=True)
class Search:
    """A search for coadds of one dataset type, found first in a sequence of collections.

    skymap, band: "" for all. where: a query expression of the Butler, "" for all.
    """

    dataset_type: str
    collections: tuple[str, ...]
    skymap: str = ""
    band: str = ""
    where: str = ""


class DatasetType(NamedTuple):
    """Required dimensions and storage class of a dataset type."""

    dimensions: frozenset[str]
    storage_class: str


class RegisteredCoadd(NamedTuple):
    """A coadd in the registry.

    uris: URI of each component, "" for the whole dataset; empty if it is not stored.
    """

    data_id: dict[str, int | str]
    dataset_id: str
    run: str
    storage_class: str
    uris: Mapping[str, str]


class Collection(NamedTuple):
    """A collection; kind: RUN, TAGGED, CHAINED or CALIBRATION."""

    name: str
    kind: str


class Registry(ABC):
    """A repository, open for reading. Errors are InputErrors that list what is available.

    Use it with `with`, so that no connection to a database stays open while a survey is built.
    """

    repository: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the connection to the database."""

    @abstractmethod
    def all_collections(self) -> list[Collection]:
        """Return all collections, in any order."""

    @abstractmethod
    def dataset_types(self) -> dict[str, DatasetType]:
        """Return all dataset types by name."""

    @abstractmethod
    def values(self, dataset_type: str, collections: Sequence[str], dimension: str) -> set[str]:
        """Return the values of a dimension among the datasets of a type in collections."""

    @abstractmethod
    def tracts(self, search: Search) -> list[int]:
        """Return the tracts that hold matching coadds, sorted."""

    @abstractmethod
    def page(self, search: Search, tracts: Sequence[int]) -> list[RegisteredCoadd]:
        """Return the matching coadds in some tracts, sorted by tract, patch and band."""

    @abstractmethod
    def patch_polygons(self, skymap: str, tracts: Sequence[int]) -> dict[tuple[int, int], Polygon]:
        """Return the outline of each (tract, patch), empty if the registry has none."""

    @abstractmethod
    def tract_polygons(self, skymap: str) -> dict[int, Polygon]:
        """Return the outline of each tract, empty if the registry has none."""

    @abstractmethod
    def translate_errors(self, where: str = "") -> AbstractContextManager[None]:
        """Return a context in which the errors of a library become InputErrors of one line.

        where: the user's query expression, which errors of a query refer to.
        """

    def collections(self) -> list[str]:
        """Return the names of all collections, chains first, since these are usually searched."""
        found = self.all_collections()
        return [c.name for c in sorted(found, key=lambda c: (c.kind != "CHAINED", c.name))]

    def expand(self, collections: Sequence[str]) -> tuple[str, ...]:
        """Return the collections that names and globs match, in the order of the search.

        The matches of a glob are sorted from the last name to the first, so that the newest of runs
        named by date comes first. Raises InputError for a name or glob without a match.
        """
        known = self.collections()
        names: list[str] = []
        for text in collections:
            found = [text] if text in known else []
            if _GLOB.search(text):
                found = sorted((n for n in known if fnmatchcase(n, text)), reverse=True)
            if not found:
                raise InputError(f"no collection {text!r} in {self.repository}; {available(known)}")
            names += found
        return tuple(dict.fromkeys(names))

    def check(self, dataset_type: str, collections: Sequence[str], band: str) -> None:
        """Raise InputError if a dataset type, collection or band does not exist."""
        searched = self.expand(collections)
        types = self.dataset_types()
        if dataset_type not in types:
            raise InputError(
                f"no dataset type {dataset_type!r} in {self.repository}; {available(sorted(types))}"
            )
        dimensions = types[dataset_type].dimensions
        if not dimensions >= COADD_DIMENSIONS:
            raise InputError(
                f"{dataset_type} has the dimensions {', '.join(sorted(dimensions)) or 'none'}, "
                f"not tract and patch: it is not a type of coadds"
            )
        bands = self.bands(dataset_type, searched)
        if not bands:
            where = ", ".join(collections)
            raise InputError(f"no {dataset_type} in {where}: choose another collection or type")
        if band and band not in bands:
            raise InputError(
                f"no {dataset_type} in band {band!r}; available bands: {comma_separated(bands)}"
            )

    def coadd_types(self, collections: Sequence[str]) -> list[str]:
        """Return the readable dataset types by tract, patch and band that exist in collections."""
        searched = self.expand(collections)
        wanted = COADD_DIMENSIONS | {"band"}
        types = [
            name
            for name, kind in self.dataset_types().items()
            if kind.dimensions >= wanted and kind.storage_class in READABLE_STORAGE_CLASSES
        ]
        return sorted(name for name in types if self.values(name, searched, "band"))

    def bands(self, dataset_type: str, collections: Sequence[str]) -> list[str]:
        """Return the bands of a dataset type in collections, by wavelength where known."""
        found = self.values(dataset_type, self.expand(collections), "band")
        return sorted(found, key=_by_wavelength)

    def skymaps(self, dataset_type: str, collections: Sequence[str]) -> list[str]:
        """Return the skymaps of a dataset type in collections."""
        return sorted(self.values(dataset_type, self.expand(collections), "skymap"))


@contextmanager
def as_input_error(
    kinds: tuple[type[Exception], ...],
    where: str,
    bad_query: tuple[type[Exception], ...],
    url: str,
) -> Iterator[None]:
    """Turn errors of these kinds into InputErrors; those of `bad_query` refer to `where`.

    url: of the database, which the other errors may refer to.
    """
    try:
        yield
    except bad_query as error:
        if not where:
            raise InputError(one_line(error)) from error
        raise InputError(
            f'{{where}} {where!r} is not a query expression like "tract = 9813 AND '
            f'patch < 10": {_POSITION.sub("", one_line(error.__cause__ or error))}'
        ) from error
    except kinds as error:
        message = advice_on(error) or one_line(error)
        raise explain_error(error, url) or InputError(message) from error


def polygons_of(regions: Sequence[bytes | None]) -> list[Polygon]:
    """Return the outlines of encoded lsst.sphgeom regions; empty ones for other shapes and None.

    The encoding of a convex polygon is the letter p and its vertices, unit vectors of three
    little-endian doubles.
    """
    encoded = [r if r is not None and _is_polygon(r) else b"p" for r in regions]
    vectors = np.frombuffer(b"".join(r[1:] for r in encoded), "<f8").reshape(-1, 3)
    if not np.isfinite(vectors).all():
        return polygons_of([r if np.isfinite(_numbers(r)).all() else None for r in encoded])
    corners = np.stack(to_lonlat(vectors), axis=-1).tobytes()
    found, start = [], 0
    for region in encoded:
        stop = start + (len(region) - 1) // 24 * 16
        found.append(Polygon.of_packed(corners[start:stop]))
        start = stop
    return found


def _is_polygon(region: bytes) -> bool:
    return region.startswith(b"p") and len(region) % 24 == 1


def _numbers(region: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(region, "<f8", offset=1)


def _by_wavelength(band: str) -> tuple[int, str]:
    index = "ugrizyYJHK".find(band)
    return (index if index >= 0 else 99, band)


def comma_separated(names: Sequence[str]) -> str:
    """Join names for a message."""
    return ", ".join(names) or "none"


def available(ordered: Sequence[str], thing: str = "") -> str:
    """Return a list of the first names for a message: "available tracts: 1, 2 and 3 more"."""
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    names = f"{', '.join(ordered[:_SHOWN])}{more}" if ordered else "none"
    return f"{f'available {thing}'.strip()}: {names}"


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
