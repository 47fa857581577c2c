"""/api/flags: annotations of the surveys, which the page calls flags."""

from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from viewer.annotations import Annotation, Annotations
from viewer.api.responses import RefusedError, by_method, json_response, read_json_object
from viewer.api.surveys import find_survey
from viewer.surveys import Surveys

_MAX_BODY = 32 * 1024


class AnnotationEndpoints:
    """Endpoints for annotations. read_only: browsers keep them, this server does not."""

    def __init__(self, surveys: Surveys, read_only: bool = False) -> None:
        self._surveys = surveys
        self._read_only = read_only

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        one = "/api/flags/{survey:str}/{flag:str}"
        return [
            by_method("/api/flags", GET=self._list, HEAD=self._list, POST=self._add),
            by_method(one, PUT=self._change, DELETE=self._delete),
        ]

    async def _list(self, request: Request) -> Response:
        """Return all annotations of all surveys."""
        annotations = await run_in_threadpool(self._all)
        return json_response({"flags": annotations, "read_only": self._read_only})

    def _all(self) -> list[dict[str, Any]]:
        return [
            _describe(survey.name, annotation)
            for survey in self._surveys.all()
            for annotation in Annotations(survey.folder).all()
        ]

    async def _add(self, request: Request) -> Response:
        """Add an annotation."""
        content = await self._body(request)
        survey = await find_survey(self._surveys, str(content.get("survey", "")))
        added = await run_in_threadpool(Annotations(survey.folder).add, content)
        return json_response(_describe(survey.name, added), 201)

    async def _change(self, request: Request) -> Response:
        """Change an annotation."""
        content = await self._body(request)
        survey = await find_survey(self._surveys, request.path_params["survey"])
        annotations, flag = Annotations(survey.folder), request.path_params["flag"]
        changed = await run_in_threadpool(annotations.change, flag, content)
        return json_response(_describe(survey.name, changed))

    async def _delete(self, request: Request) -> Response:
        """Delete an annotation."""
        content = await self._body(request)
        survey = await find_survey(self._surveys, request.path_params["survey"])
        annotations, flag = Annotations(survey.folder), request.path_params["flag"]
        await run_in_threadpool(annotations.delete, flag, content)
        return json_response({})

    async def _body(self, request: Request) -> dict[str, Any]:
        """Return the body of a request that changes something. Raises RefusedError."""
        if self._read_only:
            raise RefusedError(403, "this server is read-only: flags stay in the browser")
        return await read_json_object(request, _MAX_BODY)


def _describe(survey: str, annotation: Annotation) -> dict[str, Any]:
    return {"survey": survey, **asdict(annotation)}
