"""Pixels of a tract without data: holes, isolated pixels and a ragged edge, in the tract's grid."""

import numpy as np
import numpy.typing as npt

from samples.skymap import TRACT_IDS, Tract

Bools = npt.NDArray[np.bool_]

SQUARE = 20  # pixels, side of the square holes

# Centers as (x, y) fractions of the tract, by index in TRACT_IDS. The second run repairs the blob
# in patch 0 of the first tract; two holes lie in the overlap of patches.
_SQUARES = (((0.80, 0.62), (0.50, 0.10)), ((0.18, 0.70),))
_BLOBS = (((0.24, 0.17), (0.72, 0.86)), ((0.62, 0.18), (0.30, 0.505)))
_LONE_PIXELS = (((0.86, 0.30), (0.498, 0.08)), ((0.40, 0.90),))


def blank_pixels(tract: Tract, seed: int) -> Bools:
    """Return the pixels without data in any band, in the shape of the tract."""
    index = TRACT_IDS.index(tract.id)
    rng = np.random.default_rng([seed, 2, tract.id])
    rows, columns = tract.shape
    blank = np.zeros(tract.shape, dtype=bool)
    for fx, fy in _SQUARES[index]:
        x, y = int(fx * columns), int(fy * rows)
        blank[y : y + SQUARE, x : x + SQUARE] = True
    for fx, fy in _BLOBS[index]:
        _cut_blob(blank, fx * columns, fy * rows, 0.021 * tract.inner, rng)
    for fx, fy in _LONE_PIXELS[index]:
        blank[int(fy * rows), int(fx * columns)] = True
    if index == 0:
        _fray_west_edge(blank, 0.022 * tract.inner, rng)
    return blank


def _cut_blob(blank: Bools, x: float, y: float, radius: float, rng: np.random.Generator) -> None:
    """Cut an irregular hole: a circle whose radius varies with the angle."""
    near = tuple(slice(max(0, int(c - 3 * radius)), int(c + 3 * radius)) for c in (y, x))
    dy, dx = np.ogrid[near]
    dy, dx = dy - y, dx - x
    angle = np.arctan2(dy, dx)
    edge = np.ones_like(angle)
    for lobes in (2, 3, 5, 9):
        phase = rng.uniform(0, 2 * np.pi)
        edge += rng.uniform(0.1, 0.7) / lobes * np.cos(lobes * angle + phase)
    blank[near] |= np.hypot(dx, dy) < radius * edge


def _fray_west_edge(blank: Bools, depth: float, rng: np.random.Generator) -> None:
    """Cut steps of random depth, as where dithered detectors end, with single ragged rows."""
    rows, columns = blank.shape
    steps = rng.uniform(0.3, 1.6, size=rows // 45 + 1).repeat(45)[:rows]
    width = np.maximum(1, depth * steps + rng.normal(0, 1.2, size=rows)).astype(int)
    blank |= np.arange(columns) >= columns - width[:, None]


def detector_edges(tract: Tract, seed: int) -> Bools:
    """Return narrow tilted bands along edges of input detectors, in the shape of the tract."""
    rng = np.random.default_rng([seed, 3, tract.id])
    y, x = np.mgrid[: tract.shape[0], : tract.shape[1]]
    edges = np.zeros(tract.shape, dtype=bool)
    for turn in (0.13, 0.13 + np.pi / 2, -0.31):
        place = rng.uniform(0.2, 0.8) * tract.shape[1]
        distance = (x - place) * np.cos(turn) + (y - place) * np.sin(turn)
        edges |= np.abs(distance) < 4
    return edges
