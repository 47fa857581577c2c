"""All that is served under /api."""

from collections.abc import Sequence

from starlette.routing import Route

from viewer.api.annotations import AnnotationEndpoints
from viewer.api.catalogs import CatalogEndpoints
from viewer.api.coadds import CoaddEndpoints, CoaddFinder
from viewer.api.measure import MeasurementEndpoints
from viewer.api.surveys import SurveyEndpoints
from viewer.catalogs.catalog import Catalog
from viewer.http.limits import ReadPool
from viewer.surveys import Surveys


def api_routes(
    surveys: Surveys, read_only: bool = False, catalogs: Sequence[Catalog] = (), view: str = ""
) -> list[Route]:
    """Routes of the JSON API, see docs/reference/http-api.md.

    read_only: no annotation is kept here. view: where the page opens.
    """
    finder, reads = CoaddFinder(surveys), ReadPool("coadd")
    endpoints = (
        SurveyEndpoints(surveys, view),
        CoaddEndpoints(surveys, finder, reads),
        MeasurementEndpoints(surveys, finder, reads),
        AnnotationEndpoints(surveys, read_only),
        CatalogEndpoints(catalogs),
    )
    return [route for one in endpoints for route in one.routes()]
