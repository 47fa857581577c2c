"""The part of the sky that a survey covers: Moc.fits, and the Allsky images of its low orders."""

import io
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.frames import letter_of
from hipsgen.sky.mask_planes import NO_DATA, Pixels, is_valid
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import MAX_ORDER, Tile, nested_index

if TYPE_CHECKING:
    from mocpy import MOC

Ranges = npt.NDArray[np.uint64]  # (n, 2): first and one past the last cell

MOC_NAME = "Moc.fits"
ALLSKY_ORDERS = range(4)
_DAMAGE = (*(OSError, ValueError, TypeError, IndexError, AttributeError, KeyError, MemoryError),)
_CELLS_PER_SIDE = 8  # cells of the MOC along a side of a tile


def moc_order(leaf_order: int) -> int:
    """Return the order of the cells of a survey's MOC."""
    return min(MAX_ORDER, leaf_order + _CELLS_PER_SIDE.bit_length() - 1)


def measure_tile(tile: Tile, values: Pixels) -> tuple[npt.NDArray[np.uint64], float, float]:
    """Find the cells of a leaf tile that have data, and the range of its values or flags.

    Parameters
    ----------
    tile
        The tile.
    values
        (width, width) float32 values, NaN if missing, or int32 flags.

    Returns
    -------
    cells
        Sorted NESTED indices, at `moc_order`, of the cells that have data.
    low, high
        Lowest and highest value; inf, -inf if there is none.
    """
    cells = min(_CELLS_PER_SIDE, 1 << (MAX_ORDER - tile.order))
    has_data = np.empty((cells, cells), np.bool_)
    if values.dtype == np.int32:
        low, high = _measure_flags(values, has_data)
    else:
        low, high = kernels.measure_cells(values.view(np.int32), has_data)
    inside = np.sort(_cell_index(cells)[has_data])
    return inside + np.uint64(tile.npix * cells * cells), low, high


def _measure_flags(flags: Pixels, has_data: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Do for flags what `tile_kernels.measure_cells` does for values."""
    valid = is_valid(flags)
    size = flags.shape[0] // has_data.shape[0]
    has_data[...] = valid.reshape(len(has_data), size, len(has_data), size).any(axis=(1, 3))
    found = flags[valid]
    return (float(found.min()), float(found.max())) if found.size else (np.inf, -np.inf)


@lru_cache
def _cell_index(cells: int) -> npt.NDArray[np.uint64]:
    return nested_index(cells).astype(np.uint64)


def to_ranges(cells: npt.NDArray[np.uint64]) -> Ranges:
    """Convert sorted cell indices to ranges (n, 2)."""
    if not cells.size:
        return np.empty((0, 2), np.uint64)
    breaks = np.flatnonzero(np.diff(cells) != 1)
    first = cells[np.concatenate([[0], breaks + 1])]
    last = cells[np.concatenate([breaks, [cells.size - 1]])]
    return np.stack([first, last + np.uint64(1)], axis=1)


def moc_of(ranges: Iterable[Ranges], order: int) -> "MOC":
    """Make a mocpy.MOC from ranges of cells at an order."""
    from mocpy import MOC

    parts = [r for r in ranges if len(r)]
    if not parts:
        return MOC.new_empty(order)
    shift = np.uint64(2 * (MAX_ORDER - order))
    deepest = np.concatenate(parts) << shift
    return MOC.from_depth29_ranges(order, deepest[np.argsort(deepest[:, 0])])


def sky_fraction(moc: "MOC") -> float:
    """Return the covered fraction of the sky; mocpy returns 0 for a few cells of deep orders."""
    ranges = moc.to_depth29_ranges
    return int((ranges[:, 1] - ranges[:, 0]).sum()) / (12 << 2 * MAX_ORDER)


def moc_bytes(moc: "MOC", frame: str) -> bytes:
    """Serialize Moc.fits, with cells in the survey's frame, as Hipsgen does and readers expect."""
    hdus = moc.serialize("fits", v1_compatible=True)
    hdus[1].header["COORDSYS"] = (letter_of(frame), "space reference frame")
    hdus[1].header.pop("DATE", None)
    hdus[0].header.pop("DATE", None)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def read_moc(data: bytes) -> "MOC":
    """Read a mocpy.MOC from FITS, ignoring the frame it names. Raises SurveyError."""
    from astropy.io import fits
    from mocpy import MOC

    try:
        with fits.open(io.BytesIO(data)) as hdus:
            header = hdus[1].header
            numbers = np.asarray(hdus[1].data.field(0)).astype(np.uint64)
        order = int(header.get("MOCORD_S", header.get("MOCORDER", MAX_ORDER)))
        if str(header.get("ORDERING", "NUNIQ")).strip() == "RANGE":
            return MOC.from_depth29_ranges(order, numbers.reshape(-1, 2))
        depth, npix = _from_uniq(numbers)
        return MOC.from_healpix_cells(npix, depth, max_depth=order)
    except (*_DAMAGE, fits.VerifyError) as error:
        raise SurveyError(f"{MOC_NAME} cannot be read ({error})") from error


def _from_uniq(
    numbers: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Return order and NESTED index of cells: uniq = 4 * 4^order + npix (MOC 1.1, section 2.3).

    Raises ValueError for a number below 4.
    """
    if numbers.size and numbers.min() < 4:
        raise ValueError(f"{numbers.min()} is not the NUNIQ number of a cell")
    # compared as integers: a double cannot distinguish the last cells of the deepest orders
    first = np.uint64(4) << np.arange(0, 2 * MAX_ORDER + 1, 2, dtype=np.uint64)
    depth = np.searchsorted(first, numbers, side="right") - 1
    return depth.astype(np.uint8), numbers - first[depth]


def allsky(layers: Mapping[int, Layer], order: int, tile_width: int) -> Pixels:
    """Combine all tiles of an order, reduced in size, into one image.

    Tiles run from left to right and from top to bottom (HiPS 1.0, section 4.3.2).

    Parameters
    ----------
    layers
        Tiles by npix, reduced with `shrink` to `allsky_width`.
    order
        Order of the tiles.
    tile_width
        Width of the survey's tiles in pixels.

    Returns
    -------
    ndarray
        Values (float32, NaN if missing) or flags (int32), in FITS orientation.
    """
    columns, rows = allsky_shape(order)
    width = allsky_width(tile_width)
    is_mask = any(layer.value.dtype == np.int32 for layer in layers.values())
    missing = np.int32(NO_DATA) if is_mask else np.float32(np.nan)
    image = np.full((rows * width, columns * width), missing)
    for npix, layer in layers.items():
        row, column = divmod(npix, columns)
        bottom = (rows - 1 - row) * width
        image[bottom : bottom + width, column * width : (column + 1) * width] = layer.visible()
    return image


def allsky_shape(order: int) -> tuple[int, int]:
    """Return the number of tiles in a row of an Allsky image, and the number of rows."""
    count = 12 << 2 * order
    columns = int(np.sqrt(count))
    return columns, -(-count // columns)


def allsky_width(tile_width: int) -> int:
    """Return the width in pixels of a tile in an Allsky image."""
    return min(64, tile_width)
