"""The table of a list of coadds."""

from collections.abc import Sequence

import numpy as np
from astropy import units
from astropy.table import Column, MaskedColumn, QTable

from hipsgen.coadd import CoaddRef, corners_of
from hipsgen.sky.polygon import mean_directions, to_lonlat, to_vectors

_TEXTS = ("band", "dataset_type", "run", "dataset_id")


def coadd_table(refs: Sequence[CoaddRef]) -> QTable:
    """Return a table with a row for each reference; see `CoaddList.to_table`."""
    corners, counts = corners_of(refs)
    lon, lat = np.full((2, len(refs)), np.nan)
    known = counts > 0
    if known.any():
        vectors = mean_directions(to_vectors(corners[:, 0], corners[:, 1]), counts)[known]
        lon[known], lat[known] = to_lonlat(vectors)
    scale = np.array([3600 * ref.pixel_scale or np.nan for ref in refs], float)
    columns = [
        *(Column([getattr(ref, name) for ref in refs], name=name, dtype=str) for name in _TEXTS),
        *(_numbers(refs, name) for name in ("tract", "patch")),
        Column([ref.uri for ref in refs], name="uri", dtype=str),
        Column([ref.hdu for ref in refs], name="hdu", dtype=str),
        Column([ref.identity for ref in refs], name="identity", dtype=str),
        Column(lon % 360, name="ra", unit=units.deg),
        Column(lat, name="dec", unit=units.deg),
        Column(scale, name="pixel_scale", unit=units.arcsec),
    ]
    return QTable(columns)


def _numbers(refs: Sequence[CoaddRef], name: str) -> MaskedColumn:
    values = [dict(ref.data_id).get(name) for ref in refs]
    return MaskedColumn(
        [value if isinstance(value, int) else 0 for value in values],
        name=name,
        dtype=int,
        mask=[not isinstance(value, int) for value in values],
    )
