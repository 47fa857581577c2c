"""The sources of the sample's sky: random stars and galaxies, and a few showpieces."""

from collections.abc import Iterator

import numpy as np

from samples.field import Field
from samples.profiles import Sersic, Star
from samples.showpieces import showpieces
from samples.sky import Sky, Source

_FAINT_GALAXY = 26.3
_GALAXIES_PER_ARCMIN2 = 62.0
_FAINT_STAR = 25.0
_STARS_PER_ARCMIN2 = 2.6


def make_sky(field: Field, seed: int) -> Sky:
    """Make the sky of a field; the same seed gives the same sky."""
    rng = np.random.default_rng([seed, 1])
    return Sky((*showpieces(field, rng), *_stars(field, rng), *_galaxies(field, rng)))


def _magnitudes(rng: np.random.Generator, count: int, faint: float, slope: float) -> list[float]:
    """Draw apparent magnitudes whose number grows by 10**slope per magnitude."""
    drawn = faint + np.log10(rng.uniform(size=count)) / slope
    return [float(m) for m in np.maximum(drawn, 17.2)]


def _stars(field: Field, rng: np.random.Generator) -> Iterator[Source]:
    count = int(field.area * _STARS_PER_ARCMIN2)
    for mag in _magnitudes(rng, count, _FAINT_STAR, 0.17):
        # the stellar locus: from blue turn-off stars to M dwarfs, whose r-i grows steeply
        red = rng.beta(1.4, 1.2)
        gr = 0.25 + 1.2 * red
        ri = 0.08 + 0.3 * red + 1.1 * max(0.0, red - 0.7) / 0.3 * rng.uniform(0.2, 1.0)
        yield field.source(*field.anywhere(rng), mag, gr, ri, Star())


def _galaxies(field: Field, rng: np.random.Generator) -> Iterator[Source]:
    count = int(field.area * _GALAXIES_PER_ARCMIN2)
    for mag in _magnitudes(rng, count, _FAINT_GALAXY, 0.34):
        east, north = field.anywhere(rng)
        size = 0.38 * 10 ** (0.13 * (24 - max(mag, 18.0))) * rng.lognormal(0.0, 0.25)
        angle = float(rng.uniform(0, 180))
        kind = rng.uniform()
        if kind < 0.22:
            yield from _elliptical(field, rng, east, north, mag, size, angle)
        else:
            yield from _disc(field, rng, east, north, mag, size, angle)


def _elliptical(
    field: Field,
    rng: np.random.Generator,
    east: float,
    north: float,
    mag: float,
    size: float,
    angle: float,
) -> Iterator[Source]:
    gr, ri = rng.normal(1.25, 0.18), rng.normal(0.55, 0.12)
    profile = Sersic(0.8 * size, 4.0, float(rng.uniform(0.5, 1.0)), angle)
    yield field.source(east, north, mag, gr, ri, profile)


def _disc(
    field: Field,
    rng: np.random.Generator,
    east: float,
    north: float,
    mag: float,
    size: float,
    angle: float,
) -> Iterator[Source]:
    gr, ri = rng.normal(0.42, 0.2), rng.normal(0.18, 0.12)
    ratio = float(rng.uniform(0.2, 1.0))
    yield field.source(east, north, mag, gr, ri, Sersic(size, 1.0, ratio, angle))
    if mag < 23.5:  # a visible bulge
        bulge = Sersic(0.25 * size, 2.0, max(ratio, 0.6), angle)
        yield field.source(east, north, mag + rng.uniform(1.0, 3.0), gr + 0.5, ri + 0.2, bulge)
