"""Statistics of a region of the sky and profiles along a line, from coadds or from tiles."""

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
Tiles = Callable[[Tile], "npt.NDArray[np.float32] | None"]

MAX_PIXELS = 2_250_000  # of a coadd for statistics; more are taken from tiles
MAX_POINTS = 1000  # of a profile
_MAX_TILES = 64
_MOST_LISTED = 4096
_SIDES = 64  # points on the border of a region
_GAUSSIAN = 1.482602218505602  # sigma of Gaussian noise over its median absolute deviation


@dataclass(frozen=True)
class MeasuredRegion:
    """A circle, or a rectangle whose sides run east-west and north-south through its center.

    ra, dec: of the center, ICRS degrees. width, height: degrees, of the rectangle on the tangent
    plane; a circle has both its diameter.
    """

    ra: float
    dec: float
    width: float
    height: float
    is_circle: bool

    @property
    def center(self) -> Vectors:
        """ICRS unit vector."""
        return to_vectors(self.ra, self.dec)

    def holds(self, vectors: Vectors) -> npt.NDArray[np.bool_]:
        """Which ICRS directions (..., 3) lie inside."""
        center = self.center
        near = vectors @ center > 0
        if self.is_circle:
            chord = np.linalg.norm(vectors - center, axis=-1)
            return np.asarray(near & (chord <= 2 * math.sin(math.radians(self.width) / 4)))
        depth = np.where(near, vectors @ center, 1.0)
        plane = np.degrees(vectors @ self._axes().T / depth[..., None])
        inside = np.abs(plane) <= np.array([self.width, self.height]) / 2
        return np.asarray(near & inside.all(axis=-1))

    def border(self) -> Vectors:
        """ICRS unit vectors (n, 3) of points round it."""
        turn = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
        shape = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        half = np.array([self.width, self.height]) / 2
        if self.is_circle:
            # the tangent plane stretches what lies far from its center
            half = np.degrees(np.tan(np.radians(half)))
        else:
            shape /= np.abs(shape).max(axis=1, keepdims=True)
        vectors = self.center + np.radians(shape * half) @ self._axes()
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def _axes(self) -> Vectors:
        """Unit vectors to the east and to the north, as rows (2, 3)."""
        ra, dec = math.radians(self.ra), math.radians(self.dec)
        east = -math.sin(ra), math.cos(ra), 0.0
        north = -math.sin(dec) * math.cos(ra), -math.sin(dec) * math.sin(ra), math.cos(dec)
        return np.array([east, north])

    @property
    def radius(self) -> float:
        """Degrees, of a circle round it."""
        if self.is_circle:
            return self.width / 2
        half = math.hypot(self.width, self.height) / 2
        return math.degrees(math.atan(math.radians(half)))

    @property
    def area(self) -> float:
        """Square degrees, nearly."""
        area = self.width * self.height
        return area * math.pi / 4 if self.is_circle else area


@dataclass(frozen=True)
class TileSurvey:
    """What is needed of a survey: its tiles, and what its pixels are."""

    tiles: Tiles
    order: int
    order_min: int
    width: int
    frame: str
    unit: str
    pixel_scale: float  # of the coadds, degrees; 0 when not known

    def pixel(self, order: int) -> float:
        """Side of a pixel at an order, degrees."""
        return math.degrees(math.sqrt(4 * math.pi / 12)) / (self.width << order)

    def order_for(self, area: float) -> int:
        """The deepest of which an area (square degrees) has no more pixels than are read."""
        order = self.order
        while order > self.order_min and area / self.pixel(order) ** 2 > MAX_PIXELS:
            order -= 1
        return order

    def values(self, vectors: Vectors, order: int) -> npt.NDArray[np.float64]:
        """Those of the pixels in which ICRS directions (n, 3) lie; NaN where there is none."""
        lon, lat = to_lonlat(from_icrs(vectors, self.frame))
        nside = self.width << order
        deep = healpy.ang2pix(nside, lon, lat, nest=True, lonlat=True)
        npix = deep // (self.width * self.width)
        found = np.full(len(vectors), np.nan)
        for one in np.unique(npix):
            pixels = self.tiles(Tile(order, int(one)))
            if pixels is not None:
                here = npix == one
                x, y = deinterleave(deep[here] % (self.width * self.width))
                # HiPS 1.0, 4.2.1: columns follow y, rows run against x
                found[here] = pixels[self.width - 1 - x, y]
        return found


class ValueStatistics(TypedDict):
    """Numbers of some pixels, None where there are too few. missing: pixels without a value."""

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
    """The same of a region of a coadd. pixel_scale: arcsec."""

    source: Literal["coadd"]
    coadd: str
    data_id: dict[str, int | str]
    pixel_scale: float


class TileStatistics(ValueStatistics):
    """The same of a region of tiles of an order. kind: whether it is the deepest one.

    pixel_scale: arcsec.
    """

    source: Literal["tiles"]
    order: int
    kind: Literal["native", "averaged"]
    pixel_scale: float


class LineValues(TypedDict):
    """Values along a line, None where there is none. distance: arcsec from its start."""

    unit: str
    distance: list[float]
    value: list[float | None]


class CoaddProfile(LineValues):
    """Values of a coadd along a line."""

    source: Literal["coadd"]
    coadd: str
    data_id: dict[str, int | str]


class TileProfile(LineValues):
    """Values of tiles of an order along a line; see `TileStatistics`."""

    source: Literal["tiles"]
    order: int
    kind: Literal["native", "averaged"]


def of_coadds(coadds: Sequence[UsedCoadd], region: MeasuredRegion) -> CoaddStatistics | None:
    """Statistics of the first coadd that holds all of a region; None when there is none.

    Raises CoaddError when the coadd cannot be read.
    """
    border = region.border()
    for coadd in coadds:
        if not coadd.holds(border).all():
            continue
        info = pixels.info_of(coadd)
        section = _section(info, border)
        if section is None:
            continue
        found = pixels.read(coadd, section)
        rows, cols = np.mgrid[section]
        sky = info.wcs.to_sky(cols.ravel().astype(float), rows.ravel().astype(float))
        values = found.image.ravel()[region.holds(sky)]
        return {
            **describe(values, info.unit),
            "source": "coadd",
            "coadd": pixels.name_of(coadd),
            "data_id": dict(coadd.ref.data_id),
            "pixel_scale": 3600 * info.pixel_scale,
        }
    return None


def of_tiles(survey: TileSurvey, region: MeasuredRegion) -> TileStatistics:
    """Statistics from tiles, of the deepest order of which few enough pixels lie in the region.

    The sum is of the coadds' pixels, as far as their size is known: a tile's value is per pixel of
    those. Raises CoaddError for a region that even the lowest order has too many tiles of.
    """
    order = survey.order_for(region.area)
    # of a long thin region: numbers of tiles that are too many are not even listed
    while order > survey.order_min and _cap(region) > _MAX_TILES * _tile_area(order):
        order -= 1
    if _cap(region) > _MOST_LISTED * _tile_area(order):
        raise CoaddError(f"the region is too large for tiles of order {order}")
    tiles = list(_tiles_of(survey, region, order))
    while len(tiles) > _MAX_TILES and order > survey.order_min:
        order -= 1
        tiles = list(_tiles_of(survey, region, order))
    kept = [np.empty(0, np.float32)]
    rows, cols = np.mgrid[: survey.width, : survey.width]
    for tile in tiles:
        pixels = survey.tiles(tile)
        if pixels is not None:
            sky = to_icrs(tile.vectors(rows, cols, survey.width), survey.frame)
            kept.append(pixels[region.holds(sky)])
    found = describe(np.concatenate(kept), survey.unit)
    if survey.pixel_scale and found["sum"] is not None:
        found["sum"] *= (survey.pixel(order) / survey.pixel_scale) ** 2
    kind = _kind(survey, order)
    pixel = 3600 * survey.pixel(order)
    return {**found, "source": "tiles", "order": order, "kind": kind, "pixel_scale": pixel}


def describe(values: npt.NDArray[Any], unit: str) -> ValueStatistics:
    """Of the values that are there: count, mean, median, sigma (n - 1), sum, min, max.

    robust_sigma: 1.4826 times the median distance from the median, which is sigma for Gaussian
    noise and which a few stars leave alone (Rousseeuw & Croux 1993, JASA 88, 1273).
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
        """Degrees."""
        a, b = to_vectors(*self.start), to_vectors(*self.end)
        return math.degrees(2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / 2)))

    def points(self, step: float) -> tuple[npt.NDArray[np.float64], Vectors]:
        """Distances from the start (n,), degrees, and ICRS unit vectors (n, 3); `step` apart."""
        a, b = to_vectors(*self.start), to_vectors(*self.end)
        count = max(2, min(MAX_POINTS, math.floor(self.length / step) + 1))
        along = np.linspace(0.0, math.radians(self.length), count)
        across = b - a * (a @ b)
        size = float(np.linalg.norm(across))
        if size == 0.0:
            return np.degrees(along), np.broadcast_to(a, (count, 3)).copy()
        return np.degrees(along), np.outer(np.cos(along), a) + np.outer(
            np.sin(along), across / size
        )


def profile(
    coadds: Sequence[UsedCoadd], survey: TileSurvey, line: Line
) -> CoaddProfile | TileProfile:
    """Values of the nearest pixels along a line: of a coadd that holds all of it, else of tiles.

    distance: arcsec from the start. Raises CoaddError when the coadd cannot be read.
    """
    ends = np.stack([to_vectors(*line.start), to_vectors(*line.end)])
    for coadd in coadds:
        if not coadd.holds(ends).all():
            continue
        info = pixels.info_of(coadd)
        along, sky = line.points(info.pixel_scale)
        section = _section(info, sky)
        if section is None:
            continue
        x, y = info.wcs(sky)
        found = pixels.read(coadd, section)
        row = np.floor(y + 0.5).astype(int) - section[0].start
        col = np.floor(x + 0.5).astype(int) - section[1].start
        values = found.image[row, col].astype(float)
        return {
            **_line_values(along, values, info.unit),
            "source": "coadd",
            "coadd": pixels.name_of(coadd),
            "data_id": dict(coadd.ref.data_id),
        }
    order = survey.order
    while order > survey.order_min and line.length / survey.pixel(order) > MAX_POINTS:
        order -= 1
    along, sky = line.points(survey.pixel(order))
    kind = _kind(survey, order)
    return {
        **_line_values(along, survey.values(sky, order), survey.unit),
        "source": "tiles",
        "order": order,
        "kind": kind,
    }


def _line_values(
    along: npt.NDArray[np.float64], values: npt.NDArray[np.float64], unit: str
) -> LineValues:
    numbers = [value if math.isfinite(value) else None for value in values.tolist()]
    return {"unit": unit, "distance": (3600 * along).tolist(), "value": numbers}


def _kind(survey: TileSurvey, order: int) -> Literal["native", "averaged"]:
    return "native" if order == survey.order else "averaged"


def _section(info: CoaddInfo, vectors: Vectors) -> Section | None:
    """Whole pixels round some ICRS directions; None when some lie off the image, or too many."""
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


def _cap(region: MeasuredRegion) -> float:
    """Square degrees, of a circle round a region."""
    return math.degrees(math.degrees(2 * math.pi * (1 - math.cos(math.radians(region.radius)))))


def _tile_area(order: int) -> float:
    """Square degrees."""
    return math.degrees(math.degrees(4 * math.pi)) / (12 << 2 * order)


def _tiles_of(survey: TileSurvey, region: MeasuredRegion, order: int) -> Iterator[Tile]:
    """Those of an order that may meet a region."""
    center = from_icrs(region.center[None], survey.frame)[0]
    radius = min(math.pi, math.radians(region.radius * 1.01) + 1e-9)
    found = healpy.query_disc(1 << order, center, radius, inclusive=True, fact=4, nest=True)
    for npix in found.tolist():
        yield Tile(order, npix)
