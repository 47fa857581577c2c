"""The root path, and which forwarding headers are trusted."""

import json

import httpx
import pytest

from hipsgen.errors import ConfigError
from tests.viewer.serving import Wire, served
from tests.viewer.small_hips import FACE
from viewer.http.proxy import check_root_path, parse_networks

LOCAL = parse_networks("127.0.0.1")
TILE = f"/hips/band_g/Norder0/Dir0/Npix{FACE}.fits"
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
}


def service_url(port: int, path: str = "/hips/list", **headers: str) -> str:
    """Return the URL of the first survey in the list."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    text = httpx.get(f"http://127.0.0.1:{port}{path}", headers=sent).text
    line = next(line for line in text.splitlines() if line.startswith("hips_service_url"))
    return line.partition("= ")[2]


def test_only_trusted_proxies_are_believed(root, monkeypatch):
    # uvicorn would trust the proxies of this variable
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    for trusted in ((), parse_networks("10.0.0.0/8,192.168.1.1,::2")):
        with served(root, trusted=trusted) as port:
            assert service_url(port, **FORGED) == f"http://127.0.0.1:{port}/hips/band_g"
            moved = httpx.get(f"http://127.0.0.1:{port}/hips/band_g", headers=FORGED)
            assert moved.headers["location"] == "./band_g/"


def test_a_trusted_proxy_tells_scheme_and_host(root):
    with served(root, trusted=LOCAL) as port:
        assert service_url(port, **FORGED) == "https://evil.example/hips/band_g"
        plain = service_url(port, X_Forwarded_Proto="https", Host="sky.example:8443")
        assert plain == "https://sky.example:8443/hips/band_g"
        # the client's values come first, the proxy's last
        chain = {"X-Forwarded-Host": "evil.example, sky.example", "X-Forwarded-Proto": "https,http"}
        assert service_url(port, **chain) == "http://sky.example/hips/band_g"


@pytest.mark.parametrize(
    "host",
    [
        "",
        ",",
        "a/b",
        "a b",
        "user@evil.example",
        "x:y",
        "x:1234567",
        "[::1",
        "é",
        "a\\b",
        "x" * 300,
    ],
)
def test_a_host_that_is_none_is_not_taken(root, host):
    with served(root, trusted=LOCAL) as port:
        wire = Wire(port)
        said = f"GET /hips/list HTTP/1.1\r\nHost: here\r\nX-Forwarded-Host: {host}\r\n\r\n"
        answer, body = wire.ask(said.encode())
        wire.close()
        assert answer.status == 200
        assert b" http://here/hips/band_g\n" in body


def test_an_address_of_ipv6_is_a_host(root):
    with served(root, trusted=LOCAL) as port:
        told = service_url(port, X_Forwarded_Host="[2001:db8::7]:8443")
        assert told == "http://[2001:db8::7]:8443/hips/band_g"


@pytest.mark.parametrize(
    ("said", "client"),
    [
        (None, "127.0.0.1"),
        ("", "127.0.0.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        # the client has sent the first address, the proxy has appended the last
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        # a second trusted proxy
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("203.0.113.9, unknown, 10.1.2.3", "10.1.2.3"),
        ("<script>", "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_untrusted_address(root, tmp_path, said, client):
    with (tmp_path / "log").open("ab") as log:
        options = {"trusted": parse_networks("127.0.0.1,10.0.0.0/8"), "access_log": log.fileno()}
        with served(root, **options) as port:
            headers = {} if said is None else {"X-Forwarded-For": said}
            httpx.get(f"http://127.0.0.1:{port}/hips/list", headers=headers)
    assert json.loads((tmp_path / "log").read_text())["client"] == client


def test_beneath_a_path_that_the_proxy_takes_away_or_leaves(root):
    with served(root, root_path="/data/sky") as port:
        url = f"http://127.0.0.1:{port}"
        for before in ("", "/data/sky"):
            assert httpx.get(f"{url}{before}{TILE}").content.startswith(b"SIMPLE")
            assert httpx.get(f"{url}{before}/hips/list").headers["access-control-allow-origin"]
            assert httpx.get(f"{url}{before}/api/surveys").json()[0]["url"] == "hips/band_g"
            assert httpx.get(f"{url}{before}/healthz").text == "ok\n"
            assert httpx.get(f"{url}{before}/").status_code == 200
            told = service_url(port, f"{before}/hips/list", Host="x.org")
            assert told == "http://x.org/data/sky/hips/band_g"
            moved = httpx.get(f"{url}{before}/hips/band_g")
            assert moved.headers["location"] == "./band_g/"
        assert httpx.get(f"{url}/data/sky").headers["location"] == "./sky/"
        for path in ("/data/skyline/", "/data/sky/data/sky/", "/data", "/data/sky/%2e%2e/"):
            assert httpx.get(url + path).status_code == 404
        assert httpx.get(f"{url}/data/sky/hips%2Fband_g/properties").status_code == 404


@pytest.mark.parametrize(
    ("said", "meant"), [("", ""), ("/", ""), ("/sky/", "/sky"), ("/a/b", "/a/b")]
)
def test_root_paths(said, meant):
    assert check_root_path(said) == meant


@pytest.mark.parametrize("path", ["sky", "/a b", "//sky", "/a//b", "/..", "/a/../b", "/%41", "/é"])
def test_invalid_root_paths(path):
    with pytest.raises(ConfigError, match=r"--root-path .* is not a path like /sky"):
        check_root_path(path)


@pytest.mark.parametrize("path", ["/hips", "/api/x", "/static/", "/healthz"])
def test_a_root_path_must_not_look_like_ours(path):
    with pytest.raises(ConfigError, match=r"own paths \(api, healthz, hips, static\): choose"):
        check_root_path(path)
    assert check_root_path(f"/data{path.rstrip('/')}")


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.1/8", "10.0.0", "1.2.3.4/33"])
def test_invalid_proxies(text):
    with pytest.raises(ConfigError, match=r"--trusted-proxy .*give addresses like 127\.0\.0\.1"):
        parse_networks(text)
