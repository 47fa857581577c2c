"""/api/catalogs: tables that can be drawn over the images, and their rows."""

from collections.abc import Sequence
from functools import partial

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from viewer.api.responses import (
    RefusedError,
    guarded,
    json_response,
    number_parameter,
    position_parameters,
)
from viewer.catalogs.catalog import Catalog, by_name
from viewer.catalogs.query import MAX_ROWS, CatalogQuery
from viewer.catalogs.sky_index import Cone
from viewer.http.limits import ReadPool


class CatalogEndpoints:
    """Endpoints for catalogs."""

    def __init__(self, catalogs: Sequence[Catalog]) -> None:
        self._catalogs = by_name(catalogs)
        # separate from the coadds' pool: a hanging file of one kind must not block the other
        self._reads = ReadPool("catalog")

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        return [
            Route("/api/catalogs", guarded(self._list)),
            Route("/api/catalogs/{name:path}", guarded(self._rows)),
            # as version 0.1.0 spelled them
            Route("/api/catalogues", guarded(partial(self._list, key="catalogues"))),
            Route("/api/catalogues/{name:path}", guarded(partial(self._rows, key="catalogue"))),
        ]

    async def _list(self, request: Request, key: str = "catalogs") -> Response:
        """List the catalogs."""
        return json_response({key: [catalog.describe() for catalog in self._catalogs.values()]})

    async def _rows(self, request: Request, key: str = "catalog") -> Response:
        """Return the rows of a catalog that match a query."""
        name = request.path_params["name"]
        if name not in self._catalogs:
            raise RefusedError(404, f"no catalog {name[:80]!r}; /api/catalogs lists them")
        query = _catalog_query(request.query_params)

        def respond() -> Response:
            return json_response({key: name, **self._catalogs[name].rows(query)})

        # formatting the JSON belongs in the pool too: a million values take long
        return await self._reads.run(respond)


def _catalog_query(query: QueryParams) -> CatalogQuery:
    """Parse the query of a request. Raises RefusedError."""
    limit = number_parameter(query, "limit", 1, MAX_ROWS) if "limit" in query else None
    return CatalogQuery(
        cone=Cone(*position_parameters(query), number_parameter(query, "radius", 1e-7, 180)),
        filter=query.get("filter", ""),
        columns=tuple(query.getlist("columns")),
        sort=query.get("sort", ""),
        limit=CatalogQuery.limit if limit is None else int(limit),
    )
