"""/api/surveys and /api/view: the list of surveys, and the view that the page opens with."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from viewer.api.responses import RefusedError, guarded, json_response
from viewer.surveys import ServedSurvey, SurveyDescription, Surveys, describe


class SurveyEndpoints:
    """Endpoints for the page's start. view: see `viewer.api.routes.api_routes`."""

    def __init__(self, surveys: Surveys, view: str = "") -> None:
        self._surveys = surveys
        self._view = view

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        return [
            Route("/api/surveys", guarded(self._list)),
            Route("/api/view", guarded(self._first_view)),
        ]

    async def _list(self, request: Request) -> Response:
        """Describe every survey."""
        return json_response(await run_in_threadpool(self._describe_all))

    def _describe_all(self) -> list[SurveyDescription]:
        surveys = self._surveys
        return [describe(one, bool(surveys.with_provenance(one))) for one in surveys.all()]

    async def _first_view(self, request: Request) -> Response:
        """Return the view that the page opens with."""
        return json_response({"view": self._view})


async def find_survey(surveys: Surveys, name: str) -> ServedSurvey:
    """Return the survey of this name. Raises RefusedError if there is none."""
    survey = await run_in_threadpool(surveys.get, name)
    if survey is None:
        raise RefusedError(404, f"no survey {name[:80]!r}; /api/surveys lists them")
    return survey
