"""What a Butler repository holds: the questions we ask of a registry, whoever answers them.

`butler.ButlerRegistry` asks through lsst.daf.butler, `registry_sql.SqlRegistry` reads the tables
of a repository that daf_butler refuses. Both give the same answers, and neither writes anything.
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
from hipsgen.images.database import trouble_of
from hipsgen.sky.polygon import to_lonlat

LAYOUTS = (
    "Exposure",
    "ExposureF",
    "CellCoadd",
    "MultipleCellCoadd",
)  # storage classes that can be read
COADD_DIMENSIONS = frozenset({"skymap", "tract", "patch"})
_PLACE = re.compile(r" \(line: \d+, pos: \d+\)")  # in what we made of it
_GLOB = re.compile(r"[*?\[]")
_SHOWN = 12  # names that fit into a message


@dataclass(frozen=True)
class Search:
    """Coadds of one dataset type, found first in a sequence of collections.

    skymap, band: "" for all. where: in the language of the Butler, "" for all.
    """

    dataset_type: str
    collections: tuple[str, ...]
    skymap: str = ""
    band: str = ""
    where: str = ""


class DatasetType(NamedTuple):
    """The dimensions that a dataset needs, and how it is stored."""

    dimensions: frozenset[str]
    storage_class: str


class Found(NamedTuple):
    """A dataset. uris: of its files by component, "" for the whole; none when it is not stored."""

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
    """A repository, open for reading. Errors are InputErrors that say what to ask for instead.

    Used with `with`, so that no connection to a database stays open while a survey is built.
    """

    repository: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    @abstractmethod
    def all_collections(self) -> list[Collection]:
        """Every collection, in any order."""

    @abstractmethod
    def dataset_types(self) -> dict[str, DatasetType]:
        """Every dataset type by its name."""

    @abstractmethod
    def values(self, dataset_type: str, collections: Sequence[str], dimension: str) -> set[str]:
        """The values of a dimension among such datasets in collections."""

    @abstractmethod
    def tracts(self, search: Search) -> list[int]:
        """Tracts that hold such coadds, sorted."""

    @abstractmethod
    def page(self, search: Search, tracts: Sequence[int]) -> list[Found]:
        """The coadds in some tracts, by tract, patch and band."""

    @abstractmethod
    def patch_polygons(self, skymap: str, tracts: Sequence[int]) -> dict[tuple[int, int], Polygon]:
        """(tract, patch) -> its outline; an empty one where the registry knows none."""

    @abstractmethod
    def tract_polygons(self, skymap: str) -> dict[int, Polygon]:
        """Outlines of all tracts, empty ones where the registry knows none."""

    @abstractmethod
    def naming_errors(self, where: str = "") -> AbstractContextManager[None]:
        """A context in which the errors of a library become InputErrors of one line.

        where: the user's, which is what is wrong with a query that is.
        """

    def collections(self) -> list[str]:
        """Names of all collections, chains first, for those are what one asks for."""
        found = self.all_collections()
        return [c.name for c in sorted(found, key=lambda c: (c.kind != "CHAINED", c.name))]

    def expand(self, collections: Sequence[str]) -> tuple[str, ...]:
        """The collections that names and globs mean, in the order in which they are searched.

        What a glob matches is searched from the last name to the first: the newest of runs that
        are named by date comes first. Raises InputError for what matches nothing.
        """
        known = self.collections()
        names: list[str] = []
        for text in collections:
            found = [text] if text in known else []
            if _GLOB.search(text):
                found = sorted((n for n in known if fnmatchcase(n, text)), reverse=True)
            if not found:
                raise InputError(f"no collection {text!r} in {self.repository}; {some(known)}")
            names += found
        return tuple(dict.fromkeys(names))

    def check(self, dataset_type: str, collections: Sequence[str], band: str) -> None:
        """Raise InputError for a dataset type, collection or band that is not there."""
        searched = self.expand(collections)
        types = self.dataset_types()
        if dataset_type not in types:
            raise InputError(
                f"no dataset type {dataset_type!r} in {self.repository}; {some(sorted(types))}"
            )
        dimensions = types[dataset_type].dimensions
        if not dimensions >= COADD_DIMENSIONS:
            raise InputError(
                f"{dataset_type} is by {', '.join(sorted(dimensions)) or 'nothing'}, "
                f"not by tract and patch, as coadds are"
            )
        bands = self.bands(dataset_type, searched)
        if not bands:
            where = ", ".join(collections)
            raise InputError(f"no {dataset_type} in {where}: ask for another collection or type")
        if band and band not in bands:
            raise InputError(
                f"no {dataset_type} in band {band!r}; there are bands: {listed(bands)}"
            )

    def coadd_types(self, collections: Sequence[str]) -> list[str]:
        """Dataset types by tract, patch and band, of a class that can be read, in collections."""
        searched = self.expand(collections)
        wanted = COADD_DIMENSIONS | {"band"}
        types = [
            name
            for name, kind in self.dataset_types().items()
            if kind.dimensions >= wanted and kind.storage_class in LAYOUTS
        ]
        return sorted(name for name in types if self.values(name, searched, "band"))

    def bands(self, dataset_type: str, collections: Sequence[str]) -> list[str]:
        """Bands of a dataset type in collections, from short to long wavelength where known."""
        found = self.values(dataset_type, self.expand(collections), "band")
        return sorted(found, key=_by_wavelength)

    def skymaps(self, dataset_type: str, collections: Sequence[str]) -> list[str]:
        """Skymaps of a dataset type in collections."""
        return sorted(self.values(dataset_type, self.expand(collections), "skymap"))


@contextmanager
def as_input_error(
    kinds: tuple[type[Exception], ...],
    where: str,
    bad_query: tuple[type[Exception], ...],
    url: str,
) -> Iterator[None]:
    """BuildLease errors of these kinds into InputErrors; those of `bad_query` speak of the `where`.

    url: of the database, of which the others may speak.
    """
    try:
        yield
    except bad_query as error:
        if not where:
            raise InputError(first_line(error)) from error
        raise InputError(
            f'--where {where!r} is not a query the Butler takes, like "tract = 9813 AND '
            f'patch < 10": {_PLACE.sub("", first_line(error.__cause__ or error))}'
        ) from error
    except kinds as error:
        said = advice_on(error) or first_line(error)
        raise trouble_of(error, url) or InputError(said) from error


def polygons_of(regions: Sequence[bytes | None]) -> list[Polygon]:
    """The outlines of encoded lsst.sphgeom regions; empty ones for none and for no polygons.

    A convex polygon is the letter p and its vertices, unit vectors of three doubles each.
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
    place = "ugrizyYJHK".find(band)
    return (place if place >= 0 else 99, band)


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(names) or "none"


def some(ordered: Sequence[str], what: str = "") -> str:
    """What there is, as many names as fit into a message."""
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    there_are = f"there are {what}".strip()
    return f"{there_are}: {', '.join(ordered[:_SHOWN])}{more}" if ordered else "there are none"


def first_line(error: BaseException) -> str:
    """An error's text in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
