"""From physical values to the bytes of a preview.

Gray: level 0 is kept for "no data", data take 1 ... 255. Color: RGBA, alpha 0 for "no data".
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hipsgen.sky import tile_kernels as kernels

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]

_BELOW_SKY = 3.0  # cuts start this many sigma under the sky, so that its noise is seen
_ABOVE_SKY = 30.0  # and reach at least this many over it
_HIGH_QUANTILE = 0.998
_SOFTENING = 2.0  # sigma: up to here asinh is linear, beyond it logarithmic
_COLOR_FROM = 4.0  # sigma of the intensity at which half of the color is shown


class Stretch(Protocol):
    """Values (n, m) float32 to gray levels (n, m) uint8; NaN becomes 0, everything else not."""

    def __call__(self, values: FloatArray) -> ByteArray: ...  # noqa: D102


@dataclass(frozen=True)
class SkyLevel:
    """What a sample of a survey says: its sky, the noise of it, how bright and how faint it gets.

    zero: median; sigma: from the half below the median, which sources leave alone;
    high: 99.8 % quantile; minimum, maximum of the sample.
    """

    zero: float
    sigma: float
    high: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: FloatArray) -> "SkyLevel":
        """Measure values of any shape; NaN are left out. Raises ValueError when all are NaN."""
        known = np.sort(values[np.isfinite(values)])
        if not known.size:
            raise ValueError("no value in the sample")
        zero = _quantile(known, 0.5)
        below = known[: np.searchsorted(known, zero)]
        sigma = 1.4826 * (zero - _quantile(below, 0.5)) if below.size else 0.0
        return cls(zero, sigma, _quantile(known, _HIGH_QUANTILE), float(known[0]), float(known[-1]))

    def cuts(self) -> tuple[float, float]:
        """Lowest and highest value to be told apart on screen."""
        if self.sigma > 0.0:
            low = self.zero - _BELOW_SKY * self.sigma
            if self.minimum >= 0.0:  # a variance, or a count, is never below
                low = max(low, 0.0)
            return low, max(self.high, self.zero + _ABOVE_SKY * self.sigma)
        if self.maximum > self.minimum:
            return self.minimum, max(self.high, self.minimum + (self.maximum - self.minimum) / 2)
        return self.minimum - 0.5, self.minimum + 0.5


def _quantile(values: FloatArray, share: float) -> float:
    """Of sorted values, linear between them, as numpy's."""
    place = share * (values.size - 1)
    first = int(place)
    low, high = float(values[first]), float(values[min(first + 1, values.size - 1)])
    return low + (place - first) * (high - low)


@dataclass(frozen=True)
class Linear:
    """Levels in proportion to the value between two cuts."""

    low: float
    high: float

    def __call__(self, values: FloatArray) -> ByteArray:
        """(n, m) float -> (n, m) uint8."""
        return _levels(self, values)

    def value_at(self, share: FloatArray) -> FloatArray:
        """The values (k,) that lie at shares 0 ... 1 of the way from black to white."""
        return np.asarray(self.low * (1 - share) + self.high * share)

    @property
    def zero(self) -> float:
        """Where levels are closest together; here they are alike everywhere."""
        return self.low

    def describe(self) -> str:
        """One line for `properties`."""
        return f"linear {self.low:.6g} {self.high:.6g}"


@dataclass(frozen=True)
class Asinh:
    """Linear within `softening` of `zero`, logarithmic beyond; `low` is darkest, `high` brightest.

    Lupton, Gunn & Szalay 1999, AJ 118, 1406.
    """

    low: float
    high: float
    zero: float
    softening: float

    def __call__(self, values: FloatArray) -> ByteArray:
        """(n, m) float -> (n, m) uint8."""
        return _levels(self, values)

    def value_at(self, share: FloatArray) -> FloatArray:
        """The values (k,) that lie at shares 0 ... 1 of the way from black to white."""
        dark, bright = np.arcsinh((np.array([self.low, self.high]) - self.zero) / self.softening)
        return np.asarray(self.zero + self.softening * np.sinh(dark + share * (bright - dark)))

    def describe(self) -> str:
        """One line for `properties`."""
        return (
            f"asinh {self.low:.6g} {self.high:.6g} zero {self.zero:.6g} soft {self.softening:.6g}"
        )


STRETCHES = ("asinh", "linear")


def choose_stretch(
    name: str, level: SkyLevel, cuts: tuple[float, float] | None = None
) -> Linear | Asinh:
    """The stretch of a survey, from a sample of all of it; cuts, when given, are the user's.

    Raises ValueError for an unknown name or cuts that do not increase.
    """
    low, high = cuts or level.cuts()
    if not low < high:
        raise ValueError(f"cuts {low:g},{high:g} do not increase")
    if name == "linear":
        return Linear(low, high)
    if name != "asinh":
        raise ValueError(f"stretch {name!r} is none of {', '.join(STRETCHES)}")
    softening = _SOFTENING * level.sigma if level.sigma > 0 else (high - low) / 100
    return Asinh(low, high, min(max(level.zero, low), high), softening)


def _levels(stretch: "Linear | Asinh", values: FloatArray) -> ByteArray:
    """A view of lines from the top down, each behind a zero, as a PNG has them."""
    values = np.ascontiguousarray(values, np.float32)
    table = values.reshape(-1, values.shape[-1])
    lines = np.zeros((table.shape[0], 1 + table.shape[1]), np.uint8)
    kernels.to_levels(table, np.float32(stretch.zero), *_tables(stretch), lines)
    return lines[::-1, 1:].reshape(values.shape)


@lru_cache
def _tables(stretch: "Linear | Asinh") -> tuple[ByteArray, npt.NDArray[np.float32], int]:
    """Guesses, limits, steps for `kernels.to_levels`: level k > 1 starts at share (k - 1.5) / 254.

    The guess holds for all values of a bin: what `value - zero` is rounded by is left to the steps.
    """
    limits = stretch.value_at((np.arange(254) + 0.5) / 254).astype(np.float32)
    bins = np.arange(1 << 15, dtype=np.uint32) << np.uint32(17)
    ends = np.stack([bins, bins | np.uint32((1 << 17) - 1)]).view(np.float32)
    # the bins of infinity end in NaN
    ends = np.where(np.isfinite(ends), ends, np.copysign(np.finfo(np.float32).max, ends))
    values = ends.astype(float) + stretch.zero
    slack = 2.0**-22 * (np.abs(ends) + abs(stretch.zero)).max(axis=0)
    least = np.searchsorted(limits, values.min(axis=0) - slack, side="right")
    most = np.searchsorted(limits, values.max(axis=0) + slack, side="right")
    steps = int((most - least).max())
    return least.astype(np.uint8), np.append(limits, np.float32(np.nan)), steps


@dataclass(frozen=True)
class Channel:
    """How one band enters a color picture: (value - zero) x gain; sigma: its sky noise."""

    zero: float
    sigma: float
    gain: float = 1.0


@dataclass(frozen=True)
class Lupton:
    """Asinh color after Lupton et al. 2004, PASP 116, 133.

    The stretch f acts on the intensity I, the mean of the bands, and every band is multiplied with
    f(I) / I, so the hue of a bright core is that of its outskirts; what passes 1 is scaled down in
    all bands together. Near the sky, where ratios of bands are ratios of noise, color fades to
    gray: it is multiplied with I^2 / (I^2 + (4 sigma)^2).

    channels: red, green, blue; high: intensity over the sky that is shown at full brightness.
    """

    channels: tuple[Channel, Channel, Channel]
    high: float

    @property
    def noise(self) -> float:
        """Sky noise of the intensity."""
        return max(math.hypot(*(c.gain * c.sigma for c in self.channels)) / 3, 1e-30)

    def __call__(self, bands: FloatArray) -> ByteArray:
        """bands (3, n, m) float, red first, NaN for none -> (n, m, 4) uint8.

        Transparent where no band has data; a band that is missing alone counts as the mean of the
        others.
        """
        zero = np.array([c.zero for c in self.channels])[:, None, None]
        gain = np.array([c.gain for c in self.channels])[:, None, None]
        x = (bands - zero) * gain
        known = ~np.isnan(x)
        count = known.sum(axis=0)
        intensity = np.where(known, x, 0.0).sum(axis=0) / np.maximum(count, 1)
        x = np.where(known, x, intensity)
        sigma = self.noise
        soft = _SOFTENING * sigma
        low, top = -_BELOW_SKY * sigma, max(self.high, _ABOVE_SKY * sigma)
        dark, bright = np.arcsinh(low / soft), np.arcsinh(top / soft)
        brightness = np.maximum((np.arcsinh(intensity / soft) - dark) / (bright - dark), 0.0)
        fade = intensity**2 + (_COLOR_FROM * sigma) ** 2
        bright_only = np.maximum(intensity, 0.0)
        gray = 1.0 - bright_only**2 / fade
        rgb = np.maximum(brightness * (gray + bright_only * x / fade), 0.0)
        rgb /= np.maximum(rgb.max(axis=0), 1.0)
        levels = np.empty((*count.shape, 4), np.uint8)
        levels[..., :3] = np.moveaxis((255.0 * rgb + 0.5).astype(np.uint8), 0, -1)
        levels[..., 3] = np.where(count > 0, 255, 0)
        levels[count == 0] = 0
        return levels

    def describe(self) -> str:
        """One line for `properties`."""
        parts = [f"{c.zero:.6g}/{c.gain:.6g}" for c in self.channels]
        return f"lupton zero/gain {' '.join(parts)} high {self.high:.6g} noise {self.noise:.6g}"
