"""Surveys of the image, variance or mask plane of coadds, for `lifecycle.SurveyBuild`."""

from collections.abc import Iterable, Iterator, Sequence

from hipsgen.builder.lifecycle import Changes, Published
from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.builder.prepare import Preparation, prepare
from hipsgen.builder.problems import ProblemLog
from hipsgen.builder.publish import Publication
from hipsgen.builder.result import IncompleteBuildError
from hipsgen.coadd import Problem, reasons_of
from hipsgen.errors import InputError
from hipsgen.images.source import ImageSource
from hipsgen.journal.changes import ChangeSet
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.output import missing_coadds
from hipsgen.journal.records import BlockRecord
from hipsgen.planner.coadd_list import list_refs
from hipsgen.planner.options import BuildOptions, Runtime, tile_bytes
from hipsgen.planner.recipe import limit_note
from hipsgen.planner.sample import known_scales
from hipsgen.render.block import BlockTask
from hipsgen.run.progress import Reporter
from hipsgen.sky.tiles import Tile
from hipsgen.survey.originals import roots_of
from hipsgen.survey.store import Store
from hipsgen.text import counted, cuts_text

_WINDOW_BYTES = 128 << 20  # per worker: four coadds that overlap in 4x4 tiles of 512 pixels


class CoaddSurvey:
    """A `lifecycle.SurveyKind`: tiles are rendered from coadds, block by block."""

    is_color = False

    def __init__(
        self,
        source: ImageSource,
        store: Store,
        identity: SurveyIdentity,
        options: BuildOptions,
        runtime: Runtime,
        reporter: Reporter,
    ) -> None:
        self.name, self.store, self.formats = identity.name, store, options.formats
        self._source, self._identity, self._options = source, identity, options
        self._runtime, self._reporter = runtime, reporter
        self._made: dict[Tile, BlockRecord] = {}

    def prepare(self, fresh: bool, recut: bool) -> Iterable[str]:
        """See `SurveyKind`."""
        self._refs = list_refs(self._source, self._reporter)
        self._originals = roots_of(ref.uri for ref in self._refs)
        self._problems = ProblemLog(self._source.problems, self._refs, self._reporter)
        reader, band = self._source.reader(), self._identity.band
        self._prepared: Preparation = prepare(
            self._refs, reader, self.store, self._options, band, fresh, recut
        )
        self._problems.report_sampled(self._prepared.problems, self._runtime.strict)
        digest = self._prepared.recipe.digest()
        return digest, str(self._runtime.skip_bad), *(ref.key for ref in self._refs)

    def begin(self) -> None:
        """See `SurveyKind`."""
        Journal(self.store).begin(self._prepared.recipe, self._originals)

    def plan_changes(self) -> Changes:
        """See `SurveyKind`.

        Raises IncompleteBuildError when coadds of the survey are gone while other inputs cannot be
        read: the unreadable ones may be those coadds.
        """
        recipe, plan = self._prepared.recipe, self._prepared.plan
        change = self._change = ChangeSet.between(Journal(self.store), recipe, plan)
        self._gone = missing_coadds(change.stale_records, plan.refs)
        if self._gone and self._problems.faults and not self._runtime.skip_bad:
            raise IncompleteBuildError(
                self._problems.warning(self.store, len(self._gone)), (), self._problems.all
            )
        leaves = sum(change.leaves[k] for k in change.pending)
        return Changes(
            n_bytes=leaves * self._tile_bytes() * 4 // 3,
            n_units=leaves,
            n_blocks=len(plan.npix),
            n_pending=len(change.pending),
            kept=change.done,
            replaced=change.stale_records,
            obsolete_roots=change.obsolete_roots,
        )

    def _tile_bytes(self) -> int:
        recipe = self._prepared.recipe
        return tile_bytes(recipe.formats, recipe.tile_width, bool(recipe.offset))

    def announce(self, changes: Changes) -> None:
        """See `SurveyKind`."""
        recipe, plan = self._prepared.recipe, self._prepared.plan
        self._reporter.note(
            f"{self.name}: {counted(len(plan.refs), 'coadd')}, order {recipe.order}, about "
            f"{counted(sum(self._change.leaves), 'leaf tile')} in "
            f"{counted(changes.n_blocks, 'block')}"
        )
        for note in self._prepared.notes:
            self._reporter.note(f"{self.name}: {note}")
        if note := limit_note(recipe.pixel_scale, recipe.tile_width):
            self._reporter.note(note)
        finest = min(known_scales(plan.refs), default=recipe.pixel_scale)
        if finest < 0.999 * recipe.pixel_scale:
            self._reporter.note(
                f"the smallest pixels are now {3600 * finest:.4g} arcsec; the survey was started "
                f"for {3600 * recipe.pixel_scale:.4g} arcsec and keeps its order; {{fresh}} starts "
                "over"
            )
        if changes.is_needed and changes.kept:
            cuts = f"{cuts_text(recipe.stretch.low, recipe.stretch.high)} {recipe.unit}".rstrip()
            self._reporter.note(
                f"{len(changes.kept)} of {changes.n_blocks} blocks are up to date; the cuts remain "
                f"{cuts}; {{recut}} computes new ones"
            )

    def update_journal(self, changes: Changes) -> None:
        """See `SurveyKind`."""
        if self._gone:
            self._reporter.note(
                f"coadds changed or removed since the previous build: {len(self._gone)}; tiles "
                "that used them are rendered again or removed"
            )
        journal = Journal(self.store)
        # other cuts; other coadds, or none were recorded, as by version 0.1.0
        if (journal.recipe(), journal.originals()) != (self._prepared.recipe, self._originals):
            self.begin()

    def tasks(self, lease: BuildLease) -> Iterator[BlockTask]:
        """See `SurveyKind`."""
        plan, runtime = self._prepared.plan, self._runtime
        reader = self._prepared.recipe.relative_reader(self._source.reader())
        last = plan.last_blocks()
        shared, own = runtime.engine == "threads", runtime.memory // runtime.workers
        windows = min(own // 2, _WINDOW_BYTES)
        for k in self._change.pending:
            indices = plan.ref_indices(k)
            yield BlockTask(
                number=k,
                block=plan.block(k),
                refs=tuple((i, plan.refs[i]) for i in indices),
                last_blocks=tuple(last[indices].tolist()),
                recipe=self._prepared.recipe,
                reader=reader,
                lease=lease,
                cache_bytes=(own - windows) * (runtime.workers if shared else 1),
                window_bytes=windows,
                strict=runtime.strict,
                skip_bad=runtime.skip_bad,
            )

    def add_result(self, result: BlockRecord) -> int:
        """See `SurveyKind`. Report the coadds that could not be read."""
        root = result.root
        self._made[root] = result
        for key, reason in result.problems:
            self._problems.report_coadd(key, reason)
        self._reporter.detail(f"block {root.order}/{root.npix}: {result.seconds:.1f} s")
        number = int(self._prepared.plan.npix.searchsorted(root.npix))
        return self._change.leaves[number]

    def check_complete(self) -> None:
        """See `SurveyKind`."""
        problems, change = self._problems, self._change
        if problems.faults and not self._runtime.skip_bad:
            advice = problems.advice(self.store, self._made.values(), change.is_needed)
            raise IncompleteBuildError(advice, (), problems.all)

    def publish(self, created: str) -> Published:
        """See `SurveyKind`. Raises InputError when no coadd has a valid pixel."""
        records = {**self._change.done, **self._made}
        filled = [records[root] for root in sorted(records) if records[root].n_tiles]
        if not filled:
            coadds = counted(len(self._refs), "coadd")
            left_out = [Problem(str(one.ref), one.reason) for one in self._problems.left_out()]
            reasons = f"; left out: {reasons_of(left_out)}" if left_out else ""
            raise InputError(f"no valid pixel in {coadds} of {self._source.describe()}{reasons}")
        publication = Publication(self.store, self._prepared.recipe, filled)
        publication.make(
            self._identity, self._refs, self._options, created, self._problems.left_out()
        )
        return Published(
            records=filled,
            top=publication.inventory,
            n_made=publication.made,
            n_removed=publication.removed,
        )

    def leaf_order(self) -> int:
        """See `SurveyKind`."""
        return self._prepared.recipe.order

    def rendered(self) -> Sequence[BlockRecord]:
        """See `SurveyKind`."""
        return list(self._made.values())

    @property
    def n_inputs(self) -> int:
        """See `SurveyKind`."""
        return len(self._refs) - len(self._problems.coadds)

    @property
    def skipped(self) -> Sequence[Problem]:
        """See `SurveyKind`."""
        return list(self._problems.all)
