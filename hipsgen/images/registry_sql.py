"""Read the registry of a Butler repository of any version by SQL, if lsst.daf.butler refuses it.

It reads the tables that every registry since 2021 has: `collection`, `collection_chain`,
`dataset_type`, a table of tags for each set of dimensions, `dataset`, the records of the datastore
and the patches. Tables are reflected, since ids of datasets and collections may be numbers, names
or UUIDs. The connection is read-only.
"""

import base64
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from hipsgen.coadd import Polygon
from hipsgen.errors import MissingExtraError
from hipsgen.images.database import read_only_engine
from hipsgen.images.registry import (
    Collection,
    DatasetType,
    RegisteredCoadd,
    Registry,
    Search,
    as_input_error,
    polygons_of,
)
from hipsgen.images.repository import read_config
from hipsgen.images.where_sql import WhereError, sql_clause

_KINDS = {1: "RUN", 2: "TAGGED", 3: "CHAINED", 4: "CALIBRATION"}
_SEARCHED = ("RUN", "TAGGED")
_WHOLE_DATASET = ("__NULL_STRING__", "", None)  # component of a file that holds a whole dataset
_NOT_DIMENSIONS = {"dataset_type_id", "dataset_id", "collection_id", "collection_name"}


class SqlRegistry(Registry):
    """Registry read by SQL. Opening it raises InputError or MissingExtraError."""

    def __init__(self, repository: str) -> None:
        try:
            import sqlalchemy
        except ImportError as error:
            raise MissingExtraError("reading a Butler repository", "butler") from error
        self._sql: Any = sqlalchemy
        self.repository = repository
        config = read_config(repository)
        self._url, self._datastores = config.url, config.datastores
        with self.translate_errors():
            self._engine = read_only_engine(config.url)
            self._tables = sqlalchemy.MetaData(schema=config.namespace)
            try:
                self.all_collections()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """See `Registry.close`."""
        self._engine.dispose()

    def translate_errors(self, where: str = "") -> AbstractContextManager[None]:
        """See `Registry.translate_errors`."""
        kinds = (self._sql.exc.SQLAlchemyError, OSError, ValueError)
        return as_input_error(kinds, where, (WhereError,), self._url)

    def all_collections(self) -> list[Collection]:
        """See `Registry.all_collections`."""
        return [Collection(name, kind) for name, kind in self._collections.values()]

    def dataset_types(self) -> dict[str, DatasetType]:
        """See `Registry.dataset_types`."""
        return {
            name: DatasetType(
                frozenset(c.name for c in self._dimensions(self._table(table))), storage_class
            )
            for name, (_, storage_class, table) in self._dataset_types.items()
            if "." not in name  # not a component
        }

    def values(self, dataset_type: str, collections: Sequence[str], dimension: str) -> set[str]:
        """See `Registry.values`."""
        tags, condition = self._tags_in(dataset_type, collections)
        column = tags.c[dimension]
        return {
            str(row[0]) for row in self._rows(self._sql.select(column).where(condition).distinct())
        }

    def tracts(self, search: Search) -> list[int]:
        """See `Registry.tracts`."""
        tags, condition = self._tags_in(search.dataset_type, search.collections)
        query = self._sql.select(tags.c.tract).where(condition, *self._conditions(tags, search))
        return sorted(row[0] for row in self._rows(query.distinct()))

    def page(self, search: Search, tracts: Sequence[int]) -> list[RegisteredCoadd]:
        """See `Registry.page`."""
        sql = self._sql
        tags, condition = self._tags_in(search.dataset_type, search.collections)
        dimensions = self._dimensions(tags)
        order = {key: k for k, key in enumerate(self._search_order(search.collections))}
        rank = sql.func.row_number().over(
            partition_by=dimensions, order_by=sql.case(order, value=_collection_of(tags))
        )
        inner = (
            sql.select(*dimensions, tags.c.dataset_id, rank.label("of_rank"))
            .where(condition, tags.c.tract.in_(tracts), *self._conditions(tags, search))
            .subquery()
        )
        dataset = self._table("dataset")
        run = dataset.c.run_id if "run_id" in dataset.c else dataset.c.run_name
        names = [c.name for c in dimensions]
        query = (
            sql.select(*[inner.c[n] for n in names], inner.c.dataset_id, run)
            .join(dataset, dataset.c.id == inner.c.dataset_id)
            .where(inner.c.of_rank == 1)
            .order_by(*[inner.c[n] for n in ("tract", "patch", "band") if n in inner.c])
        )
        rows = self._rows(query)
        files = self._files([row[-2] for row in rows])
        storage_class = self._dataset_types[search.dataset_type][1]
        return [
            RegisteredCoadd(
                data_id=dict(zip(names, row[:-2], strict=True)),
                dataset_id=_identity(row[-2]),
                run=self._collections[row[-1]].name,
                storage_class=storage_class,
                uris=files.get(row[-2], {}),
            )
            for row in rows
        ]

    def patch_polygons(self, skymap: str, tracts: Sequence[int]) -> dict[tuple[int, int], Polygon]:
        """See `Registry.patch_polygons`."""
        patch = self._table("patch").c
        condition = patch.skymap == skymap, patch.tract.in_(tracts)
        rows = self._rows(self._sql.select(patch.tract, patch.id, patch.region).where(*condition))
        outlines = polygons_of([_encoded(region) for *_, region in rows])
        return {(t, number): p for (t, number, _), p in zip(rows, outlines, strict=True)}

    def tract_polygons(self, skymap: str) -> dict[int, Polygon]:
        """See `Registry.tract_polygons`."""
        tract = self._table("tract").c
        rows = self._rows(self._sql.select(tract.id, tract.region).where(tract.skymap == skymap))
        outlines = polygons_of([_encoded(region) for _, region in rows])
        return {number: p for (number, _), p in zip(rows, outlines, strict=True)}

    def _files(self, ids: Sequence[Any]) -> dict[Any, dict[str, str]]:
        """Return the URIs by component, from the first datastore that has each dataset."""
        found: dict[Any, dict[str, str]] = {}
        for store in self._datastores:
            records = self._table(store.table).c
            here: dict[Any, dict[str, str]] = {}
            for batch in _batches(ids):
                query = self._sql.select(records.dataset_id, records.component, records.path)
                for key, component, path in self._rows(query.where(records.dataset_id.in_(batch))):
                    name = "" if component in _WHOLE_DATASET else component
                    here.setdefault(key, {})[name] = _uri(store.root, path)
            found = here | found
        return found

    def _conditions(self, tags: Any, search: Search) -> Iterator[Any]:
        if search.skymap:
            yield tags.c.skymap == search.skymap
        if search.band:
            yield tags.c.band == search.band
        if search.where:
            columns = {c.name: c for c in self._dimensions(tags)}
            yield sql_clause(search.where, columns, self._sql)

    def _tags_in(self, dataset_type: str, collections: Sequence[str]) -> tuple[Any, Any]:
        """Return the table of tags of a dataset type, and the condition for collections."""
        number, _, table = self._dataset_types[dataset_type]
        tags = self._table(table)
        within = _collection_of(tags).in_(self._search_order(collections))
        return tags, self._sql.and_(tags.c.dataset_type_id == number, within)

    def _search_order(self, collections: Sequence[str]) -> list[Any]:
        """Return the keys of runs and tagged collections in search order, chains expanded."""
        keys = {collection.name: key for key, collection in self._collections.items()}
        order: dict[Any, None] = {}
        seen = set()

        def add(key: Any) -> None:
            if key in seen:
                return
            seen.add(key)
            for child in self._chains.get(key, ()):
                add(child)
            if self._collections[key].kind in _SEARCHED:
                order[key] = None

        for name in collections:
            add(keys[name])
        return list(order)

    @cached_property
    def _collections(self) -> dict[Any, Collection]:
        """Collections by their key in other tables, a number or the name."""
        table = self._table("collection").c
        key = table.collection_id if "collection_id" in table else table.name
        rows = self._rows(self._sql.select(key, table.name, table.type))
        return {key: Collection(name, _KINDS.get(kind, str(kind))) for key, name, kind in rows}

    @cached_property
    def _chains(self) -> dict[Any, list[Any]]:
        """Members of each chain in the order of a search."""
        table = self._table("collection_chain").c
        query = self._sql.select(table.parent, table.child).order_by(table.parent, table.position)
        members: dict[Any, list[Any]] = {}
        for parent, child in self._rows(query):
            members.setdefault(parent, []).append(child)
        return members

    @cached_property
    def _dataset_types(self) -> dict[str, tuple[int, str, str]]:
        """Number, storage class and table of tags by name."""
        table = self._table("dataset_type").c
        columns = (table.name, table.id, table.storage_class, table.tag_association_table)
        return {row[0]: tuple(row[1:]) for row in self._rows(self._sql.select(*columns))}

    def _dimensions(self, tags: Any) -> list[Any]:
        return [column for column in tags.c if column.name not in _NOT_DIMENSIONS]

    def _table(self, name: str) -> Any:
        table = self._tables.tables.get(name)
        if table is None:
            options = {"autoload_with": self._engine, "resolve_fks": False}
            table = self._sql.Table(name, self._tables, **options)
        return table

    def _rows(self, query: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(query))


def _collection_of(tags: Any) -> Any:
    return tags.c.collection_id if "collection_id" in tags.c else tags.c.collection_name


def _batches(ids: Sequence[Any], size: int = 1000) -> Iterator[Sequence[Any]]:
    """Split ids into batches that fit into a statement."""
    return (ids[k : k + size] for k in range(0, len(ids), size))


def _identity(key: Any) -> str:
    """Return a dataset's id as daf_butler writes it: a UUID, or a number as before 2022."""
    if isinstance(key, int):
        return str(key)
    return str(key if isinstance(key, uuid.UUID) else uuid.UUID(key))


def _uri(root: str, path: str) -> str:
    """Return the URI of a file in a datastore; its path may be a URI itself."""
    from lsst.resources import ResourcePath

    try:
        path_uri = ResourcePath(path, forceAbsolute=False)
        return str(
            path_uri if path_uri.isabs() else ResourcePath(root, forceDirectory=True).join(path_uri)
        )
    except ImportError as error:
        raise MissingExtraError(f"reading files of {root}", "remote") from error


def _encoded(region: Any) -> bytes | None:
    """Return an encoded lsst.sphgeom region, which is stored as base64 text or as bytes."""
    if region is None:
        return None
    return base64.b64decode(region) if isinstance(region, str) else bytes(region)
