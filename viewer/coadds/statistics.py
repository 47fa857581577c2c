"""Statistics of regions and profiles along lines, measured on coadds or tiles."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import healpy
import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo, Section
from hipsgen.sky.frames import from_icrs, to_icrs
from hipsgen.sky.polygon import to_lonlat, to_vectors
from hipsgen.sky.tiles import Tile, deinterleave
from hipsgen.survey.provenance import UsedCoadd
from viewer.coadds import pixels

Vectors = npt.NDArray[np.float64]
ReadTile = Callable[[Tile], "npt.NDArray[np.floating[Any]] | None"]

MAX_PIXELS = 2_250_000  # of a coadd for statistics; larger regions are measured on tiles
MAX_POINTS = 1000  # of a profile
_MAX_TILES = 64  # read for statistics
_MAX_CANDIDATES = 4096  # tiles listed for a region
_BOUNDARY_POINTS = 64
_GAUSSIAN = 1.482602218505602  # sigma of Gaussian noise over its median absolute deviation


@dataclass(frozen=True)
class MeasuredRegion:
    """A circle, or a rectangle aligned with east-west and north-south at its center.

    Parameters
    ----------
    ra, dec
        Center, ICRS degrees.
    width, height
        Size of the rectangle on the tangent plane, degrees; for a circle both are the diameter.
    is_circle
        Whether it is a circle.
    """

    ra: float
    dec: float
    width: float
    height: float
    is_circle: bool

    @property
    def center(self) -> Vectors:
        """ICRS unit vector of the center."""
        return to_vectors(self.ra, self.dec)

    def contains(self, vectors: Vectors) -> npt.NDArray[np.bool_]:
        """Return whether ICRS unit vectors (..., 3) lie inside, shape (...)."""
        center = self.center
        is_near_side = vectors @ center > 0
        if self.is_circle:
            chord = np.linalg.norm(vectors - center, axis=-1)
            return np.asarray(is_near_side & (chord <= 2 * math.sin(math.radians(self.width) / 4)))
        depth = np.where(is_near_side, vectors @ center, 1.0)
        plane = np.degrees(vectors @ self._axes().T / depth[..., None])
        inside = np.abs(plane) <= np.array([self.width, self.height]) / 2
        return np.asarray(is_near_side & inside.all(axis=-1))

    def boundary(self) -> Vectors:
        """Return ICRS unit vectors (n, 3) of points on its boundary."""
        angle = np.linspace(0, 2 * np.pi, _BOUNDARY_POINTS, endpoint=False)
        shape = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        half = np.array([self.width, self.height]) / 2
        if self.is_circle:
            # the tangent plane stretches distances from its center
            half = np.degrees(np.tan(np.radians(half)))
        else:
            shape /= np.abs(shape).max(axis=1, keepdims=True)
        vectors = self.center + np.radians(shape * half) @ self._axes()
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def _axes(self) -> Vectors:
        """Return unit vectors to the east and to the north, as rows (2, 3)."""
        ra, dec = math.radians(self.ra), math.radians(self.dec)
        east = -math.sin(ra), math.cos(ra), 0.0
        north = -math.sin(dec) * math.cos(ra), -math.sin(dec) * math.sin(ra), math.cos(dec)
        return np.array([east, north])

    @property
    def radius(self) -> float:
        """Radius of the circumscribed circle, degrees."""
        if self.is_circle:
            return self.width / 2
        half = math.hypot(self.width, self.height) / 2
        return math.degrees(math.atan(math.radians(half)))

    @property
    def area(self) -> float:
        """Area in square degrees, approximately."""
        area = self.width * self.height
        return area * math.pi / 4 if self.is_circle else area


@dataclass(frozen=True)
class TileSurvey:
    """What measuring needs of a survey: how to read its tiles, its tiling and its unit."""

    read_tile: ReadTile
    order: int
    order_min: int
    width: int
    frame: str
    unit: str
    pixel_scale: float  # of the coadds, degrees; 0 if unknown

    def pixel_size(self, order: int) -> float:
        """Return the side of a pixel at an order, degrees."""
        return math.degrees(math.sqrt(4 * math.pi / 12)) / (self.width << order)

    def order_for(self, area: float) -> int:
        """Return the deepest order that has at most `MAX_PIXELS` in an area (square degrees)."""
        order = self.order
        while order > self.order_min and area / self.pixel_size(order) ** 2 > MAX_PIXELS:
            order -= 1
        return order

    def values(self, vectors: Vectors, order: int) -> npt.NDArray[np.float64]:
        """Return the pixel values (n,) at ICRS unit vectors (n, 3); NaN where there are none."""
        lon, lat = to_lonlat(from_icrs(vectors, self.frame))
        nside = self.width << order
        indices = healpy.ang2pix(nside, lon, lat, nest=True, lonlat=True)
        npix = indices // (self.width * self.width)
        values = np.full(len(vectors), np.nan)
        for tile_npix in np.unique(npix):
            pixels = self.read_tile(Tile(order, int(tile_npix)))
            if pixels is not None:
                is_here = npix == tile_npix
                x, y = deinterleave(indices[is_here] % (self.width * self.width))
                # HiPS 1.0, 4.2.1: columns follow y, rows run against x
                values[is_here] = pixels[self.width - 1 - x, y]
        return values


class ValueStatistics(TypedDict):
    """Statistics of pixel values, None if there are too few. missing: pixels without a value."""

    count: int
    missing: int
    unit: str
    mean: float | None
    median: float | None
    sigma: float | None
    robust_sigma: float | None
    sum: float | None
    min: float | None
    max: float | None


class CoaddStatistics(ValueStatistics):
    """Statistics of a region of a coadd. pixel_scale: arcsec."""

    source: Literal["coadd"]
    coadd: str
    data_id: dict[str, int | str]
    pixel_scale: float


class TileStatistics(ValueStatistics):
    """Statistics of a region of tiles. kind: native for the deepest order. pixel_scale: arcsec."""

    source: Literal["tiles"]
    order: int
    kind: Literal["native", "averaged"]
    pixel_scale: float


class LineValues(TypedDict):
    """Values along a line, None where missing. distance: arcsec from its start."""

    unit: str
    distance: list[float]
    value: list[float | None]


class CoaddProfile(LineValues):
    """Values of a coadd along a line."""

    source: Literal["coadd"]
    coadd: str
    data_id: dict[str, int | str]


class TileProfile(LineValues):
    """Values of tiles along a line. order, kind: as in `TileStatistics`."""

    source: Literal["tiles"]
    order: int
    kind: Literal["native", "averaged"]


def coadd_statistics(coadds: Sequence[UsedCoadd], region: MeasuredRegion) -> CoaddStatistics | None:
    """Measure the first coadd that contains a whole region.

    Parameters
    ----------
    coadds
        The coadds to try, in this order.
    region
        The region to measure.

    Returns
    -------
    The statistics, or None if no coadd contains the region, or if it has too many pixels.

    Raises
    ------
    CoaddError
        If the coadd cannot be read.
    """
    boundary = region.boundary()
    for coadd in coadds:
        if not coadd.holds(boundary).all():
            continue
        info = pixels.info_of(coadd)
        section = _section(info, boundary)
        if section is None:
            continue
        cutout = pixels.read(coadd, section)
        rows, cols = np.mgrid[section]
        sky = info.wcs.to_sky(cols.ravel().astype(float), rows.ravel().astype(float))
        values = cutout.image.ravel()[region.contains(sky)]
        return {
            **describe(values, info.unit),
            "source": "coadd",
            "coadd": pixels.coadd_id(coadd),
            "data_id": dict(coadd.ref.data_id),
            "pixel_scale": 3600 * info.pixel_scale,
        }
    return None


def tile_statistics(survey: TileSurvey, region: MeasuredRegion) -> TileStatistics:
    """Measure tiles, at the deepest order that has few enough pixels and tiles in the region.

    A tile's values are per pixel of the coadds, so the sum is scaled to the coadds' pixels if their
    size is known.

    Parameters
    ----------
    survey
        The tiles to measure.
    region
        The region to measure.

    Returns
    -------
    The statistics, with the order.

    Raises
    ------
    CoaddError
        If even the lowest order has too many tiles in the region.
    """
    order = survey.order_for(region.area)
    # a long thin region has few pixels but may have many tiles: do not even list too many
    while order > survey.order_min and _cap_area(region) > _MAX_TILES * _tile_area(order):
        order -= 1
    if _cap_area(region) > _MAX_CANDIDATES * _tile_area(order):
        raise CoaddError(f"the region is too large for tiles of order {order}")
    tiles = list(_tiles_of(survey, region, order))
    while len(tiles) > _MAX_TILES and order > survey.order_min:
        order -= 1
        tiles = list(_tiles_of(survey, region, order))
    parts = [np.empty(0, np.float32)]
    rows, cols = np.mgrid[: survey.width, : survey.width]
    for tile in tiles:
        values = survey.read_tile(tile)
        if values is not None:
            sky = to_icrs(tile.vectors(rows, cols, survey.width), survey.frame)
            parts.append(values[region.contains(sky)])
    measured = describe(np.concatenate(parts), survey.unit)
    if survey.pixel_scale and measured["sum"] is not None:
        measured["sum"] *= (survey.pixel_size(order) / survey.pixel_scale) ** 2
    return {
        **measured,
        "source": "tiles",
        "order": order,
        "kind": _kind(survey, order),
        "pixel_scale": 3600 * survey.pixel_size(order),
    }


def describe(values: npt.NDArray[Any], unit: str) -> ValueStatistics:
    """Return count, mean, median, sigma (n - 1), sum, min and max of the finite values.

    robust_sigma is 1.4826 times the median absolute deviation, which is sigma for Gaussian noise
    and is hardly changed by a few stars (Rousseeuw & Croux 1993, JASA 88, 1273).
    """
    valid = values[np.isfinite(values)].astype(np.float64)
    if not valid.size:
        return {
            "count": 0,
            "missing": int(values.size),
            "unit": unit,
            "mean": None,
            "median": None,
            "sigma": None,
            "robust_sigma": None,
            "sum": None,
            "min": None,
            "max": None,
        }
    median = float(np.median(valid))
    return {
        "count": int(valid.size),
        "missing": int(values.size - valid.size),
        "unit": unit,
        "mean": float(valid.mean()),
        "median": median,
        "sigma": float(valid.std(ddof=1)) if valid.size > 1 else None,
        "robust_sigma": _GAUSSIAN * float(np.median(np.abs(valid - median))),
        "sum": float(valid.sum()),
        "min": float(valid.min()),
        "max": float(valid.max()),
    }


@dataclass(frozen=True)
class Line:
    """A great circle from one ICRS position (degrees) to another."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length(self) -> float:
        """Its length in degrees."""
        a, b = to_vectors(*self.start), to_vectors(*self.end)
        return math.degrees(2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / 2)))

    def points(self, step: float) -> tuple[npt.NDArray[np.float64], Vectors]:
        """Return points about every `step` degrees, at most `MAX_POINTS`.

        Returns
        -------
        distances
            From the start, degrees, shape (n,).
        vectors
            ICRS unit vectors, shape (n, 3).
        """
        a, b = to_vectors(*self.start), to_vectors(*self.end)
        count = max(2, min(MAX_POINTS, math.floor(self.length / step) + 1))
        angles = np.linspace(0.0, math.radians(self.length), count)
        tangent = b - a * (a @ b)
        norm = float(np.linalg.norm(tangent))
        if norm == 0.0:
            return np.degrees(angles), np.broadcast_to(a, (count, 3)).copy()
        vectors = np.outer(np.cos(angles), a) + np.outer(np.sin(angles), tangent / norm)
        return np.degrees(angles), vectors


def profile(
    coadds: Sequence[UsedCoadd], survey: TileSurvey, line: Line
) -> CoaddProfile | TileProfile:
    """Return the values of the nearest pixels along a line.

    Parameters
    ----------
    coadds
        The coadds to try, in this order: the first that contains the whole line is used.
    survey
        Its tiles are used if there is no such coadd.
    line
        Where to measure.

    Raises
    ------
    CoaddError
        If the coadd cannot be read.
    """
    ends = np.stack([to_vectors(*line.start), to_vectors(*line.end)])
    for coadd in coadds:
        if not coadd.holds(ends).all():
            continue
        info = pixels.info_of(coadd)
        distances, sky = line.points(info.pixel_scale)
        section = _section(info, sky)
        if section is None:
            continue
        x, y = info.wcs(sky)
        cutout = pixels.read(coadd, section)
        row = np.floor(y + 0.5).astype(int) - section[0].start
        col = np.floor(x + 0.5).astype(int) - section[1].start
        values = cutout.image[row, col].astype(float)
        return {
            **_line_values(distances, values, info.unit),
            "source": "coadd",
            "coadd": pixels.coadd_id(coadd),
            "data_id": dict(coadd.ref.data_id),
        }
    order = survey.order
    while order > survey.order_min and line.length / survey.pixel_size(order) > MAX_POINTS:
        order -= 1
    distances, sky = line.points(survey.pixel_size(order))
    return {
        **_line_values(distances, survey.values(sky, order), survey.unit),
        "source": "tiles",
        "order": order,
        "kind": _kind(survey, order),
    }


def _line_values(
    distances: npt.NDArray[np.float64], values: npt.NDArray[np.float64], unit: str
) -> LineValues:
    numbers = [value if math.isfinite(value) else None for value in values.tolist()]
    return {"unit": unit, "distance": (3600 * distances).tolist(), "value": numbers}


def _kind(survey: TileSurvey, order: int) -> Literal["native", "averaged"]:
    return "native" if order == survey.order else "averaged"


def _section(info: CoaddInfo, vectors: Vectors) -> Section | None:
    """Return the section around ICRS unit vectors; None if some are off the image, or too large."""
    x, y = info.wcs(vectors)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    cols, rows = (
        slice(math.floor(axis.min() + 0.5), math.floor(axis.max() + 0.5) + 1) for axis in (x, y)
    )
    height, width = info.shape
    if rows.start < 0 or cols.start < 0 or rows.stop > height or cols.stop > width:
        return None
    if (rows.stop - rows.start) * (cols.stop - cols.start) > MAX_PIXELS:
        return None
    return rows, cols


def _cap_area(region: MeasuredRegion) -> float:
    """Return the area of the circumscribed circle of a region, square degrees."""
    return math.degrees(math.degrees(2 * math.pi * (1 - math.cos(math.radians(region.radius)))))


def _tile_area(order: int) -> float:
    """Return the area of a tile, square degrees."""
    return math.degrees(math.degrees(4 * math.pi)) / (12 << 2 * order)


def _tiles_of(survey: TileSurvey, region: MeasuredRegion, order: int) -> Iterator[Tile]:
    """Yield the tiles of an order that may overlap a region."""
    center = from_icrs(region.center[None], survey.frame)[0]
    radius = min(math.pi, math.radians(region.radius * 1.01) + 1e-9)
    overlapping = healpy.query_disc(1 << order, center, radius, inclusive=True, fact=4, nest=True)
    for npix in overlapping.tolist():
        yield Tile(order, npix)
