"""Map physical values to the bytes of a preview image.

Gray: level 0 means "no data", data take levels 1 ... 255. Color: RGBA, alpha 0 means "no data".
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

_BELOW_SKY = 3.0  # the low cut is this many sigma below the sky, so that its noise is visible
_ABOVE_SKY = 30.0  # the high cut is at least this many sigma above it
_LOW_QUANTILE, _HIGH_QUANTILE = 0.002, 0.998
_TAIL_QUANTILE, _TAIL = 0.01, 2.0  # of the values below the median, and its distance in sigma
_SOFTENING = 2.0  # sigma: asinh is linear up to here, logarithmic beyond
_COLOR_FROM = 4.0  # intensity in sigma at which half of the color saturation is reached


class Stretch(Protocol):
    """Function from values (n, m) float32 to gray levels (n, m) uint8; 0 for NaN only."""

    def __call__(self, values: FloatArray) -> ByteArray: ...  # noqa: D102


@dataclass(frozen=True)
class SkyLevel:
    """Statistics of a sample of a survey's values.

    Attributes
    ----------
    zero
        Median, the sky level.
    sigma
        Sky noise, from the values below the median, which sources do not affect.
    high
        99.8 % quantile.
    minimum, maximum
        Range of the sample.
    low
        0.2 % quantile.
    is_noisy
        Whether the values below the median are distributed as noise is, so that `sigma` is noise.
        Those of a ramp, of a coverage or of a probability are not: they end within 2 sigma.
    """

    zero: float
    sigma: float
    high: float
    minimum: float
    maximum: float
    low: float = -math.inf
    is_noisy: bool = True

    @classmethod
    def of(cls, values: FloatArray) -> "SkyLevel":
        """Measure values of any shape, ignoring NaN and infinities.

        Raises ValueError if none is finite.
        """
        valid = np.sort(values[np.isfinite(values)])
        if not valid.size:
            raise ValueError("the sample has no finite value: no cuts can be derived from it")
        zero = _quantile(valid, 0.5)
        below = valid[: np.searchsorted(valid, zero)]
        sigma = 1.4826 * (zero - _quantile(below, 0.5)) if below.size else 0.0
        tail = zero - _quantile(below, _TAIL_QUANTILE) if below.size else 0.0
        return cls(
            zero,
            sigma,
            _quantile(valid, _HIGH_QUANTILE),
            float(valid[0]),
            float(valid[-1]),
            _quantile(valid, _LOW_QUANTILE),
            sigma > 0.0 and tail >= _TAIL * sigma,  # 2.6 for normal noise, 1.3 for a ramp
        )

    def cuts(self) -> tuple[float, float]:
        """Return the lowest and highest value to be distinguished in a preview.

        They lie within the range of the sample, unless all its values are equal.
        """
        if self.is_noisy:
            low = self.zero - _BELOW_SKY * self.sigma
            high = max(self.high, self.zero + _ABOVE_SKY * self.sigma)
        else:
            low, high = self.low, self.high
        low, high = max(low, self.minimum), min(high, self.maximum)
        if low < high:
            return low, high
        if self.minimum < self.maximum:  # nearly all values are equal
            return self.minimum, self.maximum
        return self.minimum - 0.5, self.minimum + 0.5


def _quantile(values: FloatArray, fraction: float) -> float:
    """Return a quantile of sorted values, interpolated linearly as numpy does."""
    place = fraction * (values.size - 1)
    first = int(place)
    low, high = float(values[first]), float(values[min(first + 1, values.size - 1)])
    return low + (place - first) * (high - low)


@dataclass(frozen=True)
class Linear:
    """Levels proportional to the value between two cuts."""

    low: float
    high: float

    def __call__(self, values: FloatArray) -> ByteArray:
        """Convert values (n, m) float to levels (n, m) uint8."""
        return _levels(self, values)

    def value_at(self, fraction: FloatArray) -> FloatArray:
        """Return the values (k,) at fractions 0 ... 1 of the way from black to white."""
        return np.asarray(self.low * (1 - fraction) + self.high * fraction)

    @property
    def zero(self) -> float:
        """Value at which levels are closest together; for a linear stretch they are equidistant."""
        return self.low

    def describe(self) -> str:
        """Return the stretch as one line of the properties file."""
        return f"linear {self.low:.6g} {self.high:.6g}"


@dataclass(frozen=True)
class Asinh:
    """Linear within `softening` of `zero`, logarithmic beyond, between the cuts `low` and `high`.

    Lupton, Gunn & Szalay 1999, AJ 118, 1406.
    """

    low: float
    high: float
    zero: float
    softening: float

    def __call__(self, values: FloatArray) -> ByteArray:
        """Convert values (n, m) float to levels (n, m) uint8."""
        return _levels(self, values)

    def value_at(self, fraction: FloatArray) -> FloatArray:
        """Return the values (k,) at fractions 0 ... 1 of the way from black to white."""
        dark, bright = np.arcsinh((np.array([self.low, self.high]) - self.zero) / self.softening)
        return np.asarray(self.zero + self.softening * np.sinh(dark + fraction * (bright - dark)))

    def describe(self) -> str:
        """Return the stretch as one line of the properties file."""
        return (
            f"asinh {self.low:.6g} {self.high:.6g} zero {self.zero:.6g} soft {self.softening:.6g}"
        )


STRETCHES = ("asinh", "linear")


def choose_stretch(
    name: str, level: SkyLevel, cuts: tuple[float, float] | None = None
) -> Linear | Asinh:
    """Choose the stretch of a survey.

    Parameters
    ----------
    name
        One of `STRETCHES`.
    level
        Statistics of a sample of the whole survey.
    cuts
        (low, high) as given by the user; None to derive them from `level`.

    Raises
    ------
    ValueError
        If the name is unknown or the cuts do not increase.
    """
    low, high = cuts or level.cuts()
    if not low < high:
        raise ValueError(f"cuts {low:g},{high:g} do not increase: give the lower value first")
    if name == "linear":
        return Linear(low, high)
    if name != "asinh":
        raise ValueError(f"stretch {name!r} is not one of {', '.join(STRETCHES)}")
    softening = _SOFTENING * level.sigma if level.sigma > 0 else (high - low) / 100
    return Asinh(low, high, min(max(level.zero, low), high), softening)


def _levels(stretch: "Linear | Asinh", values: FloatArray) -> ByteArray:
    """Return gray levels as a view of rows from the top down, each preceded by a 0, as in a PNG."""
    values = np.ascontiguousarray(values, np.float32)
    table = values.reshape(-1, values.shape[-1])
    lines = np.zeros((table.shape[0], 1 + table.shape[1]), np.uint8)
    kernels.to_levels(table, np.float32(stretch.zero), *_tables(stretch), lines)
    return lines[::-1, 1:].reshape(values.shape)


@lru_cache
def _tables(stretch: "Linear | Asinh") -> tuple[ByteArray, npt.NDArray[np.float32], int]:
    """Return guesses, limits and steps for `kernels.to_levels`.

    Level k > 1 starts at fraction (k - 1.5) / 254. A guess is valid for all values of its bin: the
    rounding of `value - zero` is left to the steps.
    """
    limits = stretch.value_at((np.arange(254) + 0.5) / 254).astype(np.float32)
    bins = np.arange(1 << 15, dtype=np.uint32) << np.uint32(17)
    ends = np.stack([bins, bins | np.uint32((1 << 17) - 1)]).view(np.float32)
    # the last values of the bins of infinity are NaN
    ends = np.where(np.isfinite(ends), ends, np.copysign(np.finfo(np.float32).max, ends))
    values = ends.astype(float) + stretch.zero
    slack = 2.0**-22 * (np.abs(ends) + abs(stretch.zero)).max(axis=0)
    least = np.searchsorted(limits, values.min(axis=0) - slack, side="right")
    most = np.searchsorted(limits, values.max(axis=0) + slack, side="right")
    steps = int((most - least).max())
    return least.astype(np.uint8), np.append(limits, np.float32(np.nan)), steps


@dataclass(frozen=True)
class Channel:
    """Transformation of one band of a color image.

    Attributes
    ----------
    zero
        Sky level, subtracted from the values.
    sigma
        Sky noise of the values.
    gain
        Factor that multiplies the differences.
    """

    zero: float
    sigma: float
    gain: float = 1.0


@dataclass(frozen=True)
class Lupton:
    """Asinh color composition after Lupton et al. 2004, PASP 116, 133.

    The stretch f acts on the intensity I, the mean of the bands, and every band is multiplied by
    f(I) / I, so a bright core has the hue of its outskirts; where a band exceeds 1 all bands are
    scaled down together. Near the sky level, where ratios of bands are ratios of noise, color fades
    to gray: it is multiplied by I^2 / (I^2 + (4 sigma)^2).

    Attributes
    ----------
    channels
        Red, green, blue.
    high
        Intensity above the sky that is shown at full brightness.
    """

    channels: tuple[Channel, Channel, Channel]
    high: float

    @property
    def noise(self) -> float:
        """Sky noise of the intensity."""
        return max(math.hypot(*(c.gain * c.sigma for c in self.channels)) / 3, 1e-30)

    def __call__(self, bands: FloatArray) -> ByteArray:
        """Compose bands (3, n, m) float, red first, NaN if missing, into RGBA (n, m, 4) uint8.

        Transparent where no band has data; where only some bands have data, a missing one is
        replaced by the mean of the others.
        """
        zero = np.array([c.zero for c in self.channels])[:, None, None]
        gain = np.array([c.gain for c in self.channels])[:, None, None]
        x = (bands - zero) * gain
        valid = ~np.isnan(x)
        count = valid.sum(axis=0)
        intensity = np.where(valid, x, 0.0).sum(axis=0) / np.maximum(count, 1)
        x = np.where(valid, x, intensity)
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
        """Return the composition as one line of the properties file."""
        parts = [f"{c.zero:.6g}/{c.gain:.6g}" for c in self.channels]
        return f"lupton zero/gain {' '.join(parts)} high {self.high:.6g} noise {self.noise:.6g}"
