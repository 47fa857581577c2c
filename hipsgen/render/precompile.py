"""Compilation of the inner loops on first use; afterwards they are loaded from numba's cache.

numba stores compiled code next to the modules, or in the user's cache folder. Each loop is compiled
for a single combination of types, so that processes that compile it at the same time write the same
files.
"""

import threading

import numpy as np

from hipsgen.run.progress import Reporter
from hipsgen.sky.combine import Accumulator
from hipsgen.sky.grid import FloatArray, PixelMap, build_grid
from hipsgen.sky.mask_planes import MaskPlaneMapping, sample_nearest
from hipsgen.sky.outlines import outlines_of, touching
from hipsgen.sky.pyramid import Layer, parent_of
from hipsgen.sky.resample import resample
from hipsgen.sky.stretch import Linear
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import measure_tile
from hipsgen.survey.fits_tile import FitsTile

_WIDTH = 64
_done: set[tuple[str, str, bool]] = set()
_NOTICE_AFTER = 3.0  # seconds; loading takes a tenth of this, more on a busy machine


def precompile(interpolation: str, overlap: str, reporter: Reporter, masks: bool = False) -> None:
    """Run every loop that a build needs on an empty tile, once in each process.

    Parameters
    ----------
    interpolation, overlap : str
        As in `BuildOptions`.
    reporter : Reporter
        Receives a note if the loops have to be compiled, which takes some seconds.
    masks : bool
        Whether a mask survey is built as well.
    """
    if (interpolation, overlap, masks) in _done:
        return
    text = "compiling the inner loops for this machine, once: about 10 seconds"
    notice = threading.Timer(_NOTICE_AFTER, reporter.note, [text])
    notice.daemon = True
    notice.start()
    try:
        at = _render_empty_tile(interpolation, overlap)
        if masks:
            empty = np.zeros((90, 90), np.int32)
            sample_nearest(empty, at, MaskPlaneMapping.between({"A": 0}, {"A": 0, "B": 1}, "B"))
    finally:
        notice.cancel()
    _done.add((interpolation, overlap, masks))


def _render_empty_tile(interpolation: str, overlap: str) -> PixelMap:
    """Render a tile of zeros and return its positions on the image."""
    tile, shape = Tile(3, 300), (90, 90)
    corners = tile.vectors(np.array([0, 0, 63, 63]), np.array([0, 63, 63, 0]), _WIDTH)
    touching(outlines_of(corners, np.array([4])), 3)
    east, north = corners[1] - corners[0], corners[3] - corners[0]

    def to_pixel(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        offset = vectors - corners[0]
        return 80 * (offset @ east) / (east @ east) + 5, 80 * (offset @ north) / (north @ north) + 5

    grid = build_grid(tile, _WIDTH, "equatorial", to_pixel, shape)
    assert grid is not None
    grid.needed(1)
    at = grid.map(0, 0, _WIDTH)
    assert at is not None
    image = np.zeros(shape, np.float32)
    image[40, 40] = np.nan
    values = resample(image, at, interpolation)
    accumulator = Accumulator(_WIDTH, overlap)
    for _ in range(2):
        accumulator.add(values, at, shape, 1.0)
    value = accumulator.result()
    measure_tile(tile, value)
    parent = parent_of([(0, Layer(value))], _WIDTH)
    parent_of([(0, parent)], _WIDTH)
    assert parent is not None
    parent.visible()
    Linear(0.0, 1.0)(value)
    FitsTile().encode(value, tile)
    return at
