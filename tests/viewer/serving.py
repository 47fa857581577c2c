"""The viewer as a real server, and clients that send raw bytes."""

import http.client
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from viewer.app import ViewerConfig, create_app
from viewer.server import bind_socket, make_server

TIMEOUT = 20


@contextmanager
def served(*roots: Path, **options: Any) -> Iterator[int]:
    """Run the server in a thread of this process; yield its port."""
    with served_app(create_app(ViewerConfig(roots, **options))) as port:
        yield port


@contextmanager
def served_app(app: ASGIApp, configure_logging: bool = True) -> Iterator[int]:
    """Run another application in a thread; yield its port."""
    with bind_socket("127.0.0.1", 0) as listening:
        server = make_server(app, configure_logging)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(TIMEOUT)
    assert not thread.is_alive()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect logged errors; enter it after uvicorn has set up its logging."""
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(self.format(record))

    listener = Listener(logging.ERROR)
    # uvicorn's own logger tells nobody else
    loggers = [logging.getLogger(), logging.getLogger("uvicorn")]
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield told
    finally:
        for logger in loggers:
            logger.removeHandler(listener)


class Process:
    """The server in its own process, so that its resources can be read from /proc."""

    def __init__(
        self, root: Path, log: Path, serving: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """serving: more arguments of `serve`; options: for the process."""
        given = {"port": 0, **(serving or {})}
        serve = f"import sys; from viewer.server import serve; serve([sys.argv[1]], **{given!r})"
        self._log = log
        with log.open("wb") as errors:
            self._running = subprocess.Popen(
                [sys.executable, "-c", serve, str(root)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                **options,
            )
        assert self._running.stdout
        self.first_line = self._running.stdout.readline()
        self.url = self.first_line.split()[0]
        self.port = urlsplit(self.url).port or 0
        self.pid = self._running.pid
        self._proc = Path("/proc") / str(self._running.pid)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Terminate it, and wait for its end."""
        self._running.terminate()
        self._running.communicate(timeout=TIMEOUT)

    def wait(self) -> int:
        """Return its exit code, when it ends by itself."""
        return self._running.wait(TIMEOUT)

    def workers(self) -> list[int]:
        """Return its running child processes."""
        text = (self._proc / "task" / str(self.pid) / "children").read_text()
        return [pid for pid in map(int, text.split()) if state(pid) not in ("Z", "")]

    def zombies(self) -> list[int]:
        """Return its zombie child processes."""
        text = (self._proc / "task" / str(self.pid) / "children").read_text()
        return [pid for pid in map(int, text.split()) if state(pid) == "Z"]

    def complaints(self) -> str:
        """Return what it has written to stderr."""
        return self._log.read_text()

    def open_files(self) -> int:
        return len(os.listdir(self._proc / "fd"))

    def threads(self) -> int:
        return len(os.listdir(self._proc / "task"))

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return self._count("status", "VmRSS") * 1024

    def bytes_read(self) -> int:
        """Return the bytes that it has read from files and sockets."""
        return self._count("io", "rchar")

    def _count(self, name: str, key: str) -> int:
        lines = (self._proc / name).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def state(pid: int) -> str:
    """Return the state of a process (R, S, Z ...), '' if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def nginx_scratch(folder: Path) -> str:
    """Return nginx's settings for its temporary folders."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


class Wire:
    """A persistent connection that sends requests unmodified."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request; return the response and its body."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
        self._socket.sendall(request)
        answer = http.client.HTTPResponse(self._socket, method=request.split(b" ")[0].decode())
        answer.begin()
        body = answer.read()
        if answer.will_close:
            self.close()
        return answer, body

    def get(self, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
