"""Applications and commands of the servers that `tests.benchmarks.serving` compares.

"bare" is an application of one response, which tells what a server can do; "app" is the viewer.
"""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from viewer.app import ViewerConfig, create_app
from viewer.http.survey_files import SurveyFile

ROOT = "HIPSGEN_BENCHMARK_ROOT"
WORKERS = 4


async def file_response(scope: Scope, receive: Receive, send: Send) -> None:
    """The file by Starlette's FileResponse, with none of the viewer's checks."""
    await FileResponse(os.environ[ROOT] + scope["path"])(scope, receive, send)


async def survey_file(scope: Scope, receive: Receive, send: Send) -> None:
    """The file by the viewer's response, with none of its checks."""
    file = open(os.environ[ROOT] + scope["path"], "rb", buffering=0)  # noqa: SIM115
    size = os.fstat(file.fileno()).st_size
    headers = {"content-length": str(size)}
    await SurveyFile(file, range(size), headers, 200)(scope, receive, send)


def viewer() -> ASGIApp:
    """The viewer's application for the surveys in a folder."""
    return create_app(ViewerConfig((Path(os.environ[ROOT]) / "hips",), local_names=True))


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
        "viewer by Granian": (*granian, "--factory", f"{here}:viewer"),
    }
    is_missing = find_spec("granian") is None
    return {n: words for n, words in found.items() if not (is_missing and "granian" in words)}


def main() -> None:
    """Serve an application as `hipsgen serve` would."""
    from viewer.http.workers import supervise
    from viewer.server import bind_socket, make_server

    port, name = int(sys.argv[1]), sys.argv[2]
    app = viewer() if name == "viewer" else survey_file
    with bind_socket("127.0.0.1", port) as listening:
        supervise(WORKERS, lambda: make_server(app).run(sockets=[listening]))


if __name__ == "__main__":
    main()
