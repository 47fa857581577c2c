"""The web application: the surveys under /hips, what the page asks under /api, the page itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hipsgen.errors import SurveyError
from viewer.inspect import Inspector, parse_position
from viewer.surveys import FRESH_SECONDS, Surveys, describe, hips_list
from viewer.tiles import ALWAYS_ASK, PLAIN_TEXT, serve_page_file, serve_survey_file

STATIC = Path(__file__).parent / "static"

NOT_BUILT = (
    "The page is not built: reinstall hipsgen, or run 'python viewer/web/build_page.py' "
    "in a checkout. The surveys themselves are served under /hips/."
)

# the page may run its own scripts (Aladin Lite compiles WebAssembly) and ask nobody else
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self' data: blob:",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


@dataclass(frozen=True)
class ViewerConfig:
    """What to serve.

    roots: folders that are surveys or hold some.
    static: the built page.
    fresh_seconds: how long a look over the roots stays good.
    """

    roots: tuple[Path, ...]
    static: Path = STATIC
    fresh_seconds: float = FRESH_SECONDS


def create_app(config: ViewerConfig) -> Starlette:
    """Make the application that serves the surveys under the configured roots."""
    surveys = Surveys(config.roots, config.fresh_seconds)
    inspector = Inspector(surveys.roots)

    def page(request: Request) -> Response:
        if not (config.static / "index.html").is_file():
            return PlainTextResponse(NOT_BUILT, status_code=503)
        return serve_page_file(config.static, "index.html", request)

    def page_file(request: Request) -> Response:
        return serve_page_file(config.static, request.path_params["inner"], request)

    def list_of_surveys(request: Request) -> Response:
        text = hips_list(surveys.all(), str(request.base_url))
        return Response(text, media_type=PLAIN_TEXT)

    def survey_file(request: Request) -> Response:
        survey = surveys.get(request.path_params["name"])
        # names and tile paths need no escapes; one that is there hides a slash or a NUL
        if survey is None or b"%" in request.scope.get("raw_path", b""):
            raise HTTPException(404)
        inner = request.path_params["inner"] or "index.html"
        return serve_survey_file(surveys.roots, survey.folder, inner, request)

    def api_surveys(request: Request) -> Response:
        return _json(
            [describe(survey, bool(surveys.with_provenance(survey))) for survey in surveys.all()]
        )

    async def api_coadds(request: Request) -> Response:
        return await _coadds(surveys, inspector, request)

    routes = [
        Route("/", page),
        Route("/static/{inner:path}", page_file),
        Route("/hips/list", list_of_surveys),
        Route("/hips/{name:str}/{inner:path}", survey_file),
        Route("/api/surveys", api_surveys),
        Route("/api/coadds", api_coadds),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SafeHeaders)])


async def _coadds(surveys: Surveys, inspector: Inspector, request: Request) -> Response:
    asked = request.query_params
    name = asked.get("survey", "")
    try:
        ra, dec = parse_position(asked.get("ra"), asked.get("dec"))
    except ValueError as error:
        return _problem(400, str(error))
    # these look at the disk
    survey = await run_in_threadpool(surveys.get, name)
    if survey is None:
        return _problem(404, f"no survey {name[:80]!r}; /api/surveys lists them")
    tables = await run_in_threadpool(surveys.with_provenance, survey)
    if not tables:
        return _problem(404, f"survey {name!r} has no provenance.fits")
    try:
        coadds = [c for t in tables for c in await inspector.coadds(t.folder, ra, dec)]
    except SurveyError as error:
        # the survey itself is in order: the page shows the reason where the coadds would be
        return _problem(404, f"survey {name!r}: {error}")
    return _json({"survey": name, "ra": ra, "dec": dec, "coadds": coadds})


def _problem(status: int, reason: str) -> Response:
    return _json({"error": reason}, status)


def _json(answer: Any, status: int = 200) -> Response:
    # all in ASCII: names of files need not be text, which UTF-8 would refuse
    text = json.dumps(answer, allow_nan=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


class SafeHeaders:
    """Puts on every answer what keeps a browser from asking others, guessing, or remembering long.

    Under /hips other sites' viewers may read (CORS); the page and its API are for itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_shared = scope["path"].removeprefix(scope.get("root_path", "")).startswith("/hips/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = CONTENT_SECURITY_POLICY
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers.setdefault("cache-control", ALWAYS_ASK)
                if is_shared:
                    headers["access-control-allow-origin"] = "*"
                    headers["access-control-expose-headers"] = "ETag, Content-Length"
            await send(message)

        await self.app(scope, receive, send_with_headers)
