"""Applications and commands of the servers that `tests.benchmarks.serving` compares.

"bare" is an application of one response, which tells what a server can do; "app" is the viewer.
"""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viewer.app import ViewerConfig, create_app
from viewer.http.survey_files import SurveyFile

ROOT = "HIPSGEN_BENCHMARK_ROOT"
WORKERS = 4
# what the server of the viewer offers, and what Granian does
ZERO_COPY, PATH_SEND = "http.response.zerocopysend", "http.response.pathsend"


async def file_response(scope: Scope, receive: Receive, send: Send) -> None:
    """The file by Starlette's FileResponse, with none of the viewer's checks."""
    await FileResponse(os.environ[ROOT] + scope["path"])(scope, receive, send)


async def survey_file(scope: Scope, receive: Receive, send: Send) -> None:
    """The file by the viewer's response, with none of its checks."""
    file = open(os.environ[ROOT] + scope["path"], "rb", buffering=0)  # noqa: SIM115
    size = os.fstat(file.fileno()).st_size
    headers = {"content-length": str(size)}
    await SurveyFile(file, range(size), headers, 200)(scope, receive, send)


class ByPath:
    """Names the file of a response to a server that opens it by its name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == ZERO_COPY:
                message = {"type": PATH_SEND, "path": message["file"].name}
            await send(message)

        scope["extensions"] = {ZERO_COPY: {}}
        await self.app(scope, receive, sending)


def viewer() -> ASGIApp:
    """The viewer's application for the surveys in a folder."""
    return create_app(ViewerConfig((Path(os.environ[ROOT]) / "hips",), local_names=True))


def viewer_by_path() -> ASGIApp:
    """The same for a server that opens files by their names."""
    return ByPath(viewer())


def commands(candidates: bool) -> dict[str, Sequence[str]]:
    """How the servers are started, at the PORT, with as many processes each."""
    python, here = (sys.executable, "-m"), "tests.benchmarks.candidates"
    ours = {"viewer": (*python, here, "PORT", "viewer")}
    if not candidates:
        return ours
    uvicorn = (*python, "uvicorn", "--port", "PORT", "--workers", f"{WORKERS}", "--http",
               "httptools", "--lifespan", "off", "--no-access-log", "--log-level",
               "warning")  # fmt: skip
    granian = (*python, "granian", "--port", "PORT", "--workers", f"{WORKERS}", "--interface",
               "asginl", "--http", "1", "--no-ws", "--log-level", "error",
               "--workers-kill-timeout", "1")  # fmt: skip
    found = {
        "ours, bare": (*python, here, "PORT", "bare"),
        "uvicorn and FileResponse, bare": (*uvicorn, f"{here}:file_response"),
        "Granian and FileResponse, bare": (*granian, f"{here}:file_response"),
        **ours,
        "viewer by uvicorn": (*uvicorn, "--factory", f"{here}:viewer"),
        "viewer by Granian": (*granian, "--factory", f"{here}:viewer_by_path"),
    }
    is_missing = find_spec("granian") is None
    return {n: words for n, words in found.items() if not (is_missing and "granian" in words)}


def main() -> None:
    """Serve an application as `hipsgen serve` would."""
    from viewer.http.workers import supervise
    from viewer.server import make_server, take_port

    port, name = int(sys.argv[1]), sys.argv[2]
    app = viewer() if name == "viewer" else survey_file
    with take_port("127.0.0.1", port) as listening:
        supervise(WORKERS, lambda: make_server(app).run(sockets=[listening]))


if __name__ == "__main__":
    main()
