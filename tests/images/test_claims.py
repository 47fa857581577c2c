"""Headers that declare more data than the file has, and images larger than the memory."""

import gzip
import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, InputError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.selection import Region
from hipsgen.images.uris import uri_of
from hipsgen.planner.options import Runtime
from hipsgen.planner.sample import sample_pixels
from tests.bounded import outcomes, run_bounded
from tests.conftest import StarField
from tests.images.making import noise, tan_header, write

pytestmark = pytest.mark.slow

SIZE = 9000  # an image of 324 MB
SECTION = (slice(8000, 8100), slice(100, 300))


def header_of(shape: tuple[int, int]) -> bytes:
    """The header of a float32 image of this shape."""
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2})
    header["NAXIS1"], header["NAXIS2"] = shape[1], shape[0]
    header.update(tan_header(shape))
    return header.tostring().encode()


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of zeros, compressed a thousandfold: it is honest."""
    path = tmp_path_factory.mktemp("constant") / "constant.fits.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(header_of((SIZE, SIZE)))
        rest = 4 * SIZE * SIZE
        rest += -rest % 2880
        piece = bytes(1 << 24)
        while rest:
            rest -= file.write(piece[:rest])
    return path


_READ = """
import json, sys
import numpy as np
from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.uris import uri_of
method, rows, cols, *paths = sys.argv[1:]
read = getattr(FitsReader(excluded=()), method)
section = slice(*json.loads(rows)), slice(*json.loads(cols))
for path in paths:
    try:
        pixels = getattr(found := read(CoaddRef(uri_of(path), "x"), section), "image", found)
        print(path, pixels.shape, np.unique(pixels), sep="\\t")
    except CoaddError as error:
        print(path, f"CoaddError: {error}", sep="\\t")
# not ru_maxrss, which begins with that of the process before exec
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("memory", int(status["VmHWM"].split()[0]) * 1024, sep="\\t")
"""


def read_bounded(
    method: str, rows: slice, cols: slice, *paths: Path, memory: int = 2 << 30
) -> tuple[list[str], int]:
    """Read a section of some files; return what came of each, and the memory that it took."""
    section = (f"[{along.start}, {along.stop}]" for along in (rows, cols))
    found = outcomes(_READ, method, *section, *paths, memory=memory)
    return [found[str(path)] for path in paths], int(found["memory"])


@pytest.mark.parametrize("method", ["read", "cutout"])
def test_a_constant_image_is_read_by_section(method: str, constant: Path):
    assert constant.stat().st_size < 4 << 20
    found, memory = read_bounded(method, *SECTION, constant)
    assert found == ["(100, 200)\t[0.]"]
    assert memory < 350 << 20


def tiled(path: Path, shape: tuple[int, int], tile: tuple[int, int], stream: bytes) -> Path:
    """A compressed image of this shape, of which only the first tile is there."""
    made = fits.CompImageHDU(
        noise((64, 64)), tan_header((64, 64)), compression_type="GZIP_1", quantize_level=0.0
    )
    write(path, fits.PrimaryHDU(), made)
    count = -(-shape[0] // tile[0]) * -(-shape[1] // tile[1])
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header.copy()
    table = np.zeros(count, [("COMPRESSED_DATA", ">i4", 2)])
    table["COMPRESSED_DATA"][:, 0] = len(stream)
    for k in (1, 2):
        header[f"ZNAXIS{k}"], header[f"ZTILE{k}"] = shape[-k], tile[-k]
    header["NAXIS1"], header["NAXIS2"], header["PCOUNT"] = 8, count, len(stream)
    header["TFIELDS"], header["TTYPE1"] = 1, "COMPRESSED_DATA"
    header["TFORM1"] = f"1PB({len(stream)})"
    header.update(tan_header(shape, BUNIT="nJy"))
    data = table.tobytes() + stream
    data += bytes(-len(data) % 2880)
    path.write_bytes(fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode())
    with path.open("ab") as file:
        file.write(data)
    return path


def zeros(size: int) -> bytes:
    """A gzip stream of zeros."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(bytes(min(1 << 22, size - k))) for k in range(0, size, 1 << 22)]
    return b"".join([*parts, packer.flush()])


CLAIMS: dict[str, tuple[tuple[int, int], tuple[int, int], int]] = {
    "one tile of all pixels": ((60_000, 60_000), (60_000, 60_000), 4000),
    "tiles of columns": ((60_000, 60_000), (60_000, 100), 4000),
    "tiles of rows": ((60_000, 60_000), (1, 60_000), 4000),
    "more than a tile has": ((60_000, 64), (64, 64), 1 << 28),
}


def test_missing_compressed_tiles_are_coadd_errors(tmp_path: Path):
    paths = []
    for k, (shape, tile, size) in enumerate(CLAIMS.values()):
        paths.append(tiled(tmp_path / f"{k}.fz", shape, tile, zeros(size)))
    found, memory = read_bounded("read", slice(0, 40), slice(0, 60), *paths)
    assert [one for one in found if not one.startswith("CoaddError: ")] == []
    assert memory < 350 << 20
    assert found[0] == (
        "CoaddError: its compressed tiles of 60000x60000 pixels would take 28.8 GB of memory; "
        "the limit is 1.7 GB: decompress it, or allow more memory"
    )


@pytest.mark.parametrize("method", ["read", "cutout"])
def test_a_highly_compressed_constant_image_is_read_by_section(method: str, tmp_path: Path):
    """All of its tiles are the same few bytes."""
    path = tiled(tmp_path / "x.fz", (20_000, 20_000), (20_000, 100), zeros(4 * 100 * 20_000))
    found, memory = read_bounded(method, slice(0, 40), slice(0, 3000), path)
    assert found == ["(40, 3000)\t[0.]"]
    assert memory < 450 << 20


HEADERS: dict[str, tuple[tuple[int, int], str]] = {
    "a little more": ((41, 50), "the file is truncated: [0-9]+ bytes of its image are missing"),
    "much more": ((60_000, 60_000), "the file is truncated: [0-9]+ bytes"),
    "more than a file can have": ((10**9, 10**9), "cannot be read as FITS"),
}


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_declares_more_data_than_the_file_has_is_an_error(
    name: str, packed: bool, tmp_path: Path
):
    shape, reason = HEADERS[name]
    data = header_of(shape) + bytes(2880)
    path = tmp_path / "x.fits"
    path.write_bytes(gzip.compress(data) if packed else data)
    source = FitsFolder([str(path)])
    assert list(source.refs()) == []
    assert re.match(reason, source.problems[0].reason)


@pytest.mark.parametrize("method", ["read", "cutout"])
def test_lack_of_memory_is_a_coadd_error(method: str, tmp_path: Path):
    """The image is good, and read where there is more memory."""
    header = header_of((4000, 50_000))
    with (tmp_path / "x.fits").open("wb") as file:
        file.write(header)
        os.ftruncate(file.fileno(), len(header) + 4 * 4000 * 50_000 // 2880 * 2880 + 2880)
    (found,), _ = read_bounded(
        method, slice(0, 3000), slice(0, 50_000), tmp_path / "x.fits", memory=800 << 20
    )
    assert found.startswith("CoaddError: there is not enough memory to read it (")
    assert "use fewer workers, or a machine with more memory" in found


def test_a_build_goes_on_without_a_coadd_that_takes_too_much_memory(tmp_path: Path):
    StarField(40.0, -10.0, size=64, background=2.0).write(tmp_path / "good.fits")
    tiled(tmp_path / "large.fz", (4000, 4000), (4000, 4000), zeros(4000))
    inputs = tmp_path / "good.fits", tmp_path / "large.fz"
    command = ("-m", "hipsgen", "build", *inputs, "-o", tmp_path / "out", "--workers", "1")
    ran = run_bounded(*command, "--memory", "64M", "--order", "8", "--skip-bad", seconds=120)
    assert ran.returncode == 0, ran.stderr
    assert "large.fz" in ran.stderr
    assert "4000x4000 pixels would take 128.0 MB of memory; the limit is 67.1 MB" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_memory_of_a_build_limits_its_readers():
    assert FitsReader().memory == Runtime().memory
    with pytest.raises(CoaddError, match=r"section of 10x10 pixels would take 800 B .*is 799 B"):
        read_all(FitsReader(memory=799), (10, 10))
    assert read_all(FitsReader(memory=800), (10, 10)).shape == (10, 10)


def read_all(reader: FitsReader, shape: tuple[int, int]) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "x.fits"), fits.PrimaryHDU(noise(shape), tan_header(shape)))
        return reader.read(CoaddRef(uri_of(path), "x"), (slice(0, shape[0]), slice(0, shape[1])))


def test_a_moc_that_declares_more_cells_than_it_has_is_refused(tmp_path: Path):
    """mocpy would end the process."""
    table = fits.BinTableHDU.from_columns([fits.Column("UNIQ", "K", array=np.arange(4, 9))])
    table.header["ORDERING"], table.header["MOCORDER"] = "NUNIQ", 3
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    data = buffer.getvalue()
    place = data.index(b"NAXIS2  =", 2880)
    (tmp_path / "moc.fits").write_bytes(data)
    assert not Region(str(tmp_path / "moc.fits"))._moc.empty()
    (tmp_path / "moc.fits").write_bytes(data[: place + 10] + b"%20d" % 10**9 + data[place + 30 :])
    with pytest.raises(InputError, match="is not a MOC file"):
        Region(str(tmp_path / "moc.fits"))


def test_the_sample_of_a_coadd_with_few_valid_pixels_is_that_of_all_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every n-th valid pixel, however many rows are read at a time."""
    from hipsgen.planner import sample

    pixels = np.full((500, 80), np.nan, np.float32)
    pixels[1:60], pixels[300:330] = noise((59, 80)), noise((30, 80), seed=1)
    pixels[7, 3:9] = np.inf
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(pixels, tan_header(pixels.shape)))
    ref = CoaddRef(uri_of(path), "x")
    monkeypatch.setattr(sample, "_PIXELS", 1000)
    valid = pixels[np.isfinite(pixels)]
    expected = valid[:: valid.size // 1000]
    for at_once in (1, 3 * 80, 1 << 24):
        monkeypatch.setattr(sample, "_PIXELS_AT_ONCE", at_once)
        info = FitsReader().info(ref)
        found = sample._read_valid(ref, info, FitsReader(), np.float32(1.0))
        np.testing.assert_array_equal(found, expected)
    assert sample_pixels([ref], FitsReader())[0].level.zero == pytest.approx(100.0, abs=1.0)


def test_lack_of_memory_outside_of_coadds_is_a_one_line_error(tmp_path: Path):
    StarField(40.0, -10.0, size=64, background=2.0).write(tmp_path / "good.fits")
    command = ("-m", "hipsgen", "build", tmp_path / "good.fits", "-o", tmp_path / "out")
    ran = run_bounded(*command, "--workers", "2", memory=600 << 20, seconds=120)
    assert "Traceback" not in ran.stderr
    if ran.returncode:  # it depends on the libraries
        assert ran.stderr.splitlines()[-1] == (
            "hipsgen: there is not enough memory: use fewer --workers or less --memory"
        )
