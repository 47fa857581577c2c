"""Source of the leaf tiles of a block: reused from the previous build, or sampled from coadds."""

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError, SurveyError
from hipsgen.journal.inventory import FileChecksum
from hipsgen.journal.previous import PreviousBlock
from hipsgen.journal.records import LEAF, InputUse
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.leaf import LeafSampler
from hipsgen.sky.mask_planes import Pixels
from hipsgen.sky.offset import relative
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import Ranges, measure_tile, to_ranges

if TYPE_CHECKING:
    from hipsgen.render.block import BlockTask

_STALE = 0  # digest of a leaf tile that has to be rendered again


class Wait(Enum):
    """What `LeafSource.leaf` returns instead of pixels."""

    FOR_COADD = "a coadd that the tile needs cannot be read: the tile is left as it is"


class LeafSource:
    """Leaf tiles of one block, each reused from the previous build if it is up to date.

    Attributes
    ----------
    low, high : float
        Range of the values so far; inf and -inf while there are none.
    """

    def __init__(self, task: "BlockTask", previous: PreviousBlock, cache: CoaddCache) -> None:
        self._task, self._previous, self._refs = task, previous, dict(task.refs)
        self._leaves = dict(task.block.leaves)
        self._encoder = task.recipe.encoders()[task.recipe.formats.index("fits")]
        self._sampler = LeafSampler(task.recipe, self._refs, task.reader, cache, task.window_bytes)
        self._cells: list[npt.NDArray[np.uint64]] = []
        self.low, self.high = math.inf, -math.inf

    def leaf(self, tile: Tile) -> Layer | Wait | None:
        """Return the pixels of a leaf tile, None if no coadd has data there.

        Raises CoaddError if a coadd cannot be read and the task is strict.
        """
        pixels: Pixels | Wait | None = None
        if tile.npix in self._previous.reusable:
            pixels = self._read_back(tile)
        if self._previous.is_changed(tile):
            pixels = self._sample(tile)
        if pixels is None or isinstance(pixels, Wait):
            return pixels
        cells, low, high = measure_tile(tile, pixels)
        if not cells.size:
            return None
        self._cells.append(cells)
        offset = self._task.recipe.offset
        self.low, self.high = min(self.low, low + offset), max(self.high, high + offset)
        return Layer(pixels)

    def _sample(self, tile: Tile) -> Pixels | Wait | None:
        """Sample a leaf tile from its coadds."""
        refs, bad = self._leaves[tile.npix], self._sampler.problems
        is_possible = self._task.skip_bad or not bad.keys() & set(refs)
        pixels = self._sampler.leaf(tile, refs) if is_possible else None
        if bad and self._task.strict:
            index, reason = next(iter(bad.items()))
            raise CoaddError(f"{self._refs[index]}: {reason}")
        if self._task.skip_bad or not bad.keys() & set(refs):
            return pixels
        return Wait.FOR_COADD

    def _read_back(self, tile: Tile) -> Pixels | None:
        """Read a reusable tile; if it is not the file that was written, mark it as stale."""
        checksums = self._previous.checksums.get(tile)
        if checksums is None:  # no coadd has data there
            return None
        number = self._task.recipe.formats.index("fits")
        try:
            data = self._task.store.read(tile.path("fits"))
            if FileChecksum.of(data) == checksums[number]:
                return relative(self._encoder.decode(data), self._task.recipe.offset)
        except (FileNotFoundError, SurveyError):
            pass
        self._previous.mark_stale(tile)
        return None

    def cells(self) -> Ranges:
        """Return the MOC cells of all leaf tiles so far."""
        return to_ranges(np.concatenate([*self._cells, np.empty(0, np.uint64)]))

    def digests(self) -> npt.NDArray[Any]:
        """Return npix and digest of each leaf tile as a structured array (n,) of type `LEAF`."""
        bad = self._sampler.problems.keys()
        rows = [
            (npix, _STALE if bad & set(refs) else self._previous.digests[npix])
            for npix, refs in self._leaves.items()
        ]
        return np.array(rows, LEAF)

    def input_uses(self) -> list[InputUse]:
        """Return how coadds were used, in this run or for the tiles reused from an earlier one."""
        new = {self._refs[k].key: use for k, use in self._sampler.input_uses.items()}
        known = {**self._previous.input_uses, **new}
        return [known[ref.key] for ref in self._refs.values() if ref.key in known]

    def problems(self) -> list[tuple[str, str]]:
        """Return the keys of the coadds that could not be read, with the reasons."""
        bad = self._sampler.problems
        return [(self._refs[k].key, bad[k]) for k in sorted(bad)]
