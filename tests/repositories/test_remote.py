"""Coadds on real servers: the same survey as from a disk, and every failure named."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from hipsgen.errors import CoaddError
from hipsgen.images import remote, staging
from hipsgen.images.staging import local_file
from hipsgen.images.uris import uri_of
from tests.repositories.conftest import (
    CHAIN,
    DATASET_TYPE,
    Findings,
    hashes,
    make_aged,
    survey_bytes,
)
from tests.repositories.remote import (
    PASSWORD,
    TOKEN,
    USER,
    build,
    butler_server,
    command,
    dav,
    moved,
    s3,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of moto, wsgidav and their servers


@pytest.fixture(scope="module")
def local(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_aged("rv28", shared_data, tmp_path_factory.mktemp("local") / "repository")


def configured(tmp_path: Path, url: str, secret: str) -> dict[str, str]:
    words = {
        "": "",
        "basic": f"  user_name: {USER}\n  user_password: {PASSWORD}\n",
        "token": f"  token: {TOKEN}\n",
    }
    quick = "  retry_backoff_min: 0.05\n  retry_backoff_max: 0.1\n"
    (tmp_path / "dav.yaml").write_text(f"- base_url: {url}\n{words[secret]}{quick}")
    return {"LSST_RESOURCES_WEBDAV_CONFIG": str(tmp_path / "dav.yaml")}


@pytest.mark.parametrize("secret", ["", "basic", "token"])
def test_from_webdav_comes_the_same_survey_and_each_file_is_fetched_once(
    secret: str, local: Path, truth: dict[str, str], tmp_path: Path
):
    with dav(local, secret) as server:
        root = moved(local, tmp_path / "repository", server.url)
        environment = configured(tmp_path, server.url, secret)
        code, said = build(root, tmp_path / "out", **environment)
    assert code == 0, said
    assert survey_bytes(tmp_path / "out") == truth
    fetched = [path for method, path in server.asked if method == "GET"]
    assert len(fetched) == len(set(fetched)) == 12


def test_from_s3_comes_the_same_survey(local: Path, truth: dict[str, str], tmp_path: Path):
    with s3(local) as server:
        root = moved(local, tmp_path / "repository", server.url)
        code, said = build(root, tmp_path / "out", **server.environment)
    assert code == 0, said
    assert survey_bytes(tmp_path / "out") == truth


def test_a_server_that_stumbles_is_asked_again(local: Path, truth: dict[str, str], tmp_path: Path):
    with dav(local) as server:
        server.fail, server.cut = 2, 1
        root = moved(local, tmp_path / "repository", server.url)
        environment = configured(tmp_path, server.url, "")
        code, said = build(root, tmp_path / "out", **environment)
    assert code == 0, said
    assert "cannot be used" not in said
    assert survey_bytes(tmp_path / "out") == truth


def test_an_error_for_refused_access_names_the_source_of_credentials(local: Path, tmp_path: Path):
    with dav(local, "basic") as server:
        root = moved(local, tmp_path / "repository", server.url)
        code, said = build(root, tmp_path / "out")
    assert code == 1
    assert "access is refused" in said
    assert "LSST_RESOURCES_WEBDAV_CONFIG" in said
    assert server.url in said


def test_a_file_that_is_gone_is_named_and_the_rest_goes_on(local: Path, tmp_path: Path):
    files = shutil.copytree(local, tmp_path / "files")
    gone = next(files.rglob("*_3828_3_r_*.fits"))
    gone.unlink()
    with dav(files) as server:
        root = moved(local, tmp_path / "repository", server.url)
        code, said = build(root, tmp_path / "out")
    assert code == 1
    assert "tract=3828, patch=3" in said
    assert "the file does not exist" in said
    assert gone.name in said
    assert "1 input cannot be used" in said
    assert any((tmp_path / "out").rglob("Npix*.fits"))
    assert not (tmp_path / "out" / "properties").exists()


def test_a_dead_server_is_named_at_once(local: Path, tmp_path: Path):
    root = moved(local, tmp_path / "repository", "dav://127.0.0.1:1/")
    started = time.monotonic()
    environment = configured(tmp_path, "dav://127.0.0.1:1/", "")
    code, said = build(root, tmp_path / "out", **environment)
    assert code == 1
    assert "127.0.0.1:1 does not respond: is it running" in said
    assert time.monotonic() - started < 60


def test_no_copies_remain_after_a_kill(local: Path, tmp_path: Path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with dav(local) as server:
        root = moved(local, tmp_path / "repository", server.url)
        environment = {**os.environ, "TMPDIR": str(scratch)}
        running = subprocess.Popen(command(root, tmp_path / "out"), env=environment)
        deadline = time.monotonic() + 60
        while sum(method == "GET" for method, _ in server.asked) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert list(scratch.rglob("*")) == []


def test_a_member_of_a_zip_file_is_read(local: Path, tmp_path: Path):
    """The Butler's URIs of zip-ingested datasets name it behind a #."""
    file = next(local.rglob("*.fits"))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "all of it.zip", "w", method) as packed:
            packed.write(file, "some folder/one.fits")
        uri = uri_of(tmp_path / "all of it.zip")
        for name in ("zip-path", "unzip"):
            with local_file(f"{uri}#{name}=some%20folder/one.fits") as path:
                assert path.read_bytes() == file.read_bytes()
    with (
        pytest.raises(CoaddError, match=r"all%20of%20it\.zip contains no two\.fits"),
        local_file(f"{uri}#zip-path=two.fits"),
    ):
        pass


def test_copies_make_room_and_one_that_is_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copies = staging._Copies(capacity=2500)
    made: list[str] = []
    inner = staging._copy_once

    def copy_once(uri: str, *args: Any) -> Any:
        made.append(uri)
        return inner(uri, *args)

    monkeypatch.setattr(staging, "_copy_once", copy_once)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        for name in "abcd":
            packed.writestr(name, name * 1000)
    uris = {name: f"{uri_of(tmp_path / 'x.zip')}#zip-path={name}" for name in "abcd"}
    held = copies.acquire(uris["a"])
    for name in "bcd":
        copies.release(copies.acquire(uris[name]))
    assert held.path.read_text() == "a" * 1000
    copies.release(held)
    made.clear()
    for name in "dcb":  # b was read longest ago, and had to go; then a, too
        copies.release(copies.acquire(uris[name]))
    assert made == [uris["b"]]


def test_a_number_in_a_url_is_no_answer_of_a_server():
    error = OSError("GET https://host/tract/403/401.fits: connection reset")
    assert remote.advice_on(error, "https://host/x") == ""
    assert "access is refused" in remote.advice_on(
        OSError("GET https://host/x: status 403"), "https://host/x"
    )


def test_errors_do_not_contain_signed_urls():
    def attempt() -> None:
        raise OSError("Max retries exceeded with url: /coadds/7/r.fits?Key=k&Signature=abc%3D&E=1")

    with pytest.raises(CoaddError) as caught:
        remote.with_retries("https://host/v1/x", attempt)
    assert "Signature" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "/coadds/7/r.fits" in str(caught.value)


def test_a_server_that_fails_and_fails_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "_WAITS", (0.01,))
    asked: list[str] = []

    def attempt() -> None:
        asked.append("")
        raise OSError("status code: 500")

    for name in "abcd":
        with pytest.raises(CoaddError, match="status code: 500"):
            remote.with_retries(f"https://fails/{name}", attempt)
    with pytest.raises(CoaddError, match="fails did not respond; next attempt within 60 s"):
        remote.with_retries("https://fails/e", attempt)
    assert len(asked) == 8
    assert remote.with_retries("https://works/c", lambda: 7) == 7


def test_numbers_that_are_no_answers():
    for said in (
        "HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /coadds/403/r.fits",
        "the connection ended 403 bytes too early",
        "An error with key coadd/401/x.fits",
    ):
        assert remote.advice_on(OSError(said), "https://host/x") == ""
    for said in ("403 Client Error: Forbidden", "An error occurred (403) when calling HeadObject"):
        assert "access is refused" in remote.advice_on(OSError(said), "https://host/x")


@pytest.fixture
def behind_a_server(local: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a Butler server of a repository whose files are on S3."""
    with s3(local) as store:
        root = moved(local, tmp_path / "repository", store.url)
        with butler_server(root, tmp_path / "log", **store.environment) as url:
            yield url


@pytest.mark.slow
def test_from_a_butler_server_comes_the_same_survey(
    behind_a_server: str, truth: dict[str, str], tmp_path: Path, findings: Findings
):
    token = {"BUTLER_RUBIN_ACCESS_TOKEN": TOKEN}
    before = hashes(tmp_path / "repository")
    code, said = build(behind_a_server, tmp_path / "out", **token)
    assert code == 0, said
    assert survey_bytes(tmp_path / "out") == truth
    asked = (tmp_path / "log").read_text()
    assert asked.count("/v1/get_file/") >= 12  # when they are read, and not when they are listed
    used = Table.read(tmp_path / "out" / "provenance.fits", hdu=1)
    assert len(used) == 12
    assert all(f"{behind_a_server}/v1/dataset/" in uri for uri in used["access_url"])
    manifest = tmp_path / "coadds.jsonl"
    what = ["-c", CHAIN, "-d", DATASET_TYPE, "-b", "r", "--manifest", str(manifest)]
    plan = [sys.executable, "-m", "hipsgen", "plan", behind_a_server, *what]
    subprocess.run(plan, env={**os.environ, **token}, check=True, capture_output=True)
    again = [sys.executable, "-m", "hipsgen", "build", str(manifest), "-o", str(tmp_path / "again")]
    subprocess.run(again, env={**os.environ, **token}, check=True, capture_output=True)
    assert survey_bytes(tmp_path / "again") == truth
    assert hashes(tmp_path / "repository") == before
    words = {"open": "by daf_butler", "count": "12", "build": "same bytes", "untouched": "yes"}
    for column, text in words.items():
        findings.note("rv28 behind a Butler server", column, text)
    words = ("the server rejects the token (401)", "the server requires a token: set BUTLER_RUBIN_")
    for wrong, word in zip(({"BUTLER_RUBIN_ACCESS_TOKEN": "other"}, {}), words, strict=True):
        code, said = build(behind_a_server, tmp_path / "not", **wrong)
        assert code == 1
        assert word in said
        assert len(said.splitlines()) == 1
