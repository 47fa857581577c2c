"""What healpy, mocpy, astropy and numpy say of what the page's scripts compute.

python -m tests.web.figures writes figures.json, which the tests in *.test.mjs read.
"""

import base64
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import astropy.units as u
import healpy
import numpy as np
from astropy.coordinates import Angle, BarycentricMeanEcliptic, SkyCoord
from astropy.io import fits
from astropy.visualization import ZScaleInterval
from astropy.wcs import WCS
from mocpy import MOC

from hipsgen.sky.mask_planes import NO_DATA
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import moc_bytes
from hipsgen.survey.fits_tile import FitsTile, hpx_wcs

FIGURES = Path(__file__).with_name("figures.json")
ORDERS = (0, 1, 5, 12, 18, 24)
SHALLOW = (0, 1, 3, 10)
# where |z| = 2/3, HEALPix goes from one projection to the other
KINK = float(np.degrees(np.arcsin(2 / 3)))


def figures() -> dict[str, Any]:
    """Make them all; the same in each call."""
    return {
        "healpix": {
            "positions": _positions(),
            "borders": _borders(),
            "pixels": _pixels(),
            "tiles": _tiles(),
        },
        "mocs": [_moc(name, *rest) for name, *rest in _mocs()],
        "fits": [*_plain_tiles(), *_our_tiles(), _compressed_tile()],
        "coords": {
            "parsed": _parsed(),
            "written": _written(),
            "galactic": _galactic(),
            "ecliptic": _ecliptic(),
        },
        "cuts": [_cuts(values) for values in _samples()],
        "lupton": [_lupton(settings) for settings in _settings()],
    }


def packed(data: bytes) -> dict[str, str]:
    """A file, as JSON can hold it."""
    return {"gzip": base64.b64encode(gzip.compress(data, mtime=0)).decode()}


def unpacked(file: dict[str, str]) -> bytes:
    """The bytes that were packed."""
    return gzip.decompress(base64.b64decode(file["gzip"]))


# HEALPix


def _positions() -> list[list[float]]:
    """[order, lon, lat, NESTED number]: the whole sky, poles, RA 0, both sides of the kink."""
    rng = np.random.default_rng(1)
    lon = [*rng.uniform(0, 360, 60), 0.0, 123.4, 0.0, 77.0, 0.0, 360.0, -10.0, 725.0]
    lat = [*np.degrees(np.arcsin(rng.uniform(-1, 1, 60))), 90, 90, -90, -90, 7.3, 7.3, 20, -50]
    for near in (KINK - 1e-9, KINK + 1e-9, -KINK - 1e-9, -KINK + 1e-9):
        lon.append(33.3)
        lat.append(near)
    # longitudes at which quarters of the sky meet, close to a pole
    lon += [89.999, 90.001, 179.999, 359.999]
    lat += [89.99, 89.99, -89.99, -89.99]
    rows = []
    for order in ORDERS:
        index = healpy.ang2pix(1 << order, lon, lat, nest=True, lonlat=True)
        rows += [
            [order, float(x), float(y), int(n)] for x, y, n in zip(lon, lat, index, strict=True)
        ]
    return rows


def _borders() -> list[list[float]]:
    """[order, lon, lat, NESTED number]: just inside corners and edges of pixels, also of faces."""
    rows = []
    for order in SHALLOW:
        for npix in _some_pixels(order):
            edge = healpy.boundaries(1 << order, npix, step=2, nest=True)
            center = np.array(healpy.pix2vec(1 << order, npix, nest=True))[:, None]
            lon, lat = healpy.vec2ang((edge + 1e-3 * (center - edge)).T, lonlat=True)
            rows += [[order, float(x), float(y), npix] for x, y in zip(lon, lat, strict=True)]
    return rows


def _some_pixels(order: int) -> list[int]:
    """The first and the last of some faces, one in the middle."""
    face = 4**order
    numbers = {0, face - 1, 3 * face, 5 * face - 1, 4 * face, 7 * face + face // 3, 11 * face}
    return sorted(numbers | {12 * face - 1, 8 * face + face // 2})


def _pixels() -> list[list[int]]:
    """[order, NESTED number, face, x, y]."""
    rows = []
    for order in ORDERS:
        for npix in _some_pixels(order):
            x, y, face = healpy.pix2xyf(1 << order, npix, nest=True)
            rows.append([order, npix, int(face), int(x), int(y)])
    return rows


def _tiles() -> list[list[float]]:
    """[order, width, lon, lat, npix, row, column], by the WCS that our FITS tiles carry."""
    rng = np.random.default_rng(2)
    rows = []
    for order, width in ((0, 8), (3, 512), (9, 512), (11, 64)):
        for npix in _some_pixels(order)[::2]:
            tile = Tile(order, npix)
            wcs = WCS(
                fits.Header([(key, value) for key, value, _ in hpx_wcs(tile, width, "galactic")])
            )
            column, row = (int(n) for n in rng.integers(0, width, 2))
            lon, lat = wcs.wcs_pix2world(column + 0.3, row - 0.2, 0)
            rows.append([order, width, float(lon), float(lat), npix, row, column])
    return rows


# MOC


def _mocs() -> Iterable[tuple[str, MOC, float, float]]:
    """Name, coverage, and a place at its edge."""
    ra, dec, radius = (150, 2.2, 1.5) * u.deg
    cone = MOC.from_cone(lon=ra, lat=dec, radius=radius, max_depth=7, delta_depth=2)
    yield "cone", cone, 151.5, 2.2
    yield "orders", MOC.from_string("0/7 3/1 4/20-23 9/130000"), 59.06, 16.97
    yield "empty", MOC.new_empty(5), 0.0, 0.0


def _moc(name: str, moc: MOC, lon: float, lat: float) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    lons, lats = lon + rng.normal(0, 0.4, 24), lat + rng.normal(0, 0.4, 24)
    inside = moc.contains_lonlat(lons * u.deg, lats * u.deg)
    return {
        "name": name,
        "files": {
            "NUNIQ of a survey": packed(moc_bytes(moc, "equatorial")),
            "RANGE": packed(_written_to_bytes(moc.serialize("fits"))),
            "NUNIQ of 4 bytes": packed(_narrow(moc)),
        },
        # too large for the numbers of JSON
        "ranges": [[str(end) for end in ends] for ends in moc.to_depth29_ranges.tolist()],
        "positions": [
            [float(x), float(y), bool(z)] for x, y, z in zip(lons, lats, inside, strict=True)
        ],
        "cells": [[order, n, _meets(moc, order, n)] for order, n in _cells_near(lon, lat)],
    }


def _narrow(moc: MOC) -> bytes:
    """A MOC of shallow orders as the first writers had it: 32 bits a cell."""
    numbers = [4 * 4 ** int(order) + n for order, cells in _orders(moc) for n in cells]
    column = fits.Column("UNIQ", "1J", array=np.array(sorted(numbers), np.int32))
    table = fits.BinTableHDU.from_columns([column])
    table.header["ORDERING"] = "NUNIQ"
    return _written_to_bytes(fits.HDUList([fits.PrimaryHDU(), table]))


def _orders(moc: MOC) -> Iterable[tuple[str, list[int]]]:
    return (moc.serialize("json") if not moc.empty() else {}).items()


def _cells_near(lon: float, lat: float) -> Iterable[tuple[int, int]]:
    for order in (0, 2, 5, 7, 9, 12):
        center = healpy.ang2pix(1 << order, lon, lat, nest=True, lonlat=True)
        around = healpy.get_all_neighbours(1 << order, center, nest=True)
        yield from ((order, int(n)) for n in [center, *around] if n >= 0)


def _meets(moc: MOC, order: int, npix: int) -> bool:
    cell = MOC.from_healpix_cells(
        np.array([npix], np.uint64), np.array([order], np.uint8), max_depth=order
    )
    return not moc.intersection(cell).empty()


# FITS tiles


def _plain_tiles() -> Iterable[dict[str, Any]]:
    """Every type of pixel, as astropy writes and reads it."""
    rng = np.random.default_rng(4)
    for kind in ("u1", "i2", "i4", "i8", "f4", "f8"):
        pixels = rng.integers(0 if kind == "u1" else -200, 200, (4, 4)).astype(kind)
        if kind[0] == "f":
            pixels[1, 2] = np.nan
        yield _tile(kind, _written_to_bytes(fits.PrimaryHDU(pixels)))
        scaled = fits.PrimaryHDU(np.arange(1, 17).reshape(4, 4).astype(kind))
        scaled.header.update(BSCALE=0.25, BZERO=12.5)
        if kind[0] != "f":
            scaled.header["BLANK"] = 7
        yield _tile(f"{kind} with BSCALE and BZERO", _written_to_bytes(scaled))
    long = fits.PrimaryHDU(rng.normal(0, 1, (4, 4)).astype(np.float32))
    long.header["OBJECT"] = ("it's / here", "a comment")
    long.header.update({f"KEY{i}": i / 8 for i in range(40)})
    yield _tile("two blocks of header", _written_to_bytes(long))


def _our_tiles() -> Iterable[dict[str, Any]]:
    """As the tiles of a survey are written."""
    rng = np.random.default_rng(5)
    values = rng.normal(0, 100, (4, 4)).astype(np.float32)
    values[3, :2] = np.nan
    yield _tile("values of a survey", bytes(FitsTile(unit="nJy").encode(values, Tile(3, 5))))
    flags = (1 << rng.integers(0, 31, (4, 4))).astype(np.int32)
    flags[0, 0], flags[2, 3] = 0, NO_DATA
    form = FitsTile(planes=(("SAT", 1), ("CR", 3)))
    found = _tile("flags of a survey", bytes(form.encode(flags)))
    yield {**found, "integers": flags.ravel().tolist()}


def _tile(name: str, file: bytes) -> dict[str, Any]:
    with fits.open(io.BytesIO(file)) as hdus:
        values = np.asarray(hdus[0].data, np.float64).astype(np.float32).ravel()
    return {"name": name, "file": packed(file), "floats": _finite(values)}


def _compressed_tile() -> dict[str, Any]:
    """The beginning of one; its pixels are in a second HDU."""
    hdu = fits.CompImageHDU(np.zeros((4, 4), np.int32), compression_type="RICE_1")
    file = _written_to_bytes(fits.HDUList([fits.PrimaryHDU(), hdu]))
    return {"name": "compressed", "file": packed(file[:2880]), "floats": None}


def _written_to_bytes(hdus: Any) -> bytes:
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


# coordinates


def _parsed() -> list[list[Any]]:
    """[text, ra, dec], as astropy reads it in degrees, or in hours and degrees."""
    degrees = ("150.1 2.2", "150.1, -2.2", "0 +90", "359.999 -89.5", ".5 -.25", "12. 7.")
    hours = (
        *("10:00:24 +02:12:00", "10:00:24.5 -00:12:30.25", "23:59:59.999 -89:59:59.99"),
        *("10h00m24s +2d12m36s", "10h00m24s -2d12m36s", "10 00 24 2 12 36", "5h30m -69d30m"),
        *("10:30 +02:12", "10 02 00 -00 30 00"),
    )
    read = [(text, SkyCoord(text.replace(",", " "), unit="deg")) for text in degrees]
    read += [(text, SkyCoord(text, unit=("hourangle", "deg"))) for text in hours]
    return [[text, float(at.ra.deg), float(at.dec.deg)] for text, at in read]


def _written() -> list[list[Any]]:
    """[ra, dec, hours, degrees]; with the minus sign of a keyboard."""
    rng = np.random.default_rng(6)
    ra = [0.0, 1.5, 180.0, *rng.uniform(0, 360, 12).round(7).tolist()]
    dec = [0.0, -0.001, 89.0, *rng.uniform(-90, 90, 12).round(7).tolist()]
    return [
        [
            *(x, y),
            Angle(x, "deg").to_string(unit="hourangle", sep=":", precision=3, pad=True),
            Angle(y, "deg").to_string(sep=":", precision=2, pad=True, alwayssign=True),
        ]
        for x, y in zip(ra, dec, strict=True)
    ]


def _galactic() -> list[list[list[float]]]:
    """[ICRS, galactic as Hipparcos has it, galactic as astropy has it], degrees."""
    rng = np.random.default_rng(7)
    ra = np.array([0.0, 266.405, 192.8595, *rng.uniform(0, 360, 9).round(4)])
    dec = np.array([0.0, -28.936, 27.1, *rng.uniform(-89, 89, 9).round(4)])
    here = SkyCoord(ra, dec, unit="deg").galactic
    pairs = np.stack([[ra, dec], _hipparcos(ra, dec), [here.l.deg, here.b.deg]])
    return np.moveaxis(pairs, 2, 0).tolist()


def _ecliptic() -> list[list[list[float]]]:
    """[ICRS, ecliptic of J2000 as astropy has it], degrees."""
    rng = np.random.default_rng(7)
    ra = np.array([0.0, 270.0, 90.0, *rng.uniform(0, 360, 9).round(4)])
    dec = np.array([0.0, 66.56, -66.56, *rng.uniform(-89, 89, 9).round(4)])
    there = SkyCoord(ra, dec, unit="deg").transform_to(BarycentricMeanEcliptic(equinox="J2000"))
    pairs = np.stack([[ra, dec], [there.lon.deg, there.lat.deg]])
    return np.moveaxis(pairs, 2, 0).tolist()


def _hipparcos(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By the angles of ESA SP-1200 (vol. 1, 1.5.3): the pole, and the longitude of the node."""
    pole_ra, pole_dec, node = np.radians([192.85948, 27.12825, 32.93192])
    a, d = np.radians(ra) - pole_ra, np.radians(dec)
    x = np.cos(d) * np.sin(a)
    y = np.cos(pole_dec) * np.sin(d) - np.sin(pole_dec) * np.cos(d) * np.cos(a)
    z = np.sin(pole_dec) * np.sin(d) + np.cos(pole_dec) * np.cos(d) * np.cos(a)
    longitude = node + np.pi / 2 - np.arctan2(x, y)
    return np.degrees(longitude) % 360, np.degrees(np.arcsin(z))


# cuts and colors


def _samples() -> Iterable[np.ndarray]:
    rng = np.random.default_rng(8)
    noise = rng.normal(10, 3, 250)
    noise[:12] += rng.uniform(100, 5000, 12)
    yield noise
    yield rng.lognormal(0, 1.5, 301)
    yield np.arange(5.0)
    yield rng.normal(0, 1, 7)
    yield -rng.lognormal(0, 2, 100)
    yield np.linspace(-1, 1, 100)
    # half of it far away
    yield np.concatenate([rng.normal(0, 1, 60), rng.normal(1e6, 4e5, 60)])


def _cuts(values: np.ndarray) -> dict[str, Any]:
    values = np.sort(values.round(3))
    return {
        "values": values.tolist(),
        "zscale": _zscale(values),
        # so much is left out that no line holds
        "harsh": _zscale(values, krej=1.2, contrast=0.5),
        "percent": {
            str(p): np.percentile(values, [50 - p / 2, 50 + p / 2]).tolist() for p in (90, 99.5)
        },
    }


def _zscale(values: np.ndarray, **options: float) -> list[float]:
    return [float(cut) for cut in ZScaleInterval(values.size, **options).get_limits(values)]


def _settings() -> Iterable[dict[str, Any]]:
    yield {"q": 8.0, "span": 500.0, "low": [0.0, 0.0, 0.0], "gain": [1.0, 1.0, 1.0]}
    yield {"q": 1.0, "span": 20.0, "low": [1.0, -2.0, 0.5], "gain": [0.8, 1.0, 1.7]}
    yield {"q": 200.0, "span": 3000.0, "low": [0.0, 5.0, 0.0], "gain": [2.0, 1.0, 0.3]}


def _lupton(settings: dict[str, Any]) -> dict[str, Any]:
    """Of values from under black to far over white; one, two and all three missing."""
    rng = np.random.default_rng(9)
    values = (rng.normal(0.3, 0.5, (24, 3)) * settings["span"]).round(3)
    values[:6] = values[:6] / 50
    values[6:9] *= 10
    values[9, 0] = values[10, 1:] = values[11] = np.nan
    levels = _asinh_color(values, **settings)
    return {
        "settings": settings,
        "values": [_finite(row) for row in values],
        "levels": levels.tolist(),
    }


def _asinh_color(
    values: np.ndarray, q: float, span: float, low: list[float], gain: list[float]
) -> np.ndarray:
    """(n, 3) -> levels (n, 3): x f(I) / I with I the mean, f(I) = asinh(q I / span) / asinh(q)."""
    x = (values - low) * gain
    some = np.isfinite(x)
    intensity = np.where(some, x, 0).sum(axis=1, keepdims=True) / np.maximum(
        some.sum(axis=1, keepdims=True), 1
    )
    bright = np.where(intensity > 0, intensity, 1.0)
    shown = np.where(some, x, intensity) * np.arcsinh(q * bright / span) / np.arcsinh(q) / bright
    shown = np.where(intensity > 0, np.maximum(shown, 0), 0)
    shown /= np.maximum(shown.max(axis=1, keepdims=True), 1)
    return np.floor(255 * shown + 0.5).astype(int)


def _finite(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN."""
    return [float(v) if np.isfinite(v) else None for v in values]


if __name__ == "__main__":
    FIGURES.write_text(json.dumps(figures(), separators=(",", ":")) + "\n")
