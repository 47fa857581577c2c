"""Protection against DNS rebinding: requests with a foreign Host header are refused."""

import http.client
import json

import pytest

from tests.viewer.serving import Process
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.annotations import Annotations

FLAG = json.dumps({"survey": "band_g", "ra": RA, "dec": DEC, "note": "not mine"})


def asked(port: int, method: str, path: str, host: str, body: str | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": host, "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    make_survey(folder / "band_g")
    return folder


def test_only_names_of_this_machine_are_answered(root, tmp_path):
    with Process(root, tmp_path / "log") as server:
        for good in ("127.0.0.1", "localhost", "LOCALHOST.", "sky.localhost", "[::1]", "mine"):
            assert asked(server.port, "GET", "/", f"{good}:{server.port}") in (200, 503)
            assert asked(server.port, "GET", "/api/surveys", good) == 200
        for bad in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a:b:c"):
            for path in ("/", "/api/surveys", "/hips/list", "/hips/band_g/properties"):
                assert asked(server.port, "GET", path, bad) == 421
            assert asked(server.port, "POST", "/api/flags", f"{bad}:{server.port}", FLAG) == 421
    assert Annotations(root / "band_g").all() == []


@pytest.mark.parametrize(
    "serving",
    [{"token": "some-long-token"}, {"trusted_proxies": "127.0.0.1"}, {"root_path": "/sky"}],
)
def test_behind_a_proxy_or_a_token_any_name_will_do(root, tmp_path, serving):
    with Process(root, tmp_path / "log", serving) as server:
        assert asked(server.port, "GET", "/api/surveys", "data.example.org") in (200, 401)
