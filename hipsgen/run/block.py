"""One block: sample the coadds, combine them, make the parents, write the tiles."""

import hashlib
import math
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo, CoaddReader, CoaddRef
from hipsgen.run import stop
from hipsgen.run.cache import CoaddCache
from hipsgen.run.config import Recipe
from hipsgen.run.journal import BlockRecord, BlockState, InputUse, Journal
from hipsgen.run.plan import Block
from hipsgen.run.units import factor_to
from hipsgen.run.window import Window, above, room
from hipsgen.run.writer import Writer
from hipsgen.sky.combine import Accumulator
from hipsgen.sky.frames import from_icrs
from hipsgen.sky.grid import Circle, PixelMap
from hipsgen.sky.polygon import bounding_circle, to_vectors
from hipsgen.sky.pyramid import Layer, parent_of, shrink
from hipsgen.sky.resample import margin, resample
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, allsky_width, look_over, to_ranges
from hipsgen.survey.formats import Format
from hipsgen.survey.store import Store

_BEYOND = 1.02  # outlines are sampled; images with curved edges reach a little beyond


@dataclass(frozen=True)
class BlockTask:
    """All that a worker needs; small and picklable.

    number: of the block, in the order in which they are begun. refs: (index in the plan, reference)
    of the block's coadds. until: the last block that needs each of them. strict: a coadd that
    cannot be read stops the build. cache_bytes: for decoded coadds, in this process; window_bytes:
    for the pixels of windows, in this thread.
    """

    number: int
    block: Block
    refs: tuple[tuple[int, CoaddRef], ...]
    until: tuple[int, ...]
    recipe: Recipe
    reader: CoaddReader
    store: Store
    cache_bytes: int
    window_bytes: int
    strict: bool = False


def fingerprint(recipe: Recipe, refs: Sequence[CoaddRef]) -> str:
    """Changes when a block has to be done anew."""
    text = "\n".join([recipe.digest(), *(r.key for r in refs)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def render_block(task: BlockTask) -> BlockRecord:
    """Write all tiles of a block, then its record. Idempotent.

    Coadds that cannot be read are left out and named in the record; a later run does such a block
    again. Raises CoaddError instead when the task is strict.
    """
    started = time.monotonic()
    cache = _cache(task.reader, task.cache_bytes)
    needed = {ref: last for (_, ref), last in zip(task.refs, task.until, strict=True)}
    with Writer(task.store) as writer, cache.serving(task.number, needed):
        renderer = _Renderer(task, writer, cache)
        layer = renderer.subtree(task.block.root)
    record = renderer.record(time.monotonic() - started)
    Journal(task.store).write(record, renderer.state(layer))
    return record


@dataclass
class _Renderer:
    """The state of one block while it is worked on."""

    task: BlockTask
    writer: Writer
    cache: CoaddCache
    tiles: dict[int, list[int]] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    uses: dict[int, InputUse] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    cells: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    small: dict[Tile, Layer] = field(default_factory=dict)
    windows: dict[int, Window] = field(default_factory=dict)
    under: Tile | None = None
    low: float = math.inf
    high: float = -math.inf

    def __post_init__(self) -> None:
        self.recipe = self.task.recipe
        self.refs = dict(self.task.refs)
        self.leaves = dict(self.task.block.leaves)
        self.circles = {k: _circle(ref, self.recipe.frame) for k, ref in self.task.refs}
        self.encoders = self.recipe.encoders()
        self.room = room(self.task.window_bytes)

    def subtree(self, tile: Tile) -> Layer | None:
        """Make and write a tile and all below it; None when there is no data."""
        stop.check()
        if tile.order == self.recipe.order:
            layer = self._leaf(tile)
        else:
            children = ((c.npix & 3, self.subtree(c)) for c in self._children(tile))
            layer = parent_of(children, self.recipe.tile_width)
        if layer is not None:
            self._write(tile, layer)
        return layer

    def _children(self, tile: Tile) -> list[Tile]:
        """Those with a leaf below them."""
        depth = 2 * (self.recipe.order - tile.order - 1)
        needed = {npix >> depth for npix in self.leaves}
        return [c for c in tile.children if c.npix in needed]

    def _leaf(self, tile: Tile) -> Layer | None:
        made = self._sampled(tile, self.leaves[tile.npix])
        if made is None:
            return None
        value = made.visible()
        cells, low, high = look_over(tile, value)
        if not cells.size:
            return None
        self.cells.append(cells)
        self.low, self.high = min(self.low, low), max(self.high, high)
        return Layer(value)

    def _sampled(self, tile: Tile, refs: Sequence[int]) -> Layer | None:
        """The tile from the coadds: directly, or averaged from the deeper order they ask for."""
        if tile.order == self.recipe.render_order:
            value = self._combined(tile, refs)
            return None if value is None else Layer(value)
        near = ((child, self._near(child, refs)) for child in tile.children)
        children = ((c.npix & 3, self._sampled(c, some)) for c, some in near if some)
        return parent_of(children, self.recipe.tile_width)

    def _near(self, tile: Tile, refs: Sequence[int]) -> list[int]:
        """The coadds of which a circle round the outline meets one round the tile."""
        edge = [-0.5, self.recipe.tile_width - 0.5]
        corners = tile.vectors(*np.meshgrid(edge, edge), self.recipe.tile_width).reshape(-1, 3)
        middle, radius = bounding_circle(corners)
        # the sides of a tile are no great circles
        return [k for k in refs if _meet(self.circles[k], middle, 1.3 * radius)]

    def _combined(self, tile: Tile, refs: Sequence[int]) -> npt.NDArray[np.float32] | None:
        """The tile from all coadds that touch it, None when there is none."""
        touching = [placed for index in refs if (placed := self._place(tile, index))]
        several = len(touching) > 1
        gathered = Accumulator(self.recipe.tile_width, self.recipe.overlap) if several else None
        value: npt.NDArray[np.float32] | None = None
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
            self._unreadable(index, error)
            return None
        at = window.map(tile)
        return None if at is None else _Placed(index, window, at)

    def _window(self, tile: Tile, index: int) -> Window:
        """The window on a coadd that a tile is in. Raises CoaddError."""
        if above(tile) != self.under:  # tiles come in NESTED order: the last one is done
            self.under = above(tile)
            self.windows.clear()
            self.room.clear()
        if index not in self.windows:
            recipe, ref, circle = self.recipe, self.refs[index], self.circles[index]
            near = None if circle is None else (circle[0], _BEYOND * circle[1])
            self.windows[index] = Window.over(
                tile,
                recipe.tile_width,
                recipe.frame,
                margin(recipe.interpolation),
                ref,
                self.cache.info(ref),
                near,
            )
        return self.windows[index]

    def _values(self, placed: "_Placed") -> npt.NDArray[np.float32] | None:
        """A coadd's values on the tile in the survey's unit, None when there are none."""
        index, info, recipe = placed.index, placed.window.info, self.recipe
        ref = self.refs[index]
        try:
            factor = factor_to(info, recipe.unit, recipe.pixel_scale)
            found = placed.window.read(placed.at, self.task.reader, self.cache, self.room)
        except CoaddError as error:
            self._unreadable(index, error)
            return None
        if found is None:
            return None
        pixels, first = found
        values = resample(pixels, placed.at, recipe.interpolation, first)
        if factor != 1.0:
            values *= np.float32(factor)
        if index not in self.uses and not np.isnan(values).all():
            self.uses[index] = _use(ref, info, factor)
        return values

    def _unreadable(self, index: int, error: CoaddError) -> None:
        """Note a coadd that cannot be read, or raise CoaddError when the task is strict."""
        if self.task.strict:
            raise CoaddError(f"{self.refs[index]}: {error}") from error
        self.problems[index] = str(error)

    def _write(self, tile: Tile, layer: Layer) -> None:
        write_tile(self.writer, self.recipe, tile, layer, self.size, self.encoders)
        self.tiles.setdefault(tile.order, []).append(tile.npix)
        if tile.order in ALLSKY_ORDERS:
            self.small[tile] = shrink(layer, allsky_width(self.recipe.tile_width))

    def state(self, layer: Layer | None) -> BlockState:
        """What the top of the survey needs."""
        cells = np.concatenate([*self.cells, np.empty(0, np.uint64)])
        half = None if layer is None else shrink(layer, max(1, self.recipe.tile_width // 2))
        return BlockState(half, to_ranges(cells), self.small)

    def record(self, seconds: float) -> BlockRecord:
        """What is journalled."""
        block = self.task.block
        return BlockRecord(
            order=block.root.order,
            npix=block.root.npix,
            fingerprint=fingerprint(self.recipe, [ref for _, ref in self.task.refs]),
            tiles=self.tiles,
            size=self.size,
            low=self.low,
            high=self.high,
            uses=[self.uses[k] for k in sorted(self.uses)],
            problems=[(str(self.refs[k]), self.problems[k]) for k in sorted(self.problems)],
            seconds=round(seconds, 3),
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )


@dataclass(frozen=True)
class _Placed:
    """A coadd that touches a tile, and where the tile's pixels lie on it."""

    index: int
    window: Window
    at: PixelMap


def _circle(ref: CoaddRef, frame: str) -> Circle | None:
    """Centre in a frame, and radius in degrees, of a coadd's outline; None for all of the sky."""
    if not ref.polygon:
        return None
    lon, lat = zip(*ref.polygon, strict=True)
    return bounding_circle(from_icrs(to_vectors(lon, lat), frame))


def _meet(circle: Circle | None, centre: npt.NDArray[np.float64], radius: float) -> bool:
    if circle is None:
        return True
    chord = min(2.0, float(np.linalg.norm(circle[0] - centre)))
    return math.degrees(2 * math.asin(chord / 2)) <= _BEYOND * circle[1] + radius


def write_tile(
    writer: Writer,
    recipe: Recipe,
    tile: Tile,
    layer: Layer,
    size: dict[str, int],
    encoders: Sequence[Format],
) -> None:
    """Write what is visible of a layer in every format, and add the bytes to `size`."""
    values = layer.visible()
    levels = None
    files = []
    for encoder in encoders:
        if encoder.holds_values:
            data = encoder.encode(values, tile)
        else:
            levels = recipe.stretch(values) if levels is None else levels
            data = encoder.encode(levels, tile)
        files.append((tile.path(encoder.extension), data))
        size[encoder.name] = size.get(encoder.name, 0) + len(data)
    writer.write(*files)


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


_caches: dict[tuple[CoaddReader, int], CoaddCache] = {}
_caches_lock = threading.Lock()


def _cache(reader: CoaddReader, limit: int) -> CoaddCache:
    """The cache of this process for a reader; readers are compared by value."""
    with _caches_lock:
        key = (reader, limit)
        if key not in _caches:
            _caches.clear()  # another survey's
            _caches[key] = CoaddCache(reader, limit)
        return _caches[key]
