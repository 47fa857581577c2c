"""Check all tiles of a survey in parallel, from the leaf tiles up, or a few of each order."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hipsgen.checker.files import TileIndex
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
from hipsgen.text import counted

_NO_RECORD = (
    "is missing: these tiles have no record in the journal; rerun the build to make them again, or "
    "remove them if no build made them"
)
_N_SAMPLED = 16  # tiles of each order to check if not all
_SUBTREE_DEPTH = 4  # orders below the root of a subtree, if there is no journal


@dataclass
class _SubtreeReport:
    """Result of checking a subtree.

    low, high: range of the leaf values. cells: cells with data. small: tiles shrunk to the size in
    an Allsky. tiles: number of tiles.
    """

    root: TileReport = field(default_factory=TileReport)
    findings: list[Finding] = field(default_factory=list)
    low: float = math.inf
    high: float = -math.inf
    cells: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    small: dict[Tile, Layer] = field(default_factory=dict)
    tiles: int = 0


class DeepCheck:
    """Checks the tiles of a survey, all or a sample."""

    def __init__(self, survey: Survey, index: TileIndex, workers: int) -> None:
        self._survey, self._index, self._workers = survey, index, workers
        journal = Journal(survey.store) if isinstance(survey.store, LocalStore) else None
        self._journal = journal if journal is not None and journal.exists() else None
        is_ours = survey.properties.get("hips_builder", "").startswith("hipsgen/")
        self._rules = Rules(is_ours, self._recipe())
        self._checker = TileChecker(survey, index.extensions, self._rules, self._provenance())
        self._top = self._journal.top() if self._journal is not None else None
        self._top_checksums: JournalChecksums | None = None
        if self._journal is not None:
            checksums = dict(self._top.inventory.files()) if self._top else {}
            self._top_checksums = JournalChecksums(checksums, self._full_path(paths.TOP))
        self._root_order = self._subtree_order()

    def findings(self, reporter: Reporter) -> Iterator[Finding]:
        """Check every tile. Raises SurveyError when the survey cannot be read."""
        products = SurveyProductsCheck(self._survey, self._index.extensions, self._rules)
        roots = self._index.roots(self._root_order)
        found: list[Finding] = []

        def add(subtree: _SubtreeReport) -> None:
            cells = to_ranges(np.concatenate([np.empty(0, np.uint64), *subtree.cells]))
            products.add(subtree.low, subtree.high, cells, subtree.small)
            found.extend(subtree.findings)
            reporter.advance(subtree.tiles)

        reporter.start("check", self._index.count())
        try:
            with open_engine("threads", self._workers) as executor:
                subtrees = run_in_order(executor, self._check_subtree, roots, self._workers)
                for face in range(12):
                    if self._index.has_subtree(Tile(0, face)):
                        self._check_top(Tile(0, face), subtrees, add)
        finally:
            reporter.stop()
        yield from found
        if self._journal is not None:
            yield from self._check_missing_blocks(set(roots))
            yield from self._check_other_files()
        yield from products.findings()

    def sample_findings(self) -> Iterator[Finding]:
        """Check a few tiles of each order, evenly spaced."""
        order = self._survey.order
        for k in range(order + 1):
            tiles = self._index.roots(k)
            for tile in tiles[:: max(1, len(tiles) // _N_SAMPLED)]:
                subtree = _SubtreeReport()
                if k == order - 1:  # parents of leaf tiles can be checked for any program
                    self._check_below(tile, subtree, None)
                elif k < order - 1 or order == 0:
                    self._check_tile(tile, [], subtree, None)
                yield from subtree.findings

    def _check_top(
        self, tile: Tile, subtrees: Iterator[_SubtreeReport], add: Callable[[_SubtreeReport], None]
    ) -> TileReport:
        """Check a tile above the roots; for a root add the next subtree, in NESTED order."""
        if tile.order >= self._root_order:
            subtree = next(subtrees)
        else:
            children = [
                (child.npix & 3, self._check_top(child, subtrees, add))
                for child in tile.children
                if self._index.has_subtree(child)
            ]
            subtree = _SubtreeReport()
            subtree.root = self._check_tile(tile, children, subtree, self._top_checksums)
        add(subtree)
        return subtree.root

    def _check_subtree(self, root: Tile) -> _SubtreeReport:
        """Check a root and all its descendants."""
        subtree, written = _SubtreeReport(), None
        if self._journal is not None:
            path = paths.record(root)
            try:
                found = self._journal.read_block(root)
            except ValueError as error:
                found = None
                subtree.findings.append(Finding("error", path, f"{error}: rerun the build"))
            else:
                if found is None:
                    subtree.findings.append(Finding("error", path, _NO_RECORD))
            if found is not None:
                written = JournalChecksums(dict(found[1].inventory.files()), self._full_path(path))
                missing = written.checksums.keys() - set(self._index.subtree_paths(root))
                subtree.findings += [written.missing(name) for name in sorted(missing)]
                subtree.findings += self._check_state(root, found[0])
        subtree.root = self._check_below(root, subtree, written)
        return subtree

    def _check_below(
        self, tile: Tile, subtree: _SubtreeReport, written: JournalChecksums | None
    ) -> TileReport:
        interrupt.check()
        children = [
            (child.npix & 3, self._check_below(child, subtree, written))
            for child in (tile.children if tile.order < self._survey.order else ())
            if self._index.has_subtree(child)
        ]
        return self._check_tile(tile, children, subtree, written)

    def _check_tile(
        self,
        tile: Tile,
        children: list[tuple[int, TileReport]],
        subtree: _SubtreeReport,
        written: JournalChecksums | None,
    ) -> TileReport:
        present = self._index.formats_of(tile)
        report = self._checker.check(tile, present, children, written)
        subtree.findings += report.findings
        subtree.tiles += bool(present)
        if report.layer is not None and tile.order == self._survey.order:
            cells, low, high = measure_tile(tile, report.layer.value)
            subtree.low, subtree.high = min(subtree.low, low), max(subtree.high, high)
            subtree.cells.append(cells)
        if report.layer is not None and report.is_known and tile.order in ALLSKY_ORDERS:
            subtree.small[tile] = shrink(report.layer, allsky_width(self._survey.tile_width))
        return report

    def _check_state(self, root: Tile, record: BlockRecord) -> list[Finding]:
        """Check the stored state of a block, which the top orders are made of."""
        assert self._journal is not None
        if not record.content:  # the top orders of a color survey are made of its bands
            return []
        try:
            agrees = self._journal.read_summary(root).content == record.content
            message = "" if agrees else "belongs to another block or another build"
        except ValueError as error:
            message = str(error)
        path = paths.record(root)
        return [Finding("error", path, f"{message}: rerun the build")] if message else []

    def _check_missing_blocks(self, roots: set[Tile]) -> Iterator[Finding]:
        """Check for blocks of the journal without any tile."""
        assert self._journal is not None
        for record in self._journal.records():
            if record.root not in roots and record.n_tiles:
                tiles = counted(record.n_tiles, "tile")
                message = f"lists {tiles}, none of which exists: remove it and rerun the build"
                yield Finding("error", paths.record(record.root), message)

    def _check_other_files(self) -> Iterator[Finding]:
        """Check the tiles of the top orders, and files other than tiles, against the journal."""
        if self._top is None:
            yield Finding("error", paths.TOP, "is missing or damaged: rerun the build")
            return
        checksums = dict(self._top.inventory.files()) | self._top.files
        written = JournalChecksums(checksums, self._full_path(paths.TOP))
        for path in checksums:
            if path not in self._top.files:
                if self._survey.store.stat(path) is None:
                    yield written.missing(path)
                continue
            try:
                data = self._survey.store.read(path)
            except FileNotFoundError:
                yield written.missing(path)
                continue
            except SurveyError as error:
                yield Finding("error", path, str(error))
                continue
            yield from (Finding("error", path, text) for text in written.mismatches(path, data))

    def _full_path(self, path: str) -> str:
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

    def _subtree_order(self) -> int:
        """Return the order of the roots of subtrees: that of the blocks, if there is a journal."""
        if self._journal is not None:
            for record in self._journal.records():
                return record.order
        return max(0, self._survey.order - _SUBTREE_DEPTH)
