"""Pixel maps of single tiles, for tests and benchmarks."""

from hipsgen.sky.grid import TOLERANCE, PixelMap, SkyToPixel, build_grid
from hipsgen.sky.tiles import Tile


def pixel_map(
    tile: Tile,
    width: int,
    frame: str,
    to_pixel: SkyToPixel,
    shape: tuple[int, int],
    tolerance: float = TOLERANCE,
) -> PixelMap | None:
    """Map all pixels of a tile; arguments as for `build_grid`."""
    grid = build_grid(tile, width, frame, to_pixel, shape, tolerance)
    return None if grid is None else grid.map(0, 0, width)
