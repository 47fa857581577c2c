"""The web application: the surveys under /hips, what the page asks under /api, the page itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viewer.api.frames import Frames
from viewer.api.routes import api_routes
from viewer.catalogs.catalog import Catalog
from viewer.http.access_log import AccessLog
from viewer.http.auth import TokenRequired
from viewer.http.health import PATH as HEALTH
from viewer.http.health import Health
from viewer.http.host_check import HostCheck
from viewer.http.proxy import BehindProxy, Network
from viewer.http.survey_files import ALWAYS_ASK, PLAIN_TEXT, serve_page_file, serve_survey_file
from viewer.surveys import FRESH_SECONDS, Surveys, hips_list

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
    read_only: flags are not kept here, but in each browser.
    token: who does not know it sees nothing; None lets everybody look.
    root_path: what stands before our paths on the site, '' or like /sky.
    trusted: proxies that are believed for whom they ask.
    access_log: descriptor that a line for each request is written to.
    catalogs: what may be laid over the images.
    view: the part after # of the address of what is shown first.
    only_beneath: nothing answers that is not beneath the root path, which is a secret then.
    frames: those of a notebook, whose pages may ask for wishes.
    local_names: answer to addresses and names without a dot alone.
    """

    roots: tuple[Path, ...]
    static: Path = STATIC
    fresh_seconds: float = FRESH_SECONDS
    read_only: bool = False
    token: str | None = field(default=None, repr=False)
    root_path: str = ""
    trusted: Sequence[Network] = ()
    access_log: int | None = None
    catalogs: tuple[Catalog, ...] = ()
    view: str = ""
    only_beneath: bool = False
    frames: Frames | None = None
    local_names: bool = False


def create_app(config: ViewerConfig) -> Starlette:
    """Make the application that serves the surveys under the configured roots."""
    surveys = Surveys(config.roots, config.fresh_seconds)
    surveys.all()  # names are given now: processes that are forked from this one agree on them

    async def page(request: Request) -> Response:
        try:
            return await serve_page_file(config.static, "index.html", request)
        except HTTPException as error:
            if error.status_code != 404:
                raise
            return PlainTextResponse(NOT_BUILT, status_code=503)

    async def page_file(request: Request) -> Response:
        return await serve_page_file(config.static, request.path_params["inner"], request)

    def list_of_surveys(request: Request) -> Response:
        text = hips_list(surveys.all(), str(request.base_url))
        return Response(text, media_type=PLAIN_TEXT)

    async def survey_file(request: Request) -> Response:
        name = request.path_params["name"]
        survey = surveys.fresh(name) or await run_in_threadpool(surveys.look, name)
        # names and tile paths need no escapes; one that is there hides a slash or a NUL
        if survey is None or b"%" in request.scope.get("raw_path", b""):
            raise HTTPException(404)
        inner = request.path_params["inner"] or "index.html"
        return await serve_survey_file(surveys.roots, survey.folder, inner, request)

    routes = [
        Route("/", page),
        Route("/static/{inner:path}", page_file),
        Route(HEALTH, Health(surveys.roots).answer),
        Route("/hips/list", list_of_surveys),
        Route("/hips/{name:str}/{inner:path}", survey_file),
        *api_routes(surveys, config.read_only, config.catalogs, config.view),
        *(config.frames.routes() if config.frames else ()),
    ]
    return Starlette(
        routes=routes,
        middleware=_before_routes(config),
        exception_handlers={ClientDisconnect: _nobody_listens},
    )


def _before_routes(config: ViewerConfig) -> list[Middleware]:
    """What a request passes on its way in, from the outside."""
    found = [Middleware(BehindProxy, config.root_path, config.trusted, config.only_beneath)]
    if config.access_log is not None:
        found.append(Middleware(AccessLog, config.access_log))
    found.append(Middleware(SafeHeaders))
    if config.local_names:
        found.append(Middleware(HostCheck))
    if config.token is not None:
        found.append(Middleware(TokenRequired, config.token))
    return found


def _nobody_listens(request: Request, gone: Exception) -> Response:
    """The client left in the midst of its request: no fault of ours, and nobody is told."""
    return PlainTextResponse("incomplete request", 400)


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
                headers.setdefault("content-security-policy", CONTENT_SECURITY_POLICY)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers.setdefault("cache-control", ALWAYS_ASK)
                if is_shared:
                    headers["access-control-allow-origin"] = "*"
                    headers["access-control-expose-headers"] = "ETag, Content-Length"
            await send(message)

        await self.app(scope, receive, send_with_headers)
