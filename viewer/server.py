"""Running the viewer: checks of its arguments, the listening socket, the uvicorn server."""

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.types import ASGIApp

from hipsgen.errors import ConfigError, InputError, SurveyError
from hipsgen.images.uris import local_path
from hipsgen.survey import paths
from hipsgen.survey.folders import MAX_DEPTH, survey_folders
from viewer.app import NOT_BUILT, ViewerConfig, create_app
from viewer.catalogs.catalog import Catalog
from viewer.coadds.originals import check_originals
from viewer.coadds.pixels import load_kernels
from viewer.http import protocol
from viewer.http.access_log import STDOUT, open_log
from viewer.http.auth import check_token
from viewer.http.host_check import is_local
from viewer.http.proxy import check_root_path, parse_networks
from viewer.http.workers import STOP_TIMEOUT, supervise
from viewer.surveys import Surveys, is_made_by_the_page

_MAX_NAMES = 6  # names that are listed in a message
_BACKLOG = 512  # connections that may wait to be accepted, and that are accepted at a time
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_WARNING_INTERVAL = 60.0  # seconds between repeated warnings
# seconds that an idle connection stays open; docs and proxy configurations rely on it
KEEP_ALIVE = 5
logger = logging.getLogger(__name__)
PUBLIC_PORT = "anyone who can reach this port can see the surveys: use --token to restrict access"


def serve(
    roots: Sequence[Path | str],
    host: str = "127.0.0.1",
    port: int = 8000,
    open_browser: bool = False,
    read_only: bool = False,
    token: str | None = None,
    root_path: str = "",
    trusted_proxies: str = "",
    workers: int = 1,
    access_log: str | None = None,
    catalogs: Sequence[Catalog] = (),
    view: str = "",
    originals: Sequence[str] = (),
) -> None:
    """Serve the surveys in the folders until interrupted; port 0 means any free port.

    trusted_proxies: comma-separated addresses and networks. workers: number of processes.
    access_log: a file, or '-' for stdout. view: a link copied from the page, or its part after #.
    Other parameters are those of ViewerConfig. Raises ConfigError, InputError and SurveyError.
    """
    config = ViewerConfig(
        tuple(check_root(local_path(root)) for root in roots),
        read_only=read_only,
        token=check_token(token),
        root_path=check_root_path(root_path),
        trusted=parse_networks(trusted_proxies),
        access_log=None if access_log is None else open_log(access_log),
        catalogs=tuple(catalogs),
        view=view.rpartition("#")[2],
        # with a token or a proxy, any host name is allowed
        local_names=is_local(host) and not (token or trusted_proxies or root_path),
        originals=check_originals(originals),
    )
    names = find_surveys(config)
    check_view(config.view, names)
    app = create_app(config)
    if workers > 1:
        with _without_interrupts():
            load_kernels()
    with bind_socket(host, port) as listener:
        url = server_url(listener, host, config.root_path)
        # an access log on stdout must not be mixed with other lines
        output = sys.stderr if access_log == STDOUT else sys.stdout
        print(f"{url} shows {_summary(names)} (stop with Ctrl-C)", file=output, flush=True)
        if not (config.static / "index.html").is_file():
            print(NOT_BUILT, file=output, flush=True)
        for catalog in catalogs:
            print(f"with {catalog}", file=output, flush=True)
        if token is None and not is_local(host):
            print(PUBLIC_PORT, file=output, flush=True)
        if open_browser:
            # the socket is already listening, so the browser waits until the server responds
            webbrowser.open(url)
        raise_file_limit()

        def work() -> None:
            make_server(app).run(sockets=[listener])

        if workers == 1:
            work()
        else:
            supervise(workers, work)


class Server(uvicorn.Server):
    """uvicorn server that exits within STOP_TIMEOUT of SIGINT or SIGTERM.

    uvicorn itself waits for threads and tasks without limit.
    """

    _last_warning = float("-inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_error)
        await super().startup(sockets)

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_RESOURCES:
            loop.default_exception_handler(context)
        elif loop.time() - self._last_warning > _WARNING_INTERVAL:
            # asyncio retries by itself, and reports every attempt
            self._last_warning = loop.time()
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            logger.warning(
                "new connections must wait: %s (this process may open %d files and connections: "
                "raise 'ulimit -n', or LimitNOFILE= of systemd)", error.strerror, limit,
            )  # fmt: skip

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after a signal; exit after STOP_TIMEOUT at the latest."""
        timer = threading.Timer(STOP_TIMEOUT, os._exit, [128 + sig])
        timer.daemon = True
        timer.start()
        super().handle_exit(sig, frame)


def make_server(app: ASGIApp, configure_logging: bool = True) -> Server:
    """Return a server of the application: HTTP/1.1 only, logging only warnings and errors.

    configure_logging: configure logging as uvicorn does, which closes handlers of other packages.
    """
    return Server(
        uvicorn.Config(
            app,
            http=protocol.Connection,
            # not uvloop, even if it is installed: protocol.py needs the real socket
            loop="asyncio",
            backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            log_config=uvicorn.config.LOGGING_CONFIG if configure_logging else None,
            # viewer/http/proxy.py handles them, and trusts only the configured proxies
            proxy_headers=False,
        )
    )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Put off Ctrl-C: numba would lose the KeyboardInterrupt."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def raise_file_limit() -> None:
    """Raise the limit on open files to its maximum: connections and tiles being sent count."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    # some systems report an unlimited maximum but refuse to set it
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


def check_root(root: Path) -> Path:
    """Return the folder. Raises InputError if it is not a folder."""
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"{root} {state}: choose the output folder of 'hipsgen build'")
    return root


def find_surveys(config: ViewerConfig) -> list[str]:
    """Return the names of the surveys. Raises SurveyError for a root without any."""
    for root in config.roots:
        if not Surveys([root]).all():
            if any(survey_folders(root, marker=paths.BUILD)):
                raise SurveyError(
                    f"no finished survey under {root}: run its 'hipsgen build' again: it resumes"
                    " and reports what prevents the survey from being finished"
                )
            raise SurveyError(
                f"no survey under {root} (no readable 'properties' file within {MAX_DEPTH} levels):"
                " build one with 'hipsgen build', or wait until a running build has finished"
            )
    return [survey.name for survey in Surveys(config.roots).all()]


def check_view(view: str, names: Sequence[str]) -> None:
    """Raise ConfigError if the view is malformed, or shows a survey that is not served."""
    if view and not parse_qs(view):
        raise ConfigError(f"--view {view!r} is not a link copied from the page")
    (name,) = parse_qs(view).get("survey", [""])[:1]
    if name and name not in names and not is_made_by_the_page(name, names):
        raise ConfigError(f"--view: no survey {name!r}; available: {_listed(names)}")


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ConfigError if the address is not available."""
    # getaddrinfo reduces ports modulo 65536
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: must be from 0 (any free port) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"--host {host}: {error.strerror or error}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use: choose another --port (0 means any free one)"
            ) from error
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error
    return listener


def server_url(listener: socket.socket, host: str, root_path: str = "") -> str:
    """Return the URL to open in a browser."""
    port = listener.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}{root_path}/"


def _summary(names: Sequence[str]) -> str:
    return f"{len(names)} survey{'s' if len(names) != 1 else ''}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else "")
