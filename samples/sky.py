"""The analytic sky: sources at celestial coordinates, and their light at any position.

One formula gives the light at a coordinate (`Sky.brightness`) and in the pixels of a tract
(`Sky.render`), so overlapping tracts show the same sky and a test can compute the true values.
Light is in nJy per square arcsec; bands are those of `BANDS`, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from samples.profiles import Profile
from samples.skymap import ARCSEC, PIXEL_SCALE, Tract, local_basis

Floats = npt.NDArray[np.float64]

BANDS = ("g", "r", "i")
ZERO_MAGNITUDE = 3.630780547701e12  # nJy, AB
PIXEL_AREA = PIXEL_SCALE**2  # square arcsec
SATURATION = 5.0e4 / PIXEL_AREA  # nJy per square arcsec, above which the sky is clipped
_FAINTEST = 0.01 / PIXEL_AREA  # a source ends where it falls below 0.01 nJy per pixel


@dataclass(frozen=True)
class Source:
    """A profile at a position (ICRS degrees) with its flux (nJy) in each band."""

    ra: float
    dec: float
    flux: tuple[float, ...]
    profile: Profile

    @cached_property
    def reach(self) -> float:
        """Radius (arcsec) beyond which the source is dark."""
        r = np.geomspace(1.0, 240.0, 48)
        angle = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)[:, None]
        light = self.profile(r * np.sin(angle), r * np.cos(angle)).max(axis=0) * max(self.flux)
        seen = np.flatnonzero(light > _FAINTEST)
        return float(r[seen[-1]] if seen.size else r[0])

    @cached_property
    def basis(self) -> Floats:
        """Unit vectors east, north and outward at the source: shape (3, 3)."""
        return local_basis(self.ra, self.dec)

    def light(self, east: Floats, north: Floats) -> Floats:
        """Return the light as a fraction of the flux per square arcsec at offsets in arcsec.

        It is 0 beyond `reach`.
        """
        # the taper ends the light smoothly: a truncated halo would be visible in a deep map
        taper = np.maximum(1 - (east**2 + north**2) / self.reach**2, 0.0) ** 2
        return np.asarray(self.profile(east, north) * taper)


@dataclass(frozen=True)
class Sky:
    """All sources of the field."""

    sources: Sequence[Source]

    def brightness(self, ra: npt.ArrayLike, dec: npt.ArrayLike, band: str) -> Floats:
        """Return the true, noise-free surface brightness (nJy per square arcsec) at ICRS degrees.

        Clipped at `SATURATION`. The result has the broadcast shape of `ra` and `dec`.
        """
        lam, phi = np.broadcast_arrays(np.radians(ra), np.radians(dec))
        vectors = np.stack(
            [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1
        )
        total = np.zeros(lam.shape)
        index = BANDS.index(band)
        for source in self.sources:
            near = vectors @ source.basis[2] > np.cos(source.reach / ARCSEC)
            if near.any():
                east, north = (vectors[near] @ axis * ARCSEC for axis in source.basis[:2])
                total[near] += source.flux[index] * source.light(east, north)
        return np.minimum(total, SATURATION)

    def render(self, tract: Tract) -> npt.NDArray[np.float32]:
        """Return the true image of a tract in nJy per pixel: shape (bands, rows, columns)."""
        image = np.zeros((len(BANDS), *tract.shape), dtype=np.float32)
        for source in self.sources:
            _add(image, source, tract)
        image *= np.float32(PIXEL_AREA)
        return np.minimum(image, np.float32(SATURATION * PIXEL_AREA), out=image)


def _add(image: npt.NDArray[np.float32], source: Source, tract: Tract) -> None:
    """Add one source to the bands of a tract's image (nJy per square arcsec), in place."""
    rows, columns = tract.shape
    x, y = tract.to_pixel(source.ra, source.dec)
    reach = source.reach / PIXEL_SCALE * 1.01 + 1  # a TAN pixel is slightly less than its scale
    x0, x1 = max(0, int(x - reach)), min(columns, int(x + reach) + 2)
    y0, y1 = max(0, int(y - reach)), min(rows, int(y + reach) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    xi, _ = tract.to_tangent(np.arange(x0, x1, dtype=float), np.zeros(1))
    _, eta = tract.to_tangent(np.zeros(1), np.arange(y0, y1, dtype=float)[:, None])
    norm = ARCSEC / np.sqrt(1 + xi**2 + eta**2)
    # offsets of (xi, eta, 1) along the source's east and north
    to_source = local_basis(tract.ra, tract.dec) @ source.basis[:2].T
    east, north = ((xi * a + eta * b + c) * norm for a, b, c in to_source.T)
    light = source.light(east, north)
    for plane, flux in zip(image, source.flux, strict=True):
        plane[y0:y1, x0:x1] += (flux * light).astype(np.float32)
