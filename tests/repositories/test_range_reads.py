"""A few pixels of a coadd on a server: the same as from a disk, and little is fetched for them."""

import bz2
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images import range_reads, remote, staging
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.range_reads import BLOCK, RangeFile, RangeReader, open_range_reader
from hipsgen.images.source import Section
from hipsgen.images.uris import uri_of
from tests.images.making import tan_header
from tests.images.test_cells import write_cells
from tests.images.test_stored_values import write as write_integers
from tests.repositories.remote import Dav, dav, s3

pytestmark = pytest.mark.filterwarnings("ignore")  # of moto, wsgidav and their servers
SIDE = 2000
SECTIONS: list[Section] = [
    (slice(0, 32), slice(0, SIDE)),
    (slice(1000, 1032), slice(0, SIDE)),
    (slice(1500, 1510), slice(70, 80)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coadds with masks and variances, as they are and compressed; all of one packed."""
    root = tmp_path_factory.mktemp("coadds")
    rng = np.random.default_rng(1)
    pixels = rng.normal(0, 5, (SIDE, SIDE)).astype(np.float32)
    mask = np.where(rng.random((SIDE, SIDE)) < 0.01, 256, 0).astype(np.int32)
    header = tan_header((SIDE, SIDE), BUNIT="nJy")
    planes = fits.Header({"MP_NO_DATA": 8})
    for name in ("plain", "gzip"):
        made = fits.HDUList([fits.PrimaryHDU()])
        parts = {"IMAGE": (pixels, header), "MASK": (mask, planes), "VARIANCE": (pixels**2, None)}
        for key, (data, cards) in parts.items():
            if name == "plain":
                made.append(fits.ImageHDU(data, cards, name=key))
            else:
                options = {"compression_type": "GZIP_2", "quantize_level": 0}
                made.append(fits.CompImageHDU(data, cards, name=key, **options))
        made.writeto(root / f"{name}.fits")
    (root / "packed.fits.bz2").write_bytes(bz2.compress((root / "gzip.fits").read_bytes(), 1))
    return root


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No copy and no block of a test before, on a port that may be the same."""
    monkeypatch.setattr(staging, "_copies", staging._Copies())
    monkeypatch.setattr(remote, "_avoided", {})
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))
    forget()
    yield
    forget()


def forget() -> None:
    range_reads._reader_of.cache_clear()
    range_reads._pool.blocks.clear()


@pytest.fixture
def server(folder: Path) -> Iterator[Dav]:
    with dav(folder) as made:
        yield made


def ref_to(uri: str) -> CoaddRef:
    return CoaddRef(uri, "one")


def check_same(uri: str, path: Path) -> None:
    here, there = FitsReader(), FitsReader().with_range_reads()
    truth = CoaddRef(uri_of(path), "")
    assert there.info(ref_to(uri)).unit == "nJy"
    for section in SECTIONS:
        np.testing.assert_array_equal(there.read(ref_to(uri), section), here.read(truth, section))


@pytest.mark.parametrize("name", ["plain", "gzip"])
def test_a_glance_fetches_little(name: str, server: Dav, folder: Path):
    path = folder / f"{name}.fits"
    check_same(f"{server.url}{path.name}", path)
    assert server.sent < 0.25 * path.stat().st_size
    assert sum(method == "GET" for method, _ in server.asked) < 20
    sent = server.sent
    check_same(f"{server.url}{path.name}", path)
    assert server.sent == sent
    FitsReader().read(ref_to(f"{server.url}{path.name}"), SECTIONS[0])
    assert server.sent >= sent + path.stat().st_size  # who reads all of it copies it
    sent = server.sent
    forget()
    check_same(f"{server.url}{path.name}", path)  # and then a glance needs nothing
    assert server.sent == sent


def test_blank_of_unsigned_integers_is_missing_over_range_reads(tmp_path: Path):
    for coding in (None, "RICE_1"):
        truth = write_integers(tmp_path / f"{coding}.fits", "unsigned short", coding, True)
        with dav(tmp_path) as server:
            ref = ref_to(f"{server.url}{coding}.fits")
            found = FitsReader().with_range_reads().read(ref, (slice(0, 40), slice(0, 50)))
        np.testing.assert_array_equal(found, truth.astype(np.float32))


def test_a_glance_at_s3(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with s3(folder) as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        check_same(f"{store.url}gzip.fits", folder / "gzip.fits")


def test_a_remote_compressed_file_is_copied(server: Dav, folder: Path):
    check_same(f"{server.url}packed.fits.bz2", folder / "gzip.fits")


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("missing", [None, (5, 5)])
def test_a_glance_at_cells_asks_little(
    by_column: bool, missing: tuple[int, int] | None, tmp_path: Path
):
    """Where all cells are there, their numbers are not asked for, one by one."""
    path = write_cells(
        tmp_path / "c.fits", (120, 120), (12, 12), by_column=by_column, missing=missing
    )
    truth, here = CoaddRef(uri_of(path), ""), FitsReader()
    sections = [(slice(k, k + 32), slice(0, 1460)) for k in (0, 700, 1400)]
    with dav(tmp_path) as server:
        there = FitsReader().with_range_reads()
        glanced = ref_to(f"{server.url}c.fits")
        for section in sections:
            np.testing.assert_array_equal(there.read(glanced, section), here.read(truth, section))
    share = server.sent / path.stat().st_size
    assert share < (1.1 if missing or by_column else 0.5)


def test_a_file_that_is_not_there_is_named(server: Dav):
    with pytest.raises(CoaddError, match=r"the file does not exist: .*none\.fits"):
        FitsReader().with_range_reads().info(ref_to(f"{server.url}none.fits"))


def test_files_of_this_machine_are_no_blocks(folder: Path):
    assert open_range_reader(uri_of(folder / "plain.fits")) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reads=st.lists(st.tuples(st.integers(0, 13 * BLOCK), st.integers(0, 9 * BLOCK)), max_size=9))
def test_blocks_are_the_file(reads: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch):
    """Whatever is read in whatever order, with room for four blocks."""
    content = np.random.default_rng(2).bytes(12 * BLOCK + 77)
    monkeypatch.setattr(range_reads, "_MAX_BLOCKS", 4)
    monkeypatch.setattr(range_reads, "resource_path", lambda _: InMemory(content))
    forget()
    file = RangeFile(RangeReader("x://y/z"))
    for start, size in reads:
        file.seek(start)
        assert file.read(size) == content[start : start + size]
        assert file.tell() == max(start, min(start + size, len(content)))


def test_a_connection_that_breaks_is_made_again(monkeypatch: pytest.MonkeyPatch):
    place = InMemory(bytes(range(256)) * 4000, faults=2)
    monkeypatch.setattr(range_reads, "resource_path", lambda _: place)
    assert RangeFile(RangeReader("x://y/z")).read(300_000) == place.content[:300_000]
    forget()
    place.faults = 3
    with pytest.raises(CoaddError, match=r"x://y/z cannot be fetched: the line is cut"):
        RangeReader("x://y/z").read(0, 10)


class InMemory:
    """As much of a ResourcePath as is asked of it; the first `faults` times it breaks."""

    def __init__(self, content: bytes, faults: int = 0) -> None:
        self.content = content
        self.faults = faults

    def size(self) -> int:
        return len(self.content)

    def open(self, mode: str) -> io.BytesIO:
        if self.faults:
            self.faults -= 1
            raise OSError("the line is cut")
        return io.BytesIO(self.content)

    def __str__(self) -> str:
        return "x://y/z"
