"""Make the object table of a tract: a pipeline's measurements of its stars and galaxies."""

from pathlib import Path

import numpy as np
from astropy import units
from astropy.table import Table

from samples.coadd import SKY_SIGMA
from samples.profiles import Sersic, Star
from samples.sky import BANDS, Sky
from samples.skymap import ARCSEC, Tract, local_basis, make_tracts
from samples.tractfiles import sample_sky

_EFFECTIVE_PIXELS = 36.0  # number of pixels over which the light of a star is summed
_FAINTEST = 5.0  # smallest signal-to-noise ratio
_ASTROMETRY = 0.3  # arcsec: position error at a signal-to-noise ratio of 1


def write_object_tables(folder: Path, size: int, seed: int) -> dict[int, Path]:
    """Write a Parquet file for each tract; return their paths by tract."""
    tracts, sky, paths = make_tracts(size), sample_sky(size, seed), {}
    for tract in tracts:
        others = [other for other in tracts if other.id != tract.id]
        paths[tract.id] = folder / f"objects_{tract.id}.parq"
        object_table(tract, others, sky, seed).write(paths[tract.id], format="parquet")
    return paths


def object_table(tract: Tract, others: list[Tract], sky: Sky, seed: int) -> Table:
    """Return the sources of a tract that exceed five times the noise in r, with errors.

    detect_isPrimary: no other tract's center is nearer. refExtendedness: 0 for stars.
    """
    rng = np.random.default_rng([seed, 5, tract.id])
    rows, columns = tract.shape
    noise = np.array([SKY_SIGMA[band] for band in BANDS]) * np.sqrt(_EFFECTIVE_PIXELS)
    found = []
    for source in sky.sources:
        x, y = tract.to_pixel(source.ra, source.dec)
        is_inside = -0.5 <= x < columns - 0.5 and -0.5 <= y < rows - 0.5
        flux = np.array(source.flux) + noise * rng.normal(size=len(BANDS))
        signal = flux[BANDS.index("r")] / noise[BANDS.index("r")]
        if not is_inside or signal < _FAINTEST or not isinstance(source.profile, Star | Sersic):
            continue
        north = rng.normal() * _ASTROMETRY / signal / 3600
        east = rng.normal() * _ASTROMETRY / signal / 3600 / np.cos(np.radians(source.dec))
        is_extended = float(isinstance(source.profile, Sersic))
        found.append(((source.ra + east) % 360, source.dec + north, is_extended, *flux))
    ra, dec, extended, *fluxes = np.array(found).T
    table = Table()
    table["objectId"] = (tract.id << 44) + 1 + np.arange(len(found))
    table["coord_ra"], table["coord_dec"] = ra * units.deg, dec * units.deg
    table["tract"] = np.full(len(found), tract.id)
    for band, flux, sigma in zip(BANDS, fluxes, noise, strict=True):
        table[f"{band}_psfFlux"] = flux * units.nJy
        table[f"{band}_psfFluxErr"] = np.full(len(found), sigma) * units.nJy
    table["refExtendedness"] = extended
    own = _distance(tract, ra, dec)
    nearer = [_distance(other, ra, dec) < own for other in others]
    table["detect_isPrimary"] = ~np.any(nearer, axis=0)
    return table


def _distance(tract: Tract, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the distance in arcsec of positions (degrees) from a tract's center."""
    vectors = np.array([local_basis(a, b)[2] for a, b in zip(ra, dec, strict=True)])
    return np.linalg.norm(vectors - local_basis(tract.ra, tract.dec)[2], axis=1) * ARCSEC
