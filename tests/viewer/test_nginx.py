"""nginx as docs/howto/production.md configures it, with TLS, before a real `hipsgen serve`."""

import gzip
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from hipsgen.survey.properties import parse_properties
from tests.conftest import needs
from tests.viewer.serving import TIMEOUT, free_port, nginx_scratch
from tests.viewer.small_hips import FACE, make_survey

DOCS = Path(__file__).parents[2] / "docs" / "howto" / "production.md"
HOST = "data.example.org"
TILE = f"Norder0/Dir0/Npix{FACE}.fits"
TOKEN = "correct-horse-battery"


def block(language: str) -> str:
    """Return the only example in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return str(found)


def replaced(text: str, **places: str) -> str:
    """Return the example with replacements, all of which must apply."""
    for old, new in places.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Site:
    """The site as seen by clients. log: lines of the viewer's access log."""

    def __init__(self, port: int, log: Path) -> None:
        self.log = log
        self.url = f"https://{HOST}:{port}/sky"
        self.port = port
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        self.context = unverified

    def client(self, **options) -> httpx.Client:
        """Client of nginx for any host name."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}/sky/",
            headers={"host": f"{HOST}:{self.port}", **options.pop("headers", {})},
            verify=self.context,
            **options,
        )

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def certificate(folder: Path) -> tuple[Path, Path]:
    key, made = folder / "site.key", folder / "site.pem"
    asked = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    subprocess.run(
        [needs("openssl", "openssl"), "req", *asked, "-keyout", key, "-out", made],
        check=True,
        capture_output=True,
    )
    return made, key


@contextmanager
def site(
    folder: Path, surveys: Path, *words: str, from_disk: bool = False, keeps_path: bool = True
) -> Iterator[Site]:
    """nginx and the viewer, both running. words: for the viewer.

    from_disk: with the part of the example that is optional; keeps_path: as in the example.
    """
    nginx = needs("nginx", "nginx-light")
    outer, inner = free_port(), free_port()
    made, key = certificate(folder)
    inside = replaced(
        block("nginx"),
        **{
            "http://hipsgen;": "http://hipsgen;" if keeps_path else "http://hipsgen/;",
            "127.0.0.1:8000": f"127.0.0.1:{inner}",
            "listen 443": f"listen 127.0.0.1:{outer}",
            "/etc/ssl/certs/data.example.org.pem": str(made),
            "/etc/ssl/private/data.example.org.key": str(key),
            "/srv/sky": str(surveys),
        },
    )
    if not from_disk:
        inside = inside[: inside.index("    # Optional")] + "}"
    # nginx must run as the user that owns the viewer's files
    (folder / "nginx.conf").write_text(
        f"daemon off; user {_me()}; pid {folder}/pid; error_log {folder}/error.log;"
        f"events {{}} http {{ access_log off; {nginx_scratch(folder)} {inside} }}"
    )
    log = folder / "access.log"
    command = [sys.executable, "-m", "hipsgen", "serve", str(surveys), "--port", str(inner)]
    told = ["--root-path", "/sky", "--trusted-proxy", "127.0.0.1", "--access-log", str(log)]
    viewer = subprocess.Popen([*command, *told, *words], stdout=subprocess.PIPE, text=True)
    front = subprocess.Popen(
        [nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert viewer.stdout
        assert f":{inner}/sky/ shows" in viewer.stdout.readline()
        end = time.monotonic() + TIMEOUT
        while not _listens(outer):
            assert front.poll() is None, front.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield Site(outer, log)
    finally:
        for process in (front, viewer):
            process.terminate()
            process.communicate(timeout=TIMEOUT)
    assert "[error]" not in (folder / "error.log").read_text()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _me() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def surveys(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sky")
    make_survey(root / "band_g")
    make_survey(root / "band_r", 200.0)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("tiles", ["from the disk", "from the viewer", "with the path taken away"])
def test_the_example(tmp_path, surveys, tiles):
    options = {
        "from_disk": tiles == "from the disk",
        "keeps_path": tiles != "with the path taken away",
    }
    with site(tmp_path, surveys, **options) as seen, seen.client() as client:
        page = client.get("")
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
        assert "static/main.js" in links
        for link in links:
            assert client.get(link).status_code == 200, link

        properties = client.get("hips/band_g/properties")
        assert parse_properties(properties.text)["creator_did"] == "ivo://test/P/band_g"
        listed = [parse_properties(record) for record in client.get("hips/list").text.split("\n\n")]
        assert [record["hips_service_url"] for record in listed] == [
            f"{seen.url}/hips/band_g",
            f"{seen.url}/hips/band_r",
        ]
        assert [survey["url"] for survey in client.get("api/surveys").json()] == [
            "hips/band_g",
            "hips/band_r",
        ]

        tile = client.get(f"hips/band_r/{TILE}", headers={"accept-encoding": "gzip"})
        assert tile.content == (surveys / "band_r" / TILE).read_bytes()
        assert tile.headers["content-type"] == "application/fits"
        assert tile.headers["cache-control"] == "public, max-age=60"
        assert tile.headers["access-control-allow-origin"] == "*"
        assert "content-encoding" not in tile.headers
        tag = {"if-none-match": tile.headers["etag"]}
        assert client.get(f"hips/band_r/{TILE}", headers=tag).status_code == 304
        missing = client.get("hips/band_r/Norder0/Dir0/Npix3.fits")
        assert missing.status_code == 404
        assert missing.headers["access-control-allow-origin"] == "*"
        assert client.get("hips/band_g/../../healthz").text == "ok\n"

        moved = client.get("hips/band_g")
        assert moved.headers["location"] == "./band_g/"
        end = client.get(f"hips/band_r/{TILE}", headers={"range": "bytes=-10"})
        assert (end.status_code, end.content) == (206, tile.content[-10:])
        assert "Content-Range" in end.headers["access-control-expose-headers"]
        asking = {"origin": "https://x.org", "access-control-request-method": "GET"}
        preflight = client.request("OPTIONS", f"hips/band_r/{TILE}", headers=asking)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "Range" in preflight.headers["access-control-allow-headers"]
        bare = httpx.get(f"https://127.0.0.1:{seen.port}/sky", verify=seen.context)
        assert (bare.status_code, bare.headers["location"][-5:]) == (301, "/sky/")

        # X-Forwarded-For from a client is ignored
        forged = {"x-forwarded-for": "203.0.113.9", "x-forwarded-host": "evil.example"}
        assert "evil" not in client.get("hips/list", headers=forged).text
    lines = seen.lines()
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert all(line["path"].startswith("/sky/") for line in lines)
    asked = any(line["path"].endswith("Npix6.fits") for line in lines)
    assert asked == (tiles != "from the disk")


@pytest.mark.slow
def test_the_page_is_packed_and_tiles_are_not(tmp_path, surveys):
    with site(tmp_path, surveys) as seen, seen.client() as client:
        with client.stream("GET", "static/main.js") as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert b"import" in gzip.decompress(b"".join(answer.iter_raw()))
        # compression makes the ETag weak; it is still accepted
        tag = {"if-none-match": answer.headers["etag"]}
        assert answer.headers["etag"].startswith("W/")
        assert client.get("static/main.js", headers=tag).status_code == 304
        for name in (TILE, TILE.replace("fits", "png"), "Moc.fits", "preview.jpg"):
            assert "content-encoding" not in client.get(f"hips/band_g/{name}").headers


@pytest.mark.slow
def test_login_through_nginx(tmp_path, surveys):
    with site(tmp_path, surveys, "--token", TOKEN, "--workers", "2") as seen:
        with seen.client(headers={"accept": "text/html"}) as browser:
            assert 'type="password"' in browser.get("").text
            answer = browser.post("", data={"token": TOKEN})
            assert (answer.status_code, answer.headers["location"]) == (303, "./")
            cookie = answer.headers["set-cookie"]
            assert "; Secure" in cookie
            assert "; Path=/sky;" in cookie
            assert browser.get("./").status_code == 200
            assert browser.get(f"hips/band_g/{TILE}").headers["cache-control"].startswith("private")
        with seen.client(headers={"authorization": f"Bearer {TOKEN}"}) as program:
            assert len(program.get("api/surveys").json()) == 2
            assert program.get(f"hips/band_g/{TILE}").status_code == 200
        with seen.client() as anybody:
            for path in ("", "hips/list", f"hips/band_g/{TILE}", "static/main.js", "api/flags"):
                assert anybody.get(path).status_code == 401
            assert anybody.get("healthz").text == "ok\n"
    assert TOKEN not in seen.log.read_text()


def test_the_unit_names_options_that_there_are():
    unit = block("ini")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    shown = subprocess.run(
        [sys.executable, "-m", "hipsgen", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for option in re.findall(r"--[a-z-]+", start):
        assert option in shown.split()
