"""The tiles of a survey, all in parallel, from the leaf tiles up; or a few of each order."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hipsgen.checker.files import Index
from hipsgen.checker.finding import Finding
from hipsgen.checker.products import SurveyProductsCheck
from hipsgen.checker.tile import JournalChecksums, Rules, TileChecker, TileReport
from hipsgen.errors import ConfigError, SurveyError
from hipsgen.journal.journal import Journal
from hipsgen.journal.records import BlockRecord
from hipsgen.planner.recipe import Recipe
from hipsgen.run import interrupt
from hipsgen.run.engine import open_engine, run_in_order
from hipsgen.run.progress import Reporter
from hipsgen.sky.pyramid import Layer, shrink
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.coverage import ALLSKY_ORDERS, allsky_width, measure_tile, to_ranges
from hipsgen.survey.provenance import FILE_NAME as PROVENANCE
from hipsgen.survey.provenance import Provenance
from hipsgen.survey.store import LocalStore
from hipsgen.survey.survey import Survey

_NO_RECORD = (
    "is missing: there are tiles with no record in the journal; build again to have them made "
    "anew, or remove them if no build made them"
)
_SAMPLED = 16  # tiles of an order that are looked at when not all are
_DEPTH = 4  # orders that are looked at in one go, where no journal has blocks


@dataclass
class _Part:
    """What was seen of a subtree."""

    look: TileReport = field(default_factory=TileReport)
    findings: list[Finding] = field(default_factory=list)
    low: float = math.inf
    high: float = -math.inf
    cells: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    small: dict[Tile, Layer] = field(default_factory=dict)
    tiles: int = 0


class DeepCheck:
    """A look at all tiles of a survey."""

    def __init__(self, survey: Survey, index: Index, workers: int) -> None:
        self._survey, self._index, self._workers = survey, index, workers
        journal = Journal(survey.store) if isinstance(survey.store, LocalStore) else None
        self._journal = journal if journal is not None and journal.exists() else None
        ours = survey.properties.get("hips_builder", "").startswith("hipsgen/")
        self._rules = Rules(ours, self._recipe())
        self._looker = TileChecker(survey, index.extensions, self._rules, self._provenance())
        self._top = self._journal.top() if self._journal is not None else None
        self._written_above: JournalChecksums | None = None
        if self._journal is not None:
            sums = dict(self._top.inventory.files()) if self._top else {}
            self._written_above = JournalChecksums(sums, self._named(paths.TOP))
        self._root_order = self._depth()

    def findings(self, reporter: Reporter) -> Iterator[Finding]:
        """All that is wrong. Raises SurveyError when the survey cannot be looked at."""
        whole = SurveyProductsCheck(self._survey, self._index.extensions, self._rules)
        roots = self._index.roots(self._root_order)
        found: list[Finding] = []

        def take(part: _Part) -> None:
            cells = to_ranges(np.concatenate([np.empty(0, np.uint64), *part.cells]))
            whole.take(part.low, part.high, cells, part.small)
            found.extend(part.findings)
            reporter.advance(part.tiles)

        reporter.start("check", self._index.count())
        try:
            with open_engine("threads", self._workers) as executor:
                parts = run_in_order(executor, self._subtree, roots, self._workers)
                for face in range(12):
                    if self._index.leads_on(Tile(0, face)):
                        self._above(Tile(0, face), parts, take)
        finally:
            reporter.stop()
        yield from found
        if self._journal is not None:
            yield from self._lost(set(roots))
            yield from self._other_files()
        yield from whole.findings()

    def some(self) -> Iterator[Finding]:
        """What is wrong with a few tiles of each order, spread over it."""
        order = self._survey.order
        for k in range(order + 1):
            tiles = self._index.roots(k)
            for tile in tiles[:: max(1, len(tiles) // _SAMPLED)]:
                part = _Part()
                if k == order - 1:  # here a parent follows from what any program wrote below it
                    self._visit(tile, part, None)
                elif k < order - 1 or order == 0:
                    self._one(tile, [], part, None)
                yield from part.findings

    def _above(
        self, tile: Tile, parts: Iterator[_Part], take: Callable[[_Part], None]
    ) -> TileReport:
        """Report on a tile above the subtrees, or take the next of these, in NESTED order."""
        if tile.order >= self._root_order:
            part = next(parts)
        else:
            children = [
                (child.npix & 3, self._above(child, parts, take))
                for child in tile.children
                if self._index.leads_on(child)
            ]
            part = _Part()
            part.look = self._one(tile, children, part, self._written_above)
        take(part)
        return part.look

    def _subtree(self, root: Tile) -> _Part:
        """Check a tile and all tiles below it."""
        part, written = _Part(), None
        if self._journal is not None:
            path = paths.record(root)
            try:
                found = self._journal.read_block(root)
            except ValueError as error:
                found = None
                part.findings.append(Finding("error", path, f"{error}: build again"))
            else:
                if found is None:
                    part.findings.append(Finding("error", path, _NO_RECORD))
            if found is not None:
                written = JournalChecksums(dict(found[1].inventory.files()), self._named(path))
                lost = written.sums.keys() - set(self._index.under(root))
                part.findings += [written.missing(name) for name in sorted(lost)]
                part.findings += self._state_of(root, found[0])
        part.look = self._visit(root, part, written)
        return part

    def _visit(self, tile: Tile, part: _Part, written: JournalChecksums | None) -> TileReport:
        interrupt.check()
        children = [
            (child.npix & 3, self._visit(child, part, written))
            for child in (tile.children if tile.order < self._survey.order else ())
            if self._index.leads_on(child)
        ]
        return self._one(tile, children, part, written)

    def _one(
        self,
        tile: Tile,
        children: list[tuple[int, TileReport]],
        part: _Part,
        written: JournalChecksums | None,
    ) -> TileReport:
        present = self._index.formats_of(tile)
        look = self._looker.look(tile, present, children, written)
        part.findings += look.findings
        part.tiles += bool(present)
        if look.layer is not None and tile.order == self._survey.order:
            cells, low, high = measure_tile(tile, look.layer.value)
            part.low, part.high = min(part.low, low), max(part.high, high)
            part.cells.append(cells)
        if look.layer is not None and look.is_known and tile.order in ALLSKY_ORDERS:
            part.small[tile] = shrink(look.layer, allsky_width(self._survey.tile_width))
        return look

    def _state_of(self, root: Tile, record: BlockRecord) -> list[Finding]:
        """Return the record of the top orders."""
        assert self._journal is not None
        if not record.content:  # a color survey's top is made of its bands
            return []
        try:
            agrees = self._journal.read_summary(root).content == record.content
            what = "" if agrees else "is of another block, or another build"
        except ValueError as error:
            what = str(error)
        return [Finding("error", paths.record(root), f"{what}: build again")] if what else []

    def _lost(self, roots: set[Tile]) -> Iterator[Finding]:
        """Blocks that the journal has, and of which nothing is there."""
        assert self._journal is not None
        for record in self._journal.records():
            if record.root not in roots and record.n_tiles:
                what = f"the journal says that it has {record.n_tiles} tiles, and none is there"
                yield Finding("error", paths.record(record.root), what)

    def _other_files(self) -> Iterator[Finding]:
        """Files that are no tiles, and the tiles above the blocks, against the journal."""
        if self._top is None:
            yield Finding("error", paths.TOP, "is missing or damaged: build again")
            return
        sums = dict(self._top.inventory.files()) | self._top.files
        written = JournalChecksums(sums, self._named(paths.TOP))
        for path in sums:
            if path not in self._top.files:
                if self._survey.store.stat(path) is None:
                    yield written.missing(path)
                continue
            try:
                data = self._survey.store.read(path)
            except FileNotFoundError:
                yield written.missing(path)
                continue
            yield from (Finding("error", path, text) for text in written.faults(path, data))

    def _named(self, path: str) -> str:
        return f"{self._survey.store}/{path}"

    def _recipe(self) -> Recipe | None:
        try:
            if self._journal is not None and self._journal.kind() == "bands":
                return self._journal.recipe()
        except ConfigError:
            pass
        return None

    def _provenance(self) -> Provenance | None:
        try:
            return Provenance.from_bytes(self._survey.store.read(PROVENANCE))
        except (FileNotFoundError, SurveyError):
            return None

    def _depth(self) -> int:
        """Order of the subtrees: that of the journal's blocks, or what is as good."""
        if self._journal is not None:
            for record in self._journal.records():
                return record.order
        return max(0, self._survey.order - _DEPTH)
