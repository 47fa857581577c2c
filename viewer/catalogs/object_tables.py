"""The object tables of a Butler repository, a Parquet file per tract or patch, as a catalog."""

from collections.abc import Iterator, Sequence

import numpy as np

from hipsgen.coadd import Polygon
from hipsgen.errors import InputError
from hipsgen.images.butler_source import open_registry
from hipsgen.images.registry import Registry, Search, available, comma_separated
from hipsgen.sky.polygon import bounding_circle, to_lonlat, to_vectors
from viewer.catalogs.catalog import Catalog, CatalogFile
from viewer.catalogs.sky_index import Cone

# what is looked for when no type is named, and first those of a file per tract: they are fewer
TYPES = ("objectTable_tract", "object", "objectTable", "object_patch")
# all of which are Parquet files
_CLASSES = ("ArrowAstropy", "ArrowTable", "ArrowNumpy", "DataFrame")
_BY_TRACT = frozenset({"skymap", "tract"})
_BY_PATCH = _BY_TRACT | {"patch"}
_TRACTS_PER_PAGE = 100


def open_object_tables(
    repository: str, collections: Sequence[str], dataset_type: str = ""
) -> Catalog:
    """The object tables found first in a sequence of collections.

    dataset_type: "" for the first of `TYPES` that is there. The registry is asked here, and let
    go; files are opened when somebody looks at their tract or patch. Raises InputError, listing
    what there is, or MissingExtraError.
    """
    registry, _ = open_registry(repository)
    with registry, registry.translate_errors():
        if not collections:
            known = available(registry.collections())
            raise InputError(f"--objects {repository}: name a collection with -c; {known}")
        searched = registry.expand(collections)
        name = _type_of(registry, searched, dataset_type)
        parts = list(_parts(registry, name, searched))
    if not parts:
        raise InputError(f"no {name} in {', '.join(collections)} is stored: name another type")
    return Catalog(name, parts, f"{repository} {', '.join(collections)}")


def _type_of(registry: Registry, searched: Sequence[str], wanted: str) -> str:
    """The dataset type to show. Raises InputError, listing those that could be."""
    tables = [
        name
        for name, kind in registry.dataset_types().items()
        if kind.storage_class in _CLASSES and kind.dimensions in (_BY_TRACT, _BY_PATCH)
    ]
    for name in [wanted] if wanted else TYPES:
        if name in tables and registry.skymaps(name, searched):
            return name
    found = sorted(name for name in tables if registry.skymaps(name, searched))
    raise InputError(
        f"no table of objects {wanted or ', '.join(TYPES)} in {', '.join(searched)}; "
        f"tables by tract or patch: {comma_separated(found)} (choose with --object-table)"
    )


def _parts(registry: Registry, name: str, searched: tuple[str, ...]) -> Iterator[CatalogFile]:
    by_patch = "patch" in registry.dataset_types()[name].dimensions
    for skymap in registry.skymaps(name, searched):
        search = Search(name, searched, skymap)
        tracts, outlines = registry.tracts(search), registry.tract_polygons(skymap)
        for start in range(0, len(tracts), _TRACTS_PER_PAGE):
            page = tracts[start : start + _TRACTS_PER_PAGE]
            patches = registry.patch_polygons(skymap, page) if by_patch else {}
            for found in registry.page(search, page):
                if "" not in found.uris:  # registered, but not stored
                    continue
                tract, patch = int(found.data_id["tract"]), int(found.data_id.get("patch", -1))
                outline = patches.get((tract, patch)) if by_patch else outlines.get(tract)
                words = f"{name} of tract {tract}" + (f", patch {patch}" if by_patch else "")
                circle = _circle_round(outline or Polygon())
                yield CatalogFile(found.uris[""], words, ending=".parquet", circle=circle)


def _circle_round(outline: Polygon) -> Cone | None:
    """A cone that holds an outline; None when that is not known."""
    if len(outline) < 3:
        return None
    center, radius = bounding_circle(to_vectors(*np.array(outline).T))
    lon, lat = to_lonlat(center)
    return Cone(float(lon), float(lat), radius)
