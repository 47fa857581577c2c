"""The sample skymap: two overlapping tracts, each a TAN projection divided into patches.

Pixel positions are (x, y), 0-based from the tract's lower left pixel, integers at pixel centers; x
increases to the west and y to the north. A bounding box (x0, y0, x1, y1) excludes x1 and y1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

Floats = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]

NAME = "sample_rings"
PIXEL_SCALE = 0.2  # arcsec
ARCSEC = np.degrees(1.0) * 3600.0  # in a radian
MIN_OVERLAP = 320  # pixels; the rings skymap overlaps tracts by at least 1 arcmin = 300 pixels
MIN_INNER = 200  # pixels; with fewer, two tracts of 2 x 2 patches would overlap almost entirely

FIELD_RA, FIELD_DEC = 55.70, -31.42  # degrees, midway between the two tracts
TRACT_IDS = (4848, 4849)
# the pixel grids of the tracts must not coincide, as in a real survey
_GRID_SHIFT = (0.37, 0.29)  # pixels


def local_basis(ra: float, dec: float) -> Floats:
    """Return unit vectors east, north and outward (rows) at a position in degrees: shape (3, 3)."""
    lam, phi = np.radians(ra), np.radians(dec)
    return np.array(
        [
            [-np.sin(lam), np.cos(lam), 0.0],
            [-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)],
            [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)],
        ]
    )


def offset_position(ra: float, dec: float, east: float, north: float) -> tuple[float, float]:
    """Return the position (degrees) at gnomonic offsets (arcsec) from a position (degrees)."""
    vector = np.array([east / ARCSEC, north / ARCSEC, 1.0]) @ local_basis(ra, dec)
    lon = float(np.degrees(np.arctan2(vector[1], vector[0]))) % 360.0
    return lon, float(np.degrees(np.arctan2(vector[2], np.hypot(vector[0], vector[1]))))


@dataclass(frozen=True)
class Patch:
    """A patch; `box`: its outer bounding box in tract pixels, clipped at the tract's edge."""

    id: int
    x: int
    y: int
    box: Box

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of this patch in an array of the whole tract."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1), slice(x0, x1)


@dataclass(frozen=True)
class Tract:
    """A tract: a tangent plane at (ra, dec), degrees, with nx x ny patches."""

    id: int
    ra: float
    dec: float
    inner: int
    border: int
    nx: int = 2
    ny: int = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the whole tract."""
        return self.ny * self.inner, self.nx * self.inner

    def patches(self) -> Iterator[Patch]:
        """Iterate over the patches; the id of a patch is nx * y + x."""
        rows, columns = self.shape
        for index in range(self.nx * self.ny):
            y, x = divmod(index, self.nx)
            box = (
                max(0, x * self.inner - self.border),
                max(0, y * self.inner - self.border),
                min(columns, (x + 1) * self.inner + self.border),
                min(rows, (y + 1) * self.inner + self.border),
            )
            yield Patch(index, x, y, box)

    def wcs(self, box: Box | None = None) -> WCS:
        """Return the projection for an array that starts at the box's lower left pixel."""
        x0, y0 = (box[0], box[1]) if box else (0, 0)
        step = PIXEL_SCALE / 3600.0
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [self._center[0] + 1 - x0, self._center[1] + 1 - y0]
        wcs.wcs.cd = [[-step, 0.0], [0.0, step]]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.set()
        return wcs

    def corners(self, box: Box) -> Floats:
        """Return RA and Dec (degrees) of a box's four outer pixel corners: shape (4, 2)."""
        x0, y0, x1, y1 = (edge - 0.5 for edge in box)
        return np.asarray(self.wcs().wcs_pix2world([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], 0))

    def to_tangent(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Convert pixel positions to tangent-plane coordinates (radians), east and north."""
        step = PIXEL_SCALE / ARCSEC
        return (self._center[0] - x) * step, (y - self._center[1]) * step

    def to_pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Convert a position (degrees) to a pixel position, which may lie outside the tract."""
        east, north, depth = local_basis(self.ra, self.dec) @ local_basis(ra, dec)[2]
        step = PIXEL_SCALE / ARCSEC
        return (
            self._center[0] - float(east / depth) / step,
            self._center[1] + float(north / depth) / step,
        )

    @property
    def _center(self) -> tuple[float, float]:
        rows, columns = self.shape
        return (columns - 1) / 2, (rows - 1) / 2


def make_tracts(inner: int) -> tuple[Tract, Tract]:
    """Make two tracts adjacent in RA, of 2 x 2 patches of inner x inner pixels.

    Raises ValueError if `inner` is below `MIN_INNER`.
    """
    if inner < MIN_INNER:
        raise ValueError(f"size {inner} is below {MIN_INNER} pixels, the smallest patch")
    width = 2 * inner
    half_step = (width - max(MIN_OVERLAP, width // 5)) / 2 * PIXEL_SCALE
    shift = [d * PIXEL_SCALE for d in _GRID_SHIFT]
    west = offset_position(FIELD_RA, FIELD_DEC, -half_step, 0.0)
    east = offset_position(FIELD_RA, FIELD_DEC, half_step + shift[0], shift[1])
    border = max(20, inner // 20)
    return (
        Tract(TRACT_IDS[0], *west, inner=inner, border=border),
        Tract(TRACT_IDS[1], *east, inner=inner, border=border),
    )
