"""Sampling of a leaf tile from the coadds that touch it, and their combination."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, lack_of_memory
from hipsgen.images.source import CoaddInfo, CoaddReader
from hipsgen.journal.records import InputUse
from hipsgen.planner.recipe import Recipe
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.planes import plane_handler
from hipsgen.render.window import Window, scratch_buffer, window_root
from hipsgen.sky.frames import from_icrs
from hipsgen.sky.grid import Circle, PixelMap
from hipsgen.sky.mask_planes import Pixels, is_valid
from hipsgen.sky.offset import as_in_file
from hipsgen.sky.polygon import bounding_circle, to_vectors
from hipsgen.sky.pyramid import Layer, parent_of
from hipsgen.sky.resample import margin
from hipsgen.sky.tiles import Tile

_PADDING = 1.02  # images with curved edges extend a little beyond their sampled outlines


class LeafSampler:
    """Samples leaf tiles from coadds; for tiles in NESTED order each pixel is read only once.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the survey.
    refs : mapping of int to CoaddRef
        The coadds, by the indices that are passed to `leaf`.
    reader : CoaddReader
        Reader of the coadds.
    cache : CoaddCache
        Cache of decoded coadds.
    window_bytes : int
        Memory for the pixels of windows, in this thread.

    Attributes
    ----------
    input_uses : dict of int to InputUse
        How the coadds that contributed pixels were used, by index.
    problems : dict of int to str
        Why coadds could not be read, by index; they are left out from then on.
    """

    def __init__(
        self,
        recipe: Recipe,
        refs: Mapping[int, CoaddRef],
        reader: CoaddReader,
        cache: CoaddCache,
        window_bytes: int,
    ) -> None:
        self.input_uses: dict[int, InputUse] = {}
        self.problems: dict[int, str] = {}
        self._recipe, self._refs, self._handler = recipe, refs, plane_handler(recipe)
        self._reader, self._cache = reader, cache
        self._circles = {k: _circle(ref, recipe.frame) for k, ref in refs.items()}
        self._buffer = scratch_buffer(window_bytes)
        self._windows: dict[int, Window] = {}
        self._window_root: Tile | None = None

    def leaf(self, tile: Tile, refs: Sequence[int]) -> Pixels | None:
        """Sample a leaf tile.

        Parameters
        ----------
        tile : Tile
            The leaf tile.
        refs : sequence of int
            Indices of the coadds that may touch it.

        Returns
        -------
        numpy.ndarray or None
            (width, width), float32 values relative to `Recipe.offset` with NaN for missing data, or
            int32 flags of a mask; None if no coadd touches the tile.
        """
        layer = self._sample(tile, refs)
        return None if layer is None else as_in_file(layer.visible(), self._recipe.offset)

    def _sample(self, tile: Tile, refs: Sequence[int]) -> Layer | None:
        """Return the tile, sampled directly or averaged from the deeper order of the coadds."""
        if tile.order == self._recipe.render_order:
            value = self._combine(tile, refs)
            return None if value is None else Layer(value)
        near = ((child, self._near(child, refs)) for child in tile.children)
        children = ((c.npix & 3, self._sample(c, some)) for c, some in near if some)
        return parent_of(children, self._recipe.tile_width)

    def _near(self, tile: Tile, refs: Sequence[int]) -> list[int]:
        """Return the coadds whose bounding circle intersects that of the tile."""
        edge = [-0.5, self._recipe.tile_width - 0.5]
        corners = tile.vectors(*np.meshgrid(edge, edge), self._recipe.tile_width).reshape(-1, 3)
        middle, radius = bounding_circle(corners)
        # the sides of a tile are not great circles, so that it may extend beyond the circle
        return [k for k in refs if _intersect(self._circles[k], middle, 1.3 * radius)]

    def _combine(self, tile: Tile, refs: Sequence[int]) -> Pixels | None:
        """Return the combination of all coadds that touch a tile, None if there is none."""
        touching = [placed for index in refs if (placed := self._place(tile, index))]
        several = len(touching) > 1
        accumulator = self._handler.accumulator(self._recipe.tile_width) if several else None
        value: Pixels | None = None
        for placed in touching:
            value = self._values(placed)
            if accumulator is not None and value is not None:
                info = placed.window.info
                accumulator.add(value, placed.at, info.shape, info.pixel_scale)
        return value if accumulator is None else accumulator.result()

    def _place(self, tile: Tile, index: int) -> "_PlacedCoadd | None":
        """Locate a tile on a coadd; None if it is outside or the coadd cannot be read."""
        if index in self.problems:
            return None
        try:
            window = self._window(tile, index)
            at = window.map(tile)
        except CoaddError as error:
            self.problems[index] = str(error)
            return None
        except MemoryError as error:
            self.problems[index] = str(lack_of_memory(error))
            return None
        return None if at is None else _PlacedCoadd(index, window, at)

    def _window(self, tile: Tile, index: int) -> Window:
        """Return the window on a coadd that includes a tile. Raises CoaddError."""
        root = window_root(tile, self._recipe.tile_width)
        if (
            root != self._window_root
        ):  # tiles come in NESTED order: the previous windows are not needed any more
            self._window_root = root
            self._windows.clear()
            self._buffer.clear()
        if index not in self._windows:
            recipe, ref, circle = self._recipe, self._refs[index], self._circles[index]
            near = None if circle is None else (circle[0], _PADDING * circle[1])
            self._windows[index] = Window.of_tile(
                tile,
                recipe.tile_width,
                recipe.frame,
                margin(recipe.interpolation),
                ref,
                self._cache.info(ref),
                near,
            )
        return self._windows[index]

    def _values(self, placed: "_PlacedCoadd") -> Pixels | None:
        """Return a coadd's pixels on the tile in the unit of the survey, None if there are none."""
        index, info = placed.index, placed.window.info
        ref = self._refs[index]
        try:
            factor = self._handler.factor(info)
            found = placed.window.read(placed.at, self._reader, self._cache, self._buffer)
            if found is None:
                return None
            pixels, first = found
            values = self._handler.sample(pixels, placed.at, first, info, factor)
        except CoaddError as error:
            self.problems[index] = str(error)
            return None
        except MemoryError as error:
            self.problems[index] = str(lack_of_memory(error))
            return None
        if index not in self.input_uses and is_valid(values).any():
            self.input_uses[index] = _input_use(ref, info, factor)
        return values


@dataclass(frozen=True)
class _PlacedCoadd:
    """A coadd that touches a tile, and the positions of the tile's pixels on it."""

    index: int
    window: Window
    at: PixelMap


def _circle(ref: CoaddRef, frame: str) -> Circle | None:
    """Return center (unit vector) and radius (degrees) of a coadd; None for the whole sky."""
    if not ref.polygon:
        return None
    lon, lat = zip(*ref.polygon, strict=True)
    return bounding_circle(from_icrs(to_vectors(lon, lat), frame))


def _intersect(circle: Circle | None, center: npt.NDArray[np.float64], radius: float) -> bool:
    if circle is None:
        return True
    chord = min(2.0, float(np.linalg.norm(circle[0] - center)))
    return math.degrees(2 * math.asin(chord / 2)) <= _PADDING * circle[1] + radius


def _input_use(ref: CoaddRef, info: CoaddInfo, factor: float) -> InputUse:
    return InputUse(
        coadd=ref.key,
        scale=info.scale * factor,
        calibration=info.calibration,
        unit_in=info.unit_in,
        excluded=info.excluded,
        t_min=info.t_min,
        t_max=info.t_max,
    )
