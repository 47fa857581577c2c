"""Values of a coadd at the pixel positions of a tile.

Interpolations, all with weights that sum to 1:

- nearest, bilinear;
- lanczos3, lanczos5: the textbook windowed sinc (6 and 10 taps a side), nothing clipped;
- optimal: 6 taps a side, see `optimal_weights`. The default, and why: mean error of the peak of a
  Gaussian star over sub-pixel positions, worst error in brackets, in per cent (tests/sky measures
  it; 2-D, FWHM in pixels):

      FWHM      bilinear         lanczos3       lanczos5       optimal
      3.0    -9.4 (-14.3)     +0.4 (+0.7)    +0.1 (+0.2)    -0.1 (-0.3)
      3.5    -7.1 (-10.7)     +0.4 (+0.8)    +0.1 (+0.2)    -0.0 (-0.0)
      4.0    -5.5  (-8.3)     +0.4 (+0.7)    +0.1 (+0.2)    -0.0 (-0.1)

  So it is as true as lanczos5 for stars, with the 36 taps of lanczos3. Unlike both it also keeps
  straight slopes straight (lanczos3 displaces a slope by up to 0.02 px inside a pixel). What
  lies beyond what its 4x4 neighbors allow (the limiter, `kernels.FLAT`) is clipped: no ring
  round a saturated star, and less than one pixel in a thousand of the sky's noise is changed.

The NaN rule: an output pixel whose nearest input pixel is missing is missing; otherwise missing
neighbors are left out and the weights renormalized, within the limiter. A lone missing pixel that
is the nearest of no output pixel is missing in the one closest to it.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.sky import sample_kernels as kernels
from hipsgen.sky.grid import PixelMap

FloatArray = npt.NDArray[np.float64]

INTERPOLATIONS = ("optimal", "bilinear", "nearest", "lanczos3", "lanczos5")
DEFAULT_INTERPOLATION = "optimal"
_TAPS = {"optimal": 6, "bilinear": 2, "nearest": 2, "lanczos3": 6, "lanczos5": 10}
# Checksums of 36 and 100 taps in float32, of differences from the pixel beneath, are off by up to 3e-7
# of the contrast under the kernel and take half the time; four taps are summed in float64.
_SUMS = {"bilinear": np.float64, "nearest": np.float64}
_FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))


def margin(interpolation: str) -> int:
    """How many pixels beyond a position the interpolation reaches."""
    return _TAPS[interpolation] // 2


def resample(
    pixels: npt.NDArray[np.float32],
    at: PixelMap,
    interpolation: str = DEFAULT_INTERPOLATION,
    first: tuple[int, int] = (0, 0),
) -> npt.NDArray[np.float32]:
    """Interpolate an image (h, w) float32, NaN missing, at the positions of a map (n, m).

    (0, 0) is the center of the first pixel. first: row and column, on the image that the map is
    for, of the first of the pixels given. Comes back (n, m) float32, NaN outside and where the
    nearest pixel is missing. Raises ValueError for arrays of other shapes or an unknown name.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r} is none of {', '.join(INTERPOLATIONS)}")
    if pixels.ndim != 2 or pixels.dtype != np.float32 or not pixels.dtype.isnative:
        raise ValueError(f"image is {pixels.dtype} of shape {pixels.shape}, not 2-D native float32")
    pixels = np.ascontiguousarray(pixels)
    out = np.empty((at.rows, at.cols), np.float32)
    holed = np.empty(at.state.shape, np.bool_)
    kernels.SAMPLERS[_TAPS[interpolation]](
        pixels,
        *first,
        at,
        polynomials(interpolation),
        interpolation == "nearest",
        interpolation == "optimal",
        out,
        holed,
    )
    if holed.any():
        kernels.keep_missing(pixels, *first, at, holed, out)
    return out


@lru_cache
def polynomials(interpolation: str) -> npt.NDArray[np.floating[Any]]:
    """Weights as polynomials (taps, degree + 1) of the fraction of a pixel, lowest power first.

    Fits of `weights`, exact at 0 and 1, off by less than 4e-7 between. Least squares is linear, so
    they add up to 1 wherever the weights do.
    """
    degree = kernels.DEGREES[_TAPS[interpolation]]
    # nodes of Chebyshev, where a fit is close to the best in the largest error
    f = 0.5 - 0.5 * np.cos(np.pi * (np.arange(48) + 0.5) / 48)
    ends = weights(interpolation, np.array([0.0, 1.0]))
    found = np.zeros((ends.shape[1], degree + 1))
    found[:, 0], found[:, 1] = ends[0], ends[1] - ends[0]
    if degree > 1:
        rest = weights(interpolation, f) - np.outer(1 - f, ends[0]) - np.outer(f, ends[1])
        powers = (f * (1 - f))[:, None] * (2 * f - 1)[:, None] ** np.arange(degree - 1)
        fit = np.linalg.lstsq(powers, rest, rcond=None)[0]
        centerd, power = np.zeros((degree - 1, degree - 1)), np.ones(1)
        for k in range(degree - 1):
            centerd[k, : power.size] = power
            power = np.convolve(power, [-1.0, 2.0])
        inner = fit.T @ centerd  # in powers of f
        found[:, 1:degree] += inner
        found[:, 2:] -= inner
    return found.astype(_SUMS.get(interpolation, np.float32))


def weights(interpolation: str, fraction: FloatArray) -> FloatArray:
    """Weights (len(fraction), taps) of the pixels round a position, for its fraction 0 ... 1."""
    if interpolation in ("bilinear", "nearest"):  # nearest: of a fraction that is rounded before
        return np.stack([1 - fraction, fraction], axis=1)
    if interpolation == "optimal":
        return optimal_weights(fraction)
    lobes = {"lanczos3": 3, "lanczos5": 5}[interpolation]
    distance = _distances(fraction, 2 * lobes)
    values = np.sinc(distance) * np.sinc(distance / lobes) * (np.abs(distance) < lobes)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def _distances(fraction: FloatArray, taps: int) -> FloatArray:
    return np.asarray(np.arange(taps) - (taps // 2 - 1) - fraction[:, None])


def optimal_weights(
    fraction: FloatArray,
    taps: int = 6,
    fwhm: tuple[float, ...] = (3.0, 3.5, 4.0, 5.0),
    noise: float = 1e-3,
) -> FloatArray:
    """Least-squares best weights (len(fraction), taps) for stars between pixels.

    For each fraction of a pixel: the weights w_k that make sum_k w_k exp(i u d_k), the transfer
    function of the interpolation over its distances d_k, closest to 1 in the mean over frequencies
    0 < u < pi, weighted with the power spectrum of Gaussian stars of these FWHM (pixels) plus
    white noise, and that reproduce constants and slopes exactly (sum w = 1, sum w d = 0).
    Constrained normal equations, as in fractional-delay filter design (Laakso et al. 1996, IEEE
    Signal Processing Magazine 13, 30).
    """
    u = np.linspace(0.0, np.pi, 400)
    sigma = np.array(fwhm)[:, None] * _FWHM_TO_SIGMA
    power = noise + (sigma * np.exp(-((u * sigma) ** 2))).sum(axis=0)
    weights = np.empty((len(fraction), taps))
    for row, d in enumerate(_distances(fraction, taps)):
        if abs(d).min() == 0.0:  # on a pixel: that pixel
            weights[row] = d == 0.0
            continue
        normal = np.einsum("u,ujk->jk", power, np.cos(u[:, None, None] * (d[:, None] - d)))
        target = np.cos(u[:, None] * d).T @ power
        exact = np.stack([np.ones(taps), d])
        system = np.block([[normal, exact.T], [exact, np.zeros((2, 2))]])
        weights[row] = np.linalg.solve(system, np.concatenate([target, [1.0, 0.0]]))[:taps]
    return weights
