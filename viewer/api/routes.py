"""The routes of the JSON API."""

from collections.abc import Sequence

from starlette.routing import Route

from viewer.api.annotations import AnnotationEndpoints
from viewer.api.catalogs import CatalogEndpoints
from viewer.api.coadds import CoaddEndpoints, CoaddFinder
from viewer.api.measure import MeasurementEndpoints
from viewer.api.surveys import SurveyEndpoints
from viewer.catalogs.catalog import Catalog
from viewer.coadds.originals import Originals
from viewer.http.limits import ReadPool
from viewer.surveys import Surveys


def api_routes(
    surveys: Surveys,
    read_only: bool = False,
    catalogs: Sequence[Catalog] = (),
    view: str = "",
    originals: Sequence[str] | None = (),
) -> list[Route]:
    """Make the routes of the JSON API, see docs/reference/http-api.md.

    Parameters
    ----------
    surveys
        The surveys to describe and measure.
    read_only
        Whether to write nothing into the folders of the surveys; annotations stay in the browsers.
    catalogs
        The catalogs to query.
    view
        The view that the page opens with, as in its address after #; "" for its own choice.
    originals
        Folders and URL prefixes of the coadds that may be opened, besides those that the builds
        recorded; None for all.
    """
    finder = CoaddFinder(surveys, Originals(originals), read_only)
    reads = ReadPool("coadd")
    endpoints = (
        SurveyEndpoints(surveys, view),
        CoaddEndpoints(surveys, finder, reads),
        MeasurementEndpoints(surveys, finder, reads),
        AnnotationEndpoints(surveys, read_only),
        CatalogEndpoints(catalogs),
    )
    return [route for one in endpoints for route in one.routes()]
