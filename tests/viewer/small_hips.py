"""Makes a small real HiPS: orders 0 to 3 of one HEALPix face, as FITS and PNG."""

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import healpy
import numpy as np
from astropy.io import fits
from mocpy import MOC
from PIL import Image

from hipsgen.survey.properties import format_properties

FACE = 6
DEEPEST = 3
WIDTH = 128
# inside FACE, near its middle
RA, DEC = 180.0, 1.0


def interleave(x, y):
    """NESTED index inside a face from x (even bits) and y (odd bits)."""
    index = np.zeros(np.broadcast(x, y).shape, np.int64)
    for bit in range(20):
        index |= ((x >> bit & 1) << 2 * bit) | ((y >> bit & 1) << 2 * bit + 1)
    return index


def face_values(offset: float) -> np.ndarray:
    """[x, y] at the deepest order: a gradient, a texture, a hole, and nothing in one quarter."""
    nside = WIDTH << DEEPEST
    x, y = np.meshgrid(np.arange(nside), np.arange(nside), indexing="ij")
    ipix = FACE * nside**2 + interleave(x, y)
    lon, lat = healpy.pix2ang(nside, ipix, nest=True, lonlat=True)
    values = offset + (lon - RA) + 2 * (lat - DEC) + ipix % 17
    values[nside // 2 + 10 : nside // 2 + 14, nside // 2 : nside // 2 + 4] = np.nan
    values[: nside // 2, : nside // 2] = np.nan
    return values.astype(np.float32)


def parent(values: np.ndarray) -> np.ndarray:
    """Return the means of the valid pixels of four."""
    side = values.shape[0] // 2
    groups = values.reshape(side, 2, side, 2).transpose(0, 2, 1, 3).reshape(side, side, 4)
    count = np.isfinite(groups).sum(axis=2)
    with np.errstate(invalid="ignore"):
        return (np.nansum(groups, axis=2) / count).astype(np.float32)


def tile_path(order: int, npix: int, extension: str) -> str:
    return f"Norder{order}/Dir{npix // 10000 * 10000}/Npix{npix}.{extension}"


def make_survey(folder: Path, offset: float = 100.0, **properties: str) -> Path:
    """Write the survey, `properties` last; keywords replace or add properties (None removes)."""
    for path, data in _pixel_files(offset).items():
        _write(folder / path, data)
    frame = properties.get("hips_frame", "equatorial").lower()
    _write(folder / "Moc.fits", _moc_bytes({"galactic": "G", "ecliptic": "E"}.get(frame, "C")))
    text = format_properties({**default_properties(folder.name, offset), **properties})
    (folder / "properties").write_text(text, encoding="utf-8")
    return folder


@lru_cache(maxsize=4)  # many tests make the same survey, which takes half a second
def _pixel_files(offset: float) -> Mapping[str, bytes]:
    """Return the tiles, Allsky and preview by their path."""
    values, files = face_values(offset), {}
    for order in range(DEEPEST, -1, -1):
        for npix, tile in _tiles(values, order):
            files[tile_path(order, npix, "fits")] = _fits_bytes(tile, order, npix)
            files[tile_path(order, npix, "png")] = _png_bytes(tile, offset)
        values = parent(values)
    files["Norder0/Allsky.png"] = _allsky_bytes(files[tile_path(0, FACE, "png")])
    preview = io.BytesIO()
    Image.new("RGB", (256, 256), (60, 90, 140)).save(preview, "JPEG")
    files["preview.jpg"] = preview.getvalue()
    return files


@lru_cache
def _moc_bytes(coordsys: str) -> bytes:
    """Return the MOC of the deepest tiles; its cells are those of the frame that is named."""
    cells = [npix for npix, _ in _tiles(face_values(0.0), DEEPEST)]
    moc = MOC.from_healpix_cells(np.array(cells, np.uint64), np.uint8(DEEPEST), DEEPEST)
    table, buffer = moc.serialize("fits"), io.BytesIO()
    table[1].header["COORDSYS"] = coordsys
    table.writeto(buffer)
    return buffer.getvalue()


def default_properties(name: str, offset: float) -> Mapping[str, str]:
    return {
        "creator_did": f"ivo://test/P/{name}",
        "obs_title": f"Small survey {name}",
        "dataproduct_type": "image",
        "hips_version": "1.4",
        "hips_release_date": "2026-01-02T03:04Z",
        "hips_status": "private master clonableOnce",
        "hips_tile_format": "fits png",
        "hips_order": str(DEEPEST),
        "hips_tile_width": str(WIDTH),
        "hips_frame": "equatorial",
        "hips_pixel_bitpix": "-32",
        "hips_pixel_cut": f"{offset - 60:g} {offset + 80:g}",
        "hips_bunit": "nJy",
        "hips_initial_ra": str(RA),
        "hips_initial_dec": str(DEC),
        "hips_initial_fov": "30",
    }


def value_at(folder: Path, ra: float, dec: float, order: int, width: int = WIDTH) -> float:
    """Return the value of a tile file at a position, by healpy and astropy only."""
    nside = width << order
    ipix = int(healpy.ang2pix(nside, ra, dec, nest=True, lonlat=True))
    npix, inside = divmod(ipix, width**2)
    x = sum((inside >> 2 * bit & 1) << bit for bit in range(20))
    y = sum((inside >> 2 * bit + 1 & 1) << bit for bit in range(20))
    path = folder / tile_path(order, npix, "fits")
    return float(fits.getdata(path)[width - 1 - x, y]) if path.exists() else float("nan")


def _tiles(values: np.ndarray, order: int):
    side = 1 << order
    for x in range(side):
        for y in range(side):
            tile = values[x * WIDTH : (x + 1) * WIDTH, y * WIDTH : (y + 1) * WIDTH]
            if np.isfinite(tile).any():
                npix = FACE * side**2 + int(interleave(np.int64(x), np.int64(y)))
                # a FITS row runs along y, rows run against x
                yield npix, tile[::-1]


def _fits_bytes(tile: np.ndarray, order: int, npix: int) -> bytes:
    hdu = fits.PrimaryHDU(np.ascontiguousarray(tile))
    hdu.header["ORDER"], hdu.header["NPIX"], hdu.header["BUNIT"] = order, npix, "nJy"
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    return buffer.getvalue()


def _png_bytes(tile: np.ndarray, offset: float) -> bytes:
    # PNG rows run top-down
    upright = tile[::-1]
    gray = np.clip((np.nan_to_num(upright) - offset + 60) / 140 * 255, 0, 255).astype(np.uint8)
    alpha = np.where(np.isfinite(upright), 255, 0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([gray, gray, gray, alpha])).save(buffer, "PNG")
    return buffer.getvalue()


def _allsky_bytes(tile: bytes) -> bytes:
    # order 0: 3 tiles wide, 4 rows, of 64 pixels each
    mosaic, buffer = Image.new("RGBA", (3 * 64, 4 * 64)), io.BytesIO()
    with Image.open(io.BytesIO(tile)) as image:
        mosaic.paste(image.resize((64, 64)), (FACE % 3 * 64, FACE // 3 * 64))
    mosaic.save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
