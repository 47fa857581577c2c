"""Pages of other sites read the surveys, with a token and range requests, and change nothing."""

import httpx
import pytest

from tests.viewer.serving import Wire, served
from tests.viewer.small_hips import DEC, FACE, RA

TOKEN = "correct-horse"
TILE = f"/hips/band_g/Norder0/Dir0/Npix{FACE}.fits"
ELSEWHERE = "https://elsewhere.example"
FLAG = {"survey": "band_g", "ra": RA, "dec": DEC, "note": "a trail"}


@pytest.fixture(scope="module")
def guarded(root):
    with served(root, token=TOKEN) as port:
        yield f"http://127.0.0.1:{port}"


def preflight(url: str, method: str = "GET", headers: str = "authorization, range"):
    """Ask as a browser does before a request with such headers."""
    asked = {"access-control-request-method": method, "access-control-request-headers": headers}
    return httpx.request("OPTIONS", url, headers={"origin": ELSEWHERE, **asked})


@pytest.mark.parametrize("path", [TILE, "/hips/list", "/hips/band_g/properties", "/hips/none/x"])
def test_preflights_allow_a_token_and_a_range(guarded, path):
    answer = preflight(guarded + path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "range", "if-none-match"} <= set(allowed)
    assert answer.headers["access-control-allow-methods"].split(", ") == ["GET", "HEAD"]


def test_a_page_of_another_site_reads_the_end_of_a_file(guarded):
    headers = {"authorization": f"Bearer {TOKEN}", "range": "bytes=-2880", "origin": ELSEWHERE}
    answer = httpx.get(guarded + TILE, headers=headers)
    whole = httpx.get(guarded + TILE, headers={"authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.content) == (206, whole.content[-2880:])
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Content-Range", "Content-Length", "ETag"} <= set(exposed)
    n = len(whole.content)
    assert answer.headers["content-range"] == f"bytes {n - 2880}-{n - 1}/{n}"


@pytest.mark.parametrize(
    "path", ["/api/surveys", "/api/flags", "/", "/static/main.js", "/hipsters"]
)
def test_the_api_and_the_page_have_no_cors_headers(guarded, path):
    answer = preflight(guarded + path)
    assert answer.status_code == 401
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_ordinary_options_request_is_no_preflight(root):
    with served(root) as port:
        assert httpx.request("OPTIONS", f"http://127.0.0.1:{port}{TILE}").status_code == 405


@pytest.fixture
def open_to_all(tmp_path, root):
    (tmp_path / "surveys").symlink_to(root)
    with served(tmp_path / "surveys", read_only=True) as port:
        yield f"http://127.0.0.1:{port}"


def change(url: str, method: str = "POST", path: str = "/api/flags", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, url + path, json=FLAG, headers=sent)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ELSEWHERE},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:1"},
        {"origin": ELSEWHERE, "sec_fetch_site": "cross-site"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"origin": "http://testing.example:8000", "host": "testing.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_changes_by_pages_of_other_sites_are_refused(open_to_all, headers, method):
    answer = change(open_to_all, method, "/api/flags/band_g/0", **headers)
    assert answer.status_code == 403
    assert "pages of other sites" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://testing.example", "host": "testing.example"},
        {"origin": "http://testing.example", "host": "testing.example:80"},
        {"origin": "https://testing.example", "host": "TESTING.example:443"},
        # proxies that pass the host on, or do not; browsers tell themselves
        {"origin": ELSEWHERE, "x_forwarded_host": "elsewhere.example"},
        {"origin": ELSEWHERE, "sec_fetch_site": "same-origin"},
    ],
)
def test_the_page_itself_and_programs_may_change_flags(open_to_all, headers):
    # refused for another reason: this server is read-only
    assert "read-only" in change(open_to_all, **headers).json()["error"]


def test_a_login_from_the_page_of_another_site_is_refused(guarded):
    form = {"token": TOKEN}
    assert httpx.post(guarded, data=form, headers={"origin": ELSEWHERE}).status_code == 403
    assert httpx.post(guarded, data=form, headers={"origin": guarded}).status_code == 303
    # with no-referrer, browsers would send the form with "Origin: null"
    page = httpx.get(guarded, headers={"accept": "text/html"})
    assert page.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("/hips/band_g", "./band_g/"),
        ("/hips/band_g?a=b%0d&c=/", "./band_g/?a=b%0d&c=/"),
        ("//hips//band_g", "./band_g/"),
        ("/api/surveys/", "../surveys"),
    ],
)
def test_redirects_are_relative(root, asked, told):
    with served(root) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}{asked}")
        assert (answer.status_code, answer.headers["location"]) == (307, told)
        there = answer.url.join(told).path.replace("//", "/")
        assert there.startswith(("/hips/band_g/", "/api/surveys"))


def test_a_redirect_is_ascii(root):
    with served(root) as port:
        wire = Wire(port)
        asked = "/hips/b\N{LATIN SMALL LETTER U WITH DIAERESIS}?q=\xff".encode("latin-1")
        answer, _ = wire.ask(b"GET " + asked + b" HTTP/1.1\r\nHost: here\r\n\r\n")
        assert answer.status == 400 or answer.headers["location"] == "./b%FC/?q=%FF"
        wire.close()


@pytest.mark.parametrize(
    "path",
    [
        "/hips/band_g//properties",
        "/hips//band_g/properties",
        "//hips/band_g///properties",
        TILE.replace("/", "//"),
    ],
)
def test_doubled_slashes_count_as_one(root, path):
    with served(root) as port:
        url = f"http://127.0.0.1:{port}"
        answer = httpx.get(url + path)
        assert answer.status_code == 200
        assert (
            answer.content == httpx.get(url + path.replace("///", "/").replace("//", "/")).content
        )


@pytest.mark.parametrize(
    "path",
    [
        "/hips//..//..//etc//passwd",
        "/hips/band_g//..//band_r//properties",
        "/hips/band_g//.hipsgen//build.json",
        "/hips/band_g//%2e%2e//band_r/properties",
        "/hips/band_g/%2F%2Fproperties",
        "/hips//band_g//%2Fetc/passwd",
        "/hips/band_g///etc/passwd",
        "//etc/passwd",
        "/hips/..//api/surveys",
    ],
)
def test_doubled_slashes_do_not_lead_out_of_a_survey(root, path):
    with served(root) as port:
        wire = Wire(port)
        answer, _ = wire.get(path)
        assert answer.status == 404
        wire.close()
