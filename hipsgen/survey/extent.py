"""The initial view of a survey: the center and the size of the area that it covers."""

from typing import TYPE_CHECKING

import numpy as np

from hipsgen.sky.frames import to_icrs
from hipsgen.sky.polygon import to_lonlat
from hipsgen.sky.tiles import cell_centers, pixel_size

if TYPE_CHECKING:
    from mocpy import MOC

_ORDER = 9  # order at which the extent is measured
_MARGIN = 1.1  # width of the field of view relative to that of the survey


def initial_view(moc: "MOC", frame: str) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Return the initial view of a survey.

    The center is covered by the survey: it is the covered cell nearest to the mean of all of them.

    Parameters
    ----------
    moc
        The mocpy.MOC of the survey, in its frame.
    frame
        Frame of the survey.

    Returns
    -------
    center
        (lon, lat) in the survey's frame, degrees.
    icrs
        (ra, dec) of the center, degrees.
    fov
        Width of the field of view in degrees.
    """
    order = min(_ORDER + 5, int(moc.max_order))
    if moc.sky_fraction > 1e-5:
        order = min(order, _ORDER)
    cells = (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
    if cells.size == 0:
        return (0.0, 0.0), (0.0, 0.0), 180.0
    vectors = cell_centers(order, cells.astype(np.int64))
    middle = vectors.mean(axis=0)
    norm = float(np.linalg.norm(middle))
    spread_out = norm < 0.3
    direction = vectors[0] if spread_out else middle / norm
    nearest = vectors[np.argmax(vectors @ direction)]
    cell = pixel_size(order, 1)
    center = direction if np.linalg.norm(nearest - direction) < np.radians(cell) else nearest
    chord = np.linalg.norm(vectors - center, axis=1).max()
    radius = np.degrees(2 * np.arcsin(min(1.0, chord / 2))) + cell / 2
    lon, lat = to_lonlat(center)
    ra, dec = to_lonlat(to_icrs(center, frame))
    fov = 180.0 if spread_out else min(180.0, 2 * float(radius) * _MARGIN)
    return (float(lon), float(lat)), (float(ra), float(dec)), fov
