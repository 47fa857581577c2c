"""Requests and responses of the JSON API: parsing of parameters and bodies, JSON, errors."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hipsgen.errors import InputError, SurveyError
from viewer.annotations import AnnotationError
from viewer.catalogs.filters import FilterError
from viewer.coadds.originals import NotAllowedError
from viewer.http.limits import BusyError

Endpoint = Callable[[Request], Awaitable[Response]]

# HTTP status of errors that have no `status` of their own
_STATUS: dict[type[Exception], int] = {
    FilterError: 400,
    NotAllowedError: 403,
    BusyError: 503,
    InputError: 404,
    SurveyError: 404,
}


_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_PART = 500  # items of a list that are formatted at a time


class RefusedError(Exception):
    """A request gets an error response: an HTTP status and a one-line reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def json_response(content: Any, status: int = 200) -> Response:
    """Make a JSON response, in ASCII: file names with invalid UTF-8 have no other encoding."""
    return Response(_encode(content), status, media_type="application/json")


def _encode(content: Any) -> str:
    """Format JSON, long lists in parts: meanwhile other threads, such as the event loop, may run.

    json does not release the GIL before it has formatted everything.
    """
    if isinstance(content, dict):
        return f"{{{','.join(f'{_JSON.encode(k)}:{_encode(v)}' for k, v in content.items())}}}"
    if isinstance(content, list) and len(content) > _PART:
        parts = (content[at : at + _PART] for at in range(0, len(content), _PART))
        return f"[{','.join(_JSON.encode(part)[1:-1] for part in parts)}]"
    return _JSON.encode(content)


class JsonLines(Response):
    """Response with one line of JSON for each object, sent as soon as it is available.

    lines: the objects. If the server is too busy, the last line is `{"error": "one line"}`.
    """

    media_type = "application/jsonl"

    def __init__(self, lines: AsyncGenerator[Mapping[str, Any], None]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # nginx would collect the lines
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""

        async def send_line(line: Mapping[str, Any]) -> None:
            body = bytes(json_response(line).body) + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})

        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        async with aclosing(self._lines):
            try:
                async for line in self._lines:
                    await send_line(line)
            except BusyError as error:
                await send_line({"error": str(error)})
        await send({"type": "http.response.body", "body": b""})


def guarded(endpoint: Endpoint) -> Endpoint:
    """Wrap an endpoint: its errors become JSON responses, `{"error": "one line"}`."""

    async def respond(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (RefusedError, AnnotationError) as error:
            return json_response({"error": str(error)}, error.status)
        except tuple(_STATUS) as error:
            status = next(_STATUS[kind] for kind in _STATUS if isinstance(error, kind))
            return json_response({"error": str(error)}, status)

    return respond


def by_method(path: str, **endpoints: Endpoint) -> Route:
    """Make a route with one endpoint for each HTTP method."""

    async def respond(request: Request) -> Response:
        return await endpoints[request.method](request)

    return Route(path, guarded(respond), methods=list(endpoints))


async def read_json_object(request: Request, max_size: int) -> dict[str, Any]:
    """Read the JSON object in a request's body, of at most `max_size` bytes. Raises RefusedError.

    The required content type protects against CSRF: a form on another site cannot send it.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RefusedError(415, "the content type must be application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_size:
            raise RefusedError(413, f"the body has more than {max_size} bytes")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(content, dict):
        raise RefusedError(400, "the body is not a JSON object")
    return content


def position_parameters(
    query: QueryParams, ra: str = "ra", dec: str = "dec"
) -> tuple[float, float]:
    """Parse an ICRS position, degrees. Raises RefusedError."""
    given = f"{ra}={query.get(ra)!s:.40}, {dec}={query.get(dec)!s:.40}"
    try:
        lon, lat = float(query.get(ra, "")), float(query.get(dec, ""))
    except ValueError:
        raise RefusedError(400, f"{given}: give two numbers in degrees") from None
    # NaN compares false
    if not (-360 <= lon <= 360 and -90 <= lat <= 90):
        raise RefusedError(400, f"{given}: ra must be 0 to 360, dec -90 to 90 degrees")
    return lon % 360.0, lat


def number_parameter(query: QueryParams, name: str, minimum: float, maximum: float) -> float:
    """Parse a number within limits. Raises RefusedError."""
    try:
        value = float(query.get(name, ""))
    except ValueError:
        value = float("nan")
    if not minimum <= value <= maximum:
        given = f"{name}={query.get(name, '')[:40]}"
        raise RefusedError(400, f"{given}: must be a number from {minimum:g} to {maximum:g}")
    return value
