"""Where a local path is expected, file URIs work and URIs of other machines are refused by name."""

from pathlib import Path

import pytest

import hipsgen
import viewer
from hipsgen.images.uris import local_path
from tests.test_cli import hipsgen as command
from tests.viewer.test_originals import write_coadd
from viewer.server import serve

REMOTE = ("s3://bucket/x", "http://host/x", "ftp://host/x", "gs://b/x", "s3:/bucket/x")
ELSEWHERE = "file://other/x"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def coadd(here: Path) -> Path:
    return write_coadd(here / "a.fits")


@pytest.mark.parametrize("uri", [*REMOTE, ELSEWHERE])
@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "a.fits", "-o", "URI"),
        ("build", "URI.fits", "-o", "out"),
        ("build", "a.fits", "-o", "out", "--region", "URI"),
        ("plan", "a.fits", "-o", "URI"),
        ("plan", "a.fits", "--manifest", "URI"),
        ("plan", "a.fits", "--region", "URI"),
        ("color", "URI", "b", "c", "-o", "out"),
        ("color", "a", "b", "URI", "-o", "out"),
        ("color", "a", "b", "c", "-o", "URI"),
        ("serve", "URI"),
        ("serve", ".", "--access-log", "URI"),
        ("serve", ".", "--originals", "URI/.."),
    ],
    ids=" ".join,
)
def test_the_command_line_refuses_remote_uris_and_creates_no_folder(
    here, coadd, uri, arguments
) -> None:
    ran = command(*(word.replace("URI", uri) for word in arguments))
    assert ran.returncode in (1, 2)
    assert len(ran.stderr.splitlines()) == 1
    assert uri in ran.stderr
    assert "hipsgen: " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [path.name for path in here.iterdir()] == ["a.fits"]


@pytest.mark.parametrize("uri", ["s3://bucket/x", "ftp://host/x", "HTTP://host/x", ELSEWHERE])
@pytest.mark.parametrize("name", ["check", "info"])
def test_surveys_are_read_from_folders_and_by_http(uri: str, name: str) -> None:
    ran = command(name, uri)
    assert ran.returncode == 2
    assert f"hipsgen: {uri} is on" in ran.stderr or f"{uri} is not on this machine" in ran.stderr


@pytest.mark.parametrize("option", [("--objects",), ("--catalog",)])
def test_catalogs_with_unknown_schemes_are_refused(here, option) -> None:
    ran = command("serve", ".", *option, "ftp://host/x.csv", "-c", "x")
    assert ran.returncode in (1, 2)
    assert len(ran.stderr.splitlines()) == 1
    assert "ftp" in ran.stderr


def test_a_repository_with_an_unknown_scheme_is_refused() -> None:
    ran = command("build", "ftp://host/repo", "-c", "x", "-d", "y", "-o", "out")
    assert ran.returncode == 1
    assert ran.stderr.startswith("hipsgen: ftp://host/repo cannot be opened")
    assert len(ran.stderr.splitlines()) == 1


def test_entries_of_lists_are_refused_by_name(here, coadd) -> None:
    (here / "list.txt").write_text("a.fits\ns3://bucket/b.fits\n")
    ran = command("plan", "list.txt")
    assert ran.returncode == 1
    assert ran.stderr.startswith("hipsgen: s3://bucket/b.fits is not on this machine")


@pytest.mark.parametrize("uri", [*REMOTE, ELSEWHERE, Path("s3://bucket/x")])
def test_the_api_refuses_remote_uris(here, coadd, uri) -> None:
    coadds = hipsgen.find_coadds(coadd)
    calls = [
        lambda: hipsgen.plan(coadds, uri),
        lambda: hipsgen.build(coadds, uri),
        lambda: hipsgen.build_color(uri, "b", "c", "out"),
        lambda: hipsgen.build_color("a", "b", "c", uri),
        lambda: coadds.save(uri),
        lambda: hipsgen.find_coadds(coadd, region=str(uri)),
        lambda: viewer.show(uri),
        lambda: serve([uri]),
    ]
    if not str(uri).startswith("http"):
        calls += [lambda: hipsgen.check(uri), lambda: hipsgen.open_survey(uri)]
    for call in calls:
        with pytest.raises(hipsgen.ConfigError, match=r"is (not on this machine|on the host)"):
            call()
    assert [path.name for path in here.iterdir()] == ["a.fits"]


def test_file_uris_work(here, coadd) -> None:
    out, manifest = (here / "o ut").as_uri(), (here / "m.json").as_uri()
    assert command("plan", coadd.as_uri(), "--manifest", manifest, "-o", out).returncode == 0
    assert (here / "m.json").is_file()
    assert command("build", manifest, "-o", out, "--order", "3", "-q").returncode == 0
    assert (here / "o ut" / "properties").is_file()
    for name in ("check", "info"):
        assert command(name, out).returncode == 0
    assert hipsgen.open_survey(out).order == 3
    assert sorted(path.name for path in here.iterdir()) == ["a.fits", "m.json", "o ut"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", "a"), ("/a/b", "/a/b"), ("C:/a", "C:/a"), ("a:b", "a:b"), ("a/b:/c", "a/b:/c"),
        ("file:///a%20b", "/a b"), ("file:/a", "/a"), ("FILE://localhost/a", "/a"),
    ],
)  # fmt: skip
def test_local_paths(text: str, path: str) -> None:
    assert local_path(text) == Path(path)


def test_a_folder_that_looks_like_a_uri(here) -> None:
    path = local_path("./s3://bucket/x")
    assert path == here / "s3:/bucket/x"
    assert local_path(path) == path
