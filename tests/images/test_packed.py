"""Files that are compressed as a whole: unpacked once, to an unlinked file, if it fits."""

import bz2
import gzip
import importlib.util
import io
import lzma
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images import scratch, staging
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.packing import packing_of
from hipsgen.images.uris import uri_of
from tests.bounded import outcomes
from tests.builder.test_survey import tile_bytes
from tests.conftest import Build, StarField
from tests.images.making import noise, tan_header, with_hole

SHAPE = (300, 400)
SECTIONS = [(slice(k, k + 20), slice(3 * k, 3 * k + 50)) for k in range(0, 100, 10)]


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.fits", data)
    return buffer.getvalue()


def in_two_parts(data: bytes) -> bytes:
    return gzip.compress(data[:5000]) + gzip.compress(data[5000:])


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip in two parts": in_two_parts,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
}


def made(path: Path, pack: Callable[[bytes], bytes]) -> np.ndarray:
    """Write a packed image; return its pixels."""
    pixels = with_hole(noise(SHAPE))
    buffer = io.BytesIO()
    fits.PrimaryHDU(pixels, tan_header(SHAPE)).writeto(buffer)
    path.write_bytes(pack(buffer.getvalue()))
    return pixels


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the files that were unpacked."""
    found: list[str] = []
    inner = staging.unpack

    def unpack(file, into):
        found.append(packing_of(file))
        inner(file, into)

    monkeypatch.setattr(staging, "_copies", staging._Copies())
    monkeypatch.setattr(staging, "unpack", unpack)
    return found


@pytest.mark.parametrize("name", PACKINGS)
def test_a_packed_file_is_unpacked_once_for_all_sections(
    name: str, tmp_path: Path, unpacked: list[str]
):
    pixels = made(tmp_path / "x", PACKINGS[name])
    (ref,) = FitsFolder([str(tmp_path / "x")]).refs()
    reader = FitsReader()
    assert reader.info(ref).in_parts
    for section in SECTIONS:
        np.testing.assert_array_equal(reader.read(ref, section), pixels[section])
        np.testing.assert_array_equal(reader.cutout(ref, section).image, pixels[section])
    assert unpacked == [name.partition(" ")[0]]


def test_a_file_that_is_replaced_is_unpacked_again(tmp_path: Path, unpacked: list[str]):
    reader, section = FitsReader(), SECTIONS[2]
    made(tmp_path / "x", gzip.compress)
    (old,) = FitsFolder([str(tmp_path / "x")]).refs()
    reader.read(old, section)
    made(tmp_path / "x", bz2.compress)
    with pytest.raises(CoaddError, match="has changed since it was listed"):
        reader.read(old, section)
    (new,) = FitsFolder([str(tmp_path / "x")]).refs()
    np.testing.assert_array_equal(reader.read(new, section), noise(SHAPE)[section])
    assert unpacked[0] == "gzip"
    assert unpacked.count("bzip2") == 1


def test_a_build_unpacks_each_coadd_once_and_makes_the_same_tiles(
    build: Build, tmp_path: Path, unpacked: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Although no copy is kept that the build does not need, and none fits into its memory."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder in (plain, packed):
        folder.mkdir()
    for k in range(2):
        path = plain / f"{k}.fits"
        StarField(40.0 + 0.03 * k, -10.0, size=600, background=2.0).write(path)
        (packed / f"{k}.fits.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    monkeypatch.setattr(staging, "_copies", staging._Copies(capacity=0))
    options = {"cuts": (-5.0, 100.0), "stretch": "linear"}
    truth = build([plain], "truth", **options)
    assert unpacked == []
    survey = build([packed], "survey", **options)
    stages = 3  # they are listed, sampled, and rendered
    assert 2 <= len(unpacked) <= 2 * stages
    assert tiles(survey.place) == tiles(truth.place)
    assert len(tiles(truth.place)) > 10


def test_an_image_in_one_tile_is_decoded_once_and_makes_the_same_tiles(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Although it is too large for the cache: it has no sections."""
    folder = tmp_path / "plain"
    folder.mkdir()
    StarField(40.0, -10.0, size=600, background=2.0).write(folder / "x.fits")
    with fits.open(folder / "x.fits") as hdus:
        data, header = hdus[0].data, hdus[0].header
        one = fits.CompImageHDU(
            data, header, compression_type="GZIP_2", tile_shape=data.shape, quantize_level=0.0
        )
        fits.HDUList([fits.PrimaryHDU(), one]).writeto(tmp_path / "x.fz")
    whole: list[tuple[int, int]] = []
    inner = FitsReader.read

    def read(self, ref, section, parts=(), out=None, **options):
        whole.append((section[0].stop - section[0].start, section[1].stop - section[1].start))
        return inner(self, ref, section, parts, out, **options)

    monkeypatch.setattr("hipsgen.render.coadd_cache._SHARE", 1 << 20)
    options = {"cuts": (-5.0, 100.0), "stretch": "linear"}
    truth = build([folder], "truth", **options)
    monkeypatch.setattr(FitsReader, "read", read)
    survey = build([tmp_path / "x.fz"], "survey", **options)
    assert sum(rows > 32 for rows, _ in whole) == 1  # besides strips of the sample
    assert whole[-1] == data.shape
    assert tiles(survey.place) == tiles(truth.place)


def tiles(place: Path) -> dict[str, str]:
    return {name: digest for name, digest in tile_bytes(place).items() if "Npix" in name}


def test_an_error_for_too_little_space_names_sizes_and_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made(tmp_path / "x.fits.gz", gzip.compress)
    made(tmp_path / "y.fits", bytes)
    for module in (scratch, staging):
        monkeypatch.setattr(module, "free_space", lambda: 500_000)
    monkeypatch.setattr(staging, "_copies", staging._Copies())
    source = FitsFolder([str(tmp_path)])
    assert [ref.uri.rpartition("/")[2] for ref in source.refs()] == ["y.fits"]
    (problem,) = source.problems
    assert problem.is_fault
    assert "483.8 kB or more of its content do not fit into" in problem.reason
    assert tempfile.gettempdir() in problem.reason
    assert "500.0 kB are free" in problem.reason
    assert "set TMPDIR to a folder with more space, or decompress the file" in problem.reason


def test_a_full_disk_is_a_coadd_error(tmp_path: Path):
    """The largest size of a file stands for a quota."""
    made(tmp_path / "x.fits.gz", gzip.compress)
    code = (
        "import resource, signal, sys\n"
        "from hipsgen.images.fits_folder import FitsFolder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "source = FitsFolder([sys.argv[1]])\n"
        "print('refs', list(source.refs()), sep='\\t')\n"
        "print('reason', source.problems[0].reason, sep='\\t')\n"
    )
    found = outcomes(code, tmp_path / "x.fits.gz")
    assert found["refs"] == "[]"
    assert "do not fit" in found["reason"]
    assert "(File too large)" in found["reason"]


def test_no_unpacked_file_remains_after_a_kill(tmp_path: Path):
    made(tmp_path / "x.fits.gz", gzip.compress)
    folder = tmp_path / "tmp"
    folder.mkdir()
    code = (
        "import os, signal, sys\n"
        "from hipsgen.images.staging import local_file\n"
        "with local_file(sys.argv[1]) as path:\n"
        "    print('size', path.stat().st_size, sep='\\t')\n"
        "    print('names', os.listdir(os.environ['TMPDIR']), sep='\\t')\n"
    )
    os.environ["TMPDIR"], before = str(folder), os.environ.get("TMPDIR")
    try:
        found = outcomes(code, uri_of(tmp_path / "x.fits.gz"))
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
    assert found == {"size": str(2880 * 168), "names": "[]"}


def test_a_file_compressed_twice_is_refused(tmp_path: Path):
    """An archive may contain itself."""
    made(tmp_path / "x.fits.gz", lambda data: bz2.compress(gzip.compress(data)))
    with pytest.raises(CoaddError, match="compressed twice: unpack it, its content is of gzip"):
        FitsReader().info(CoaddRef(uri_of(tmp_path / "x.fits.gz"), "x"))


def test_an_error_names_the_missing_package(tmp_path: Path):
    if importlib.util.find_spec("uncompresspy"):
        pytest.skip("uncompresspy is installed")
    (tmp_path / "x.fits.Z").write_bytes(b"\x1f\x9d\x90" + bytes(1000))
    source = FitsFolder([str(tmp_path / "x.fits.Z")])
    assert list(source.refs()) == []
    assert source.problems[0].reason == (
        "it is compressed with compress: pip install uncompresspy, or unpack it"
    )


def test_a_zip_file_of_several_files_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.fits", "b.fits"):
            archive.writestr(name, "content")
    with pytest.raises(CoaddError, match="a zip file with 2 members"):
        FitsReader().info(CoaddRef(uri_of(tmp_path / "x.zip"), "x"))
