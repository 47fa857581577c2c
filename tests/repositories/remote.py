"""Servers on loopback: WebDAV (wsgidav), S3 (moto), Butler; and what may go wrong with them."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD, TOKEN = "me", "pass word", "a-token"


@dataclass
class Dav:
    """A server of a folder. asked: method and path of each request, in order.

    fail: requests for content that are still to be answered with 503; cut: to be cut off.
    sent: bytes of content.
    """

    root: Path
    port: int = 0
    secret: str = ""
    fail: int = 0
    cut: int = 0
    sent: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The root, as a datastore has it."""
        return f"dav://127.0.0.1:{self.port}/"

    def wrapped(self, app: Any) -> Callable[..., Any]:
        """The application behind a look at who asks, and with faults."""
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = {"": None, "basic": basic, "token": f"Bearer {TOKEN}"}[self.secret]

        def serve(environ: dict[str, Any], start: Any) -> Any:
            self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
            if known is not None and environ.get("HTTP_AUTHORIZATION") != known:
                start("401 Unauthorized", [("WWW-Authenticate", "Basic"), ("Content-Length", "0")])
                return [b""]
            content = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".fits")
            if content and self.fail > 0:
                self.fail -= 1
                start("503 Service Unavailable", [("Content-Length", "0")])
                return [b""]
            if content and self.cut > 0:
                self.cut -= 1
                start("200 OK", [("Content-Length", "100000"), ("Content-Type", "image/fits")])
                return [b"half of it"]
            return self._counted(app(environ, start)) if content else app(environ, start)

        return serve

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.sent += len(piece)
            yield piece


@contextmanager
def dav(root: Path, secret: str = "") -> Iterator[Dav]:
    """secret: "" for none, basic, or token."""
    wsgidav = pytest.importorskip("wsgidav.wsgidav_app", reason="needs wsgidav")
    from cheroot import wsgi

    anonymous = {"user_mapping": {"*": True}}
    config = {"provider_mapping": {"/": str(root)}, "simple_dc": anonymous, "verbose": 0}
    made = Dav(root, secret=secret)
    app = made.wrapped(wsgidav.WsgiDAVApp(config))
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=8)
    server.error_log = lambda *_, **__: None
    server.prepare()
    made.port = server.bind_addr[1]
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield made
    finally:
        server.stop()
        thread.join()


@dataclass(frozen=True)
class S3:
    """A server with a bucket."""

    endpoint: str
    bucket: str = "coadds"

    @property
    def url(self) -> str:
        """The bucket, as a datastore has it."""
        return f"s3://{self.bucket}/"

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 and lsst.resources look at."""
        return {
            "S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3(root: Path) -> Iterator[S3]:
    """With the files of a folder in its bucket."""
    moto = pytest.importorskip("moto.server", reason="needs moto")
    import boto3

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = S3(f"http://{host}:{port}")
    try:
        client = boto3.client(
            "s3",
            endpoint_url=made.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=made.bucket)
        for path in sorted([*root.rglob("*.fits"), *root.rglob("*.zip")]):
            client.upload_file(str(path), made.bucket, str(path.relative_to(root)))
        yield made
    finally:
        server.stop()


@contextmanager
def butler_server(repository: Path, log: Path, **environment: str) -> Iterator[str]:
    """The URL of a Butler server of a repository, for those who have the TOKEN.

    In a process of its own: it looks at its variables once. log: where it says what it is asked.
    """
    python = Path(sys.prefix, "butler-server", "bin", "python")  # which `make test` sets up
    if not python.exists():
        pytest.skip("needs a Butler server beside the tests: make test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"coadds": {"config_uri": str(repository), "authorized_groups": ["*"]}}
    settings = {
        "DAF_BUTLER_SERVER_REPOSITORIES": json.dumps(known),
        "DAF_BUTLER_SERVER_GAFAELFAWR_URL": "DISABLED",
        "DAF_BUTLER_SERVER_AUTHENTICATION": "rubin_science_platform",
    }
    app = "tests.repositories.guarded:create_app"
    command = [str(python), "-m", "uvicorn", "--factory", app, "--port", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            env={**os.environ, **settings, **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while "running on" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/api/butler/repo/coadds"
    finally:
        server.terminate()
        server.wait()


def moved(local: Path, place: Path, root: str) -> Path:
    """The repository with its files elsewhere."""
    place.mkdir()
    shutil.copy(local / "gen3.sqlite3", place)
    text = (local / "butler.yaml").read_text()
    assert "  root: <butlerRoot>" in text
    (place / "butler.yaml").write_text(text.replace("  root: <butlerRoot>", f"  root: {root}"))
    return place


def command(root: Path | str, out: Path, collection: str = "u/me/coadds") -> list[str]:
    """To build the coadds of a band."""
    what = ["-c", collection, "-d", "deepCoadd_calexp", "-b", "r", "-o", str(out)]
    return [sys.executable, "-m", "hipsgen", "build", str(root), *what]


def build(
    root: Path | str, out: Path, collection: str = "u/me/coadds", **environment: str
) -> tuple[int, str]:
    """Code and words; in a process of its own, for lsst.resources looks at its variables once."""
    done = subprocess.run(
        command(root, out, collection),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
