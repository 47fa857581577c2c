"""With the token everything is served; without it, only the login page."""

import ast
import hmac
import http.client
import inspect
import json
import shutil
from collections import Counter
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.errors import ConfigError
from tests.profiles import examples
from tests.viewer.serving import Wire, complaints, served
from tests.viewer.small_hips import FACE
from tests.viewer.test_fuzz import requests
from viewer.app import CONTENT_SECURITY_POLICY, ViewerConfig
from viewer.http import auth, guesses, protocol
from viewer.http.access_log import open_log
from viewer.http.proxy import parse_networks

TOKEN = "correct-horse-battery"
LOCAL = parse_networks("127.0.0.1")
REFUSED = (
    b"this viewer requires a token: open it in a browser, or send 'Authorization: Bearer TOKEN'\n"
)
BEARER = {"authorization": f"Bearer {TOKEN}"}
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TILE = f"/hips/band_g/Norder0/Dir0/Npix{FACE}.fits"
ROUTES = [
    "/",
    "/static/main.js",
    "/static/aladin/LICENSE",
    "/hips/list",
    "/hips/band_g",
    "/hips/band_g/",
    "/hips/band_g/properties",
    "/hips/band_g/provenance.fits",
    TILE,
    "/api/surveys",
    "/api/coadds?survey=band_g&ra=180&dec=1",
    "/api/pixel?survey=band_g&ra=180&dec=1",
    "/api/cutout?survey=band_g&ra=180&dec=1&size=9",
    "/api/flags",
    "/nowhere",
    "/healthz/",
    "/healthz/x",
    "//healthz",
    "/hips/../healthz",
    "/HEALTHZ",
]


@pytest.fixture(scope="module")
def guarded(root, tmp_path_factory):
    """URL of a viewer that requires a token and can store flags."""
    own = shutil.copytree(root, tmp_path_factory.mktemp("guarded") / "surveys")
    patience = pytest.MonkeyPatch.context()
    with patience as patch, served(own, token=TOKEN) as port, complaints() as told:
        patch.setattr(guesses, "FREE", 1_000_000)
        yield f"http://127.0.0.1:{port}"
        assert told == []


def login(url: str, token: str = TOKEN, **options) -> httpx.Response:
    return httpx.post(url, data={"token": token}, **options)


def port_of(url: str) -> int:
    return httpx.URL(url).port


@pytest.mark.parametrize("path", ROUTES)
def test_without_the_token_every_request_is_refused(guarded, path):
    wire = Wire(port_of(guarded))
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        answer, body = wire.ask(f"{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["cache-control"] == "no-store"
        assert b"band_g" not in body
        if method != "HEAD":
            assert b"requires a token" in body
    wire.close()


def test_the_same_answer_whether_a_survey_is_there_or_not(guarded):
    known, unknown = (httpx.get(f"{guarded}/hips/{name}/") for name in ("band_g", "band_x"))
    assert known.content == unknown.content
    assert set(known.headers) == set(unknown.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN.upper()}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"token={TOKEN}"},
        {"x-token": TOKEN},
    ],
)
def test_similar_tokens_are_refused(guarded, headers):
    assert httpx.get(f"{guarded}/api/surveys", headers=headers).status_code == 401


def test_a_token_in_the_url_is_refused(guarded):
    assert httpx.get(f"{guarded}/api/surveys?token={TOKEN}").status_code == 401
    assert login(f"{guarded}/?token={TOKEN}", "").status_code == 401


def test_programs_send_the_token_as_a_header(guarded):
    assert len(httpx.get(f"{guarded}/api/surveys", headers=BEARER).json()) == 2
    lower = {"authorization": f"bearer   {TOKEN}"}
    assert httpx.get(guarded + TILE, headers=lower).content.startswith(b"SIMPLE")
    head = httpx.head(guarded + TILE, headers=BEARER)
    assert (head.status_code, int(head.headers["content-length"]) > 2880) == (200, True)


def test_shared_caches_store_nothing(guarded, root):
    kept = httpx.get(guarded + TILE, headers=BEARER).headers["cache-control"]
    assert kept == "private, max-age=60"
    with served(root) as port:
        open_to_all = httpx.get(f"http://127.0.0.1:{port}{TILE}").headers["cache-control"]
    assert open_to_all == "public, max-age=60"


def test_a_browser_gets_a_page_to_log_in(guarded):
    for path in ("/", "/hips/band_g/", "/nowhere"):
        answer = httpx.get(guarded + path, headers=BROWSER)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert 'type="password"' in answer.text
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert not any(word.startswith(("script-src", "connect-src")) for word in policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
    # the policy of the viewer's own page is unchanged
    page = httpx.get(guarded, headers={**BROWSER, **BEARER})
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "form-action 'none'" in CONTENT_SECURITY_POLICY


def test_logging_in_leads_back_and_opens_everything(guarded):
    with httpx.Client(base_url=guarded) as browser:
        answer = browser.post("/hips/band_g/properties?a=b", data={"token": TOKEN})
        assert answer.status_code == 303
        assert answer.headers["location"] == "./properties?a=b"
        assert browser.get("/hips/band_g/" + answer.headers["location"]).status_code == 200
        assert browser.get("/api/surveys").status_code == 200
        assert browser.head(TILE).status_code == 200
        flag = {"survey": "band_g", "ra": 180, "dec": 1}
        assert browser.post("/api/flags", json=flag).status_code == 201
        # again, in another tab
        assert browser.post("/", data={"token": TOKEN}).status_code == 303
        assert browser.post("/", data={"token": "wrong"}).status_code == 401
    assert httpx.get(f"{guarded}/api/surveys").status_code == 401


@pytest.mark.parametrize("path", ["/", "/hips/list", "/hips/band_g/", "//evil.example/x", "//"])
def test_a_login_does_not_redirect_to_other_sites(guarded, path):
    wire = Wire(port_of(guarded))
    answer, _ = wire.ask(form(path, TOKEN))
    wire.close()
    assert answer.status == 303
    place = answer.headers["location"]
    assert place == "./" + path.rpartition("/")[2]
    assert httpx.URL(guarded).join(place).host == "127.0.0.1"


def form(path: str, token: str, more: str = "") -> bytes:
    body = f"token={token}"
    return (
        f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n{more}"
        f"Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\n{body}"
    ).encode()


def cookie_of(answer: httpx.Response) -> tuple[str, str, set[str]]:
    words = [word.strip() for word in answer.headers["set-cookie"].split(";")]
    name, _, value = words[0].partition("=")
    return name, value, {word.lower() for word in words[1:]}


def test_the_cookie_is_for_this_server_alone_and_is_not_the_token(guarded, root):
    name, value, attributes = cookie_of(login(guarded))
    assert TOKEN not in value
    assert len(value) == 64
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert "secure" not in attributes
    # a viewer with another token uses another cookie, so both can be set
    with served(root, token="another-token") as port:
        other = f"http://127.0.0.1:{port}"
        assert httpx.get(other, cookies={name: value}).status_code == 401
        other_name, _, _ = cookie_of(login(other, "another-token"))
        assert other_name != name
        renamed = {"cookie": f"{other_name}={value}"}
        assert httpx.get(f"{other}/api/surveys", headers=renamed).status_code == 401
    # the cookie stays valid after a restart
    with served(root, token=TOKEN) as port:
        again = f"http://127.0.0.1:{port}/api/surveys"
        assert httpx.get(again, headers={"cookie": f"{name}={value}"}).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "%00", "é", "x" * 4000])
def test_a_wrong_token_gets_an_error_message(guarded, token):
    answer = login(guarded, token)
    assert answer.status_code == 401
    assert "Wrong token." in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token",
        b"&" * 3000,
        b"token=%",
        b"\xff=\xff",
        b"a=b&" * 500,
        b"token=" + b"x" * 100_000,
    ],
)
def test_invalid_forms_are_no_server_error(guarded, body):
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert httpx.post(guarded, content=body, headers=kind).status_code == 401


def test_an_unfinished_form_times_out(root, monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.5)
    with served(root, token=TOKEN) as port, complaints() as told:
        wire = Wire(port)
        unfinished = form("/", TOKEN).replace(b"Content-Length: ", b"Content-Length: 9")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            wire.ask(unfinished)
        wire.close()
        unfinished = unfinished.replace(b"x-www-form-urlencoded", b"json")
        unfinished = unfinished.replace(b"POST /", b"POST /api/flags").replace(
            b"\r\n\r\n", f"\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            wire.ask(unfinished)
        wire.close()
    assert told == []


pieces = st.sampled_from(
    [b"=", b";", b" ", b'"', b"\\", b",", b"hipsgen", b"\xff", b"$Version", b"\t", b"a", b"%00"]
)


@examples(3)
@given(
    cookies=st.lists(
        st.one_of(st.lists(pieces, max_size=9).map(b"".join), st.binary(max_size=40)), max_size=3
    ),
    authorization=st.lists(pieces, max_size=4).map(b"".join),
)
def test_invalid_cookies_are_refused(guarded, cookies, authorization):
    lines = [b"Cookie: " + cookie for cookie in cookies] + [b"Authorization: " + authorization]
    bad = bytes({*range(32), 127})
    said = b"".join(line.translate(None, bad) + b"\r\n" for line in lines)
    wire = Wire(port_of(guarded))
    answer, _ = wire.ask(b"GET /api/surveys HTTP/1.1\r\nHost: here\r\n" + said + b"\r\n")
    wire.close()
    assert answer.status == 401


@pytest.mark.slow
def test_no_request_gets_past_the_token(root, tmp_path):
    """Malformed requests pass through all of the middleware."""
    log = tmp_path / "access.log"
    options = {"root_path": "/sky", "trusted": LOCAL, "access_log": open_log(str(log))}
    with served(root, token=TOKEN, **options) as port, complaints() as told:
        wire, seen, few = Wire(port), Counter(), examples(1)

        @few
        @given(batch=st.lists(requests, min_size=20, max_size=20))
        def ask(batch):
            for request in batch:
                answer, body = wire.ask(request)
                if b"\r\nContent-Length" in request or b"\r\nTransfer" in request:
                    wire.close()
                seen[answer.status] += 1
                assert answer.status in (400, 401, 403, 429)
                assert answer.status != 401 or body in (b"", REFUSED)

        ask()
        wire.close()
        assert seen[401] + seen[429] >= 10 * few.max_examples
        assert told == []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert Counter(line["status"] for line in lines) == seen - Counter({400: seen[400]})


def test_a_good_cookie_among_others(guarded):
    name, value, _ = cookie_of(login(guarded))
    for text in (f"a=b; {name}={value}", f"{name}=old; {name}={value}", f';;="; {name}={value};'):
        found = httpx.get(f"{guarded}/api/surveys", headers={"cookie": text})
        assert found.status_code == 200, text


def test_comparisons_take_the_same_time(guarded, monkeypatch):
    """All comparisons use hmac.compare_digest on digests, which hides the length."""
    seen = []

    def spy(one, other):
        seen.append((len(one), len(other)))
        return compare(one, other)

    compare = hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", spy)
    name, value, _ = cookie_of(login(guarded))
    login(guarded, "x")
    httpx.get(guarded, headers={"authorization": "Bearer x"})
    httpx.get(guarded, headers={"cookie": f"{name}=x"})
    httpx.get(guarded, headers={"cookie": f"{name}={value}"})
    assert seen == [(32, 32)] * 5
    # secrets are compared nowhere else
    secrets = {"_token", "_pass"}
    for node in ast.walk(ast.parse(inspect.getsource(auth))):
        if isinstance(node, ast.Compare):
            inner = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            assert not inner & secrets


def test_beneath_a_path_and_by_https(root):
    with served(root, token=TOKEN, root_path="/sky", trusted=LOCAL) as port:
        url = f"http://127.0.0.1:{port}"
        told = {"x-forwarded-proto": "https", "x-forwarded-host": "data.example"}
        for path in ("/hips/list", "/sky/hips/list"):
            answer = login(url + path, headers=told)
            assert answer.headers["location"] == "./list"
            name, value, attributes = cookie_of(answer)
            assert {"path=/sky", "secure"} <= attributes
            text = httpx.get(url + path, headers={**told, "cookie": f"{name}={value}"}).text
            assert "https://data.example/sky/hips/band_g\n" in text


@pytest.mark.parametrize("token", ["", "short", "has a space", "tökentoken", "tab\ttabtab"])
def test_invalid_tokens(token):
    with pytest.raises(ConfigError, match=r"HIPSGEN_TOKEN.*at least 8.*openssl rand") as error:
        auth.check_token(token)
    assert not token or token not in str(error.value)


def test_the_token_is_not_shown_with_the_configuration(root: Path):
    assert TOKEN not in repr(ViewerConfig((root,), token=TOKEN))
