import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import httpx
import pytest

from hipsgen.coadd import CoaddRef, Polygon
from hipsgen.survey.provenance import Provenance, UsedCoadd
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.app import ViewerConfig, create_app

REF = CoaddRef(
    uri="file:///data/coadd.fits",
    identity="0b1f9c5e-3c0f-4a6e-9b51-53b6a3b4a001",
    data_id=(("tract", 9813), ("patch", 42), ("band", "g"), ("skymap", "hsc")),
    dataset_type="deepCoadd",
    run="u/someone/run1",
    dataset_id="0b1f9c5e-3c0f-4a6e-9b51-53b6a3b4a001",
    band="g",
    polygon=Polygon([(RA + 1, DEC - 1), (RA - 1, DEC - 1), (RA - 1, DEC + 1), (RA + 1, DEC + 1)]),
)
COADD = UsedCoadd(REF)


def other_coadd(**words: Any) -> UsedCoadd:
    """A coadd with another name than COADD."""
    return UsedCoadd(replace(REF, **words))


@pytest.fixture(scope="package", autouse=True)
def one_ssl_context() -> Iterator[None]:
    """Let httpx make one for all requests: each `httpx.get` reads all certificates, in 25 ms."""
    with pytest.MonkeyPatch.context() as patch:
        made_once = cache(httpx.create_ssl_context)
        patch.setattr("httpx._transports.default.create_ssl_context", made_once)
        yield


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """Two bands in one folder; the first has a provenance table."""
    folder = tmp_path_factory.mktemp("surveys")
    make_survey(folder / "band_g", em_min="3.9e-7")
    make_survey(folder / "band_r", 200.0, em_min="5.5e-7")
    (folder / "band_g" / "provenance.fits").write_bytes(Provenance([COADD]).to_bytes())
    return folder


class Client:
    """Test client without a network; sends paths unmodified, including '..'."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, method: str, url: str, headers: Any = (), params: Any = None) -> Any:
        path, _, query = url.partition("?")
        sent = {"host": "testserver", **dict(headers)}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": (urlencode(params) if params else query).encode(),
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
            "server": ("testserver", 80),
        }
        return asyncio.run(self._ask(scope))

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Any) -> httpx.Response:
        return self.request("HEAD", url, **options)

    async def _ask(self, scope: dict[str, Any]) -> httpx.Response:
        sent: list[Any] = []
        said = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            # after its request the client stays, and says nothing more
            return said.pop() if said else await asyncio.Future()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=content)


def client_for(*roots: Path, **options: Any) -> Client:
    """A client of an application that scans the disk at every request."""
    return Client(create_app(ViewerConfig(tuple(roots), fresh_seconds=0.0, **options)))


@pytest.fixture(scope="session")
def client(root) -> Client:
    return client_for(root)
