"""Render one block: its leaf tiles, the parents above them, and its journal record."""

import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hipsgen.coadd import CoaddRef
from hipsgen.images.source import CoaddReader
from hipsgen.journal.fingerprints import fingerprint, leaf_content
from hipsgen.journal.inventory import UNKNOWN, FileChecksum, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.previous import Checksums, PreviousBlock
from hipsgen.journal.records import BlockFiles, BlockRecord, BlockState
from hipsgen.planner.blocks import Block
from hipsgen.planner.recipe import Recipe
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.leaf_source import LeafSource, Wait
from hipsgen.render.tile_writer import TileWriter
from hipsgen.run import interrupt
from hipsgen.sky.pyramid import Layer, parent_of, shrink
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, allsky_width
from hipsgen.survey.formats import Format
from hipsgen.survey.store import Store

Files = list[tuple[str, bytes | memoryview]]


@dataclass(frozen=True)
class BlockTask:
    """All that a worker needs; small and picklable.

    number: of the block, in the order in which they are begun. refs: (index in the plan, reference)
    of the block's coadds. until: the last block that needs each of them. strict: a coadd that
    cannot be read stops the build; skip_bad: what needs it is made without. cache_bytes: for
    decoded coadds, in this process; window_bytes: for the pixels of windows, in this thread.
    """

    number: int
    block: Block
    refs: tuple[tuple[int, CoaddRef], ...]
    until: tuple[int, ...]
    recipe: Recipe
    reader: CoaddReader
    lease: BuildLease
    cache_bytes: int
    window_bytes: int
    strict: bool = False
    skip_bad: bool = False

    @property
    def store(self) -> Store:
        """Where the tiles go."""
        return self.lease.store

    def render(self) -> BlockRecord:
        """See `render_block`."""
        return render_block(self)


def render_block(task: BlockTask) -> BlockRecord:
    """Write the tiles of a block that are not there yet, then its record. Idempotent.

    Leaf tiles of the same coadds as before are read back instead of made, and what is above none
    but those is left as it is. Coadds that cannot be read are named in the record; their leaf tiles
    and what is above them wait, as they are, for a later run, unless the task says to do without.
    Raises CoaddError instead when the task is strict, ConfigError when another build has begun.
    """
    journal = Journal(task.store)
    with task.lease.guard(on_conflict=lambda: journal.invalidate(task.block.root)):
        return _render(task, journal)


def _render(task: BlockTask, journal: Journal) -> BlockRecord:
    started = time.monotonic()
    previous = PreviousBlock.of(task.store, task.recipe, task.block, dict(task.refs))
    journal.write(*previous.in_progress_record())
    cache = _cache(task.reader, task.cache_bytes)
    needed = {ref: last for (_, ref), last in zip(task.refs, task.until, strict=True)}
    with TileWriter(task.store) as writer, cache.serving(task.number, needed):
        source = LeafSource(task, previous, cache)
        renderer = _Renderer(task, previous, source, writer)
        layer = renderer.subtree(task.block.root)
    removed = previous.remove_all_but(renderer.written.keys() | renderer.waiting)
    record = _record(task, previous, source, renderer, removed, time.monotonic() - started)
    state = None if renderer.waiting else renderer.state(layer, source, record.content)
    journal.write(record, BlockFiles(renderer.inventory(), source.digests()), state)
    return record


class _Renderer:
    """The tiles of one block, from its leaf tiles up to its root.

    written: tiles with the checksums of their files. waiting: tiles that need a coadd that cannot
    be read; they stay as they are.
    """

    def __init__(
        self, task: BlockTask, previous: PreviousBlock, source: LeafSource, writer: TileWriter
    ) -> None:
        self.written: dict[Tile, Checksums] = {}
        self.waiting: set[Tile] = set()
        self.made = 0
        self._root, self._recipe = task.block.root, task.recipe
        self._leaves = [npix for npix, _ in task.block.leaves]
        self._previous, self._source, self._writer = previous, source, writer
        self._encoders = task.recipe.encoders()
        self._small: dict[Tile, Layer] = {}

    def subtree(self, tile: Tile) -> Layer | None:
        """Render and write a tile and everything below it; None when there is no data."""
        interrupt.check()
        if tile.order == self._recipe.order:
            layer = self._leaf(tile)
        else:
            children = ((c.npix & 3, self.subtree(c)) for c in self._children(tile))
            layer = parent_of(children, self._recipe.tile_width)
        if layer is not None and tile not in self.waiting:
            self._put(tile, layer)
        return layer

    def _leaf(self, tile: Tile) -> Layer | None:
        layer = self._source.leaf(tile)
        if isinstance(layer, Wait):
            orders = range(self._root.order, tile.order + 1)
            self.waiting |= {tile.ancestor(order) for order in orders}
            return None
        return layer

    def _children(self, tile: Tile) -> list[Tile]:
        """Return the children with a leaf tile below them."""
        depth = 2 * (self._recipe.order - tile.order - 1)
        needed = {npix >> depth for npix in self._leaves}
        return [c for c in tile.children if c.npix in needed]

    def _put(self, tile: Tile, layer: Layer) -> None:
        """Write a tile, or only those of its files that are not up to date."""
        known = self._previous.sums.get(tile)
        if self._previous.is_changed(tile):
            known = None
        if known is not None and self._previous.pictures_are_good:
            sums = known
        else:
            files, sums = encode_tile(self._recipe, tile, layer, self._encoders, known)
            self._writer.write(*files)
            self.made += 1
        self.written[tile] = sums
        if tile.order in ALLSKY_ORDERS:
            self._small[tile] = shrink(layer, allsky_width(self._recipe.tile_width))

    def state(self, layer: Layer | None, source: LeafSource, content: str) -> BlockState:
        """Return what the top orders of the survey need of this block."""
        half = None if layer is None else shrink(layer, max(1, self._recipe.tile_width // 2))
        return BlockState(half, source.cells(), self._small, content)

    def inventory(self) -> TileInventory:
        """Return the tiles that are there now, with the checksums of their files."""
        unknown = (UNKNOWN,) * len(self._encoders)
        waiting = {tile: self._previous.sums.get(tile) or unknown for tile in self.waiting}
        return TileInventory.of(self._recipe.formats, {**self.written, **waiting}.items())

    def content(self) -> str:
        """Return what changes with the values of the leaf tiles."""
        number = self._recipe.formats.index("fits")
        order = self._recipe.order
        return leaf_content(
            (tile.npix, sums[number]) for tile, sums in self.written.items() if tile.order == order
        )


def _record(
    task: BlockTask,
    previous: PreviousBlock,
    source: LeafSource,
    renderer: _Renderer,
    removed: int,
    seconds: float,
) -> BlockRecord:
    """Return the journal record of a rendered block."""
    root, inventory, is_whole = task.block.root, renderer.inventory(), not renderer.waiting
    pictures_known = is_whole or previous.pictures_are_good
    return BlockRecord(
        order=root.order,
        npix=root.npix,
        fingerprint=fingerprint(task.recipe, [ref for _, ref in task.refs]) if is_whole else "",
        pictures=task.recipe.previews_digest() if pictures_known else "",
        content=renderer.content(),
        tiles=len(inventory),
        size=inventory.size(),
        low=source.low,
        high=source.high,
        uses=source.uses(),
        problems=source.problems(),
        made=renderer.made,
        removed=removed,
        seconds=round(seconds, 3),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def encode_tile(
    recipe: Recipe,
    tile: Tile,
    layer: Layer,
    encoders: Sequence[Format],
    known: Checksums | None = None,
) -> tuple[Files, Checksums]:
    """What is visible of a layer in every format: path and content of each file, and all sums.

    known: those of files that are there; then only the pictures are made.
    """
    values = layer.visible()
    levels = None
    files, sums = [], []
    for number, encoder in enumerate(encoders):
        if encoder.holds_values and known is not None:
            sums.append(known[number])
            continue
        if encoder.holds_values:
            data = encoder.encode(values, tile)
        else:
            levels = recipe.stretch(values) if levels is None else levels
            data = encoder.encode(levels, tile)
        files.append((tile.path(encoder.extension), data))
        sums.append(FileChecksum.of(data))
    return files, tuple(sums)


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
