"""One leaf tile: the coadds that touch it, sampled and combined."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo, CoaddReader
from hipsgen.journal.records import InputUse
from hipsgen.planner.recipe import Recipe
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.planes import plane_handler
from hipsgen.render.window import Window, scratch_buffer, window_root
from hipsgen.sky.frames import from_icrs
from hipsgen.sky.grid import Circle, PixelMap
from hipsgen.sky.mask_planes import Pixels, is_valid
from hipsgen.sky.polygon import bounding_circle, to_vectors
from hipsgen.sky.pyramid import Layer, parent_of
from hipsgen.sky.resample import margin
from hipsgen.sky.tiles import Tile

_BEYOND = 1.02  # outlines are sampled; images with curved edges reach a little beyond


class Sampler:
    """Makes leaf tiles of coadds; asked for neighbors in NESTED order it reads each pixel once.

    refs: by the index that `leaf` is told. window_bytes: for pixels, in this thread. uses: what
    the coadds that gave pixels were multiplied with. problems: why coadds could not be read, by
    index; they are left out from then on.
    """

    def __init__(
        self,
        recipe: Recipe,
        refs: Mapping[int, CoaddRef],
        reader: CoaddReader,
        cache: CoaddCache,
        window_bytes: int,
    ) -> None:
        self.uses: dict[int, InputUse] = {}
        self.problems: dict[int, str] = {}
        self._recipe, self._refs, self._handler = recipe, refs, plane_handler(recipe)
        self._reader, self._cache = reader, cache
        self._circles = {k: _circle(ref, recipe.frame) for k, ref in refs.items()}
        self._buffer = scratch_buffer(window_bytes)
        self._windows: dict[int, Window] = {}
        self._under: Tile | None = None

    def leaf(self, tile: Tile, refs: Sequence[int]) -> Pixels | None:
        """Values (width, width) of a leaf tile, NaN missing; None when no coadd touches it.

        Or its flags, int32.
        """
        made = self._sampled(tile, refs)
        return None if made is None else made.visible()

    def _sampled(self, tile: Tile, refs: Sequence[int]) -> Layer | None:
        """The tile from the coadds: directly, or averaged from the deeper order they ask for."""
        if tile.order == self._recipe.render_order:
            value = self._combined(tile, refs)
            return None if value is None else Layer(value)
        near = ((child, self._near(child, refs)) for child in tile.children)
        children = ((c.npix & 3, self._sampled(c, some)) for c, some in near if some)
        return parent_of(children, self._recipe.tile_width)

    def _near(self, tile: Tile, refs: Sequence[int]) -> list[int]:
        """The coadds of which a circle round the outline meets one round the tile."""
        edge = [-0.5, self._recipe.tile_width - 0.5]
        corners = tile.vectors(*np.meshgrid(edge, edge), self._recipe.tile_width).reshape(-1, 3)
        middle, radius = bounding_circle(corners)
        # the sides of a tile are no great circles
        return [k for k in refs if _meet(self._circles[k], middle, 1.3 * radius)]

    def _combined(self, tile: Tile, refs: Sequence[int]) -> Pixels | None:
        """The tile from all coadds that touch it, None when there is none."""
        touching = [placed for index in refs if (placed := self._place(tile, index))]
        several = len(touching) > 1
        gathered = self._handler.accumulator(self._recipe.tile_width) if several else None
        value: Pixels | None = None
        for placed in touching:
            value = self._values(placed)
            if gathered is not None and value is not None:
                info = placed.window.info
                gathered.add(value, placed.at, info.shape, info.pixel_scale)
        return value if gathered is None else gathered.result()

    def _place(self, tile: Tile, index: int) -> "_Placed | None":
        """Where a tile lies on a coadd, None when it is beside it or the coadd cannot be read."""
        if index in self.problems:
            return None
        try:
            window = self._window(tile, index)
        except CoaddError as error:
            self.problems[index] = str(error)
            return None
        at = window.map(tile)
        return None if at is None else _Placed(index, window, at)

    def _window(self, tile: Tile, index: int) -> Window:
        """The window on a coadd that a tile is in. Raises CoaddError."""
        root = window_root(tile, self._recipe.tile_width)
        if root != self._under:  # tiles come in NESTED order: the last window is done
            self._under = root
            self._windows.clear()
            self._buffer.clear()
        if index not in self._windows:
            recipe, ref, circle = self._recipe, self._refs[index], self._circles[index]
            near = None if circle is None else (circle[0], _BEYOND * circle[1])
            self._windows[index] = Window.over(
                tile,
                recipe.tile_width,
                recipe.frame,
                margin(recipe.interpolation),
                ref,
                self._cache.info(ref),
                near,
            )
        return self._windows[index]

    def _values(self, placed: "_Placed") -> Pixels | None:
        """A coadd's pixels on the tile in the survey's unit, None when there are none."""
        index, info = placed.index, placed.window.info
        ref = self._refs[index]
        try:
            factor = self._handler.factor(info)
            found = placed.window.read(placed.at, self._reader, self._cache, self._buffer)
        except CoaddError as error:
            self.problems[index] = str(error)
            return None
        if found is None:
            return None
        pixels, first = found
        values = self._handler.sample(pixels, placed.at, first, info, factor)
        if index not in self.uses and is_valid(values).any():
            self.uses[index] = _use(ref, info, factor)
        return values


@dataclass(frozen=True)
class _Placed:
    """A coadd that touches a tile, and where the tile's pixels lie on it."""

    index: int
    window: Window
    at: PixelMap


def _circle(ref: CoaddRef, frame: str) -> Circle | None:
    """Center in a frame, and radius in degrees, of a coadd's outline; None for all of the sky."""
    if not ref.polygon:
        return None
    lon, lat = zip(*ref.polygon, strict=True)
    return bounding_circle(from_icrs(to_vectors(lon, lat), frame))


def _meet(circle: Circle | None, center: npt.NDArray[np.float64], radius: float) -> bool:
    if circle is None:
        return True
    chord = min(2.0, float(np.linalg.norm(circle[0] - center)))
    return math.degrees(2 * math.asin(chord / 2)) <= _BEYOND * circle[1] + radius


def _use(ref: CoaddRef, info: CoaddInfo, factor: float) -> InputUse:
    return InputUse(
        coadd=ref.key,
        scale=info.scale * factor,
        calibration=info.calibration,
        unit_in=info.unit_in,
        excluded=info.excluded,
        t_min=info.t_min,
        t_max=info.t_max,
    )
