"""Showpieces of the sample: spirals, a cluster, a colliding pair, a ring, a saturated star.

Positions are fractions of the field from its center, east and north positive; sizes and fluxes
follow the field's scale, so that a small sample is not covered by one star.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from samples.field import Field
from samples.profiles import BleedTrail, Blob, DustyDisk, Profile, Sersic, SpiralDisk, Star
from samples.sky import BANDS, SATURATION, Source
from samples.skymap import PIXEL_SCALE


@dataclass(frozen=True)
class _Place:
    """The position of a showpiece in its field."""

    field: Field
    east: float  # arcsec
    north: float  # arcsec

    def put(
        self,
        mag: float,
        colors: tuple[float, float],
        profile: Profile,
        offset: tuple[float, float] = (0.0, 0.0),
    ) -> Source:
        dimming = -5 * np.log10(self.field.scale)
        return self.field.source(
            self.east + offset[0], self.north + offset[1], mag + dimming, *colors, profile
        )


def showpieces(field: Field, rng: np.random.Generator) -> Iterator[Source]:
    """Make all showpieces of a field."""

    def at(x: float, y: float) -> _Place:
        return _Place(field, x * field.width, y * field.height)

    s = field.scale
    # next to the hole that the second run repairs
    yield from saturated_star(at(-0.11, -0.21), 10.4)
    disk = SpiralDisk(8.5 * s, 0.78, 35.0, arms=2, pitch=17.0)
    yield from spiral(at(0.0, -0.22), 14.6, disk, rng)  # on the border between the tracts
    yield from spiral(
        at(0.34, 0.27), 15.6, SpiralDisk(6.0 * s, 0.42, 115.0, arms=3, pitch=22.0, handed=-1), rng
    )
    yield from spiral(
        at(-0.41, -0.05), 16.2, SpiralDisk(4.5 * s, 0.9, 0.0, arms=4, pitch=26.0, contrast=0.6), rng
    )
    yield from edge_on(at(0.17, 0.06), 15.5, DustyDisk(9.0 * s, 0.13, 62.0))
    yield from edge_on(at(-0.30, -0.36), 17.0, DustyDisk(5.0 * s, 0.11, 150.0))
    yield from cluster(at(0.30, -0.24), rng)
    yield from colliding_pair(at(-0.22, -0.14), rng)
    yield from ring(at(0.06, 0.36), rng)
    for x, y, mag, gr in (
        (-0.44, 0.38, 15.6, 1.1),
        (0.44, 0.03, 16.0, 0.4),
        (0.12, -0.42, 16.2, 0.7),
    ):
        yield at(x, y).put(mag, (gr, 0.4 * gr), Star(halo=0.02, spikes=0.012, spike_length=4 * s))


def saturated_star(place: _Place, mag: float) -> Iterator[Source]:
    """Make a star with a clipped core, broad wings, spikes and a short bleed trail."""
    s = place.field.scale
    yield place.put(mag, (0.55, 0.2), Star(halo=0.03, spikes=0.03, spike_length=11.0 * s))
    trail = BleedTrail(half_length=15.0 * s, half_width=0.4)
    star = place.put(mag, (0.0, 0.0), trail)
    yield Source(star.ra, star.dec, (1.3 * SATURATION,) * len(BANDS), trail)


def spiral(
    place: _Place, mag: float, disk: SpiralDisk, rng: np.random.Generator
) -> Iterator[Source]:
    """Make blue arms on a redder disk, an old bulge, and star-forming knots along the arms."""
    yield place.put(mag + 0.7, (0.30, 0.10), disk)
    old = Sersic(0.8 * disk.radius, 1.0, disk.ratio, disk.angle)
    yield place.put(mag + 1.0, (0.68, 0.32), old)
    bulge = Sersic(0.16 * disk.radius, 2.5, max(0.7, disk.ratio), disk.angle)
    yield place.put(mag + 1.9, (0.92, 0.45), bulge)
    for _ in range(int(36 * disk.radius / 6) + 6):
        rho = float(rng.uniform(0.45, 2.1))
        east, north = disk.arm_position(rho, int(rng.integers(disk.arms)))
        jitter = rng.normal(0.0, 0.05 * disk.radius, 2)
        knot = (east + float(jitter[0]), north + float(jitter[1]))
        faint = mag + float(rng.uniform(5.0, 7.4)) + 0.5 * rho
        young = rng.uniform() < 0.7
        colors = (-0.05, -0.15) if young else (0.35, -0.35)  # H alpha is in r
        yield place.put(faint, colors, Blob(float(rng.uniform(0.0, 0.35))), knot)


def edge_on(place: _Place, mag: float, disk: DustyDisk) -> Iterator[Source]:
    """Make an edge-on disk with a small bulge and a thick disk."""
    yield place.put(mag + 0.4, (0.62, 0.30), disk)
    thick = Sersic(disk.radius, 1.0, 2.6 * disk.ratio, disk.angle)
    yield place.put(mag + 1.9, (0.75, 0.36), thick)
    bulge = DustyDisk(0.22 * disk.radius, 0.7, disk.angle, lane=0.5)
    yield place.put(mag + 1.7, (0.95, 0.45), bulge)


def cluster(place: _Place, rng: np.random.Generator) -> Iterator[Source]:
    """Make a brightest galaxy with a wide halo, red members, and blue lensed arcs."""
    s = place.field.scale
    old = (1.28, 0.52)
    yield place.put(16.1, old, Sersic(4.0 * s, 4.0, 0.78, 50.0))
    yield place.put(16.9, old, Sersic(17.0 * s, 1.5, 0.7, 50.0))
    yield place.put(17.1, old, Sersic(2.0 * s, 4.0, 0.8, 10.0), (9.5 * s, 5.0 * s))
    for _ in range(46):
        distance = 3.0 * s + float(rng.exponential(17.0)) * s
        angle = float(rng.uniform(0, 2 * np.pi))
        offset = (distance * np.sin(angle) * 1.25, distance * np.cos(angle) * 0.9)
        mag = 22.5 + 2.2 * float(np.log10(rng.uniform(0.004, 1.0)))
        size = 0.75 * s * 10 ** (0.13 * (21 - mag))
        ratio, tilt = float(rng.uniform(0.45, 1.0)), float(rng.uniform(0, 180))
        redness = (float(rng.normal(1.26, 0.04)), float(rng.normal(0.51, 0.02)))
        yield place.put(mag, redness, Sersic(size, 4.0, ratio, tilt), offset)
    for radius, start, length in ((15.0, 200.0, 46.0), (16.5, 30.0, 26.0), (22.0, 290.0, 22.0)):
        yield from _arc(place, radius * s, (start, start + length), 22.1, (0.05, 0.02))


def colliding_pair(place: _Place, rng: np.random.Generator) -> Iterator[Source]:
    """Make two close spirals with tidal tails and knots of young stars between them."""
    s = place.field.scale
    first = SpiralDisk(4.6 * s, 0.62, 20.0, arms=2, pitch=26.0, contrast=0.85)
    second = SpiralDisk(3.6 * s, 0.5, 105.0, arms=2, pitch=30.0, contrast=0.85, handed=-1)
    yield from spiral(place, 15.9, first, rng)
    other = _Place(place.field, place.east - 10.5 * s, place.north + 7.0 * s)
    yield from spiral(other, 16.5, second, rng)
    yield from _arc(place, 17.0 * s, (85.0, 195.0), 21.6, (0.35, 0.12), width=1.1 * s)
    yield from _arc(other, 13.0 * s, (250.0, 355.0), 21.9, (0.35, 0.12), width=0.9 * s)
    for step in np.linspace(0.2, 0.8, 7):
        bridge = (float(step * -10.5 * s), float(step * 7.0 * s) + float(rng.normal(0, 0.5)) * s)
        yield place.put(20.8, (0.0, -0.1), Blob(0.5 * s), bridge)


def ring(place: _Place, rng: np.random.Generator) -> Iterator[Source]:
    """Make an old round core inside a young ring."""
    s = place.field.scale
    yield place.put(17.6, (0.95, 0.42), Sersic(1.2 * s, 3.0, 0.95, 0.0))
    for angle in np.arange(0.0, 360.0, 7.5):
        turn = np.radians(angle + float(rng.normal(0, 1.5)))
        offset = (float(7.2 * s * np.sin(turn)), float(6.2 * s * np.cos(turn)))
        mag = 21.6 + float(rng.normal(0, 0.35))
        yield place.put(mag, (0.12, 0.0), Blob(0.75 * s), offset)


def _arc(
    place: _Place,
    radius: float,
    angle_range: Sequence[float],
    mag: float,
    colors: tuple[float, float],
    width: float = 0.12,
) -> Iterator[Source]:
    """Make an arc of light around a position: overlapping blobs, brightest in the middle."""
    first, last = np.radians(angle_range)
    step = 2 * max(width, PIXEL_SCALE) / radius
    angles = np.linspace(first, last, max(5, int((last - first) / step)))
    for fraction, angle in zip(np.linspace(-1, 1, len(angles)), angles, strict=True):
        offset = (float(radius * np.sin(angle)), float(radius * np.cos(angle)))
        faint = mag + 2.4 * float(fraction**2) + 1.2
        yield place.put(faint, colors, Blob(width), offset)
