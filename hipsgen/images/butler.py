"""Coadds of a Data Butler, through lsst.daf.butler: read only, and without the LSST stack."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hipsgen.errors import InputError, MissingExtraError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.source import CoaddRef, Polygon, Problem
from hipsgen.sky.polygon import to_lonlat

_LAYOUTS = ("Exposure", "ExposureF", "CellCoadd")
_TRACTS_PER_PAGE = 50


def is_repository(text: str) -> bool:
    """Whether an input names a Butler repository on this machine: its folder or its yaml file."""
    path = Path(text)
    return (path / "butler.yaml").is_file() or (path.is_file() and path.name == "butler.yaml")


@dataclass
class ButlerSource:
    """One band of one dataset type, found first in a sequence of collections.

    The registry is asked here, in pages of tracts, and never by a worker.
    """

    repository: str
    dataset_type: str
    collections: Sequence[str]
    band: str
    skymap: str = ""
    where: str = ""
    fits_reader: FitsReader = field(default_factory=FitsReader)
    strict: bool = False
    problems: list[Problem] = field(default_factory=list)

    def describe(self) -> str:
        """One line for `properties` and reports."""
        text = f"Butler {', '.join(self.collections)} {self.dataset_type}"
        return f"{text} where {self.where}" if self.where else text

    def reader(self) -> FitsReader:
        """What workers read with: URIs only."""
        return self.fits_reader

    def refs(self) -> Iterator[CoaddRef]:
        """The coadds, by tract and patch.

        Raises InputError when the repository, a collection, the dataset type, the band or the
        `where` is wrong, or nothing is found; the message lists what there is.
        """
        self.problems.clear()
        catalogue = Catalogue(self.repository)
        with catalogue.naming_errors(self.where):
            skymap = self._skymap(catalogue)
            yield from self._pages(catalogue, skymap)

    def _skymap(self, catalogue: "Catalogue") -> str:
        catalogue.check(self.dataset_type, self.collections, self.band)
        found = catalogue.skymaps(self.dataset_type, self.collections)
        if self.skymap and self.skymap not in found:
            raise InputError(f"no skymap {self.skymap!r} with coadds; there are: {_list(found)}")
        if not self.skymap and len(found) > 1:
            raise InputError(f"coadds of several skymaps: {_list(found)}; name one with --skymap")
        return self.skymap or next(iter(found), "")

    def _pages(self, catalogue: "Catalogue", skymap: str) -> Iterator[CoaddRef]:
        # daf_butler takes a bound name that is also a dimension for the dimension: hence of_...
        where, bind = "skymap = :of_skymap", {"of_skymap": skymap}
        if self.band:
            where, bind = where + " AND band = :of_band", {**bind, "of_band": self.band}
        if self.where:
            _check_balanced(self.where)
            where += f" AND ({self.where})"
        butler = catalogue.butler
        tracts = catalogue.tracts(self.dataset_type, self.collections, where, bind)
        if not tracts:
            raise InputError(self._nothing(catalogue, skymap))
        for start in range(0, len(tracts), _TRACTS_PER_PAGE):
            page = tracts[start : start + _TRACTS_PER_PAGE]
            refs = butler.query_datasets(
                self.dataset_type,
                list(self.collections),
                where=where + " AND tract IN (:of_tracts)",
                bind={**bind, "of_tracts": page},
                order_by=("tract", "patch", "band"),
                limit=None,
                explain=False,
            )
            regions = catalogue.patch_regions(skymap, page)
            uris = butler.get_many_uris(refs, allow_missing=True)
            for ref in refs:
                made = self._coadd_ref(ref, uris.get(ref), regions)
                if made is not None:
                    yield made

    def _nothing(self, catalogue: "Catalogue", skymap: str) -> str:
        known = catalogue.tracts(
            self.dataset_type, self.collections, "skymap = :of_skymap", {"of_skymap": skymap}
        )
        asked = f" in band {self.band!r}" if self.band else ""
        asked += f" where {self.where}" if self.where else ""
        return f"no {self.dataset_type}{asked}; {_some([str(t) for t in known], 'tracts')}"

    def _coadd_ref(self, ref: Any, uris: Any, regions: dict[Any, Polygon]) -> CoaddRef | None:
        data_id = dict(ref.dataId.required)
        name = ", ".join(f"{k}={v}" for k, v in data_id.items())
        layout = ref.datasetType.storageClass_name
        reason = ""
        if layout not in _LAYOUTS:
            reason = f"storage class {layout} is not a coadd that can be read"
        elif uris is None:
            reason = "registered, but not stored in the datastore"
        elif uris.primaryURI is None:
            reason = "stored in components (disassembled), which is not supported yet"
        if reason:
            if self.strict:
                raise InputError(f"{name}: {reason}")
            self.problems.append(Problem(name, reason))
            return None
        identity = str(ref.id)
        return CoaddRef(
            uri=str(uris.primaryURI),
            identity=identity,
            band=str(data_id.get("band", "")),
            polygon=regions.get((data_id["tract"], data_id["patch"]), Polygon()),
            data_id=tuple(data_id.items()),
            dataset_type=ref.datasetType.name,
            run=ref.run,
            dataset_id=identity,
            storage_class=layout,
        )


class Catalogue:
    """What a repository holds, with errors that say what to ask for instead."""

    def __init__(self, repository: str) -> None:
        try:
            from lsst.daf.butler import Butler
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError as error:
            raise MissingExtraError("reading a Butler repository", "butler") from error
        try:
            self.butler = Butler.from_config(repository, writeable=False)
        except FileNotFoundError as error:
            raise InputError(f"{repository} is not a Butler repository: no butler.yaml") from error
        except (RuntimeError, OSError, ImportError, ValueError, SQLAlchemyError) as error:
            # ImportError: the registry was made by a manager class that daf_butler has no more
            raise InputError(f"{repository} cannot be opened: {_first_line(error)}") from error
        self.repository = repository

    def naming_errors(self, where: str = "") -> "_NamingErrors":
        """A context in which daf_butler's own errors become InputErrors of one line.

        where: the user's, which is what is wrong with a query that is.
        """
        return _NamingErrors(where)

    def check(self, dataset_type: str, collections: Sequence[str], band: str) -> None:
        """Raise InputError for a dataset type, collection or band that is not there."""
        self._check_collections(collections)
        types = {t.name: t for t in self.butler.registry.queryDatasetTypes()}
        if dataset_type not in types:
            raise InputError(
                f"no dataset type {dataset_type!r} in {self.repository}; {_some(sorted(types))}"
            )
        dimensions = types[dataset_type].dimensions.required
        if not {"tract", "patch"} <= set(dimensions):
            raise InputError(
                f"{dataset_type} is by {', '.join(dimensions) or 'nothing'}, "
                f"not by tract and patch, as coadds are"
            )
        bands = self.bands(dataset_type, collections)
        if not bands:
            where = ", ".join(collections)
            raise InputError(f"no {dataset_type} in {where}: ask for another collection or type")
        if band and band not in bands:
            raise InputError(f"no {dataset_type} in band {band!r}; there are bands: {_list(bands)}")

    def collections(self) -> list[str]:
        """Names of all collections, chains first, for those are what one asks for."""
        found = self.butler.collections.query_info("*")
        return [c.name for c in sorted(found, key=lambda c: (c.type.name != "CHAINED", c.name))]

    def coadd_types(self, collections: Sequence[str]) -> list[str]:
        """Dataset types by tract, patch and band, of a class that can be read, in collections."""
        self._check_collections(collections)
        wanted = {"tract", "patch", "band"}
        types = [
            t
            for t in self.butler.registry.queryDatasetTypes()
            if wanted <= set(t.dimensions.required) and t.storageClass_name in _LAYOUTS
        ]
        return sorted(t.name for t in types if self._values(t.name, collections, "band"))

    def bands(self, dataset_type: str, collections: Sequence[str]) -> list[str]:
        """Bands of a dataset type in collections, from short to long wavelength where known."""
        return sorted(self._values(dataset_type, collections, "band"), key=_by_wavelength)

    def skymaps(self, dataset_type: str, collections: Sequence[str]) -> list[str]:
        """Skymaps of a dataset type in collections."""
        return sorted(self._values(dataset_type, collections, "skymap"))

    def tracts(
        self, dataset_type: str, collections: Sequence[str], where: str, bind: dict[str, Any]
    ) -> list[int]:
        """Tracts that hold such coadds."""
        with self.butler.query() as query:
            found = query.join_dataset_search(dataset_type, list(collections)).where(
                where, bind=bind
            )
            return sorted({d["tract"] for d in found.data_ids(["skymap", "tract"])})

    def patch_regions(self, skymap: str, tracts: list[int]) -> dict[tuple[int, int], Polygon]:
        """(tract, patch) -> polygon as (lon, lat) in degrees."""
        records = self.butler.query_dimension_records(
            "patch",
            where="skymap = :of_skymap AND tract IN (:of_tracts)",
            bind={"of_skymap": skymap, "of_tracts": tracts},
            limit=None,
            explain=False,
        )
        return {(r.tract, r.id): _polygon(r.region) for r in records}

    def _check_collections(self, collections: Sequence[str]) -> None:
        known = self.collections()
        for name in collections:
            if name not in known:
                raise InputError(f"no collection {name!r} in {self.repository}; {_some(known)}")

    def _values(self, dataset_type: str, collections: Sequence[str], dimension: str) -> set[str]:
        with self.butler.query() as query:
            found = query.join_dataset_search(dataset_type, list(collections))
            return {str(d[dimension]) for d in found.data_ids([dimension])}


class _NamingErrors:
    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from lsst.daf.butler import ButlerUserError, InvalidQueryError
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, InvalidQueryError) and self._where:
            raise InputError(
                f'--where {self._where!r} is not a query the Butler takes, like "tract = 9813 AND '
                f'patch < 10": {_first_line(error.__cause__ or error)}'
            ) from error
        if isinstance(error, ButlerUserError | SQLAlchemyError):
            raise InputError(_first_line(error)) from error


def _check_balanced(where: str) -> None:
    """Raise InputError for parentheses that would reach out of the ones put round it."""
    depth, quoted = 0, False
    for letter in where:
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth or quoted:
        raise InputError(f"--where {where!r} has a parenthesis or a quote without its partner")


def _polygon(region: Any) -> Polygon:
    import numpy as np

    if region is None or not hasattr(region, "getVertices"):
        return Polygon()
    vectors = np.array([[v.x(), v.y(), v.z()] for v in region.getVertices()])
    lon, lat = to_lonlat(vectors)
    return Polygon(zip(lon.tolist(), lat.tolist(), strict=True))


def _by_wavelength(band: str) -> tuple[int, str]:
    place = "ugrizyYJHK".find(band)
    return (place if place >= 0 else 99, band)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _some(ordered: Sequence[str], what: str = "") -> str:
    more = f" and {len(ordered) - 12} more" if len(ordered) > 12 else ""
    there_are = f"there are {what}".strip()
    return f"{there_are}: {', '.join(ordered[:12])}{more}" if ordered else "there are none"


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
