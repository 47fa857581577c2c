"""Input of the benchmarks: patches of a tract, as a survey of the sky has them."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

SIZE, BORDER = 4200, 100
SCALE = 0.2 / 3600
CENTER = (30.0, -10.0)
_STARS = 2000


def make_patches(folder: Path, count: int, compression: str = "") -> Path:
    """`count` patches of 4200 x 4200 float32 (100 px border, 0.2"), side by side, as FITS files.

    compression: "" or one of RICE_1, GZIP_2 (in rows, as astropy and fpack make them).
    """
    folder.mkdir(parents=True, exist_ok=True)
    across = int(np.ceil(np.sqrt(count)))
    sky = _sky()
    for k in range(count):
        j, i = divmod(k, across)
        path = folder / f"patch_{j:02}_{i:02}.fits"
        if path.exists():
            continue
        # the same noise, moved: making it takes longer than building from it
        pixels = np.roll(sky, (577 * k, 1291 * k), axis=(0, 1))
        header = _header(i, j, across)
        if compression:
            packed = fits.CompImageHDU(
                pixels, header, compression_type=compression, tile_shape=(1, SIZE)
            )
            hdus = fits.HDUList([fits.PrimaryHDU(), packed])
        else:
            hdus = fits.HDUList([fits.PrimaryHDU(pixels, header)])
        hdus.writeto(path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return folder


def _sky() -> np.ndarray:
    rng = np.random.default_rng(1)
    pixels = 5 * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(x**2 + y**2) / (2 * 1.7**2)).astype(np.float32)
    for row, col, magnitude in zip(
        rng.integers(12, SIZE - 13, _STARS),
        rng.integers(12, SIZE - 13, _STARS),
        rng.uniform(1, 4, _STARS),
        strict=True,
    ):
        pixels[row - 12 : row + 13, col - 12 : col + 13] += np.float32(10**magnitude) * star
    return pixels


def _header(i: int, j: int, across: int) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = CENTER
    wcs.wcs.cdelt = [-SCALE, SCALE]
    inner = SIZE - 2 * BORDER
    wcs.wcs.crpix = [across * inner / 2 + 0.5 - (k * inner - BORDER) for k in (i, j)]
    header = wcs.to_header()
    header["BUNIT"] = "nJy"
    return header
