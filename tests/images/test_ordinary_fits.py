"""Everyone else's FITS: each kind is read rightly, or refused with its name and the reason."""

import bz2
import gzip
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from tests.images.making import COLS, ROWS, noise, tan_header, with_hole, write

EVERYTHING = (slice(0, ROWS), slice(0, COLS))
SECTION = (slice(2, 21), slice(3, 33))

# what a file holds: the values that must come out, and how far off they may be
Made = tuple[np.ndarray, float]
Maker = Callable[[Path], Made]
KINDS: dict[str, Maker] = {}


def kind(name: str) -> Callable[[Maker], Maker]:
    """Register a maker of a file of this name."""

    def register(maker: Maker) -> Maker:
        KINDS[name] = maker
        return maker

    return register


def integers(dtype: str, scale: float = 1.0, zero: float = 0.0, blank: bool = True) -> Maker:
    """Stored integers with a BLANK, which FITS leaves to the header to interpret."""

    def make(path: Path) -> Made:
        low = int(np.iinfo(dtype).min)
        stored = np.random.default_rng(2).integers(-3000, 3000, (ROWS, COLS)).astype(dtype)
        stored[3:6, 4:9] = low
        header = tan_header(BLANK=low) if blank else tan_header()
        write(path, fits.PrimaryHDU(stored, header))
        if (scale, zero) != (1.0, 0.0):
            with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
                hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = scale, zero
        values = zero + scale * stored.astype(float)
        if blank:
            values[3:6, 4:9] = np.nan
        return values, 1e-3

    return make


KINDS["int16 with BSCALE, BZERO and BLANK.fits"] = integers("i2", 0.25, 120.0)
KINDS["int32 with BSCALE, BZERO and BLANK.fits"] = integers("i4", 0.25, 120.0)
KINDS["int16 with BLANK alone.fits"] = integers("i2")
KINDS["int32 with BLANK alone.fits"] = integers("i4")
KINDS["int16 as it is.fits"] = integers("i2", blank=False)


@kind("unsigned int16.fits")
def unsigned(path: Path) -> Made:
    data = np.arange(ROWS * COLS, dtype=np.uint16).reshape(ROWS, COLS) * 30
    write(path, fits.PrimaryHDU(data, tan_header()))
    return data.astype(float), 0.0


@kind("float64.fits")
def doubles(path: Path) -> Made:
    data = with_hole(noise().astype(float))
    write(path, fits.PrimaryHDU(data, tan_header()))
    return data, 1e-4


@kind("float64 with values that float32 cannot hold.fits")
def huge(path: Path) -> Made:
    data = noise().astype(float)
    data[0, 0], data[0, 1], data[0, 2] = 1e300, -np.inf, np.inf
    write(path, fits.PrimaryHDU(data, tan_header()))
    data[0, :3] = np.nan
    return data, 1e-4


def compressed(algorithm: str, quantized: bool, tile: tuple[int, int] | None = None) -> Maker:
    def make(path: Path) -> Made:
        data = with_hole(noise())
        how: dict[str, Any] = (
            {"quantize_level": 16.0, "quantize_method": 2, "dither_seed": 3}
            if quantized
            else {"quantize_level": 0.0}
        )
        made = fits.CompImageHDU(
            data, tan_header(), compression_type=algorithm, tile_shape=tile, **how
        )
        write(path, fits.PrimaryHDU(), made)
        return data, 1.0 if quantized else 0.0

    return make


KINDS["RICE with dither and NaN.fits"] = compressed("RICE_1", True)
KINDS["RICE.fz"] = compressed("RICE_1", True)
KINDS["RICE in square tiles.fits.fz"] = compressed("RICE_1", True, (16, 16))
KINDS["GZIP_1.fits"] = compressed("GZIP_1", False)
KINDS["GZIP_2.fits"] = compressed("GZIP_2", False)
KINDS["HCOMPRESS.fits"] = compressed("HCOMPRESS_1", True, (16, 50))


@kind("RICE of int32.fits")
def rice_integers(path: Path) -> Made:
    data = np.arange(ROWS * COLS, dtype=np.int32).reshape(ROWS, COLS)
    made = fits.CompImageHDU(data, tan_header(), compression_type="RICE_1")
    write(path, fits.PrimaryHDU(), made)
    return data.astype(float), 0.0


def packed(pack: Callable[[bytes], bytes]) -> Maker:
    def make(path: Path) -> Made:
        data = with_hole(noise())
        plain = path.with_name("plain")
        write(plain, fits.PrimaryHDU(data, tan_header()))
        path.write_bytes(pack(plain.read_bytes()))
        plain.unlink()
        return data, 0.0

    return make


KINDS["gzip.fits.gz"] = packed(gzip.compress)
KINDS["bzip2.fits.bz2"] = packed(bz2.compress)
KINDS["upper case.FITS"] = packed(bytes)
KINDS["another extension.fit"] = packed(bytes)


@kind("SCI, ERR, DQ.fits")
def science_error_quality(path: Path) -> Made:
    data, extra = with_hole(noise()), np.ones((ROWS, COLS), np.float32)
    write(
        path,
        fits.PrimaryHDU(),
        fits.ImageHDU(data, tan_header(), name="SCI"),
        fits.ImageHDU(extra, tan_header(), name="ERR"),
        fits.ImageHDU(extra.astype(np.int16), tan_header(), name="DQ"),
    )
    return data, 0.0


@kind("primary image and extensions.fits")
def primary_and_extensions(path: Path) -> Made:
    data, extra = with_hole(noise()), np.ones((ROWS, COLS), np.float32)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])])
    write(
        path,
        fits.PrimaryHDU(data, tan_header()),
        fits.ImageHDU(extra, tan_header(), name="WEIGHT"),
        fits.ImageHDU(extra, tan_header(), name="MASK"),
        table,
    )
    return data, 0.0


@kind("the image after its weight.fits")
def weight_first(path: Path) -> Made:
    data, extra = with_hole(noise()), np.ones((ROWS, COLS), np.float32)
    write(
        path,
        fits.PrimaryHDU(),
        fits.ImageHDU(extra, tan_header(), name="WHT"),
        fits.ImageHDU(data, tan_header(), name="IMAGE"),
    )
    return data, 0.0


def more_axes(count: int) -> Maker:
    def make(path: Path) -> Made:
        data = with_hole(noise())
        cards = {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"}
        if count == 2:
            cards |= {"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0}
        write(path, fits.PrimaryHDU(data.reshape((1,) * count + data.shape), tan_header(**cards)))
        return data, 0.0

    return make


KINDS["degenerate third axis.fits"] = more_axes(1)
KINDS["degenerate third and fourth axes.fits"] = more_axes(2)


@pytest.mark.parametrize("name", KINDS)
def test_values_and_missing_pixels_are_read_correctly(name: str, tmp_path: Path):
    expected, off = KINDS[name](tmp_path / name)
    source = FitsFolder([str(tmp_path)])
    (ref,) = source.refs()
    assert source.problems == []
    assert source.reader().info(ref).shape == (ROWS, COLS)
    pixels = source.reader().read(ref, EVERYTHING)
    np.testing.assert_array_equal(np.isnan(pixels), np.isnan(expected))
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=off)
    np.testing.assert_array_equal(source.reader().read(ref, SECTION), pixels[SECTION])


def test_every_science_extension_is_a_coadd(tmp_path: Path):
    images = [with_hole(noise(seed=k)) for k in range(3)]
    hdus: list[Any] = [fits.PrimaryHDU()]
    for k, image in enumerate(images, start=1):
        hdus.append(fits.ImageHDU(image, tan_header(CRVAL1=10.0 * k), name="SCI", ver=k))
        hdus.append(fits.ImageHDU(np.ones_like(image), tan_header(), name="ERR", ver=k))
    write(tmp_path / "x.fits", *hdus)
    source = FitsFolder([str(tmp_path)])
    refs = list(source.refs())
    assert [ref.hdu for ref in refs] == ["1", "3", "5"]
    assert len({ref.polygon for ref in refs}) == 3
    for ref, image in zip(refs, images, strict=True):
        np.testing.assert_array_equal(source.reader().read(ref, EVERYTHING), image)


def test_an_extension_that_cannot_be_used_is_told_and_the_others_go_on(tmp_path: Path):
    write(
        tmp_path / "x.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(), name="SCI", ver=1),
        fits.ImageHDU(noise(), name="SCI", ver=2),
    )
    source = FitsFolder([str(tmp_path)])
    assert [ref.hdu for ref in source.refs()] == ["1"]
    (problem,) = source.problems
    assert problem.source == f"{tmp_path}/x.fits[2]"
    assert "no celestial WCS" in problem.reason


def test_zeros_are_missing_only_where_one_says_so(tmp_path: Path):
    data = noise()
    data[10:20, :] = 0.0
    write(tmp_path / "x.fits", fits.PrimaryHDU(data, tan_header()))
    (ref,) = FitsFolder([str(tmp_path)]).refs()
    np.testing.assert_array_equal(FitsReader().read(ref, EVERYTHING), data)
    pixels = FitsReader(blank=0.0).read(ref, EVERYTHING)
    np.testing.assert_array_equal(np.isnan(pixels), data == 0.0)
    np.testing.assert_array_equal(FitsReader(blank=0.0).read(ref, SECTION), pixels[SECTION])


# RICE_1 would quantize floats
@pytest.mark.parametrize(
    ("dtype", "coding"),
    [
        *product(("f4", "f8", "i2", "i4"), (None, "GZIP_1", "GZIP_2")),
        *product(("i2", "i4"), ("RICE_1",)),
    ],
)
def test_a_blank_value_that_the_user_gives_in_every_coding(
    dtype: str, coding: str | None, tmp_path: Path
):
    data = np.arange(ROWS * COLS).reshape(ROWS, COLS).astype(dtype)
    data[3:9, 5:15] = -999
    header = tan_header(BUNIT="nJy")
    hdu: fits.ImageHDU | fits.CompImageHDU = fits.ImageHDU(data, header)
    if coding is not None:
        hdu = fits.CompImageHDU(data, header, compression_type=coding, quantize_level=0.0)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "x.fits")
    (ref,) = FitsFolder([str(tmp_path / "x.fits")]).refs()
    expected = np.where(data == -999, np.nan, data.astype(float)).astype(np.float32)
    for section in (EVERYTHING, SECTION):
        found = FitsReader(blank=-999.0).read(ref, section)
        np.testing.assert_array_equal(found, expected[section])
    assert not np.isnan(FitsReader().read(ref, EVERYTHING)).any()


def test_the_blank_value_is_that_of_the_file_not_of_the_calibrated_image(tmp_path: Path):
    data = noise()
    data[0, 0] = -1.0
    write(tmp_path / "x.fits", fits.PrimaryHDU(data, tan_header(FLUXMAG0=10**10.8)))
    (ref,) = FitsFolder([str(tmp_path)]).refs()
    pixels = FitsReader(blank=-1.0).read(ref, EVERYTHING)
    assert np.isnan(pixels[0, 0])
    assert np.isnan(pixels).sum() == 1


FLT_MAX, DBL_MAX = np.finfo(np.float32).max, np.finfo(np.float64).max
HUGE: dict[str, Callable[[np.ndarray, fits.Header], Any]] = {
    "float32": lambda data, header: fits.ImageHDU(data, header),
    "float64": lambda data, header: fits.ImageHDU(
        np.where(np.abs(data) == FLT_MAX, np.sign(data) * DBL_MAX, data.astype(float)), header
    ),
    "GZIP_2": lambda data, header: fits.CompImageHDU(
        data, header, compression_type="GZIP_2", quantize_level=0.0
    ),
    "GZIP_1, by astropy": lambda data, header: fits.CompImageHDU(
        data.astype(">f8"), header, compression_type="GZIP_1", quantize_level=0.0
    ),
}


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("form", HUGE)
def test_the_largest_floats_are_missing_data(form: str, scale: float, tmp_path: Path):
    """Programs mark missing data by ±3.4e38; scaled by a calibration, it would be a value."""
    data = with_hole(noise())
    data[0, :4] = FLT_MAX
    data[7, 30:33] = -FLT_MAX
    data[9, 9], data[9, 10] = np.inf, 2.9e38
    header = tan_header(FLUXMAG0=10**12.56 / scale)
    write(tmp_path / "x.fits", fits.PrimaryHDU(), HUGE[form](data, header))
    (ref,) = FitsFolder([str(tmp_path)]).refs()
    is_huge = np.isfinite(data) & (np.abs(data) >= 3e38)
    truth = np.where(is_huge | ~np.isfinite(data), np.nan, scale * data)
    pixels = FitsReader().read(ref, EVERYTHING)
    np.testing.assert_allclose(pixels, truth, rtol=1e-6)
    np.testing.assert_allclose(FitsReader().cutout(ref, EVERYTHING).image, truth, rtol=1e-6)
    np.testing.assert_allclose(
        FitsReader().with_offset(0.5, "", 1 / 3600).read(ref, EVERYTHING),
        truth - 0.5, rtol=1e-6, atol=1e-6,
    )  # fmt: skip
    marked = FitsReader().read(ref, EVERYTHING, huge=np.inf)
    np.testing.assert_array_equal(np.isinf(marked), is_huge)
    np.testing.assert_allclose(np.where(is_huge, np.nan, marked), truth, rtol=1e-6)


def write_with_blank(path: Path, data: np.ndarray, coding: str | None, blank: object) -> None:
    """Write an image whose header has this BLANK, which astropy would not write."""
    header = tan_header(XBLANK=blank)
    made: Any = fits.ImageHDU(data, header)
    if coding:
        made = fits.CompImageHDU(data, header, compression_type=coding, quantize_level=0.0)
    write(path, fits.PrimaryHDU(), made)
    path.write_bytes(path.read_bytes().replace(b"XBLANK  =", b"BLANK   ="))


@pytest.mark.filterwarnings("ignore:Invalid .*BLANK")
@pytest.mark.parametrize(("blank", "advice"), [(-999, "{blank} -999 makes"), ("none", "only$")])
def test_blank_of_a_floating_point_image_is_ignored_with_a_note(
    blank: object, advice: str, tmp_path: Path
):
    data = noise()
    data[2, 2] = -999
    write_with_blank(tmp_path / "x.fits", data, None, blank)
    (ref,) = FitsFolder([str(tmp_path)]).refs()
    np.testing.assert_array_equal(FitsReader().read(ref, EVERYTHING), data)
    (note,) = FitsReader().info(ref).notes
    assert note.startswith(f"BLANK = {blank!r} is ignored")
    assert re.search(advice, note)
    assert FitsReader(blank=-999.0).info(ref).notes == (() if blank == -999 else (note,))


@pytest.mark.filterwarnings("ignore:Invalid .*BLANK")
@pytest.mark.parametrize(
    ("coding", "dtype"), [(None, "i2"), ("RICE_1", "i2"), ("GZIP_2", "i4"), ("GZIP_2", "f4")]
)
def test_a_blank_that_is_needed_and_text_is_refused_however_it_is_read(
    coding: str | None, dtype: str, tmp_path: Path
):
    data = np.arange(ROWS * COLS).reshape(ROWS, COLS).astype(dtype)
    write_with_blank(tmp_path / "x.fits", data, coding, "none")
    (ref,) = FitsFolder([str(tmp_path)]).refs()
    for reader in (FitsReader(), FitsReader().with_offset(1.0, "", 1 / 3600)):
        with pytest.raises(CoaddError, match="its BLANK = 'none' is not an integer"):
            reader.read(ref, SECTION)
    with pytest.raises(CoaddError, match="its BLANK = 'none' is not an integer"):
        FitsReader().cutout(ref, SECTION)


# makers of files that are to be refused, and what the reason says
def damaged_gzip(path: Path) -> None:
    write(path.with_name("plain"), fits.PrimaryHDU(noise(), tan_header()))
    data = bytearray(gzip.compress(path.with_name("plain").read_bytes()))
    path.with_name("plain").unlink()
    data[3000:3010] = b"\0" * 10
    path.write_bytes(bytes(data))


def gzip_of_half(path: Path) -> None:
    cut(path.with_name("half"), 0.5)
    path.write_bytes(gzip.compress(path.with_name("half").read_bytes()))
    path.with_name("half").unlink()


def half_of_a_gzip(path: Path) -> None:
    cut(path.with_name("half"), 1.0)
    data = gzip.compress(path.with_name("half").read_bytes())
    path.write_bytes(data[: len(data) // 2])
    path.with_name("half").unlink()


def cut(path: Path, share: float, **how: Any) -> None:
    image: Any = fits.PrimaryHDU(noise((400, 500)), tan_header((400, 500)))
    if how:
        image = fits.CompImageHDU(noise((400, 500)), tan_header((400, 500)), **how)
    hdus = [fits.PrimaryHDU(), image] if how else [image]
    write(path.with_name("plain"), *hdus)
    data = path.with_name("plain").read_bytes()
    path.with_name("plain").unlink()
    path.write_bytes(data[: int(len(data) * share)])


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no wcs.fits": (lambda p: write(p, fits.PrimaryHDU(noise())), "no celestial WCS"),
    "empty.fits": (lambda p: p.write_bytes(b""), "FITS"),
    "text.fits": (lambda p: p.write_text("not an image\n" * 1000), "FITS"),
    "zeros.fits": (lambda p: p.write_bytes(b"\0" * 28800), "FITS"),
    "truncated.fits": (lambda p: cut(p, 0.5), "truncated: [0-9]+ bytes"),
    "truncated rice.fits": (
        lambda p: cut(p, 0.5, compression_type="RICE_1"),
        "truncated: [0-9]+ bytes",
    ),
    "truncated header.fits": (lambda p: cut(p, 0.001), "FITS"),
    "damaged.fits.gz": (damaged_gzip, "unpacked with gzip"),
    "half of a gzip.fits.gz": (half_of_a_gzip, "unpacked with gzip"),
    "gzip of a half.fits.gz": (gzip_of_half, "truncated: [0-9]+ bytes"),
    "table.fits": (
        lambda p: write(
            p,
            fits.PrimaryHDU(),
            fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0, 2.0])]),
        ),
        "no two-dimensional image",
    ),
    "header only.fits": (lambda p: write(p, fits.PrimaryHDU()), "no two-dimensional image"),
    "spectrum.fits": (
        lambda p: write(p, fits.PrimaryHDU(noise()[0], tan_header())),
        "no two-dimensional image",
    ),
    "cube.fits": (
        lambda p: write(p, fits.PrimaryHDU(noise((3, ROWS, COLS)), tan_header())),
        "no two-dimensional image",
    ),
}


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.filterwarnings("ignore:Error validating header")
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_used_is_named_and_the_others_go_on(name: str, tmp_path: Path):
    make, reason = REFUSED[name]
    make(tmp_path / name)
    for other in ("a first.fits", "z last.fits"):
        write(tmp_path / other, fits.PrimaryHDU(noise(), tan_header()))
    source = FitsFolder([str(tmp_path)])
    refs = list(source.refs())
    assert [ref.uri.rsplit("/", 1)[1] for ref in refs] == ["a%20first.fits", "z%20last.fits"]
    (problem,) = source.problems
    assert problem.source == str(tmp_path / name)
    assert re.search(reason, problem.reason)
    assert "\n" not in str(problem)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.filterwarnings("ignore:Error validating header")
@pytest.mark.parametrize("name", REFUSED)
def test_strict_stops_at_the_first_file_that_cannot_be_used(name: str, tmp_path: Path):
    make, reason = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(CoaddError, match=reason) as raised:
        list(FitsFolder([str(tmp_path)], strict=True).refs())
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "how",
    [
        {"compression_type": "RICE_1"},
        {"compression_type": "GZIP_2", "quantize_level": 0.0},
        {"compression_type": "HCOMPRESS_1", "tile_shape": (40, 50)},
        {},
    ],
    ids=["RICE", "GZIP", "HCOMPRESS", "plain"],
)
def test_flipped_bytes_are_a_coadd_error_or_go_unseen_but_never_end_the_build(
    how: dict[str, Any], tmp_path: Path
):
    cut(tmp_path / "whole.fits", 1.0, **how)
    data = (tmp_path / "whole.fits").read_bytes()
    rng = np.random.default_rng(4)
    reader, refused, reasons = FitsReader(), 0, ""
    for trial in range(40):
        damaged = bytearray(data)
        for place in rng.integers(0, 12_000 if trial % 2 else len(data), 20):
            damaged[place] = rng.integers(256)
        path = tmp_path / f"{trial}.fits"
        path.write_bytes(bytes(damaged))
        try:
            ref = CoaddRef(f"file://{path}", "x")
            rows, cols = reader.info(ref).shape
            if rows * cols < 1e7:
                reader.read(ref, (slice(0, rows), slice(0, cols)))
        except CoaddError as error:
            refused += 1
            reasons += str(error)
    assert refused > 5
    assert "\n" not in reasons


@pytest.mark.parametrize("size", [1e-300, 1e-12])
def test_pixels_that_positions_cannot_resolve_are_refused(size: float, tmp_path: Path):
    header = tan_header(CDELT1=-size, CDELT2=size)
    write(tmp_path / "a.fits", fits.PrimaryHDU(noise(), header))
    source = FitsFolder([str(tmp_path)])
    assert list(source.refs()) == []
    assert re.search(r"its WCS has pixels of .* arcsec; the limit is 1e-08", str(source.problems))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("NAXIS", "2147483647"), ("WCSAXES", "100000"), ("WCSAXESA", "20000")),
        *(
            ("A_ORDER", "2147483647"),
            ("A_ORDER", "1.0E5"),
            ("A_ORDER", "20000."),
            ("A_ORDER", "1D4"),
        ),
    ],
)
def test_numbers_beyond_the_standard_are_refused_at_once(
    keyword: str, value: str, number: int, tmp_path: Path
):
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(noise(), tan_header(WCSAXES=2, WCSAXESA=2, A_ORDER=2)),
        fits.ImageHDU(noise(), tan_header(WCSAXES=2, WCSAXESA=2, A_ORDER=2)),
    )
    data = bytearray(path.read_bytes())
    at = -1
    for _ in range(number + 1):
        at = data.index(f"{keyword:8}=".encode(), at + 1)
    data[at : at + 30] = f"{keyword:8}= {value:>20}".encode()
    path.write_bytes(bytes(data))
    source = FitsFolder([str(tmp_path)])
    assert list(source.refs()) == []
    words = f"is damaged: {keyword} = {value} in HDU {number} (limit "
    assert source.problems[0].reason.startswith(words)


@pytest.mark.parametrize("start", ["HIERARCH A_ORDER =", "a_order =", " A_ORDER="])
def test_keywords_as_astropy_reads_them_have_the_same_limits(start: str, tmp_path: Path):
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(noise(), tan_header(A_ORDER=2)))
    data = bytearray(path.read_bytes())
    at = data.index(b"A_ORDER =")
    data[at : at + 40] = f"{start} 100000".ljust(40).encode()
    path.write_bytes(bytes(data))
    source = FitsFolder([str(tmp_path)])
    assert list(source.refs()) == []
    reason = source.problems[0].reason
    assert reason == "is damaged: A_ORDER = 100000 in HDU 0 (limit 9)"
