"""What every tile format promises: FITS, PNG, JPEG, WebP."""

import io
import re
import threading

import numpy as np
import pytest
from PIL import Image

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import FORMATS, Format, Picture, PngTile, format_of

WIDTH = 64
EXTENSIONS = {"fits": "fits", "png": "png", "jpeg": "jpg", "webp": "webp"}
MEDIA = {
    "fits": "application/fits",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
CLOSE = {"png": 0, "jpeg": 6, "webp": 6}  # levels, on average; twice as much at most


@pytest.fixture(params=FORMATS, ids=str)
def fmt(request: pytest.FixtureRequest) -> Format:
    return format_of(request.param)


@pytest.fixture(params=["gray", "color"])
def pixels(request: pytest.FixtureRequest, fmt: Format) -> np.ndarray:
    """A smooth picture, brighter to the right, darker upwards, without its upper left corner."""
    y, x = np.mgrid[0:WIDTH, 0:WIDTH]
    ramp = 40.0 + 2.0 * x - 0.5 * y
    hole = (y >= 48) & (x < 16)
    if fmt.holds_values:
        unit = 1 / 7 if request.param == "gray" else -3e30
        return np.where(hole, np.nan, ramp * unit).astype(np.float32)
    if request.param == "gray":
        return np.where(hole, 0, ramp).astype(np.uint8)
    alpha = np.where(hole, 0, 255)
    levels = [np.where(hole, 0, c) for c in (ramp, 0.8 * ramp, 0.5 * ramp)]
    return np.stack([*levels, alpha], axis=-1).astype(np.uint8)


def test_decoding_gives_back_what_was_encoded(fmt: Format, pixels: np.ndarray):
    back = fmt.decode(fmt.encode(pixels, Tile(3, 17)))
    if fmt.holds_values:
        assert back.dtype == np.float32
        assert back.dtype.isnative
        np.testing.assert_array_equal(back, pixels)
        return
    assert back.dtype == np.uint8
    if pixels.ndim == 2 and back.ndim == 3:
        assert np.ptp(back[..., :3], axis=-1).max() <= 2  # still gray
        seen = back[..., 0]
    else:
        seen = back
    known = pixels > 0
    off = np.abs(seen.astype(int) - pixels)[known]
    assert off.max() <= (2 * CLOSE[fmt.name] if fmt.keeps_missing else 40)
    assert off.mean() <= CLOSE[fmt.name]


def test_missing_pixels_stay_missing_where_the_format_says_so(fmt: Format, pixels: np.ndarray):
    back = fmt.decode(fmt.encode(pixels))
    if fmt.holds_values:
        missing, expected = np.isnan(back), np.isnan(pixels)
    else:
        missing = back == 0 if back.ndim == 2 else back[..., 3] == 0
        expected = pixels == 0 if pixels.ndim == 2 else pixels[..., 3] == 0
    if fmt.keeps_missing:
        np.testing.assert_array_equal(missing, expected)
    else:
        level = back if back.ndim == 2 else back[..., :3].max(axis=-1)
        assert level[52:, :12].max() <= 8  # black, away from the edge


@pytest.mark.parametrize("level", [0, 1])
def test_a_tile_without_data_has_none_afterwards(fmt: Format, level: int):
    """And one that has data everywhere misses none."""
    if fmt.holds_values:
        pixels = np.full((WIDTH, WIDTH), level or np.nan, np.float32)
        np.testing.assert_array_equal(fmt.decode(fmt.encode(pixels)), pixels)
    elif fmt.keeps_missing:
        back = fmt.decode(fmt.encode(np.full((WIDTH, WIDTH), level, np.uint8)))
        seen = back if back.ndim == 2 else back[..., 3]
        assert (seen > 0).all() if level else not seen.any()


def test_row_0_is_at_the_bottom(fmt: Format, pixels: np.ndarray):
    """HiPS 1.0, section 4.2: FITS rows run upwards, those of pictures downwards."""
    pixels = pixels.copy()
    pixels[:8] = 200
    data = fmt.encode(pixels)
    back = fmt.decode(data)
    if fmt.holds_values:
        from astropy.io import fits

        raw = fits.getdata(io.BytesIO(data))
        assert (raw[:8] == 200).all()
    else:
        with Image.open(io.BytesIO(data)) as image:
            raw = np.asarray(image.convert("RGB"))[..., 0]
        assert raw[-8:].min() > 180
        assert raw[:8].max() < 180
    first = back if back.ndim == 2 else back[..., 0]
    assert first[:7].min() > 180
    assert np.nanmax(first[-8:]) < 180


def test_the_same_pixels_make_the_same_bytes(fmt: Format, pixels: np.ndarray):
    data = fmt.encode(pixels, Tile(5, 9))
    assert format_of(fmt.name).encode(pixels.copy(), Tile(5, 9)) == data
    assert fmt.encode(np.asfortranarray(pixels), Tile(5, 9)) == data
    assert not re.search(rb"\d{4}-\d\d-\d\dT\d\d", data), "the time of day is in the file"


@pytest.mark.parametrize("data", [b"", b"garbage" * 1000, b"\0" * 5760, b"<html></html>"])
def test_garbage_is_a_survey_error_of_one_line(fmt: Format, data: bytes):
    with pytest.raises(SurveyError) as raised:
        fmt.decode(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("other", FORMATS)
def test_bytes_of_another_format_are_a_survey_error(fmt: Format, other: str):
    pixels = np.full((WIDTH, WIDTH), 77, np.float32 if other == "fits" else np.uint8)
    data = format_of(other).encode(pixels)
    if other == fmt.name:
        assert fmt.decode(data).shape[:2] == pixels.shape
        return
    with pytest.raises(SurveyError):
        fmt.decode(data)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.filterwarnings("ignore:Error validating header")
def test_a_truncated_tile_is_a_survey_error(fmt: Format, pixels: np.ndarray):
    data = fmt.encode(pixels, Tile(3, 17))
    for size in (10, len(data) // 3, len(data) // 2):
        with pytest.raises(SurveyError):
            fmt.decode(data[:size])


def test_names_extensions_and_media_types_are_those_of_the_standard(fmt: Format):
    assert fmt.extension == EXTENSIONS[fmt.name]
    assert fmt.media_type == MEDIA[fmt.name]
    assert fmt.holds_values == (fmt.name == "fits")


def test_pictures_refuse_what_is_not_bytes():
    for made in map(format_of, FORMATS):
        if isinstance(made, Picture):
            with pytest.raises(ValueError, match="uint8"):
                made.encode(np.zeros((8, 8), np.float32))


def test_jpg_is_another_word_for_jpeg_and_bmp_is_unknown():
    assert format_of("jpg").name == "jpeg"
    with pytest.raises(SurveyError, match="'bmp' is not one of fits, png, jpeg, webp"):
        format_of("bmp")


def test_pictures_of_other_makers_come_out_as_gray_or_rgba():
    """Palette, 1-bit and CMYK pictures are in surveys out there."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = Image.fromarray(np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1))
    for image, name in (
        (rgb.quantize(64), "png"),
        (rgb.convert("1"), "png"),
        (rgb.convert("LA"), "png"),
        (rgb.convert("CMYK"), "jpeg"),
    ):
        buffer = io.BytesIO()
        image.save(buffer, name)
        back = format_of(name).decode(buffer.getvalue())
        assert back.dtype == np.uint8
        gray = image.mode in ("1", "LA")
        assert back.shape == ((16, 16) if gray else (16, 16, 4))
        upright = np.asarray(image.convert("L" if gray else "RGB"))[::-1]
        seen = back if gray else back[..., :3]
        assert np.abs(seen.astype(int) - upright).mean() < 8


def test_scaled_integers_of_other_makers_are_unscaled():
    from astropy.io import fits

    hdu = fits.PrimaryHDU(np.arange(64, dtype=np.int16).reshape(8, 8))
    hdu.header["BLANK"] = 5
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    data = buffer.getvalue()
    head = data.index(b"END" + b" " * 77)
    cards = b"".join(text.ljust(80).encode() for text in ("BSCALE  = 0.5", "BZERO   = 10.0", "END"))
    scaled = data[:head] + cards + data[head + len(cards) :]
    back = FitsTile().decode(scaled)
    expected = (10 + 0.5 * np.arange(64, dtype=np.float32)).reshape(8, 8)
    expected.flat[5] = np.nan
    np.testing.assert_array_equal(back, expected)


def test_a_png_has_the_same_bytes_wherever_in_memory_it_is_made():
    """ISA-L by itself takes an address for data: some of these would be deflated otherwise."""
    rng = np.random.default_rng(4)
    levels = np.zeros((512, 512), np.uint8)
    for row in range(169):  # many different strings between zeros: the sight of the address tells
        width = row // 3 + 1 + int(rng.integers(0, 6))
        levels[168 - row, 512 - width :] = np.clip(rng.normal(34, 12, width), 1, 255)
    held, made = [], set()

    def make() -> None:
        held.append(bytes(70_000))  # the next one lies elsewhere
        made.add(PngTile().encode(levels))

    before = threading.stack_size()
    try:
        for k in range(1500):
            make()
            threading.stack_size((1 << 20) + (k << 16))
            thread = threading.Thread(target=make)
            thread.start()
            thread.join()
    finally:
        threading.stack_size(before)
    assert len(made) == 1
