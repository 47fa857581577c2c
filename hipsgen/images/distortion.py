"""The inverse of the distortions that astropy computes itself: SIP and lookup tables.

A distortion takes pixels to focal coordinates, which a linear transformation and a projection take
to the sky. It depends on the distance from CRPIX, which may be far from the image: where the image
is in focal coordinates is therefore measured, not derived from its size. Polynomials are
not monotonic far away, so the inverse is computed near the image only.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError

FloatArray = npt.NDArray[np.float64]

_TOLERANCE = 1e-6  # pixels
_REACH = 50  # pixels around the image in which positions are needed
_SAMPLES = 33  # positions along a side of the image at which the distortion is measured
_STEP = 0.5  # pixels; step of the finite differences that approximate derivatives
_AHEAD = _STEP * np.eye(2)
_ITERATIONS = 30


class Distortion:
    """Distortion of an image of `shape` (rows, columns) with an astropy.wcs.WCS.

    Raises CoaddError if it takes pixels of the image to infinity.
    """

    def __init__(self, wcs: Any, shape: tuple[int, int]) -> None:
        size = np.array(shape[::-1], float)
        along = np.linspace(0.0, 1.0, _SAMPLES)
        pixel = np.stack(np.meshgrid(*(along[:, None] * size - 0.5).T), axis=-1).reshape(-1, 2)
        focal = wcs.pix2foc(pixel, 0)
        if not np.isfinite(focal).all():
            raise CoaddError("the distortion of its WCS is infinite: correct its coefficients")
        reach = _REACH + 0.25 * size.max()
        self._size = size
        self._low = np.minimum(-reach, focal.min(axis=0) - _REACH)
        self._high = np.maximum(size + reach, focal.max(axis=0) + _REACH)
        self._linear = np.linalg.lstsq(_with_ones(focal), pixel, rcond=None)[0]

    def invert(self, wcs: Any, world: FloatArray, focal: FloatArray) -> None:
        """Replace focal coordinates (n, 2) by pixels, in place, unless they are far from the image.

        Parameters
        ----------
        wcs
            The WCS, for this thread alone.
        world
            (n, 2) degrees of the frame: the positions on the sky.
        focal
            (n, 2), 0 at the first pixel's center. Replaced by pixels; NaN where there is none that
            the distortion takes there, unless the position is certainly outside of the image.
        """
        near = ((focal > self._low) & (focal < self._high)).all(axis=1)
        if not near.any():
            return
        wanted = focal[near]
        pixel = wcs.all_world2pix(world[near], 0, tolerance=_TOLERANCE, maxiter=50, quiet=True)
        wrong = ~_agree(wcs.pix2foc(pixel, 0), wanted)
        if wrong.any():  # the iteration of astropy diverges where the distortion is strong
            pixel[wrong] = self._solve(wcs, wanted[wrong])
        focal[near] = pixel

    def _solve(self, wcs: Any, wanted: FloatArray) -> FloatArray:
        """Find the pixels (n, 2) of focal coordinates (n, 2) with Newton's method.

        It begins at the linear transformation that is closest to the distortion of the image.
        """
        start = _with_ones(wanted) @ self._linear
        low, high = -self._size, 2.0 * self._size  # not far from the image
        pixel = np.clip(start, low, high)
        for _ in range(_ITERATIONS):
            here = wcs.pix2foc(pixel, 0)
            # derivatives along x and along y
            a, b = ((wcs.pix2foc(pixel + ahead, 0) - here).T / _STEP for ahead in _AHEAD)
            u, v = (wanted - here).T
            with np.errstate(divide="ignore", invalid="ignore"):
                step = np.stack([u * b[1] - v * b[0], v * a[0] - u * a[1]], axis=1)
                step /= (a[0] * b[1] - a[1] * b[0])[:, None]
            pixel = np.clip(np.where(np.isfinite(step), pixel + step, pixel), low, high)
            if np.abs(step).max() < _TOLERANCE:
                break
        pixel[~_agree(wcs.pix2foc(pixel, 0), wanted)] = np.nan
        outside = ((start < -_REACH) | (start > self._size + _REACH)).any(axis=1)
        return np.asarray(np.where(np.isnan(pixel) & outside[:, None], start, pixel))


def _agree(focal: FloatArray, wanted: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which positions (n, 2) agree within ten times the tolerance of the iterations."""
    return np.asarray((np.abs(focal - wanted) < 10 * _TOLERANCE).all(axis=1))


def _with_ones(positions: FloatArray) -> FloatArray:
    return np.column_stack([positions, np.ones(len(positions))])
