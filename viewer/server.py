"""Runs the viewer: checks the folders, takes the port, says where to look."""

import asyncio
import errno
import logging
import os
import resource
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.types import ASGIApp

from hipsgen.errors import ConfigError, InputError, SurveyError
from hipsgen.survey import paths
from hipsgen.survey.folders import MAX_DEPTH, survey_folders
from viewer.app import NOT_BUILT, ViewerConfig, create_app
from viewer.catalogs.catalog import Catalog
from viewer.http import protocol
from viewer.http.access_log import STDOUT, open_log
from viewer.http.auth import check_token
from viewer.http.host_check import is_local
from viewer.http.proxy import check_root_path, parse_networks
from viewer.http.workers import PATIENCE, supervise
from viewer.surveys import Surveys, is_made_by_the_page

_SHOWN = 6
_BACKLOG = 512  # connections that wait to be accepted, and that are accepted at a time
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EVERY = 60.0  # seconds between warnings of the same
KEEP_ALIVE = 5  # seconds that an idle connection stays open: docs and proxies count on it
logger = logging.getLogger(__name__)
OPEN_TO_ALL = "all who reach this port see them: --token keeps others out"


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
) -> None:
    """Serve the surveys under the folders until interrupted; port 0 takes any free one.

    trusted_proxies: addresses and networks between commas. workers: processes that answer.
    access_log: a file, '-' for stdout. view: a copied link, or its part after #.
    The rest as in ViewerConfig. Raises ConfigError, InputError and SurveyError.
    """
    config = ViewerConfig(
        tuple(check_root(Path(root)) for root in roots),
        read_only=read_only,
        token=check_token(token),
        root_path=check_root_path(root_path),
        trusted=parse_networks(trusted_proxies),
        access_log=None if access_log is None else open_log(access_log),
        catalogs=tuple(catalogs),
        view=view.rpartition("#")[2],
        # a token is asked for, and a proxy answers, by whatever name
        local_names=is_local(host) and not (token or trusted_proxies or root_path),
    )
    names = find_surveys(config)
    check_view(config.view, names)
    app = create_app(config)
    with take_port(host, port) as listening:
        url = url_of(listening, host, config.root_path)
        # stdout is for the lines of the log alone, if they go there
        said = sys.stderr if access_log == STDOUT else sys.stdout
        print(f"{url} shows {_summary(names)} (stop with Ctrl-C)", file=said, flush=True)
        if not (config.static / "index.html").is_file():
            print(NOT_BUILT, file=said, flush=True)
        for catalog in catalogs:
            print(f"with {catalog}", file=said, flush=True)
        if token is None and not is_local(host):
            print(OPEN_TO_ALL, file=said, flush=True)
        if open_browser:
            # the socket listens already: the browser waits until the server answers
            webbrowser.open(url)
        allow_many_files()

        def work() -> None:
            make_server(app).run(sockets=[listening])

        if workers == 1:
            work()
        else:
            supervise(workers, work)


class Server(uvicorn.Server):
    """Ends within PATIENCE of SIGINT or SIGTERM; uvicorn waits for threads and tasks."""

    _told = float("-inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        asyncio.get_running_loop().set_exception_handler(self._complain)
        await super().startup(sockets)

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _NO_ROOM:
            loop.default_exception_handler(context)
        elif loop.time() - self._told > _EVERY:
            # asyncio tries again by itself, and reports every try
            self._told = loop.time()
            most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            logger.warning(
                "new clients wait: %s (this process may have %d files and connections open: "
                "raise 'ulimit -n', LimitNOFILE= of systemd)", error.strerror, most,
            )  # fmt: skip

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after a signal; exit after PATIENCE at the latest."""
        leave = threading.Timer(PATIENCE, os._exit, [128 + sig])
        leave.daemon = True
        leave.start()
        super().handle_exit(sig, frame)


def make_server(app: ASGIApp, sets_logging: bool = True) -> Server:
    """A server of the application: HTTP/1.1 only, which logs nothing but warnings and errors.

    sets_logging: configure logging as uvicorn does, which closes handlers that others have opened.
    """
    return Server(
        uvicorn.Config(
            app,
            http=protocol.Connection,
            # not uvloop, should it be installed: protocol.py needs the real socket
            loop="asyncio",
            backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            log_config=uvicorn.config.LOGGING_CONFIG if sets_logging else None,
            # viewer/http/proxy.py does that, and trusts only the proxies that are named
            proxy_headers=False,
        )
    )


def allow_many_files() -> None:
    """Raise the number of open files as far as one may: a connection is one, a tile another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # some systems say 'any number' and then refuse it
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_root(root: Path) -> Path:
    """The folder, if it is one."""
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"{root} {state}: name the folder that 'hipsgen build' wrote")
    return root


def find_surveys(config: ViewerConfig) -> list[str]:
    """The names of the surveys; every folder that was named must hold one."""
    for root in config.roots:
        if not Surveys([root]).all():
            if any(survey_folders(root, marker=paths.BUILD)):
                raise SurveyError(
                    f"no finished survey under {root}: run its 'hipsgen build' again, which goes on"
                    " and says what is in the way"
                )
            raise SurveyError(
                f"no survey under {root} (a readable 'properties' file, {MAX_DEPTH} levels down):"
                " build one with 'hipsgen build', or wait until a running build has finished"
            )
    return [survey.name for survey in Surveys(config.roots).all()]


def check_view(view: str, names: Sequence[str]) -> None:
    """Raise ConfigError for what is no view, or for one of a survey that is not here."""
    if view and not parse_qs(view):
        raise ConfigError(f"--view {view!r} is not a link that was copied from the page")
    (name,) = parse_qs(view).get("survey", [""])[:1]
    if name and name not in names and not is_made_by_the_page(name, names):
        raise ConfigError(f"--view: no survey {name!r}; there are {_listed(names)}")


def take_port(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    # getaddrinfo would take 70000 as 70000 modulo 65536
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: choose one from 0 (any) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"--host {host}: {error.strerror or error}") from error
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
        taken.listen(_BACKLOG)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use: choose another with --port (0 takes any)"
            ) from error
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error
    return taken


def url_of(listening: socket.socket, host: str, root_path: str = "") -> str:
    """The address to type into a browser."""
    port = listening.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}{root_path}/"


def _summary(names: Sequence[str]) -> str:
    return f"{len(names)} survey{'s' if len(names) != 1 else ''}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
