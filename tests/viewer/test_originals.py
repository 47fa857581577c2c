"""The server opens originals beneath allowed roots only, whatever a provenance table names."""

import grp
import gzip
import http.server
import json
import os
import pwd
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from astropy.io import fits

import viewer
from hipsgen.errors import ConfigError, InputError
from hipsgen.images import range_reads, remote, staging
from hipsgen.survey.originals import KEY, MAX_ROOTS, recorded_roots, roots_of
from hipsgen.survey.provenance import Provenance
from tests.conftest import build_by_command
from tests.repositories.remote import dav
from tests.viewer.conftest import other_coadd
from tests.viewer.serving import served
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.catalogs.catalog import open_file
from viewer.coadds.originals import check_originals

pytestmark = pytest.mark.slow

VALUE = 7.5
PLACE = {"survey": "band_g", "ra": RA, "dec": DEC}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy and no block of a test before, on a port that may be the same."""
    monkeypatch.setattr(staging, "_copies", staging._Copies())
    monkeypatch.setattr(remote, "_avoided", {})
    monkeypatch.setattr(remote, "_WAITS", (0.01,))
    range_reads._reader_of.cache_clear()
    range_reads._pool.blocks.clear()


def write_coadd(path: Path, value: float = VALUE) -> Path:
    """A coadd of one value around the middle of the small survey."""
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": RA, "CRVAL2": DEC,
            "CRPIX1": 30.5, "CRPIX2": 30.5, "CDELT1": -0.01, "CDELT2": 0.01, "BUNIT": "nJy",
        }
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.full((60, 60), value, np.float32), header).writeto(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a survey, and with coadds outside of it."""
    folder = tmp_path_factory.mktemp("made")
    make_survey(folder / "hips" / "band_g")
    write_coadd(folder / "coadds" / "in" / "a.fits")
    write_coadd(folder / "secret" / "b.fits")
    (folder / "coadds" / "link.fits").symlink_to(folder / "secret" / "b.fits")
    (folder / "door").symlink_to(folder / "coadds")
    return folder


def name_in_table(folder: Path, *uris: str) -> None:
    """Write the provenance table of the survey, as anybody who may write there could."""
    coadds = [other_coadd(uri=uri, dataset_id=f"id{k}") for k, uri in enumerate(uris)]
    (folder / "hips/band_g/provenance.fits").write_bytes(Provenance(coadds).to_bytes())


@contextmanager
def asking(folder: Path, *originals: str | Path) -> Iterator["Asking"]:
    with served(folder / "hips", originals=check_originals(map(str, originals))) as port:
        yield Asking(f"http://127.0.0.1:{port}/api/")


@dataclass(frozen=True)
class Asking:
    """Requests that open originals."""

    url: str

    def get(self, path: str, **words: object) -> httpx.Response:
        return httpx.get(self.url + path, params={**PLACE, **words}, timeout=60)

    def check_refused(self) -> None:
        """No request gets anything of any file."""
        answers = self.get("pixel"), self.get("cutout", size=100)
        for answer in answers:
            assert answer.status_code == 403, answer.text
            assert "not allowed, serve with --originals" in answer.json()["error"]
            assert "\n" not in answer.json()["error"]
        assert all("pixel" not in coadd for coadd in answers[0].json()["coadds"])
        for path in ("statistics", "profile"):
            words = {"radius": 60.0} if path == "statistics" else {"ra2": RA + 0.01, "dec2": DEC}
            (result,) = self.get(path, **words).json()[
                "statistics" if path == "statistics" else "profiles"
            ]
            assert result["source"] == "tiles"
            assert "not allowed" in result["error"]

    def check_read(self) -> None:
        (coadd,) = self.get("pixel").json()["coadds"]
        assert coadd["pixel"]["value"] == VALUE
        assert self.get("cutout", size=100).content.startswith(b"SIMPLE")


def test_a_file_is_opened_only_beneath_the_named_folders(made):
    name_in_table(made, (made / "coadds/in/a.fits").as_uri())
    for named in ([], [made / "secret"], [made / "hips"], [made / "coadds/in/a.fits.gz"][:0]):
        with asking(made, *named) as asked:
            asked.check_refused()
    for named in (made, made / "coadds", made / "coadds/in/a.fits", made / "door"):
        with asking(made, made / "secret", named) as asked:
            asked.check_read()


def test_a_folder_whose_name_begins_with_that_of_a_root_is_refused(made):
    write_coadd(made / "coadds-private" / "c.fits")
    name_in_table(made, (made / "coadds-private/c.fits").as_uri())
    with asking(made, made / "coadds") as asked:
        asked.check_refused()


def test_relative_paths_and_links_are_resolved_first(made, monkeypatch):
    monkeypatch.chdir(made / "coadds")
    for uri in (
        (made / "coadds/link.fits").as_uri(),
        f"{made}/coadds/../secret/b.fits",
        f"file://{made}/coadds/%2e%2e/secret/b.fits",
        "../secret/b.fits",
        "in/../../secret/b.fits",
        f"{made}/coadds/\0/../../secret/b.fits",
    ):
        name_in_table(made, uri)
        with asking(made, "in", made / "coadds") as asked:
            asked.check_refused()
    name_in_table(made, "in/a.fits")
    with asking(made, "in") as asked:
        asked.check_read()
    name_in_table(made, (made / "door/in/a.fits").as_uri())
    with asking(made, made / "coadds") as asked:
        asked.check_read()


def test_components_of_a_coadd_are_checked(made):
    image, mask = ((made / name).as_uri() for name in ("coadds/in/a.fits", "secret/b.fits"))
    name_in_table(made, f"{image}#component-mask={quote(mask, safe='')}")
    with asking(made, made / "coadds") as asked:
        asked.check_refused()


def test_some_of_several_coadds_are_refused(made):
    name_in_table(made, *((made / name).as_uri() for name in ("coadds/in/a.fits", "secret/b.fits")))
    with asking(made, made / "coadds") as asked:
        answer = asked.get("pixel")
        assert answer.status_code == 200
        good, bad = answer.json()["coadds"]
        assert good["pixel"]["value"] == VALUE
        assert "allowed" not in good
        assert bad["allowed"] is False
        assert str(made / "secret/b.fits") in bad["error"]
        assert asked.get("cutout", size=10, coadd="id1").status_code == 403
        assert asked.get("cutout", size=10, coadd="id0").status_code == 200


@dataclass
class Web:
    """A web server of a folder. to: where it redirects everything. asked: paths."""

    folder: Path
    to: str = ""
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/{path}"


@contextmanager
def web(folder: Path) -> Iterator[Web]:
    made = Web(folder)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words, **options):
            super().__init__(*words, directory=str(folder), **options)

        def do_GET(self):
            made.asked.append(self.path)
            if made.to:
                self.send_response(302)
                self.send_header("Location", made.to)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.command == "HEAD":
                super().do_HEAD()
            else:
                super().do_GET()

        def do_OPTIONS(self):
            if not made.to:
                return self.send_error(501)
            self.send_response(200)
            self.send_header("DAV", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PROPFIND = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "dav", "HTTP", " http", "s3", "gs", "ftp", "resource"])
def test_no_request_to_an_address_that_was_not_named(made, scheme):
    with web(made) as other, web(made) as named:
        name_in_table(made, other.url("secret/b.fits", scheme))
        with asking(made, named.url("coadds"), made / "coadds", other.url("coadds")) as asked:
            asked.check_refused()
        assert (other.asked, named.asked) == ([], [])


@pytest.mark.parametrize(
    "path",
    [
        "coadds/../secret/b.fits",
        "coadds/%2e%2e/secret/b.fits",
        "coadds/..%2fsecret/b.fits",
        "coadds/..\\secret/b.fits",
        "coadds-private/c.fits",
        "coadds/./in/a.fits",
    ],
)
def test_paths_that_may_mean_another_file_are_refused(made, path):
    with web(made) as named:
        name_in_table(made, named.url(path))
        with asking(made, named.url("coadds/")) as asked:
            asked.check_refused()
        assert named.asked == []


def test_a_named_server_is_read(made):
    with web(made) as named:
        name_in_table(made, named.url("coadds/in/a.fits"))
        for prefix in ("coadds", "coadds/", "", "coadds/in/a.fits"):
            with asking(made, named.url(prefix)) as asked:
                asked.check_read()


@pytest.mark.parametrize("scheme", ["http", "dav"])
def test_redirects_lead_to_no_other_address(made, scheme):
    with web(made) as named, web(made) as other:
        name_in_table(made, named.url("coadds/in/a.fits", scheme))
        for to in (other.url("coadds/in/a.fits"), named.url("secret/b.fits")):
            named.to = to
            with asking(made, named.url("coadds")) as asked:
                asked.check_refused()
            assert other.asked == []
            assert not [path for path in named.asked if "secret" in path]
        assert named.asked


def test_a_named_webdav_server_is_read(made):
    with dav(made) as named:
        name_in_table(made, f"{named.url}coadds/in/a.fits")
        with asking(made, f"{named.url}coadds") as asked:
            asked.check_read()
        with asking(made, f"{named.url}secret") as asked:
            asked.check_refused()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a survey built by the command, and its originals elsewhere."""
    folder = tmp_path_factory.mktemp("built")
    write_coadd(folder / "coadds" / "a.fits")
    write_coadd(folder / "secret" / "b.fits")
    build_by_command(folder / "hips" / "band_g", folder / "coadds", "--order", "3")
    return folder


@pytest.fixture
def survey(built, tmp_path) -> Path:
    """A copy of it, with the same originals."""
    shutil.copytree(built / "hips", tmp_path / "hips")
    return tmp_path


def forged(survey: Path, built: Path) -> None:
    coadd = other_coadd(uri=(built / "secret" / "b.fits").as_uri())
    (survey / "hips/band_g/provenance.fits").write_bytes(Provenance([coadd]).to_bytes())


def as_built_by_0_1(survey: Path) -> None:
    recipe = survey / "hips/band_g/.hipsgen/build.json"
    values = json.loads(recipe.read_text())
    assert values.pop(KEY)
    recipe.write_text(json.dumps(values))


@pytest.mark.parametrize("is_old", [False, True])
def test_a_survey_that_was_built_here_needs_no_option(built, survey, is_old):
    if is_old:
        as_built_by_0_1(survey)
    with asking(survey) as asked:
        asked.check_read()
        forged(survey, built)
        asked.check_refused()


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (".hipsgen/build.json", 0o666),
        (".hipsgen/build.json", 0o664),
        (".hipsgen", 0o777),
        (".hipsgen", 0o775),
    ],
)
def test_records_that_others_can_write_are_ignored(survey, path, mode, is_old):
    if is_old:
        as_built_by_0_1(survey)
    (survey / "hips/band_g" / path).chmod(mode)
    with asking(survey) as asked:
        asked.check_refused()


@pytest.mark.parametrize(
    "path", [".hipsgen/blocks", ".hipsgen/blocks/Norder*", ".hipsgen/blocks/*/*"]
)
def test_records_of_blocks_that_others_can_write_are_ignored(survey, path):
    as_built_by_0_1(survey)
    for place in (survey / "hips/band_g").glob(path):
        place.chmod(0o777)
    with asking(survey) as asked:
        asked.check_refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("path", [".hipsgen/build.json", ".hipsgen"])
def test_records_of_another_user_are_ignored(survey, path):
    os.chown(survey / "hips/band_g" / path, 12345, 12345)
    with asking(survey) as asked:
        asked.check_refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_records_that_a_group_of_one_user_can_write_count(survey):
    """As with a umask of 002, on systems where each user has a group of that name."""
    users = [u for u in pwd.getpwall() if u.pw_uid and grp.getgrgid(u.pw_gid).gr_name == u.pw_name]
    if not users:
        pytest.skip("no user has a group of that name")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        band = Path(shutil.copytree(survey / "hips/band_g", folder / "band_g"))
        for place in (band, *band.rglob("*")):
            os.chown(place, users[0].pw_uid, users[0].pw_gid)
            place.chmod(0o775 if place.is_dir() else 0o664)
        assert recorded_roots(band) == []  # they are another user's
        assert as_user(users[0], lambda: len(recorded_roots(band))) == 1
        (band / ".hipsgen").chmod(0o777)
        assert as_user(users[0], lambda: len(recorded_roots(band))) == 0
    finally:
        shutil.rmtree(folder)


def as_user(user: pwd.struct_passwd, work: Callable[[], int]) -> int:
    """Return what a function returns in a process of a user."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os._exit(work())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("path", [".hipsgen/build.json", ".hipsgen"])
def test_records_that_are_links_are_ignored(survey, path):
    place = survey / "hips/band_g" / path
    place.rename(survey / "elsewhere")
    place.symlink_to(survey / "elsewhere")
    assert recorded_roots(survey / "hips/band_g") == []


def test_rerunning_the_command_records_the_originals_and_renders_nothing(built, survey):
    as_built_by_0_1(survey)
    band = survey / "hips/band_g"
    tiles = {path: path.stat().st_mtime_ns for path in band.rglob("Npix*")}
    build_by_command(band, built / "coadds", "--order", "3")
    assert {path: path.stat().st_mtime_ns for path in band.rglob("Npix*")} == tiles
    recipe = json.loads((band / ".hipsgen/build.json").read_text())
    assert recipe[KEY] == [(built / "coadds/a.fits").as_uri()]


def test_a_notebook_reads_what_its_user_may_read(built, survey):
    forged(survey, built)
    frame = viewer.show(survey / "hips")
    try:
        url = f"{frame._url}api/pixel"
        (coadd,) = httpx.get(url, params=PLACE).json()["coadds"]
        assert coadd["pixel"]["value"] == VALUE
    finally:
        frame.close()


def test_many_files_are_recorded_by_their_folders(tmp_path):
    few = [(tmp_path / f"{k}.fits").as_uri() for k in range(MAX_ROOTS)]
    assert roots_of(few) == sorted(few)
    assert roots_of([*few, (tmp_path / "one.fits").as_uri()]) == [f"{tmp_path.as_uri()}/"]
    patches = [f"file:///repo/run/coadd/{t}/{p}/i/coadd.fits" for t in range(30) for p in range(90)]
    assert roots_of(patches) == [f"file:///repo/run/coadd/{t}/" for t in sorted(range(30), key=str)]
    server = "https://host/repo/v1/dataset"
    many = [f"{server}/{k}/download?component=image" for k in range(200)]
    assert roots_of([*many, "s3://bucket/x/a.fits"]) == [f"{server}/", "s3://bucket/x/a.fits"]
    # a disk is never recorded as a whole
    tops = [f"file:///top{k}/a.fits" for k in range(200)]
    assert roots_of(tops) == sorted(f"file:///top{k}/" for k in range(200))


def test_links_are_recorded_with_their_targets(tmp_path):
    target = write_coadd(tmp_path / "archive" / "x.fits")
    (tmp_path / "coadds").mkdir()
    link = tmp_path / "coadds" / "a.fits"
    link.symlink_to(target)
    assert roots_of([link.as_uri()]) == [target.as_uri(), link.as_uri()]
    (tmp_path / "a door").symlink_to(tmp_path / "coadds")
    through = tmp_path / "a door" / ".." / "archive" / "x.fits"
    for path in (tmp_path / "a door" / "a.fits", tmp_path / "a door" / "b#.fits", through):
        real = Path(os.path.realpath(path))
        assert real.as_uri() in roots_of([path.as_uri()])
        assert set(roots_of([path.as_uri()])) == {real.as_uri(), path.as_uri()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither a folder nor"),
        ("file://elsewhere/a", "is on the host elsewhere"),
        ("/nowhere/at/all", "does not exist"),
        ("ftp://host/x", "neither a folder nor a URL prefix"),
        ("http://", "neither a folder nor"),
        ("http://host/a/../b", "neither a folder nor"),
    ],
)
def test_invalid_roots_are_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        check_originals([text])


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_other_files_that_a_votable_names_are_not_opened(made, tmp_path, scheme, is_packed):
    with web(made) as other:
        href = other.url("coadds") if scheme == "http" else f"file://{made}/coadds/in/a.fits"
        text = f"""<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE>
            <FIELD name="ra" datatype="double"/><FIELD name="dec" datatype="double"/>
            <DATA><BINARY><STREAM href="{href}"/></BINARY></DATA></TABLE></RESOURCE></VOTABLE>"""
        data = text.encode()
        path = tmp_path / "stars.vot"
        path.write_bytes(gzip.compress(data) if is_packed else data)
        with pytest.raises(InputError, match="which is not opened"):
            open_file(str(path)).describe()
        assert other.asked == []
