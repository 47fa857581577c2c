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
    """Endpoints for annotations. read_only: none is kept here, but in each browser."""

    def __init__(self, surveys: Surveys, read_only: bool = False) -> None:
        self._surveys = surveys
        self._read_only = read_only

    def routes(self) -> list[Route]:
        """Routes of these endpoints."""
        one = "/api/flags/{survey:str}/{flag:str}"
        return [
            by_method("/api/flags", GET=self._list, HEAD=self._list, POST=self._add),
            by_method(one, PUT=self._change, DELETE=self._delete),
        ]

    async def _list(self, request: Request) -> Response:
        """All annotations of all surveys."""
        found = await run_in_threadpool(self._all)
        return json_response({"flags": found, "read_only": self._read_only})

    def _all(self) -> list[dict[str, Any]]:
        return [
            _described(survey.name, annotation)
            for survey in self._surveys.all()
            for annotation in Annotations(survey.folder).all()
        ]

    async def _add(self, request: Request) -> Response:
        """A new one."""
        content = await self._content(request)
        survey = await find_survey(self._surveys, str(content.get("survey", "")))
        added = await run_in_threadpool(Annotations(survey.folder).add, content)
        return json_response(_described(survey.name, added), 201)

    async def _change(self, request: Request) -> Response:
        """Another version of one."""
        content = await self._content(request)
        survey = await find_survey(self._surveys, request.path_params["survey"])
        annotations, flag = Annotations(survey.folder), request.path_params["flag"]
        changed = await run_in_threadpool(annotations.change, flag, content)
        return json_response(_described(survey.name, changed))

    async def _delete(self, request: Request) -> Response:
        """No further version of one."""
        content = await self._content(request)
        survey = await find_survey(self._surveys, request.path_params["survey"])
        annotations, flag = Annotations(survey.folder), request.path_params["flag"]
        await run_in_threadpool(annotations.delete, flag, content)
        return json_response({})

    async def _content(self, request: Request) -> dict[str, Any]:
        """Body of a request that changes something. Raises RefusedError."""
        if self._read_only:
            raise RefusedError(403, "this server is read-only: flags stay in the browser")
        return await read_json_object(request, _MAX_BODY)


def _described(survey: str, annotation: Annotation) -> dict[str, Any]:
    return {"survey": survey, **asdict(annotation)}
