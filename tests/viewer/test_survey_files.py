import email.utils
import os
from datetime import UTC, datetime

import pytest

from tests.viewer.conftest import client_for
from tests.viewer.small_hips import FACE, make_survey
from viewer.http.files import modified

TILE = f"/hips/band_g/Norder0/Dir0/Npix{FACE}"


@pytest.mark.parametrize(
    ("path", "kind", "freshness"),
    [
        (f"{TILE}.fits", "application/fits", "public, max-age=60"),
        (f"{TILE}.png", "image/png", "public, max-age=60"),
        ("/hips/band_g/Norder0/Allsky.png", "image/png", "no-cache"),
        ("/hips/band_g/Moc.fits", "application/fits", "no-cache"),
        ("/hips/band_g/provenance.fits", "application/fits", "no-cache"),
        ("/hips/band_g/properties", "text/plain; charset=utf-8", "no-cache"),
        ("/hips/band_g/preview.jpg", "image/jpeg", "no-cache"),
        ("/hips/list", "text/plain; charset=utf-8", "no-cache"),
    ],
)
def test_media_type_and_freshness(client, path, kind, freshness):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == freshness


def test_the_bytes_are_the_file_s(client, root):
    file = root / "band_g" / "Norder0" / "Dir0" / f"Npix{FACE}.fits"
    assert client.get(f"{TILE}.fits").content == file.read_bytes()


def test_head_returns_the_same_headers_as_get(client):
    full, head = client.get(f"{TILE}.fits"), client.head(f"{TILE}.fits")
    assert head.content == b""
    assert head.headers == full.headers
    assert int(head.headers["content-length"]) == len(full.content)


def test_etag_gives_304(client):
    tag = client.get(f"{TILE}.fits").headers["etag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = client.get(f"{TILE}.fits", headers={"if-none-match": sent})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert answer.headers["access-control-allow-origin"] == "*"
    other = client.get(f"{TILE}.fits", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


def test_date_gives_304_unless_an_etag_says_otherwise(client):
    modified = client.get(f"{TILE}.fits").headers["last-modified"]
    since = {"if-modified-since": modified}
    assert client.get(f"{TILE}.fits", headers=since).status_code == 304
    assert client.head(f"{TILE}.fits", headers=since).status_code == 304
    older = {"if-modified-since": email.utils.formatdate(0, usegmt=True)}
    assert client.get(f"{TILE}.fits", headers=older).status_code == 200
    both = {**since, "if-none-match": '"other"'}
    assert client.get(f"{TILE}.fits", headers=both).status_code == 200
    for junk in ("x", "", "Thu, 01 Jan 2020 00:00:00 +99999999999999", "1 Jan 2999 00:00:00"):
        answer = client.get(f"{TILE}.fits", headers={"if-modified-since": junk})
        assert answer.status_code == 200


def test_a_replaced_tile_has_another_etag(tmp_path):
    survey = make_survey(tmp_path / "band_g")
    client = client_for(tmp_path)
    before = client.get(f"{TILE}.fits").headers["etag"]
    file = survey / "Norder0" / "Dir0" / f"Npix{FACE}.fits"
    # same size, same second
    found = file.stat()
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1000))
    assert client.get(f"{TILE}.fits").headers["etag"] != before


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=10-19", 206, slice(10, 20)),
        ("Bytes=0-0", 206, slice(1)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-7", 206, slice(-7, None)),
        (f"bytes=5-{10**40}", 206, slice(5, None)),
        (f"bytes=-{10**40}", 206, slice(None)),
        ("bytes=-0", 416, None),
        (f"bytes={10**40}-", 416, None),
        ("bytes=5-4", 200, slice(None)),
        ("bytes=0-1,8-9", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("bytes=x-y", 200, slice(None)),
        (f"bytes=0-{'9' * 5000}", 200, slice(None)),
        ("tiles=1-2", 200, slice(None)),
    ],
)
def test_a_part_of_a_file(client, asked, status, part):
    whole = client.get(f"{TILE}.fits").content
    answer = client.get(f"{TILE}.fits", headers={"range": asked})
    assert answer.status_code == status
    if part is None:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
        return
    assert answer.content == whole[part]
    assert int(answer.headers["content-length"]) == len(answer.content)
    if status == 206:
        first, last, _ = part.indices(len(whole))
        assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{len(whole)}"


def test_a_part_of_another_file_is_not_given(client):
    tag = client.get(f"{TILE}.fits").headers["etag"]
    for sent, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), ("x", 200)):
        asked = {"range": "bytes=0-9", "if-range": sent}
        assert client.get(f"{TILE}.fits", headers=asked).status_code == status
    assert client.head(f"{TILE}.fits", headers={"range": "bytes=0-9"}).status_code == 200


@pytest.mark.parametrize("seconds", [-(2**40), 2**40])
def test_a_clock_that_went_wild_still_gives_a_date(seconds):
    found = os.stat_result((0o100644, 0, 0, 1, 0, 0, 0, 0, seconds, 0))
    assert datetime.fromtimestamp(modified(found), UTC).year in (1970, 9999)


@pytest.mark.parametrize(
    "inner",
    [
        "Norder0/Dir0/Npix4.fits",
        "Norder9/Dir0/Npix1.png",
        "Norder0/Dir0/Npix6.webp",
        "nothing",
        "",
        "page/aladin/aladin.js",
    ],
)
def test_missing_is_a_plain_404(client, inner):
    answer = client.get(f"/hips/band_g/{inner}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    # the file may be created soon
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert client.get(f"/hips/nowhere/{inner or 'properties'}").status_code == 404


@pytest.fixture
def exposed(tmp_path):
    """A survey with files around it that must not be served."""
    survey = make_survey(tmp_path / "root" / "band_g")
    (tmp_path / "secret.fits").write_text("secret")
    (tmp_path / "Dir0").mkdir()
    (tmp_path / "Dir0" / "Npix1.fits").write_text("secret")
    (tmp_path / "root" / "properties.bak").write_text("secret")
    (survey / "journal.json").write_text("secret")
    (survey / ".hidden").write_text("secret")
    (survey / "page").mkdir()
    (survey / "page" / ".hidden").write_text("secret")
    (survey / "preview.jpg").unlink()
    (survey / "preview.jpg").symlink_to(tmp_path / "secret.fits")
    (survey / "Norder4").symlink_to(tmp_path)
    (survey / "Norder2" / "Allsky.fits").symlink_to(survey / "Moc.fits")
    (survey / "Norder1" / "Allsky.fits").mkdir()
    os.mkfifo(survey / "metadata.xml")
    return client_for(tmp_path / "root")


@pytest.mark.parametrize(
    "path",
    [
        "journal.json",
        ".hidden",
        "page/.hidden",
        "page/../properties",
        "../properties.bak",
        "..%2Fproperties.bak",
        "%2e%2e/properties.bak",
        "%2e%2e%2fproperties.bak",
        "..%5cproperties.bak",
        "Norder0%2FDir0%2FNpix6.fits",
        "Norder0/Dir0/../../properties",
        "properties/",
        "properties%00",
        "properties%00.fits",
        "properties%0a",
        "Norder0/Dir0/Npix6.fits%00",
        "Norder0/Dir0/Npix%D9%A5.fits",
        "Norder0/Dir0/Npix6.FITS",
        "Norder0/Dir0",
        "Norder4/Dir0/Npix1.fits",
        "preview.jpg",
        "Norder1/Allsky.fits",
        "metadata.xml",
    ],
)
def test_only_the_files_of_a_survey_are_served(exposed, path):
    for method in ("GET", "HEAD"):
        answer = exposed.request(method, f"/hips/band_g/{path}")
        assert answer.status_code == 404, answer.content[:40]
        assert b"secret" not in answer.content


def test_a_link_that_stays_inside_is_followed(exposed):
    assert exposed.get("/hips/band_g/Norder2/Allsky.fits").status_code == 200


@pytest.mark.parametrize("name", ["..", "%2e%2e", ".", "band_g%2f..", "%00"])
def test_names_lead_nowhere_else(client, name):
    answer = client.get(f"/hips/{name}/properties")
    assert answer.status_code == 404


def test_only_reading(client):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, f"{TILE}.fits").status_code == 405


def test_own_page_of_a_survey(tmp_path):
    survey = make_survey(tmp_path / "band_g")
    (survey / "index.html").write_text("<p>hello")
    (survey / "page" / "aladin").mkdir(parents=True)
    (survey / "page" / "survey.js").write_text("1")
    (survey / "page" / "aladin" / "LICENSE").write_text("free")
    client = client_for(tmp_path)
    page = client.get("/hips/band_g/")
    assert page.text == "<p>hello"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    script = client.get("/hips/band_g/page/survey.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    license = client.get("/hips/band_g/page/aladin/LICENSE")
    assert license.headers["content-type"] == "text/plain; charset=utf-8"
