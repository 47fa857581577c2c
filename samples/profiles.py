"""Analytic light profiles, already convolved with the sample's point spread function.

A profile maps offsets east and north of its center (arcsec, any shape) to the fraction of its flux
per square arcsec. For galaxies the convolution is approximated: axes are widened in quadrature and
the center is softened, so that a small galaxy looks like a star.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEEING = 0.7  # arcsec, full width at half maximum
_MOFFAT_BETA = 2.9
_BLUR = 0.3  # arcsec, roughly the seeing's standard deviation


class Profile(Protocol):
    """Function from offsets in arcsec to the fraction of the flux per square arcsec."""

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Evaluate the profile; the result has the broadcast shape of the arguments."""
        ...


def _rotate(east: Floats, north: Floats, angle: float) -> tuple[Floats, Floats]:
    """Return offsets along and across an axis at a position angle (degrees, north through east)."""
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    return north * cos + east * sin, east * cos - north * sin


def _moffat(r2: Floats, fwhm: float, beta: float) -> Floats:
    alpha2 = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    return np.asarray((beta - 1) / (np.pi * alpha2) * (1 + r2 / alpha2) ** -beta)


@dataclass(frozen=True)
class Star:
    """A Moffat function; `halo`: fraction of the light in broad wings, `spikes`: in a cross."""

    halo: float = 0.0
    spikes: float = 0.0
    spike_angle: float = 38.0
    spike_length: float = 9.0

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Return the fraction of the flux per square arcsec at offsets in arcsec."""
        r2 = east**2 + north**2
        light = (1 - self.halo - self.spikes) * _moffat(r2, SEEING, _MOFFAT_BETA)
        if self.halo:
            light += self.halo * _moffat(r2, 7.0, 1.7)
        if self.spikes:
            u, v = _rotate(east, north, self.spike_angle)
            light += self.spikes / 2 * (self._spike(u, v) + self._spike(v, u))
        return light

    def _spike(self, along: Floats, across: Floats) -> Floats:
        length, width = self.spike_length, 0.22
        norm = 2 * length * np.sqrt(2 * np.pi) * width
        return np.asarray(np.exp(-np.abs(along) / length - (across / width) ** 2 / 2) / norm)


@dataclass(frozen=True)
class Blob:
    """A round Gaussian of a given standard deviation (arcsec)."""

    sigma: float

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Return the fraction of the flux per square arcsec at offsets in arcsec."""
        s2 = self.sigma**2 + _BLUR**2
        return np.asarray(np.exp(-(east**2 + north**2) / (2 * s2)) / (2 * np.pi * s2))


@dataclass(frozen=True)
class Sersic:
    """A Sersic profile.

    radius: half-light radius along the major axis, arcsec. index: Sersic index. ratio: axis ratio.
    angle: position angle in degrees.
    """

    radius: float
    index: float
    ratio: float = 1.0
    angle: float = 0.0

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Return the fraction of the flux per square arcsec at offsets in arcsec."""
        u, v = _rotate(east, north, self.angle)
        major, minor = self._axes
        return self._radial((u / major) ** 2 + (v / minor) ** 2) * self._norm

    def _radial(self, rho2: Floats) -> Floats:
        steepness = 2 * self.index - 1 / 3  # Ciotti & Bertin (1999), leading terms
        soft2 = (_BLUR / self._axes[0]) ** 2
        return np.asarray(np.exp(-steepness * (rho2 + soft2) ** (0.5 / self.index)))

    @cached_property
    def _axes(self) -> tuple[float, float]:
        return float(np.hypot(self.radius, _BLUR)), float(np.hypot(self.radius * self.ratio, _BLUR))

    @cached_property
    def _norm(self) -> float:
        rho = np.geomspace(1e-3, 60.0, 240)
        # d(rho) = rho d(log rho)
        total = 2 * np.pi * np.sum(rho**2 * self._radial(rho**2)) * np.log(rho[1] / rho[0])
        return float(1 / (total * self._axes[0] * self._axes[1]))


@dataclass(frozen=True)
class SpiralDisk:
    """An exponential disk with logarithmic arms and dust along their inner edges."""

    radius: float
    ratio: float
    angle: float
    arms: int = 2
    pitch: float = 18.0
    contrast: float = 0.75
    handed: int = 1

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Return the fraction of the flux per square arcsec at offsets in arcsec."""
        disk = Sersic(self.radius, 1.0, self.ratio, self.angle)(east, north)
        u, v = _rotate(east, north, self.angle)
        rho = np.hypot(u, v / self.ratio) / self.radius
        theta = self.handed * np.arctan2(v / self.ratio, u)
        phase = self.arms * (theta - np.log(rho + 0.05) / np.tan(np.radians(self.pitch)))
        fade = self.contrast * rho**2 / (rho**2 + 0.25)
        # the mean of exp(2 (cos x - 1)) over a turn is 0.3085
        arms = np.exp(2 * (np.cos(phase) - 1)) / 0.3085
        dust = 1 - 0.45 * fade * np.exp(5 * (np.cos(phase + 0.9) - 1))
        return np.asarray(disk * (1 - fade + fade * arms) * dust)

    def arm_position(self, rho: float, arm: int) -> tuple[float, float]:
        """Return the offsets (arcsec) of a point on an arm at `rho` half-light radii."""
        turn = np.log(rho + 0.05) / np.tan(np.radians(self.pitch))
        theta = self.handed * (turn + 2 * np.pi * arm / self.arms)
        u, v = rho * self.radius * np.cos(theta), rho * self.radius * self.ratio * np.sin(theta)
        sin, cos = np.sin(np.radians(self.angle)), np.cos(np.radians(self.angle))
        return float(u * sin + v * cos), float(u * cos - v * sin)


@dataclass(frozen=True)
class DustyDisk:
    """An edge-on disk with a dark lane along it."""

    radius: float
    ratio: float
    angle: float
    lane: float = 0.88

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Return the fraction of the flux per square arcsec at offsets in arcsec."""
        disk = Sersic(self.radius, 1.0, self.ratio, self.angle)(east, north)
        u, v = _rotate(east, north, self.angle)
        width = np.hypot(0.25 * self.ratio * self.radius, _BLUR)
        lane = np.exp(-((v / width) ** 2) / 2 - (u / (1.6 * self.radius)) ** 2 / 2)
        return np.asarray(disk * (1 - self.lane * lane))


@dataclass(frozen=True)
class BleedTrail:
    """A saturated column, north to south, of 1 per square arcsec (not normalized)."""

    half_length: float
    half_width: float

    def __call__(self, east: Floats, north: Floats) -> Floats:
        """Return the fraction of the flux per square arcsec at offsets in arcsec."""
        across = np.clip((np.abs(east) - self.half_width) / 0.08, -40, 40)
        along = np.clip((np.abs(north) - self.half_length) / 0.4, -40, 40)
        return np.asarray(1 / ((1 + np.exp(across)) * (1 + np.exp(along))))
