"""The area of the sky that the sample covers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samples.profiles import Profile
from samples.sky import ZERO_MAGNITUDE, Source
from samples.skymap import FIELD_DEC, FIELD_RA, PIXEL_SCALE, Tract, offset_position


@dataclass(frozen=True)
class Field:
    """A rectangle around (FIELD_RA, FIELD_DEC) in arcsec; offsets are east and north of its center.

    scale: 1 for the default sample; a smaller sample has smaller showpieces.
    """

    width: float
    height: float
    scale: float

    @classmethod
    def around(cls, tracts: Sequence[Tract]) -> "Field":
        """Return the field that contains all tracts, with a margin for light of sources outside."""
        height = max(t.shape[0] for t in tracts) * PIXEL_SCALE
        ras = [float(ra) for t in tracts for ra in t.corners((0, 0, *t.shape[::-1]))[:, 0]]
        width = (max(ras) - min(ras)) * np.cos(np.radians(FIELD_DEC)) * 3600
        return cls(float(width) + 12.0, height + 12.0, min(1.0, tracts[0].inner / 1000))

    @property
    def area(self) -> float:
        """Area in square arcmin."""
        return self.width * self.height / 3600

    def anywhere(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw random offsets (arcsec) inside the field."""
        return (
            float(rng.uniform(-0.5, 0.5) * self.width),
            float(rng.uniform(-0.5, 0.5) * self.height),
        )

    def source(
        self, east: float, north: float, mag: float, gr: float, ri: float, profile: Profile
    ) -> Source:
        """Make a source at offsets (arcsec), with its r magnitude and colors g-r and r-i (AB)."""
        mags = (mag + gr, mag, mag - ri)
        ra, dec = offset_position(FIELD_RA, FIELD_DEC, east, north)
        flux = tuple(float(ZERO_MAGNITUDE * 10 ** (-0.4 * m)) for m in mags)
        return Source(ra, dec, flux, profile)
