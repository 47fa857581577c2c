"""The viewer on a port of this machine, for tests that are no browser's."""

import threading
import time
from pathlib import Path


class served:  # noqa: N801
    """A context: the survey served by `viewer` on a free port of 127.0.0.1."""

    def __init__(self, root: Path) -> None:
        import socket

        import uvicorn

        from viewer.app import ViewerConfig, create_app

        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        app = create_app(ViewerConfig(roots=(root,)))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.05)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
