"""Read the registry of a Butler repository with lsst.daf.butler, which needs no LSST stack."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from hipsgen.coadd import Polygon
from hipsgen.errors import MissingExtraError
from hipsgen.images.butler_server import Dataset, server_of
from hipsgen.images.database import check_database
from hipsgen.images.registry import (
    Collection,
    DatasetType,
    RegisteredCoadd,
    Registry,
    Search,
    as_input_error,
    polygons_of,
)
from hipsgen.images.repository import butler_uri

# daf_butler logs the error with which it refuses a repository: do not print it twice, unless the
# calling program has set up logging
logging.getLogger("lsst").addHandler(logging.NullHandler())


class ButlerRegistry(Registry):
    """Registry read with daf_butler. Opening raises its errors, or MissingExtraError."""

    def __init__(self, repository: str) -> None:
        try:
            from lsst.daf.butler import Butler, ButlerConfig
        except ImportError as error:
            raise MissingExtraError("reading a Butler repository", "butler") from error
        self.repository = repository
        config = ButlerConfig(butler_uri(repository))
        self._server = server_of(config)
        self._url = "" if self._server else str(config.get(("registry", "db"), ""))
        root = config.configDir
        if self._url and root is not None and root.isLocal:
            check_database(self._url.replace("<butlerRoot>", root.ospath))
        self._butler = Butler.from_config(config, writeable=False)

    def close(self) -> None:
        """See `Registry.close`."""
        self._butler.close()

    def all_collections(self) -> list[Collection]:
        """See `Registry.all_collections`."""
        return self._collections

    @cached_property
    def _collections(self) -> list[Collection]:
        return [Collection(c.name, c.type.name) for c in self._butler.collections.query_info("*")]

    def dataset_types(self) -> dict[str, DatasetType]:
        """See `Registry.dataset_types`."""
        return {
            t.name: DatasetType(frozenset(t.dimensions.required), t.storageClass_name)
            for t in self._butler.registry.queryDatasetTypes()
            if not t.isComponent()
        }

    def values(self, dataset_type: str, collections: Sequence[str], dimension: str) -> set[str]:
        """See `Registry.values`."""
        with self._butler.query() as query:
            found = query.join_dataset_search(dataset_type, list(collections))
            return {str(d[dimension]) for d in found.data_ids([dimension])}

    def tracts(self, search: Search) -> list[int]:
        """See `Registry.tracts`."""
        where, bind = _where(search)
        with self._butler.query() as query:
            found = query.join_dataset_search(search.dataset_type, list(search.collections))
            found = found.where(where, bind=bind)
            return sorted({int(d["tract"]) for d in found.data_ids(["skymap", "tract"])})

    def page(self, search: Search, tracts: Sequence[int]) -> list[RegisteredCoadd]:
        """See `Registry.page`."""
        where, bind = _where(search)
        refs = self._butler.query_datasets(
            search.dataset_type,
            list(search.collections),
            where=where + " AND tract IN (:of_tracts)",
            bind={**bind, "of_tracts": list(tracts)},
            limit=None,
            explain=False,
        )
        if self._server:  # it would be queried for every file, and signed URLs expire
            found = [_registered(ref, {}) for ref in refs]
            found = [f._replace(uris={"": Dataset(self._server, f.dataset_id).uri}) for f in found]
        else:
            stored = self._butler.get_many_uris(refs, allow_missing=True)
            found = [_registered(ref, _uris(uris)) for ref, uris in stored.items()]
            if len(found) < len(refs):  # not checked otherwise: each lookup creates a UUID object
                found += [_registered(ref, {}) for ref in refs if ref not in stored]
        return sorted(found, key=_sort_key)

    def patch_polygons(self, skymap: str, tracts: Sequence[int]) -> dict[tuple[int, int], Polygon]:
        """See `Registry.patch_polygons`."""
        records = self._butler.query_dimension_records(
            "patch",
            where="skymap = :of_skymap AND tract IN (:of_tracts)",
            bind={"of_skymap": skymap, "of_tracts": list(tracts)},
            limit=None,
            explain=False,
        )
        keys = [(r.tract, r.id) for r in records]
        outlines = polygons_of([_encoded(r.region) for r in records])
        return dict(zip(keys, outlines, strict=True))

    def tract_polygons(self, skymap: str) -> dict[int, Polygon]:
        """See `Registry.tract_polygons`."""
        where, bind = "skymap = :of_skymap", {"of_skymap": skymap}
        records = self._butler.query_dimension_records(
            "tract", where=where, bind=bind, limit=None, explain=False
        )
        outlines = polygons_of([_encoded(r.region) for r in records])
        return dict(zip([r.id for r in records], outlines, strict=True))

    def translate_errors(self, where: str = "") -> AbstractContextManager[None]:
        """See `Registry.translate_errors`."""
        from lsst.daf.butler import ButlerUserError, InvalidQueryError
        from sqlalchemy.exc import SQLAlchemyError

        kinds: tuple[type[Exception], ...] = (ButlerUserError, SQLAlchemyError)
        if self._server:
            from lsst.daf.butler.remote_butler import ButlerServerError

            kinds = (*kinds, ButlerServerError)
        return as_input_error(kinds, where, (InvalidQueryError,), self._url)


def _where(search: Search) -> tuple[str, dict[str, Any]]:
    """Return a query expression and its bound values."""
    # daf_butler mistakes a bound name that equals a dimension's for the dimension: so use of_...
    where, bind = "skymap = :of_skymap", {"of_skymap": search.skymap}
    if search.band:
        where, bind = where + " AND band = :of_band", {**bind, "of_band": search.band}
    return where + (f" AND ({search.where})" if search.where else ""), bind


def _registered(ref: Any, uris: dict[str, str]) -> RegisteredCoadd:
    data_id = ref.dataId
    return RegisteredCoadd(
        data_id=dict(zip(data_id.dimensions.required, data_id.required_values, strict=True)),
        dataset_id=str(ref.id),
        run=ref.run,
        storage_class=ref.datasetType.storageClass_name,
        uris=uris,
    )


def _sort_key(found: RegisteredCoadd) -> tuple[int, int, str]:
    data_id = found.data_id
    return int(data_id["tract"]), int(data_id.get("patch", -1)), str(data_id.get("band", ""))


def _uris(stored: Any) -> dict[str, str]:
    """Return the URIs of a stored dataset by component."""
    uris = {name: str(uri) for name, uri in stored.componentURIs.items()}
    return uris if stored.primaryURI is None else {**uris, "": str(stored.primaryURI)}


def _encoded(region: Any) -> bytes | None:
    return None if region is None else region.encode()
