"""Runs the viewer: checks the folders, takes the port, says where to look."""

import errno
import resource
import socket
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from hipsgen.errors import ConfigError, InputError, SurveyError
from viewer import connections
from viewer.app import NOT_BUILT, ViewerConfig, create_app
from viewer.surveys import MAX_DEPTH, Surveys

_SHOWN = 6


def serve(
    roots: Sequence[Path | str],
    host: str = "127.0.0.1",
    port: int = 8000,
    open_browser: bool = False,
    read_only: bool = False,
) -> None:
    """Serve the surveys under the folders until interrupted; port 0 takes any free one."""
    checked = tuple(check_root(Path(root)) for root in roots)
    config = ViewerConfig(checked, read_only=read_only)
    names = find_surveys(config)
    with take_port(host, port) as listening:
        url = url_of(listening, host)
        print(f"{url} shows {_summary(names)} (stop with Ctrl-C)", flush=True)
        if not (config.static / "index.html").is_file():
            print(NOT_BUILT, flush=True)
        if open_browser:
            # the socket listens already: the browser waits until the server answers
            webbrowser.open(url)
        allow_many_files()
        make_server(create_app(config)).run(sockets=[listening])


def make_server(app: ASGIApp) -> uvicorn.Server:
    """What runs the application: HTTP/1.1 and nothing else, silent unless something is wrong."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=connections.Connection,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
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
            raise SurveyError(
                f"no survey under {root} (a readable 'properties' file, {MAX_DEPTH} levels down):"
                " build one with 'hipsgen build', or wait until a running build has finished"
            )
    return [survey.name for survey in Surveys(config.roots).all()]


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
    # Linux passes this on to the connections: who takes nothing of an answer for so long is cut off
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        patience = round(connections.PATIENCE * 1000)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    try:
        taken.bind(address)
        taken.listen(128)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use: choose another with --port (0 takes any)"
            ) from error
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error
    return taken


def url_of(listening: socket.socket, host: str) -> str:
    """The address to type into a browser."""
    port = listening.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}/"


def _summary(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} survey{'s' if len(names) != 1 else ''}: {shown}"
