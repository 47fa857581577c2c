"""The image, mask and variance of a tract's coadd, from which the patches are cut.

Noise is drawn on the tract's grid, so overlapping patches have the same pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samples.sky import BANDS, PIXEL_AREA, SATURATION
from samples.skymap import Patch

# nJy per pixel: 5 sigma for a point source is about magnitude 27.3, 27.0 and 26.7
SKY_SIGMA = dict(zip(BANDS, (1.5, 1.9, 2.6), strict=True))
_PHOTONS_PER_NJY = 20.0

_FIXED = (
    "BAD",
    "SAT",
    "INTRP",
    "CR",
    "EDGE",
    "DETECTED",
    "DETECTED_NEGATIVE",
    "SUSPECT",
    "NO_DATA",
)
_DYNAMIC = ("CROSSTALK", "UNMASKEDNAN", "NOT_DEBLENDED", "CLIPPED", "REJECTED", "INEXACT_PSF")


def _planes(*names: str) -> dict[str, int]:
    return {name: bit for bit, name in enumerate(names)}


# Only the first nine bits are the same in all files.
CURRENT_PLANES = _planes(*_FIXED, *_DYNAMIC, "SENSOR_EDGE", "STREAK")
OLDER_PLANES = _planes(*_FIXED, "BRIGHT_OBJECT", "SENSOR_EDGE", *_DYNAMIC[::-1])


@dataclass(frozen=True)
class Coadd:
    """Image (nJy per pixel), mask bits and variance (nJy**2), all of one shape.

    planes: bit of each mask plane.
    """

    image: npt.NDArray[np.float32]
    mask: npt.NDArray[np.int32]
    variance: npt.NDArray[np.float32]
    planes: Mapping[str, int]

    def cut(self, patch: Patch) -> "Coadd":
        """Return the part that lies in a patch of the tract."""
        rows, columns = patch.slices
        return Coadd(
            np.ascontiguousarray(self.image[rows, columns]),
            np.ascontiguousarray(self.mask[rows, columns]),
            np.ascontiguousarray(self.variance[rows, columns]),
            self.planes,
        )

    def scaled(self, factor: float) -> "Coadd":
        """Return the coadd in another unit."""
        image, variance = self.image * np.float32(factor), self.variance * np.float32(factor**2)
        return Coadd(image, self.mask, variance, self.planes)


def make_coadd(
    truth: npt.NDArray[np.float32],
    sigma: float,
    blank: npt.NDArray[np.bool_],
    edges: npt.NDArray[np.bool_],
    planes: Mapping[str, int],
    rng: np.random.Generator,
) -> Coadd:
    """Add noise and defects to a true image (nJy per pixel); `sigma`: noise of the empty sky."""
    variance = _rounded(np.float32(sigma**2) + truth / np.float32(_PHOTONS_PER_NJY))
    noise = rng.standard_normal(truth.shape, dtype=np.float32) * np.sqrt(variance)
    saturated = truth >= SATURATION * PIXEL_AREA * 0.999
    image = np.where(saturated, truth, truth + noise)
    mask = np.zeros(truth.shape, dtype=np.int32)
    for where, names in (
        (truth > sigma, ("DETECTED",)),
        (saturated, ("SAT", "INTRP")),
        (edges, ("SENSOR_EDGE", "INEXACT_PSF")),
    ):
        mask[where] |= sum(1 << planes[name] for name in names)
    image[blank] = variance[blank] = np.nan
    mask[blank] = 1 << planes["NO_DATA"]
    return Coadd(image, mask, variance, planes)


def _rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round values to 10 bits of mantissa, enough for a variance, so that files compress well."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
