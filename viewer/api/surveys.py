"""/api/surveys and /api/view: which surveys there are, and where the page opens."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from viewer.api.responses import RefusedError, guarded, json_response
from viewer.surveys import ServedSurvey, SurveyDescription, Surveys, describe


class SurveyEndpoints:
    """What the page asks first. view: the part of its address after #, "" for its own choice."""

    def __init__(self, surveys: Surveys, view: str = "") -> None:
        self._surveys = surveys
        self._view = view

    def routes(self) -> list[Route]:
        """Routes of these endpoints."""
        return [
            Route("/api/surveys", guarded(self._list)),
            Route("/api/view", guarded(self._first_view)),
        ]

    async def _list(self, request: Request) -> Response:
        """Every survey, as the page needs it."""
        return json_response(await run_in_threadpool(self._describe_all))

    def _describe_all(self) -> list[SurveyDescription]:
        known = self._surveys
        return [describe(one, bool(known.with_provenance(one))) for one in known.all()]

    async def _first_view(self, request: Request) -> Response:
        """Where the page opens."""
        return json_response({"view": self._view})


async def find_survey(surveys: Surveys, name: str) -> ServedSurvey:
    """The survey of this name. Raises RefusedError."""
    survey = await run_in_threadpool(surveys.get, name)
    if survey is None:
        raise RefusedError(404, f"no survey {name[:80]!r}; /api/surveys lists them")
    return survey
