"""Render one block: its leaf tiles, the parents above them, and its journal record."""

import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hipsgen.coadd import CoaddRef
from hipsgen.images.source import CoaddReader
from hipsgen.journal.fingerprints import fingerprint, leaf_content
from hipsgen.journal.inventory import UNKNOWN, FileChecksum, TileChecksums, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.previous import PreviousBlock
from hipsgen.journal.records import BlockRecord, BlockSummary, BlockTiles
from hipsgen.planner.blocks import Block
from hipsgen.planner.recipe import Recipe
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.leaf_source import LeafSource, Wait
from hipsgen.render.tile_writer import TileWriter
from hipsgen.run import interrupt
from hipsgen.sky.offset import absolute, as_in_file
from hipsgen.sky.pyramid import Layer, parent_of, shrink
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, allsky_width
from hipsgen.survey.formats import Format
from hipsgen.survey.store import Store

TileFiles = list[tuple[str, bytes | memoryview]]  # path and content of each file of a tile


@dataclass(frozen=True)
class BlockTask:
    """Everything that a worker needs to render a block; small and picklable.

    Attributes
    ----------
    number : int
        Number of the block in the plan; blocks are started in this order.
    block : Block
        The block and its leaf tiles.
    refs : tuple of (int, CoaddRef)
        The coadds of the block with their indices in the plan.
    last_blocks : tuple of int
        For each of these, the number of the last block that needs it.
    recipe : Recipe
        Recipe of the survey.
    reader : CoaddReader
        Reader of the coadds.
    lease : BuildLease
        Lease on the survey to which the tiles are written.
    cache_bytes : int
        Memory for decoded coadds, in each process.
    window_bytes : int
        Memory for the pixels of windows, in each thread.
    strict : bool
        Whether a coadd that cannot be read stops the build.
    skip_bad : bool
        Whether tiles are rendered without the coadds that cannot be read.
    """

    number: int
    block: Block
    refs: tuple[tuple[int, CoaddRef], ...]
    last_blocks: tuple[int, ...]
    recipe: Recipe
    reader: CoaddReader
    lease: BuildLease
    cache_bytes: int
    window_bytes: int
    strict: bool = False
    skip_bad: bool = False

    @property
    def store(self) -> Store:
        """Where the tiles are written."""
        return self.lease.store

    def render(self) -> BlockRecord:
        """Render the block; see `render_block`."""
        return render_block(self)


def render_block(task: BlockTask) -> BlockRecord:
    """Write the tiles of a block that are missing or out of date, then its record. Idempotent.

    Leaf tiles whose coadds are unchanged are read back rather than rendered, and the tiles above
    are written only if a leaf tile below them has changed. Coadds that cannot be read are listed in
    the record. The tiles that need them are left as they are until a later run, unless the task
    says to render them without these coadds.

    Raises
    ------
    CoaddError
        When a coadd cannot be read and the task is strict.
    ConfigError
        When another build has taken the lease.
    """
    journal = Journal(task.store)
    with task.lease.guard(on_conflict=lambda: journal.invalidate(task.block.root)):
        return _render(task, journal)


def _render(task: BlockTask, journal: Journal) -> BlockRecord:
    started = time.monotonic()
    previous = PreviousBlock.of(task.store, task.recipe, task.block, dict(task.refs))
    journal.write_block(*previous.in_progress_record())
    cache = _cache(task.reader, task.cache_bytes)
    last_blocks = {ref: k for (_, ref), k in zip(task.refs, task.last_blocks, strict=True)}
    with TileWriter(task.store) as writer, cache.in_use(task.number, last_blocks):
        source = LeafSource(task, previous, cache)
        renderer = _Renderer(task, previous, source, writer)
        layer = renderer.subtree(task.block.root)
    n_removed = previous.remove_all_but(renderer.written.keys() | renderer.waiting)
    record = _record(task, previous, source, renderer, n_removed, time.monotonic() - started)
    summary = None if renderer.waiting else renderer.summary(layer, source, record.content)
    journal.write_block(record, BlockTiles(renderer.inventory(), source.digests()), summary)
    return record


class _Renderer:
    """Renders the tiles of one block, from the leaf tiles up to the root.

    Attributes
    ----------
    written : dict of Tile to TileChecksums
        Tiles that are up to date, with the checksums of their files.
    waiting : set of Tile
        Tiles that need a coadd that cannot be read; they are left as they are.
    n_made : int
        Number of tiles of which files were written.
    """

    def __init__(
        self, task: BlockTask, previous: PreviousBlock, source: LeafSource, writer: TileWriter
    ) -> None:
        self.written: dict[Tile, TileChecksums] = {}
        self.waiting: set[Tile] = set()
        self.n_made = 0
        self._root, self._recipe = task.block.root, task.recipe
        self._leaves = [npix for npix, _ in task.block.leaves]
        self._previous, self._source, self._writer = previous, source, writer
        self._encoders = task.recipe.encoders()
        self._allsky_layers: dict[Tile, Layer] = {}

    def subtree(self, tile: Tile) -> Layer | None:
        """Render and write a tile and all tiles below it; return its pixels, None without data."""
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
        """Write the files of a tile that are not up to date."""
        known = self._previous.checksums.get(tile)
        if self._previous.is_changed(tile):
            known = None
        if known is not None and self._previous.previews_are_current:
            checksums = known
        else:
            files, checksums = encode_tile(self._recipe, tile, layer, self._encoders, known)
            self._writer.write(*files)
            self.n_made += 1
        self.written[tile] = checksums
        if tile.order in ALLSKY_ORDERS:
            self._allsky_layers[tile] = shrink(layer, allsky_width(self._recipe.tile_width))

    def summary(self, layer: Layer | None, source: LeafSource, content: str) -> BlockSummary:
        """Return what the orders above the block are made from; layer: pixels of its root."""
        half = None if layer is None else shrink(layer, max(1, self._recipe.tile_width // 2))
        return BlockSummary(half, source.cells(), self._allsky_layers, content)

    def inventory(self) -> TileInventory:
        """Return the tiles that exist now, with the checksums of their files."""
        unknown = (UNKNOWN,) * len(self._encoders)
        previous = self._previous.checksums
        waiting = {tile: previous.get(tile) or unknown for tile in self.waiting}
        return TileInventory.of(self._recipe.formats, {**self.written, **waiting}.items())

    def content(self) -> str:
        """Return a digest of the values of the leaf tiles."""
        number = self._recipe.formats.index("fits")
        order = self._recipe.order
        return leaf_content(
            (tile.npix, checksums[number])
            for tile, checksums in self.written.items()
            if tile.order == order
        )


def _record(
    task: BlockTask,
    previous: PreviousBlock,
    source: LeafSource,
    renderer: _Renderer,
    n_removed: int,
    seconds: float,
) -> BlockRecord:
    """Return the journal record of a rendered block."""
    root, inventory, is_complete = task.block.root, renderer.inventory(), not renderer.waiting
    previews_are_current = is_complete or previous.previews_are_current
    return BlockRecord(
        order=root.order,
        npix=root.npix,
        fingerprint=fingerprint(task.recipe, [ref for _, ref in task.refs]) if is_complete else "",
        previews=task.recipe.previews_digest() if previews_are_current else "",
        content=renderer.content(),
        n_tiles=len(inventory),
        size=inventory.size(),
        low=source.low,
        high=source.high,
        input_uses=source.input_uses(),
        problems=source.problems(),
        n_made=renderer.n_made,
        n_removed=n_removed,
        seconds=round(seconds, 3),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def encode_tile(
    recipe: Recipe,
    tile: Tile,
    layer: Layer,
    encoders: Sequence[Format],
    known: TileChecksums | None = None,
) -> tuple[TileFiles, TileChecksums]:
    """Encode a tile in all formats.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the survey.
    tile : Tile
        The tile.
    layer : Layer
        Its pixels, relative to `Recipe.offset`.
    encoders : sequence of Format
        The encoders of the recipe.
    known : TileChecksums, optional
        Checksums of the existing files of the tile; only the previews are then encoded.

    Returns
    -------
    files : list of (str, bytes)
        Path and content of each encoded file.
    checksums : TileChecksums
        Checksums of all files of the tile.
    """
    values = as_in_file(layer.visible(), recipe.offset)
    levels = None
    files, checksums = [], []
    for number, encoder in enumerate(encoders):
        if encoder.holds_values and known is not None:
            checksums.append(known[number])
            continue
        if encoder.holds_values:
            data = encoder.encode(absolute(values, recipe.offset), tile)
        else:
            levels = recipe.levels(values) if levels is None else levels
            data = encoder.encode(levels, tile)
        files.append((tile.path(encoder.extension), data))
        checksums.append(FileChecksum.of(data))
    return files, tuple(checksums)


_caches: dict[tuple[CoaddReader, int], CoaddCache] = {}
_caches_lock = threading.Lock()


def _cache(reader: CoaddReader, limit: int) -> CoaddCache:
    """Return the cache of this process for a reader; readers are compared by value."""
    with _caches_lock:
        key = (reader, limit)
        if key not in _caches:
            for other in _caches.values():  # of another survey
                other.clear()
            _caches.clear()
            _caches[key] = CoaddCache(reader, limit)
        return _caches[key]
