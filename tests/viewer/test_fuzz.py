"""Malformed requests: paths, methods, headers and parameters, byte for byte."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hipsgen.survey.provenance import Provenance
from tests.profiles import examples
from tests.viewer.conftest import COADD, other_coadd
from tests.viewer.serving import Wire, complaints, served
from tests.viewer.small_hips import FACE, make_survey
from viewer.catalogs.catalog import open_file

SECRET = b"nobody shall get this"
EXAMPLES, BATCH = examples(5.3), 20

TILE = f"Norder0/Dir0/Npix{FACE}.fits"
TILE_TARGET = f"/hips/band_g/{TILE}".encode()
SURVEY_FILES = (
    TILE,
    f"Norder0/Dir0/Npix{FACE}.png",
    "properties",
    "Moc.fits",
    "Norder0/Allsky.png",
)
NAMES = ("band_g", "band_r", "broken", "na-me")

GOOD = [
    b"/",
    b"/hips/list",
    b"/api/surveys",
    b"/static/main.js",
    b"/static/aladin/LICENSE",
    *(f"/hips/{name}/{file}".encode() for name in NAMES for file in SURVEY_FILES),
]
# what the secrets are called, and the ways to them
SECRETS = [
    b"secret.fits",
    b".hipsgen/build.json",
    b".hidden",
    b"journal.json",
    b"preview.jpg",
    b"Norder7/Dir0/Npix1.fits",
    b"Norder8/Dir0/Npix1.fits",
    b"page/page.js",
    b"metadata.xml",
    b"metadata.json",
    b"Norder1/Allsky.fits",
    b"provenance.fits",
    b"properties",
    b"app.py",
    b"etc/passwd",
]
UPWARDS = [
    b"..",
    b"%2e%2e",
    b".%2E",
    b"%252e%252e",
    b"..%2f..",
    b"..%5c..",
    b"..\\..",
    b"%c0%ae%c0%ae",
    b"..;",
    b"..%00",
    b"....",
    b"\xe2\x80\xa5",
]
PIECES = [
    *UPWARDS,
    *SECRETS,
    *(b"hips", b"api", b"static", b"coadds", b"list", b"band_g", b"linked", b"leads_out", b"loop"),
    *(b"Norder0", b"Dir0", b"Npix6.fits", b"Norder99", b"Npix999999999999999999999.fits"),
    *(b"", b".", b"~root", b"*", b"%", b"%zz", b"%00", b"%0d%0aX:y", b"%ff", b"%D9%A5", b"\xff"),
    *(b"\x00", b"a b", b"#", b";a=b", b"%2f", b"%2F%2F", b"x" * 300, b"../" * 3000, b"y" * 70_000),
]
NUMBERS = [b"0", b"1", b"99", b"-1", b"9" * 20, b"9" * 5000, b"", b"x", b"1e9", b"0x1", b"1_0"]
DATES = [
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"Fri, 31 Dec 9999 23:59:59 GMT",
    b"Thu, 01 Jan 99999 00:00:00 GMT",
    b"Thu, 01 Jan 2020 00:00:00 +99999999999999999",
    b"Thu, 01 Jan 2020 00:00:00 -0000",
    b"Thu, 99 Foo 2020 99:99:99 GMT",
]
JUNK = [
    b"",
    b",",
    b'"',
    b"W/",
    b"*",
    b"\xff\xfe",
    b"a" * 5000,
    b"%00",
    b"=",
    b"q=nan",
    b"[::",
    b"websocket",
]
CONDITIONS = [
    b"If-Modified-Since",
    b"If-Range",
    b"If-Unmodified-Since",
    b"If-None-Match",
    b"If-Match",
]
OTHERS = [b"Accept-Encoding", b"Cookie", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Origin"]
OTHERS += [b"Connection", b"Connection: upgrade\r\nUpgrade", b"Expect", b"junk", b"\x00"]
HOSTS = [b"Host: here\r\n"] * 12 + [
    b"",
    b"Host: a/b?c#d@e\r\n",
    b"Host: [::\r\n",
    b"Host: \xff\r\n",
]
METHODS = [b"GET"] * 8 + [b"HEAD"] * 3 + [b"POST", b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"J!"]
BODIES = [b"\r\n"] * 12 + [
    b"Content-Length: 3\r\n\r\nabc",
    b"Content-Length: 999999999999\r\n\r\nabc",
    b"Content-Length: -1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
    b"Content-Length: 3\r\nTransfer-Encoding: x\r\n\r\nabc",
]
COORDINATES = [b"-0", b"1e999", b"NaN", b"inf", b"-361", b"9" * 400, b"%00", b"1%2C5"]
COORDINATES += [b"", b"%D9%A3", b"\xd9\xa3", b"M31", b"1&ra=2"]
ASKED = [b"pixel", b"cutout", b"statistics", b"profile", b"patches", b"view", b"flags"]
ASKED += [b"catalogs", b"catalogs/stars", b"catalogs/..%2fsecret", b"flags/band_g/..%2f1"]
KEYS = [b"ra", b"dec", b"ra2", b"dec2", b"size", b"radius", b"width", b"height", b"coadd"]
KEYS += [b"filter", b"columns", b"sort", b"limit", b"survey"]
VALUES = [b"180", b"1", b"0.01", b"mag", b"-mag", b"mag,name", b"band_g", b"mag>1", b"1e300"]
VALUES += [b"(" * 300 + b"mag" + b")" * 300, b"mag**9**9**9", b"__import__('os').abort()"]
VALUES += [b"not" + b"%20not" * 500 + b"%20mag", b"mag%2f0>1", b"0x" + b"f" * 400 + b"<mag"]
VALUES += [b"lambda:0", b"name=='a'", b"name%3d%3d'a'"]
FLAGS = [
    b'{"survey":"band_g","ra":180,"dec":1,"note":"a","view":"b"}',
    b'{"survey":"band_g","ra":NaN,"dec":1e999,"note":"a","view":"b"}',
    b'{"survey":"../band_g","ra":"1","dec":[],"note":{},"view":null}',
    b'{"survey":"band_g","ra":180,"dec":1,"note":"\\u0000\\ud800","view":"b","version":-1}',
    b"[" * 9000,
    b"{",
    b"\xff",
]
LONGEST = 60_000  # bytes of a request of which a server reads all before it refuses


@dataclass
class Site:
    """A server, the files that it may serve by ETag, and its responses so far."""

    wire: Wire
    files: dict[str, bytes] = field(default_factory=dict)
    seen: Counter[int] = field(default_factory=Counter)

    def check(self, request: bytes) -> None:
        """Send a request, and check that the response reveals nothing."""
        try:
            answer, body = self.wire.ask(request)
        except OSError:
            # it was refused before all of it was sent
            assert len(request) > LONGEST
            self.wire.close()
            return
        if b"\r\nContent-Length" in request or b"\r\nTransfer" in request:
            # the end of the response is unknown
            self.wire.close()
        self.seen[answer.status] += 1
        assert answer.status < 500
        assert SECRET not in body + bytes(answer.headers)
        if tag := answer.headers["etag"]:
            assert body in self.files[tag]
            assert answer.status != 200 or body in (b"", self.files[tag])

    def learn(self, path: str) -> None:
        """Record the content of a file that may be served."""
        answer, body = self.wire.get(path)
        assert answer.status == 200, path
        self.files[answer.headers["etag"]] = body


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """Surveys with all kinds of invalid content, surrounded by secret files."""
    top = tmp_path_factory.mktemp("top")
    outside = make_survey(top / "outside", obs_title=SECRET.decode())
    root, static = top / "root", top / "static"
    band_g, band_r = make_survey(root / "band_g"), make_survey(root / "band_r")
    broken, odd = make_survey(root / "broken"), root / os.fsdecode(b"na\xffme")
    make_survey(root / "odd").rename(odd)
    (band_g / "provenance.fits").write_bytes(Provenance([COADD]).to_bytes())
    (broken / "provenance.fits").write_bytes(b"junk")
    # a path that is no text
    nameless = other_coadd(uri=os.fsdecode(b"/data/\xff.fits"))
    (odd / "provenance.fits").write_bytes(Provenance([nameless]).to_bytes())
    (static / "aladin").mkdir(parents=True)
    for name in ("index.html", "main.js", "aladin/LICENSE"):
        (static / name).write_text(f"this is {name}")

    told = Provenance([other_coadd(run=SECRET.decode())]).to_bytes()
    (outside / "provenance.fits").write_bytes(told)
    for folder in (
        top,
        root,
        outside,
        static.parent,
        band_g,
        band_g / ".hipsgen",
        outside / "page",
    ):
        for name in ("secret.fits", "app.py", "build.json", ".hidden", "journal.json", "page.js"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(SECRET)
    for folder in (outside / "Norder7" / "Dir0", top / "Norder0" / "Dir0"):
        folder.mkdir(parents=True)
        for npix in (1, FACE):
            (folder / f"Npix{npix}.fits").write_bytes(SECRET)
    (band_g / "preview.jpg").unlink()
    (band_g / "preview.jpg").symlink_to(top / "secret.fits")
    (band_g / "Norder7").symlink_to(outside / "Norder7")
    (band_g / "Norder8").mkdir()
    (band_g / "Norder8" / "Dir0").symlink_to(outside / "Norder7" / "Dir0")
    (band_g / "page").symlink_to(outside / "page")
    (band_g / "Norder1" / "Allsky.fits").symlink_to("Allsky.fits")
    (band_g / "metadata.json").mkdir()
    os.mkfifo(band_g / "metadata.xml")
    (band_r / "provenance.fits").symlink_to(outside / "provenance.fits")
    (root / "linked").symlink_to(outside)
    for name in ("leads_out", "loop", "fifo", "folder"):
        (root / name).mkdir()
    (root / "leads_out" / "properties").symlink_to(outside / "properties")
    (root / "loop" / "properties").symlink_to("properties")
    os.mkfifo(root / "fifo" / "properties")
    (root / "folder" / "properties").mkdir()

    (top / "stars.csv").write_text("ra,dec,mag,name\n180,1,5.5,a\n180.001,1,,b\n")
    stars = (open_file(str(top / "stars.csv")),)
    served_so = served(root, static=static, fresh_seconds=0.05, catalogs=stars)
    with served_so as port, complaints() as told_of:
        site = Site(Wire(port))
        for path in (
            *(p.decode() for p in GOOD),
            *(f"/hips/{name}/preview.jpg" for name in NAMES[1:]),
        ):
            if path not in ("/hips/list", "/api/surveys"):
                site.learn(path)
        for name in ("band_g", "broken", "na-me"):
            site.learn(f"/hips/{name}/provenance.fits")
        yield site
        site.wire.close()
        assert told_of == []


def joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


def upwards(way: tuple[bytes, bytes, int, bytes]) -> bytes:
    start, step, times, secret = way
    return start + b"/" + (step + b"/") * times + secret


def bent(way: tuple[bytes, int, bytes]) -> bytes:
    """Replace a part of a valid path, or insert one."""
    path, place, piece = way
    parts = path.split(b"/")
    parts[place % len(parts)] = piece if place % 2 else parts[place % len(parts)] + piece
    return b"/".join(parts)


def whole(parts: tuple[bytes, bytes, bytes, list[bytes], bytes]) -> bytes:
    method, target, host, headers, body = parts
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"%b %b HTTP/1.1\r\n%b%b%b" % (method, target, host, lines, body)


some = st.sampled_from
starts = [b"", b"/hips", b"/hips/band_g", b"/hips/band_g/Norder0", b"/static", b"/"]
paths = st.one_of(
    some(GOOD),
    st.tuples(some(starts), some(UPWARDS), st.integers(0, 6), some(SECRETS)).map(upwards),
    st.tuples(some(GOOD), st.integers(0, 9), some(PIECES)).map(bent),
    st.lists(some(PIECES), min_size=1, max_size=6).map(lambda found: b"/" + b"/".join(found)),
)
coadds = joined(
    st.just(b"/api/coadds?survey="),
    some([name.encode() for name in NAMES] * 20 + PIECES),
    some([b"&ra=", b"&ra=", b"&ra=1&ra="]),
    some([b"180"] * 6 + COORDINATES),
    some([b"&dec=", b"&dec=", b"&"]),
    some([b"1"] * 6 + COORDINATES),
)
api = joined(
    st.just(b"/api/"),
    some(ASKED),
    st.just(b"?survey=band_g&"),
    st.lists(
        joined(some(KEYS), st.just(b"="), some(VALUES * 3 + COORDINATES + PIECES)), max_size=7
    ).map(b"&".join),
)
SENT = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
flags = some(FLAGS).map(lambda text: SENT % (len(text), text))
targets = st.one_of(
    paths,
    coadds,
    api,
    joined(some([b"http://here", b"http://[::1", b"//evil", b"file://", b"x:"]), paths),
    joined(paths, some([b"?", b"?a=b", b"/", b"//", b"?%00=\xff"])),
    some([b"*", b"", b"here:80"]),
)
spans = joined(some(NUMBERS), st.just(b"-"), some(NUMBERS))
ranges = st.one_of(
    spans,
    st.lists(spans, max_size=9).map(b",".join),
    st.integers(1, 300).map(lambda many: b"0-0," * many),
)
beyond = st.just(b"Range: bytes=999999999-")
conditions = joined(some(CONDITIONS), st.just(b": "), some(DATES + JUNK))
headers = st.one_of(
    joined(some([b"Range: bytes=", b"Range: bytes=", b"range:BYTES=", b"Range: "]), ranges),
    conditions,
    joined(some(OTHERS), st.just(b": "), some(JUNK)),
)
wild = st.tuples(some(METHODS), targets, some(HOSTS), st.lists(headers, max_size=3), some(BODIES))
# what is there, so that it is the headers and the numbers that matter
careful = st.tuples(
    some([b"GET", b"GET", b"HEAD"]),
    st.one_of(some(GOOD), some(GOOD), coadds),
    st.just(b"Host: here\r\n"),
    st.lists(st.one_of(joined(st.just(b"Range: bytes="), spans), beyond, conditions), max_size=3),
    st.just(b"\r\n"),
)
raised = st.tuples(
    some([b"POST", b"PUT", b"DELETE"]),
    some([b"/api/flags", b"/api/flags/band_g/1", b"/api/flags/../x", b"/api/flags/band_g/%2e%2e"]),
    st.just(b"Host: here\r\n"),
    st.just([]),
    flags,
)
requests = st.one_of(wild, wild, careful, raised).map(whole)
# for each kind of response, as a small number of examples may miss one
KINDS = [
    whole((method, target, b"Host: here\r\n", lines, b"\r\n"))
    for method, target, lines in (
        (b"GET", TILE_TARGET, []),
        (b"GET", TILE_TARGET, [b"Range: bytes=0-9"]),
        (b"GET", TILE_TARGET, [b"Range: bytes=999999999-"]),
        (b"GET", TILE_TARGET, [b"If-None-Match: *"]),
        (b"DELETE", TILE_TARGET, []),
        (b"GET", TILE_TARGET + b"x", []),
        (b"GET", b"/hips/band_g", []),
        (b"GET", b"/api/coadds?survey=band_g", []),
    )
]


@pytest.mark.slow
def test_no_request_gets_what_lies_outside_or_an_error_of_the_server(site):
    @EXAMPLES
    @example(batch=KINDS)
    @given(batch=st.lists(requests, min_size=BATCH, max_size=BATCH))
    def ask(batch):
        for request in batch:
            site.check(request)

    ask()
    assert site.seen.total() >= 0.9 * EXAMPLES.max_examples * BATCH
    assert {200, 206, 304, 307, 400, 404, 405, 416} <= set(site.seen)
    # and it is well
    answer, body = site.wire.get(f"/hips/band_g/{TILE}")
    assert (answer.status, body) == (200, site.files[answer.headers["etag"]])
    _, text = site.wire.get("/hips/list")
    assert text.count(b"creator_did") == len(NAMES)
