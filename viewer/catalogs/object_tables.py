"""Object tables of a Butler repository, one Parquet file per tract or patch, as a catalog."""

from collections.abc import Iterator, Sequence

import numpy as np

from hipsgen.coadd import Polygon
from hipsgen.errors import InputError
from hipsgen.images.butler_source import open_registry
from hipsgen.images.registry import Registry, Search, available, comma_separated
from hipsgen.sky.polygon import bounding_circle, to_lonlat, to_vectors
from viewer.catalogs.catalog import Catalog, CatalogFile
from viewer.catalogs.sky_index import Cone

# dataset types tried in this order if none is named; one file per tract means fewer files
DEFAULT_TYPES = ("objectTable_tract", "object", "objectTable", "object_patch")
# storage classes that are stored as Parquet files
_STORAGE_CLASSES = ("ArrowAstropy", "ArrowTable", "ArrowNumpy", "DataFrame")
_BY_TRACT = frozenset({"skymap", "tract"})
_BY_PATCH = _BY_TRACT | {"patch"}
_TRACTS_PER_PAGE = 100


def open_object_tables(
    repository: str, collections: Sequence[str], dataset_type: str = ""
) -> Catalog:
    """Open the object tables that are found first in a sequence of collections.

    The registry is queried here once, then closed. A file is opened when a query covers its tract
    or patch.

    Parameters
    ----------
    repository
        Path or URI of a Butler repository.
    collections
        Names of the collections, searched in this order.
    dataset_type
        Dataset type of the tables; "" for the first of `DEFAULT_TYPES` that has datasets.

    Raises
    ------
    InputError
        If there are no such tables; the message lists the alternatives.
    MissingExtraError
        If the packages that read the repository are not installed.
    """
    registry, _ = open_registry(repository)
    with registry, registry.translate_errors():
        if not collections:
            choices = available(registry.collections())
            raise InputError(f"--objects {repository}: name a collection with -c; {choices}")
        searched = registry.expand(collections)
        name = _choose_type(registry, searched, dataset_type)
        parts = list(_catalog_files(registry, name, searched))
    if not parts:
        raise InputError(
            f"no {name} in {', '.join(collections)} is stored: choose another --object-table"
        )
    return Catalog(name, parts, f"{repository} {', '.join(collections)}")


def _choose_type(registry: Registry, searched: Sequence[str], requested: str) -> str:
    """Return the dataset type to show. Raises InputError, listing the alternatives."""
    tables = [
        name
        for name, kind in registry.dataset_types().items()
        if kind.storage_class in _STORAGE_CLASSES and kind.dimensions in (_BY_TRACT, _BY_PATCH)
    ]
    for name in [requested] if requested else DEFAULT_TYPES:
        if name in tables and registry.skymaps(name, searched):
            return name
    choices = sorted(name for name in tables if registry.skymaps(name, searched))
    raise InputError(
        f"no object table {requested or ', '.join(DEFAULT_TYPES)} in {', '.join(searched)}; "
        f"tables by tract or patch: {comma_separated(choices)} (choose with --object-table)"
    )


def _catalog_files(
    registry: Registry, name: str, searched: tuple[str, ...]
) -> Iterator[CatalogFile]:
    by_patch = "patch" in registry.dataset_types()[name].dimensions
    for skymap in registry.skymaps(name, searched):
        search = Search(name, searched, skymap)
        tracts, outlines = registry.tracts(search), registry.tract_polygons(skymap)
        for start in range(0, len(tracts), _TRACTS_PER_PAGE):
            page = tracts[start : start + _TRACTS_PER_PAGE]
            patches = registry.patch_polygons(skymap, page) if by_patch else {}
            for dataset in registry.page(search, page):
                if "" not in dataset.uris:  # registered, but not stored
                    continue
                tract, patch = int(dataset.data_id["tract"]), int(dataset.data_id.get("patch", -1))
                outline = patches.get((tract, patch)) if by_patch else outlines.get(tract)
                title = f"{name} of tract {tract}" + (f", patch {patch}" if by_patch else "")
                bounds = _bounding_cone(outline or Polygon())
                yield CatalogFile(dataset.uris[""], title, extension=".parquet", bounds=bounds)


def _bounding_cone(outline: Polygon) -> Cone | None:
    """Return a cone that contains an outline, or None if the outline is unknown."""
    if len(outline) < 3:
        return None
    center, radius = bounding_circle(to_vectors(*np.array(outline).T))
    lon, lat = to_lonlat(center)
    return Cone(float(lon), float(lat), radius)
