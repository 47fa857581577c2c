"""Pixels decoded here against astropy, which is the oracle: the same bits, or the same refusal."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images import coadd_fits, decode, decode_kernels
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.source import Section
from hipsgen.images.uris import uri_of
from tests.images.making import tan_header, with_hole, write
from tests.profiles import examples

SHAPE = ROWS, COLS = 120, 150  # a single tile outlasts the 10,000 random numbers of dithering
EVERYTHING = (slice(0, ROWS), slice(0, COLS))
SECTIONS = [EVERYTHING, (slice(0, 1), slice(0, 1)), (slice(17, 60), slice(33, 149))]
TILES = {
    "rows": (1, COLS),
    "bands": (7, COLS),
    "squares": (16, 16),
    "parts of rows": (1, 64),
    "columns": (ROWS, 7),
    "one": SHAPE,
    "larger than the image": (ROWS + 3, COLS + 8),
}
QUANTIZED = {
    "dither 1": {"quantize_method": 1},
    "dither 2": {"quantize_method": 2},
    "no dither": {"quantize_method": -1},
}
section = st.builds(
    lambda r, c: (slice(*sorted(r)), slice(*sorted(c))),
    st.lists(st.integers(0, ROWS), min_size=2, max_size=2, unique=True),
    st.lists(st.integers(0, COLS), min_size=2, max_size=2, unique=True),
)


def sky() -> np.ndarray:
    """Noise, stars, holes, zeros, infinities; rows that cannot be quantized."""
    rng = np.random.default_rng(5)
    image = with_hole(rng.normal(0.0, 5.0, SHAPE).astype(np.float32))
    image[40, 50:80] = 1e6 * rng.random(30)
    image[60:63, 10:140] = 0.0
    image[90:92] = np.nan
    image[100] = 7.0
    image[110:, 100:] = rng.normal(0.0, 1e9, (10, 50))
    return image


def flags(dtype: str) -> np.ndarray:
    """A mask of zeros with patches of every bit, and noise."""
    rng = np.random.default_rng(6)
    mask = np.zeros(SHAPE, dtype)
    for k in range(8 * mask.itemsize - 1):
        mask[5 * (k % 20) : 5 * (k % 20) + 9, 11 * (k % 13) : 11 * (k % 13) + 20] |= 1 << k
    low = mask[80:]
    low[:] = rng.integers(0, np.iinfo(dtype).max, low.shape, endpoint=True)
    return mask


def compressed(data: np.ndarray, algorithm: str, tile: tuple[int, int], **how: Any) -> Any:
    quality = {"quantize_level": 16.0, "dither_seed": 9990} if how else {"quantize_level": 0.0}
    return fits.CompImageHDU(
        data, tan_header(SHAPE), compression_type=algorithm, tile_shape=tile, **quality, **how
    )


def decoded(path: Path, where: Section, number: int = 1, bits: int = 0) -> np.ndarray:
    """Without astropy; of a mask, NaN where the bits are set, and zeros."""
    with fits.open(path) as hdus, path.open("rb") as file:
        if not bits:
            image = decode.image_plane(file.fileno(), hdus[number])
            assert image is not None, "left to astropy"
            found = np.empty([s.stop - s.start for s in where], np.float32)
            decode.values(file.fileno(), image, where, np.nan, 1.0, found)
            return found
        mask = decode.mask_plane(file.fileno(), hdus[number], bits)
        assert mask is not None, "left to astropy"
        out = np.zeros([s.stop - s.start for s in where], np.float32)
        decode.apply_mask(file.fileno(), mask, where, bits, out)
        return out


def through_astropy(path: Path, where: Section, number: int = 1) -> np.ndarray:
    with fits.open(path, memmap=False) as hdus:
        pixels = np.array(hdus[number].section[where], dtype=np.float32, order="C")
    pixels[~np.isfinite(pixels)] = np.nan
    return pixels


def outcomes(path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Pixels by the reader and by astropy, None where they refuse the file."""
    found = expected = None
    with suppress(CoaddError):
        found = FitsReader().read(CoaddRef(uri_of(path), "x"), EVERYTHING)
    with suppress(Exception):  # of many kinds
        expected = through_astropy(path, EVERYTHING)
    return found, expected


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """To the last bit, the sign of zero too."""
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    bits = (np.where(np.isnan(a), 0, a).view(np.uint32) for a in (found, expected))
    np.testing.assert_array_equal(*bits)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("dither", QUANTIZED)
@pytest.mark.parametrize("algorithm", ["RICE_1", "GZIP_1", "GZIP_2"])
def test_quantized_images(algorithm: str, dither: str, tile: str, tmp_path: Path):
    hdu = compressed(sky(), algorithm, TILES[tile], **QUANTIZED[dither])
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), hdu)
    for where in SECTIONS:
        same(decoded(path, where), through_astropy(path, where))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("algorithm", ["GZIP_1", "GZIP_2"])
def test_images_of_which_every_bit_was_kept(algorithm: str, tile: str, tmp_path: Path):
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), compressed(sky(), algorithm, TILES[tile]))
    for where in SECTIONS:
        same(decoded(path, where), through_astropy(path, where))


@pytest.mark.parametrize("number", [0, 1])
def test_uncompressed_images(number: int, tmp_path: Path):
    hdu = (fits.PrimaryHDU, fits.ImageHDU)[number](sky(), tan_header(SHAPE))
    path = write(tmp_path / "x.fits", *[fits.PrimaryHDU()][:number], hdu)
    for where in SECTIONS:
        same(decoded(path, where, number), through_astropy(path, where, number))


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
@pytest.mark.parametrize("algorithm", ["RICE_1", "GZIP_1", "GZIP_2", ""])
def test_masks(algorithm: str, dtype: str, tmp_path: Path):
    mask = flags(dtype)
    for name, tile in TILES.items():
        hdu = compressed(mask, algorithm, tile) if algorithm else fits.ImageHDU(mask)
        path = write(tmp_path / f"{name}.fits", fits.PrimaryHDU(), hdu)
        for bits in (1, 0b10010, 1 << 8 * mask.itemsize - 2):
            for where in SECTIONS:
                missing = mask[where].astype(int) & bits != 0
                np.testing.assert_array_equal(np.isnan(decoded(path, where, 1, bits)), missing)


@pytest.mark.parametrize("algorithm", ["RICE_1", "GZIP_2", ""])
def test_the_highest_bit_of_a_mask_is_its_sign(algorithm: str, tmp_path: Path):
    mask = flags("i4")
    mask[10:20] |= np.int32(-(2**31))
    hdu = compressed(mask, algorithm, (1, COLS)) if algorithm else fits.ImageHDU(mask)
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), hdu)
    found = decoded(path, EVERYTHING, 1, 1 << 31)
    np.testing.assert_array_equal(np.isnan(found), mask < 0)


@examples(0.4)
@given(where=section, tile=st.sampled_from(list(TILES.values())), rice=st.booleans())
def test_any_section_is_that_of_the_whole(
    where: Section, tile: tuple[int, int], rice: bool, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.getbasetemp() / f"{tile}{rice}.fits"
    if not path.exists():
        how = QUANTIZED["dither 2"] if rice else {}
        hdu = compressed(sky(), "RICE_1" if rice else "GZIP_2", tile, **how)
        write(path, fits.PrimaryHDU(), hdu)
    same(decoded(path, where), decoded(path, EVERYTHING)[where].copy())


def steps(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Numbers with small and large steps, flat parts, and noise over all bits."""
    limit = np.iinfo(dtype)
    reach = st.sampled_from([0, 1, 3, 100, 30_000, limit.max]).map(lambda m: min(m, limit.max))
    part = reach.flatmap(
        lambda m: arrays(dtype, st.integers(1, 80), elements=st.integers(max(-m, limit.min), m))
    )
    return st.lists(part, min_size=1, max_size=6).map(np.concatenate)


@examples(2)
@given(st.sampled_from(["u1", "i2", "i4"]).flatmap(steps))
def test_rice_gives_any_numbers_back(tmp_path_factory: pytest.TempPathFactory, numbers: Any):
    row = numbers[None]
    path = tmp_path_factory.getbasetemp() / "numbers.fits"
    hdu = fits.CompImageHDU(row, compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    with fits.open(path) as hdus, path.open("rb") as file:
        plane = decode.mask_plane(file.fileno(), hdus[1], 1)
        assert plane is not None
        ((words, _),) = plane.blocks(file.fileno(), (slice(0, 1), slice(0, row.size)))
        np.testing.assert_array_equal(words.astype(row.dtype), row)


# what other programs write: tables rewritten by hand
Tile = dict[str, Any]
NOTHING = np.empty(0, np.uint8)


def rewritten(
    path: Path, change: Callable[[int, Tile], None], gap: int = 0, **formats: str
) -> Path:
    """The same tiles in another table of these columns; `change` may edit each tile."""
    with fits.open(path, disable_image_compression=True) as hdus:
        header, table = hdus[1].header.copy(), hdus[1].data
        tiles = [{name: row[name] for name in table.names} for row in table]
    row = np.zeros(len(tiles), [(name, *_kinds(form)) for name, form in formats.items()])
    heap = bytes(gap)
    for k, tile in enumerate(tiles):
        change(k, tile)
        for name, form in formats.items():
            if form[0] in "PQ":
                content = np.asarray(tile.get(name, NOTHING))
                row[name][k] = content.size, len(heap) - gap
                heap += content.tobytes()
            else:
                row[name][k] = tile[name]
    for k, (name, form) in enumerate(formats.items(), start=1):
        header[f"TTYPE{k}"], header[f"TFORM{k}"] = name, form
    header["TFIELDS"], header["NAXIS1"] = len(formats), row.itemsize
    header["PCOUNT"], header["THEAP"] = len(heap), row.nbytes + gap
    data = row.tobytes() + heap
    target = path.with_name("rewritten.fits")
    fits.PrimaryHDU().writeto(target)
    with target.open("ab") as file:
        file.write(header.tostring().encode() + data + bytes(-len(data) % 2880))
    return target


def _kinds(form: str) -> tuple[Any, ...]:
    return {"P": (">i4", 2), "Q": (">i8", 2), "D": (">f8",), "J": (">i4",)}[form[0]]


def same_tiles(number: int, tile: Tile) -> None:
    pass


@pytest.mark.parametrize("letter", ["P", "Q"])
@pytest.mark.parametrize("gap", [0, 1000])
def test_descriptors_of_64_bits_and_a_heap_further_on(letter: str, gap: int, tmp_path: Path):
    hdu = compressed(sky(), "RICE_1", (16, 16), **QUANTIZED["dither 1"])
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), hdu)
    columns = {"COMPRESSED_DATA": f"{letter}B", "GZIP_COMPRESSED_DATA": f"{letter}B(100)"}
    other = rewritten(path, same_tiles, gap, **columns, ZSCALE="D", ZZERO="D")
    for where in SECTIONS:
        same(decoded(other, where), through_astropy(path, where))


def test_tiles_that_were_not_compressed_at_all(tmp_path: Path):
    hdu = compressed(sky(), "RICE_1", (1, COLS), **QUANTIZED["dither 1"])
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), hdu)

    def change(number: int, tile: Tile) -> None:
        if number % 3 == 0 or not len(tile["COMPRESSED_DATA"]):
            tile["COMPRESSED_DATA"] = NOTHING
            tile["UNCOMPRESSED_DATA"] = sky()[number].astype(">f4")

    columns = {"COMPRESSED_DATA": "PB", "UNCOMPRESSED_DATA": "PE", "ZSCALE": "D", "ZZERO": "D"}
    other = rewritten(path, change, **columns)
    for where in SECTIONS:
        same(decoded(other, where), through_astropy(other, where))
    expected = np.where(np.isfinite(sky()), sky(), np.nan)
    np.testing.assert_array_equal(decoded(other, EVERYTHING)[::3], expected[::3])


def test_a_blank_of_its_own_for_each_tile(tmp_path: Path):
    hdu = compressed(sky(), "RICE_1", (1, COLS), **QUANTIZED["dither 1"])
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), hdu)

    def change(number: int, tile: Tile) -> None:
        tile["ZBLANK"] = -(2**31) if number % 2 else number

    columns = {"COMPRESSED_DATA": "PB", "GZIP_COMPRESSED_DATA": "PB", "ZBLANK": "J"}
    other = rewritten(path, change, **columns, ZSCALE="D", ZZERO="D")
    for where in SECTIONS:
        same(decoded(other, where), through_astropy(other, where))


def with_cards(path: Path, **cards: Any) -> Path:
    """The same file with other cards in the header of its table."""
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        hdus[1].header.update(cards)
    return path


def test_lossless_images_as_cfitsio_marks_them(tmp_path: Path):
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), compressed(sky(), "GZIP_2", (1, COLS)))
    with_cards(path, ZQUANTIZ="NONE", ZBLANK=-2147483647)
    same(decoded(path, EVERYTHING), np.where(np.isfinite(sky()), sky(), np.nan))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("lossless", "cards"),
    [
        (True, {"ZBLANK": -1}),
        (True, {"BSCALE": 2.0}),
        (True, {"BZERO": 7.0}),
        (True, {"ZTILE2": 1.5}),
        (True, {"ZTILE2": 0}),
        (True, {"THEAP": -1}),
        (True, {"TTYPE1": "COMPRESSION"}),
        (True, {"TFORM1": "1PI(200)"}),
        (True, {"TFORM1": "1PE(200)"}),
        (True, {"ZCMPTYPE": "GZIP_3"}),
        (True, {"ZCMPTYPE": 2}),
        (True, {"ZBITPIX": -64}),
        (False, {"ZQUANTIZ": "NONE"}),
        (False, {"ZDITHER0": 10001}),
        (False, {"ZVAL2": 3}),
        (False, {"ZVAL1": 0}),
        (False, {"TTYPE4": "ZERO"}),
        (False, {"ZBLANK": 2.5}),
        (False, {"NAXIS2": 3}),
    ],
    ids=str,
)
def test_unusual_cards_are_interpreted_as_by_astropy(
    lossless: bool, cards: dict[str, Any], tmp_path: Path
):
    how = ("GZIP_2", (1, COLS), {}) if lossless else ("RICE_1", (1, COLS), QUANTIZED["dither 1"])
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), compressed(sky(), *how[:2], **how[2]))
    with_cards(path, **cards)
    found, expected = outcomes(path)
    if found is None or expected is None:
        assert found is expected
    else:
        same(found, expected)


def left_to_astropy() -> dict[str, Any]:
    floats, ints = sky(), flags("i2")
    scaled = fits.ImageHDU(floats, tan_header(SHAPE))
    return {
        "float64": fits.ImageHDU(floats.astype(float), tan_header(SHAPE)),
        "int16": fits.ImageHDU(ints, tan_header(SHAPE)),
        "uint16": fits.ImageHDU(ints.astype(np.uint16), tan_header(SHAPE)),
        "int16 in RICE": compressed(ints, "RICE_1", (1, COLS)),
        "float64 in GZIP": compressed(floats.astype(float), "GZIP_2", (1, COLS)),
        "HCOMPRESS": compressed(floats, "HCOMPRESS_1", (16, 30), **QUANTIZED["no dither"]),
        "float32 with BSCALE": scaled,
    }


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", left_to_astropy())
def test_other_kinds_are_read_by_astropy(name: str, tmp_path: Path):
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), left_to_astropy()[name])
    if "BSCALE" in name:
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            hdus[1].header["BSCALE"] = 2.0
    with fits.open(path) as hdus, path.open("rb") as file:
        assert decode.image_plane(file.fileno(), hdus[1]) is None
    reader, ref = FitsReader(), CoaddRef(uri_of(path), "x")
    for where in SECTIONS:
        same(reader.read(ref, where), through_astropy(path, where))


# damage: refused where astropy refuses, the same values where it sees nothing; what has a checksum
# may come out whole where it does not look at more than the data
DAMAGED: dict[str, Any] = {
    "RICE": ("RICE_1", (1, COLS), QUANTIZED["dither 2"]),
    "RICE in squares": ("RICE_1", (16, 16), QUANTIZED["dither 2"]),
    "GZIP_1": ("GZIP_1", (1, COLS), {}),
    "GZIP_2": ("GZIP_2", (16, 16), {}),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tiles_are_decoded_or_refused_as_by_astropy(name: str, tmp_path: Path):
    algorithm, tile, how = DAMAGED[name]
    hdu = compressed(sky(), algorithm, tile, **how)
    whole = write(tmp_path / "whole.fits", fits.PrimaryHDU(), hdu)
    with fits.open(whole) as hdus:
        start = hdus.fileinfo(1)["datLoc"]
    data = whole.read_bytes()
    rng, refused = np.random.default_rng(8), 0
    for trial in range(60):
        damaged = bytearray(data)
        for place in rng.integers(start, start + 2000 if trial % 3 else len(data), 1 + trial % 4):
            damaged[place] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{trial}.fits"
        path.write_bytes(bytes(damaged))
        found, expected = outcomes(path)
        refused += found is None
        if expected is None and found is not None:
            assert algorithm != "RICE_1"
            expected = through_astropy(whole, EVERYTHING)
        if expected is not None:
            assert found is not None
            same(found, expected)
    assert refused > 5


def some_stream() -> st.SearchStrategy[bytes]:
    blocks = st.sampled_from([b"\0" * 9, b"\xff" * 9, b"\x01\x23\x45\x67", b"\x08"])
    return st.lists(blocks | st.binary(max_size=12), max_size=12).map(b"".join)


@examples(3)
@given(some_stream(), st.integers(1, 200), st.sampled_from([1, 2, 4]), st.integers(1, 40))
def test_rice_stays_within_its_stream_whatever_that_holds(
    stream: bytes, count: int, width: int, block: int
):
    padded = np.frombuffer(stream + bytes(decode_kernels.PADDING), np.uint8)
    one, words = np.zeros(1, np.int64), np.full((2, count), 77, np.int32)
    unrice_checked(padded, one, one, one + len(stream), one + count, block, width, words)
    assert (words[1] == 77).all()


unrice_checked = njit(boundscheck=True)(decode_kernels.rice_decompress.py_func)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_file_cut_after_its_headers_were_read_is_refused(tmp_path: Path):
    """astropy is asked, and says why."""
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(sky(), tan_header(SHAPE)))
    ref, reader = CoaddRef(uri_of(path), "x"), FitsReader()
    reader.read(ref, EVERYTHING)
    status = path.stat()
    os.truncate(path, status.st_size // 2)
    with pytest.raises(CoaddError, match="truncated"):
        reader.read(ref, EVERYTHING)


def test_a_file_that_took_the_place_of_a_larger_one_is_refused(tmp_path: Path):
    """What follows its pixels in the file is not taken for more of them."""
    smaller = fits.PrimaryHDU(sky()[: ROWS // 2], tan_header((ROWS // 2, COLS)))
    path = write(tmp_path / "x.fits", smaller, fits.ImageHDU(sky()))
    with pytest.raises(CoaddError, match=f"its image is {ROWS // 2}x{COLS}"):
        FitsReader().read(CoaddRef(uri_of(path), "x"), EVERYTHING)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_is_not_the_one_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
):
    """Even of the same size and shape: its sky is another."""
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(sky(), tan_header(SHAPE)))
    write(tmp_path / "y.fits", fits.PrimaryHDU(sky(), tan_header(SHAPE, CRVAL1=11.0)))
    (ref,), reader = FitsFolder([str(path)]).refs(), FitsReader()
    reader.read(ref, EVERYTHING)
    inner = decode.values

    def replaced(*arguments: Any) -> None:
        inner(*arguments)
        os.replace(tmp_path / "y.fits", path)

    if when == "before":
        os.replace(tmp_path / "y.fits", path)
    else:
        monkeypatch.setattr(decode, "values", replaced)
    with pytest.raises(CoaddError, match="changed since it was listed"):
        reader.read(ref, EVERYTHING)


def test_tiles_outside_of_the_heap_are_refused(tmp_path: Path):
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), compressed(sky(), "GZIP_2", (1, COLS)))
    with fits.open(path) as hdus, path.open("rb") as file:
        plane = decode.image_plane(file.fileno(), hdus[1])
        assert isinstance(plane, decode.Tiled)
        for heap_size in (0, 100, plane.heap_size - 1):
            shorter = replace(plane, heap_size=heap_size)
            with pytest.raises(decode.UndecodableError, match="heap"):
                decode.values(file.fileno(), shorter, EVERYTHING, np.nan, 1.0, np.empty(SHAPE))


def test_headers_are_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(), compressed(sky(), "GZIP_2", (1, COLS)))
    opened: list[Path] = []
    inner = coadd_fits._open

    def spied(file: Path, **options: bool):
        opened.append(file)
        return inner(file, **options)

    monkeypatch.setattr(coadd_fits, "_open", spied)
    ref = CoaddRef(uri_of(path), "x")
    for where in SECTIONS:
        assert FitsReader().info(ref).shape == SHAPE
        FitsReader().read(ref, where)
    assert opened == [path]
    write(tmp_path / "y.fits", fits.PrimaryHDU(2 * sky(), tan_header(SHAPE)))
    os.replace(tmp_path / "y.fits", path)
    same(FitsReader().read(ref, EVERYTHING), through_astropy(path, EVERYTHING, 0))
    assert opened == [path, path]
