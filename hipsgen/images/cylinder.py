"""Maps that close on themselves: cylindrical maps are periodic in longitude.

Formulas of the projections: Calabretta & Greisen 2002, A&A 395, 1077, sections 5.2 and 5.6; HPX:
Calabretta & Roukema 2007, MNRAS 381, 865.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# the last four are cylinders around their equator only
_KINDS = {"CAR", "CEA", "CYP", "MER", "HPX", "TSC", "CSC", "QSC"}
_ROUNDING = 1e-6  # pixels
_REACH = 5  # pixels beyond an edge; the largest margin of an interpolation


class Cylinder:
    """How an image of `shape` (rows, columns) with a cylindrical astropy.wcs.WCS is periodic."""

    def __init__(self, wcs: Any, shape: tuple[int, int]) -> None:
        self._shape, self._end = shape, np.array(shape[::-1]) - 0.5
        self._width, self._pole = _size(wcs)
        self._origin = np.asarray(wcs.wcs.crpix[:2]) - 1.0
        # native degrees per pixel: of longitude, of latitude
        self._matrix = np.asarray(wcs.pixel_scale_matrix)[[wcs.wcs.lng, wcs.wcs.lat]]
        with np.errstate(divide="ignore", invalid="ignore"):  # wcslib refuses a singular matrix
            self._period = _once_round(self._matrix, self._width)
        self._is_distorted = bool(wcs.has_distortion)

    def wrap(self, pixel: FloatArray) -> None:
        """Shift positions (n, 2) off the image by whole periods onto it, or closer, in place."""
        off = ~self._is_inside(pixel)
        if not off.any():
            return
        lost = pixel[off]
        turns = np.rint(
            ((self._end - 0.5) / 2 - lost) @ self._period / (self._period @ self._period)
        )
        least = self._distance(lost)
        for more in (0.0, 1.0, -1.0):
            count = (turns + more)[:, None]
            shifted = pixel[off] + count * self._period
            # rounding moves a position just below the first edge onto the last edge
            on_edge = (count != 0.0) & (shifted >= self._end) & (shifted < self._end + _ROUNDING)
            shifted = np.where(on_edge, np.nextafter(self._end, 0.0), shifted)
            distance = self._distance(shifted)
            better = distance < least
            lost[better], least[better] = shifted[better], distance[better]
        pixel[off] = lost

    def to_first_turn(self, pixel: FloatArray) -> FloatArray:
        """Return positions (n, 2) shifted by whole periods, to within half of one of CRPIX."""
        turns = np.rint(self._native(pixel)[:, 0] / self._width)
        return np.asarray(pixel - turns[:, None] * self._period)

    def beyond_edges(self, pixel: FloatArray) -> FloatArray:
        """Return where the image has the positions (n, 2) beyond its edges; NaN if nowhere.

        Beyond a pole is the other side of the sky, half a period away.
        """
        height = self._native(pixel)[:, 1]
        over = np.sign(height) * np.maximum(np.abs(height) - self._pole, 0.0)
        native = np.stack([np.full(len(over), self._width / 2), -2.0 * over]) * (over != 0.0)
        pixel = pixel + np.linalg.solve(self._matrix, native).T
        self.wrap(pixel)
        pixel[~self._is_inside(pixel)] = np.nan
        whole = np.rint(pixel)
        return np.where(np.abs(pixel - whole) < _ROUNDING, whole, pixel)

    @cached_property
    def closed(self) -> tuple[bool, bool, bool, bool]:
        """Whether the image has the pixels beyond its bottom, top, left and right edge as well."""
        rows, cols = self._shape
        along, beyond = (np.arange(rows), np.arange(cols)), np.arange(1, _REACH + 1)
        lines = (
            (-beyond, along[1]),
            (rows - 1 + beyond, along[1]),
            (along[0], -beyond),
            (along[0], cols - 1 + beyond),
        )
        bottom, top, left, right = (
            not self._is_distorted and bool(np.isfinite(self.beyond_edges(grid(y, x))).all())
            for y, x in lines
        )
        return bottom, top, left, right

    def _native(self, pixel: FloatArray) -> FloatArray:
        return np.asarray((pixel - self._origin) @ self._matrix.T)

    def _distance(self, pixel: FloatArray) -> FloatArray:
        """Return how far off the image positions (n, 2) are; -1 inside."""
        beyond = np.maximum(np.maximum(-0.5 - pixel, pixel - self._end), 0.0).sum(axis=1)
        return np.where(self._is_inside(pixel), -1.0, beyond)

    def _is_inside(self, pixel: FloatArray) -> npt.NDArray[np.bool_]:
        return np.asarray(((pixel >= -0.5) & (pixel < self._end)).all(axis=1))


def is_cylinder(wcs: Any) -> bool:
    """Whether the map of an astropy.wcs.WCS is periodic in longitude."""
    return str(wcs.wcs.ctype[wcs.wcs.lng])[5:8] in _KINDS


def grid(y: npt.ArrayLike, x: npt.ArrayLike) -> FloatArray:
    """Return the positions (n * m, 2), x and y, of rows y (n,) and columns x (m,)."""
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(float)


def _size(wcs: Any) -> tuple[float, float]:
    """Return the native degrees of one period, and from the equator to a pole.

    The latter is infinite if a map cannot be continued across its poles.
    """
    kind = str(wcs.wcs.ctype[wcs.wcs.lng])[5:8]
    pv = {(axis - 1, number): value for axis, number, value in wcs.wcs.get_pv()}
    first, second = (pv.get((wcs.wcs.lat, number), 1.0) for number in (1, 2))
    width, pole = 360.0, math.inf
    if kind == "CYP":
        width = 360.0 * second
        pole = math.degrees((first + second) / first) if first else math.inf
    elif kind == "CEA":
        pole = math.degrees(1.0 / first)
    elif kind == "CAR":
        pole = 90.0
    return width, math.inf if pv.get((wcs.wcs.lng, 0)) else pole  # PVi_0 moves the equator


def _once_round(matrix: FloatArray, width: float) -> FloatArray:
    """Return the pixels (2,) whose native coordinates are `width`, 0.

    Not np.linalg.solve, which rounds differently if the map is not rotated.
    """
    (a, b), (c, d) = matrix
    if abs(d) >= abs(c):
        x = width / (a - b * (c / d))
        return np.array([x, -(c / d) * x])
    y = width / (b - a * (d / c))
    return np.array([-(d / c) * y, y])
