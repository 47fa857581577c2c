"""The web application: surveys under /hips, the JSON API under /api, and the page."""

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
from viewer.http.cross_origin import CrossOrigin
from viewer.http.health import PATH as HEALTH
from viewer.http.health import Health
from viewer.http.host_check import HostCheck
from viewer.http.paths import TidyPaths
from viewer.http.proxy import BehindProxy, Network
from viewer.http.survey_files import (
    ALWAYS_REVALIDATE,
    PLAIN_TEXT,
    serve_page_file,
    serve_survey_file,
)
from viewer.surveys import FRESH_SECONDS, Surveys, hips_list

STATIC = Path(__file__).parent / "static"

NOT_BUILT = (
    "The page is not built: reinstall hipsgen, or run 'python viewer/web/build_page.py' "
    "in a checkout. The surveys themselves are served under /hips/."
)

# the page may run its own scripts (Aladin Lite compiles WebAssembly) and use this server only
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
    """Configuration of the web application.

    Parameters
    ----------
    roots
        Folders that are surveys or contain some.
    static
        Folder with the built page.
    fresh_seconds
        How long the list of surveys is valid before the roots are scanned again.
    read_only
        Whether flags are stored in the browsers instead of in the folders of the surveys.
    token
        Secret that requests must present; None for access without a login.
    root_path
        Path prefix of the application on its site, "" or such as "/sky".
    trusted
        Networks of the proxies whose forwarding headers are trusted.
    access_log
        File descriptor to which a line is written for each request.
    catalogs
        Catalogs that can be drawn over the images.
    view
        View that the page opens with: the part of its address after #.
    only_below_root_path
        Whether requests outside of the root path get 404; the root path may then be a secret.
    frames
        Frames of a notebook, whose pages fetch commands.
    local_names
        Whether to accept only IP addresses and names without a dot in the Host header.
    originals
        Folders and URL prefixes of the coadds that may be opened, besides those that the builds
        recorded; None for all.
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
    only_below_root_path: bool = False
    frames: Frames | None = None
    local_names: bool = False
    originals: Sequence[str] | None = ()


def create_app(config: ViewerConfig) -> Starlette:
    """Make the application that serves the surveys under the configured roots."""
    surveys = Surveys(config.roots, config.fresh_seconds)
    surveys.all()  # assigns the names now, so that all worker processes forked later agree on them

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
        survey = surveys.get_cached(name) or await run_in_threadpool(surveys.get_checked, name)
        # names and tile paths need no percent-encoding; any would hide a slash or a NUL
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
        *api_routes(surveys, config.read_only, config.catalogs, config.view, config.originals),
        *(config.frames.routes() if config.frames else ()),
    ]
    return Starlette(
        routes=routes,
        middleware=_before_routes(config),
        exception_handlers={ClientDisconnect: _client_disconnected},
    )


def _before_routes(config: ViewerConfig) -> list[Middleware]:
    """Return the middleware, outermost first."""
    middleware = [
        Middleware(BehindProxy, config.root_path, config.trusted, config.only_below_root_path)
    ]
    if config.access_log is not None:
        middleware.append(Middleware(AccessLog, config.access_log))
    middleware += [Middleware(TidyPaths), Middleware(SafeHeaders)]
    if config.local_names:
        middleware.append(Middleware(HostCheck))
    # a secret path protects as well, and a notebook's proxy may hide the names of hosts
    middleware.append(Middleware(CrossOrigin, may_change=config.only_below_root_path))
    if config.token is not None:
        middleware.append(Middleware(TokenRequired, config.token))
    return middleware


def _client_disconnected(request: Request, error: Exception) -> Response:
    """Respond, for the access log only, to a client that left in the middle of its request."""
    return PlainTextResponse("incomplete request", 400)


class SafeHeaders:
    """Adds security and caching headers to every response.

    They restrict the page to this server, forbid content sniffing, and require revalidation.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, adding the headers to its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", CONTENT_SECURITY_POLICY)
                headers["x-content-type-options"] = "nosniff"
                headers.setdefault("referrer-policy", "no-referrer")
                headers.setdefault("cache-control", ALWAYS_REVALIDATE)
            await send(message)

        await self.app(scope, receive, send_with_headers)
