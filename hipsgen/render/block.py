"""One block: its leaf tiles, made or kept, the parents above them, and what is load_block of it all."""

import hashlib
import math
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, SurveyError
from hipsgen.images.source import CoaddReader
from hipsgen.journal.fingerprints import fingerprint
from hipsgen.journal.inventory import UNKNOWN, FileChecksum, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.previous import Checksums, PreviousBlock
from hipsgen.journal.records import LEAF, BlockFiles, BlockRecord, BlockState, InputUse
from hipsgen.plan.blocks import Block
from hipsgen.plan.recipe import Recipe
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.leaf import Sampler
from hipsgen.render.tile_writer import Writer
from hipsgen.run import interrupt
from hipsgen.sky.mask_planes import Pixels
from hipsgen.sky.pyramid import Layer, parent_of, shrink
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, allsky_width, measure_tile, to_ranges
from hipsgen.survey.formats import Format
from hipsgen.survey.store import Store

Files = list[tuple[str, bytes | memoryview]]
_FORGOTTEN = 0  # digest of a leaf tile that has to be made again


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
    earlier = PreviousBlock.of(task.store, task.recipe, task.block, dict(task.refs))
    journal.write(*earlier.in_progress_record())
    cache = _cache(task.reader, task.cache_bytes)
    needed = {ref: last for (_, ref), last in zip(task.refs, task.until, strict=True)}
    with Writer(task.store) as writer, cache.serving(task.number, needed):
        renderer = _Renderer(task, earlier, writer, cache)
        layer = renderer.subtree(task.block.root)
    removed = earlier.remove_all_but(renderer.written.keys() | renderer.left)
    record, files = renderer.record(removed, time.monotonic() - started)
    state = None if renderer.left else renderer.state(layer, record.content)
    journal.write(record, files, state)
    return record


class _Renderer:
    """The state of one block while it is worked on.

    written: its tiles, with their sums. left: tiles that wait for a coadd that can be read.
    """

    def __init__(
        self, task: BlockTask, earlier: PreviousBlock, writer: Writer, cache: CoaddCache
    ) -> None:
        self.written: dict[Tile, Checksums] = {}
        self.left: set[Tile] = set()
        self._task, self._earlier, self._writer = task, earlier, writer
        self._recipe, self._leaves = task.recipe, dict(task.block.leaves)
        self._refs = dict(task.refs)
        self._encoders = task.recipe.encoders()
        self._unknown = (UNKNOWN,) * len(self._encoders)
        self._sampler = Sampler(task.recipe, self._refs, task.reader, cache, task.window_bytes)
        self._cells: list[npt.NDArray[np.uint64]] = []
        self._small: dict[Tile, Layer] = {}
        self._low, self._high, self._made = math.inf, -math.inf, 0

    def subtree(self, tile: Tile) -> Layer | None:
        """Make and write a tile and all below it; None when there is no data."""
        interrupt.check()
        if tile.order == self._recipe.order:
            layer = self._leaf(tile)
        else:
            children = ((c.npix & 3, self.subtree(c)) for c in self._children(tile))
            layer = parent_of(children, self._recipe.tile_width)
        if layer is not None and tile not in self.left:
            self._put(tile, layer)
        return layer

    def _children(self, tile: Tile) -> list[Tile]:
        """Those with a leaf below them."""
        depth = 2 * (self._recipe.order - tile.order - 1)
        needed = {npix >> depth for npix in self._leaves}
        return [c for c in tile.children if c.npix in needed]

    def _leaf(self, tile: Tile) -> Layer | None:
        value = self._read_back(tile) if tile.npix in self._earlier.kept else None
        if self._earlier.is_changed(tile):
            value = self._sampled(tile)
        if value is None:
            return None
        cells, low, high = measure_tile(tile, value)
        if not cells.size:
            return None
        self._cells.append(cells)
        self._low, self._high = min(self._low, low), max(self._high, high)
        return Layer(value)

    def _sampled(self, tile: Tile) -> Pixels | None:
        """The values of a tile from its coadds; None, and it is left, if one cannot be read."""
        refs, bad = self._leaves[tile.npix], self._sampler.problems
        wanted = self._task.skip_bad or not bad.keys() & set(refs)
        value = self._sampler.leaf(tile, refs) if wanted else None
        if bad and self._task.strict:
            index, reason = next(iter(bad.items()))
            raise CoaddError(f"{self._refs[index]}: {reason}")
        if self._task.skip_bad or not bad.keys() & set(refs):
            return value
        root = self._task.block.root
        self.left |= {tile.ancestor(order) for order in range(root.order, tile.order + 1)}
        return None

    def _read_back(self, tile: Tile) -> Pixels | None:
        """The values of a tile that is kept; if it is not what was written it is made again."""
        sums = self._earlier.sums.get(tile)
        if sums is None:  # no coadd has data there
            return None
        number = self._recipe.formats.index("fits")
        try:
            data = self._task.store.read(tile.path("fits"))
            if FileChecksum.of(data) == sums[number]:
                return self._encoders[number].decode(data)
        except (FileNotFoundError, SurveyError):
            pass
        self._earlier.mark_stale(tile)
        return None

    def _put(self, tile: Tile, layer: Layer) -> None:
        """Write a tile, or that part of it which is not there as it is to be."""
        known = self._earlier.sums.get(tile)
        if self._earlier.is_changed(tile):
            known = None
        if known is not None and self._earlier.pictures_are_good:
            sums = known
        else:
            files, sums = encode_tile(self._recipe, tile, layer, self._encoders, known)
            self._writer.write(*files)
            self._made += 1
        self.written[tile] = sums
        if tile.order in ALLSKY_ORDERS:
            self._small[tile] = shrink(layer, allsky_width(self._recipe.tile_width))

    def state(self, layer: Layer | None, content: str) -> BlockState:
        """What the top of the survey needs."""
        cells = np.concatenate([*self._cells, np.empty(0, np.uint64)])
        half = None if layer is None else shrink(layer, max(1, self._recipe.tile_width // 2))
        return BlockState(half, to_ranges(cells), self._small, content)

    def record(self, removed: int, seconds: float) -> tuple[BlockRecord, BlockFiles]:
        """What is journalled."""
        root, recipe, bad = self._task.block.root, self._recipe, self._sampler.problems
        left = {tile: self._earlier.sums.get(tile) or self._unknown for tile in self.left}
        inventory = TileInventory.of(recipe.formats, {**self.written, **left}.items())
        digests = [
            (npix, _FORGOTTEN if bad.keys() & set(refs) else self._earlier.digests[npix])
            for npix, refs in self._leaves.items()
        ]
        pictures = recipe.pictures_digest()
        record = BlockRecord(
            order=root.order,
            npix=root.npix,
            fingerprint="" if left else fingerprint(recipe, list(self._refs.values())),
            pictures="" if left and not self._earlier.pictures_are_good else pictures,
            content=self._content(),
            tiles=len(inventory),
            size=inventory.size(),
            low=self._low,
            high=self._high,
            uses=self._uses(),
            problems=[(self._refs[k].key, bad[k]) for k in sorted(bad)],
            made=self._made,
            removed=removed,
            seconds=round(seconds, 3),
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        return record, BlockFiles(inventory, np.array(digests, LEAF))

    def _content(self) -> str:
        order, number = self._recipe.order, self._recipe.formats.index("fits")
        leaves = sorted((t.npix, s[number]) for t, s in self.written.items() if t.order == order)
        text = "\n".join(f"{npix} {known.size} {known.checksum}" for npix, known in leaves)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _uses(self) -> list[InputUse]:
        """Of coadds that gave pixels, in this run or, to tiles that are kept, in an earlier one."""
        new = {self._refs[k].key: use for k, use in self._sampler.uses.items()}
        known = {**self._earlier.uses, **new}
        return [known[ref.key] for ref in self._refs.values() if ref.key in known]


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
