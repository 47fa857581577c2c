"""From a source of coadds to a finished survey: the way through all stations."""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field

from hipsgen.errors import HipsgenError, InputError
from hipsgen.text import counted
from hipsgen.coadd import CoaddRef, Problem
from hipsgen.images.source import CoaddReader, ImageSource
from hipsgen.render.block import BlockTask, render_block
from hipsgen.journal.changes import ChangeSet
from hipsgen.plan.options import BuildOptions, Runtime
from hipsgen.build.metadata import SurveyIdentity
from hipsgen.run.engine import check_engine, open_engine, run_bounded
from hipsgen.journal.journal import Journal
from hipsgen.journal.output import check_free_space, claim, coadds_gone, remove_blocks, is_half_wiped
from hipsgen.build.prepare import prepare
from hipsgen.build.problems import ProblemLog
from hipsgen.build.publish import Publication, creation_date
from hipsgen.journal.records import BlockRecord
from hipsgen.run.progress import Reporter
from hipsgen.plan.sample import known_scales
from hipsgen.journal.lease import BuildLease
from hipsgen.sky.tiles import Tile
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import Store

_WINDOW_BYTES = 128 << 20  # of a worker: four coadds that meet in 4x4 tiles of 512 pixels


@dataclass
class BuildResult:
    """What was made.

    tiles: of all orders, each counted once. size: bytes by format. redone: blocks worked on in
    this run, of `blocks`. made: tiles written in this run; removed: those that are there no more.
    updated: there was a survey before. skipped: inputs that were left out.
    """

    name: str
    order: int
    coadds: int
    tiles: int
    size: dict[str, int]
    seconds: float
    blocks: int
    redone: int
    made: int = 0
    removed: int = 0
    updated: bool = False
    skipped: list[Problem] = field(default_factory=list)
    kind: str = "coadd"


class IncompleteBuildError(HipsgenError):
    """Some inputs cannot be used; what does not need them is done."""


def collect(source: ImageSource, reporter: Reporter) -> list[CoaddRef]:
    """All references of a source, with its problems told. Raises InputError for none."""
    refs = list(source.refs())
    for problem in source.problems:
        reporter.problem(problem)
    if not refs:
        reasons = f" ({len(source.problems)} were left out)" if source.problems else ""
        raise InputError(f"no coadd to work on in {source.describe()}{reasons}")
    return refs


def build_survey(
    source: ImageSource,
    store: Store,
    subject: SurveyIdentity,
    options: BuildOptions,
    runtime: Runtime,
    reporter: Reporter,
) -> BuildResult:
    """Make a survey, or finish or update one that was begun with the same options.

    Raises HipsgenError: for what cannot be read, contradicts what is in place, or fails;
    IncompleteBuildError when all is done but what needs coadds that cannot be used.
    """
    started = time.monotonic()
    journal = Journal(store)
    claim(store)
    refs = collect(source, reporter)
    problems = ProblemLog(source.problems, refs, reporter)
    fresh = runtime.fresh or is_half_wiped(store)
    if fresh:
        check_engine(runtime.engine)
    with journal.running():
        recipe, plan, sampled = prepare(
            refs, source.reader(), store, options, subject.band, fresh, runtime.recut
        )
        problems.tell_sampled(sampled, runtime.strict)
        words = (recipe.digest(), str(runtime.skip_bad), *(ref.key for ref in refs))
        lease = BuildLease.acquire(store, words)
        created = creation_date(store)
        change = ChangeSet.between(journal, recipe, plan)
        _announce(subject, change, reporter)
        with lease.guard():
            removed = _make_way(change, problems, store, runtime.skip_bad, reporter)
        made = _render(change, source.reader(), lease, subject.name, runtime, problems, reporter)
        if problems.faults and not runtime.skip_bad:
            raise IncompleteBuildError(problems.advice(store, made.values(), change.is_needed))
        records = {**change.done, **made}
        filled = [records[root] for root in sorted(records) if records[root].tiles]
        if not filled:
            raise InputError(
                f"no valid pixel in {counted(len(refs), 'coadd')} of {source.describe()}"
            )
        publication = Publication(store, recipe, filled)
        with lease.guard(on_conflict=journal.begin_top):
            publication.make(subject, refs, options, created, problems.left_out())
        top = publication.inventory
        return BuildResult(
            name=subject.name,
            order=recipe.order,
            coadds=len(refs) - len(problems.coadds),
            tiles=sum(record.tiles for record in filled) + len(top),
            size=_total([top.size(), *(record.size for record in filled)]),
            seconds=time.monotonic() - started,
            blocks=len(plan.npix),
            redone=len(change.pending),
            made=sum(record.made for record in made.values()) + publication.made,
            removed=removed + publication.removed + sum(record.removed for record in made.values()),
            updated=bool(change.done or change.stale_records),
            skipped=list(problems.all),
        )


def _announce(subject: SurveyIdentity, change: ChangeSet, reporter: Reporter) -> None:
    """Say what is going to be done."""
    recipe, blocks = change.recipe, len(change.leaves)
    reporter.note(
        f"{subject.name}: {counted(len(change.plan.refs), 'coadd')}, order {recipe.order}, "
        f"about {counted(sum(change.leaves), 'leaf tile')} in {counted(blocks, 'block')}"
    )
    finest = min(known_scales(change.plan.refs), default=recipe.pixel_scale)
    if finest < 0.999 * recipe.pixel_scale:
        reporter.note(
            f"the finest pixels are of {3600 * finest:.4g} arcsec now; the survey was begun for "
            f"{3600 * recipe.pixel_scale:.4g} and stays as it is, unless --fresh begins anew"
        )
    if change.is_needed and change.done:
        cuts = f"{recipe.stretch.low:.4g} to {recipe.stretch.high:.4g} {recipe.unit}".rstrip()
        kept = f"{len(change.done)} of {blocks} blocks are there"
        reporter.note(f"{kept}; cuts stay at {cuts}, unless --recut chooses others")


def _make_way(
    change: ChangeSet, problems: ProblemLog, store: Store, skip_bad: bool, reporter: Reporter
) -> int:
    """Prepare the place for what is to be done; how many tiles that removes.

    Raises ConfigError when there is no room for it, IncompleteBuildError when coadds of the survey that
    is there are gone and perhaps only damaged.
    """
    recipe, journal = change.recipe, Journal(store)
    gone = coadds_gone(change.stale_records, change.plan.refs)
    if gone and problems.faults and not skip_bad:
        raise IncompleteBuildError(problems.warning(store, len(gone)))
    check_free_space(store, sum(change.leaves[k] for k in change.pending), recipe.formats, change.stale_records)
    if change.is_needed:
        store.delete(PROPERTIES)
    if gone:
        reporter.note(
            f"{len(gone)} of the coadds of the earlier build are changed or no longer given: "
            "what they gave is made anew or removed"
        )
    if journal.recipe() != recipe:  # other cuts
        journal.begin(recipe)
    return remove_blocks(change.obsolete_roots, recipe.order, recipe.formats, store)


def _render(
    change: ChangeSet,
    reader: CoaddReader,
    lease: BuildLease,
    name: str,
    runtime: Runtime,
    problems: ProblemLog,
    reporter: Reporter,
) -> dict[Tile, BlockRecord]:
    """Do the blocks that are to be done, with progress; coadds that fail go into `problems`."""
    records: dict[Tile, BlockRecord] = {}
    if not change.pending:
        return records
    roots = change.plan.roots()
    leaves = {roots[k]: change.leaves[k] for k in change.pending}
    reporter.start(name, sum(leaves.values()))
    try:
        for record in _work(_tasks(change, reader, lease, runtime), runtime):
            records[record.root] = record
            for key, reason in record.problems:
                problems.tell_coadd(key, reason)
            reporter.advance(leaves[record.root])
            reporter.detail(f"block {record.root.order}/{record.npix}: {record.seconds:.1f} s")
    finally:
        reporter.stop()
    return records


def _total(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for size in sizes:
        for name, count in size.items():
            total[name] = total.get(name, 0) + count
    return total


def _tasks(
    change: ChangeSet, reader: CoaddReader, lease: BuildLease, runtime: Runtime
) -> Iterator[BlockTask]:
    """The blocks that are to be done."""
    plan = change.plan
    last = plan.last_blocks()
    shared, own = runtime.engine == "threads", runtime.memory // runtime.workers
    windows = min(own // 2, _WINDOW_BYTES)
    for k in change.pending:
        indices = plan.ref_indices(k)
        yield BlockTask(
            number=k,
            block=plan.block(k),
            refs=tuple((i, plan.refs[i]) for i in indices),
            until=tuple(last[indices].tolist()),
            recipe=change.recipe,
            reader=reader,
            lease=lease,
            cache_bytes=(own - windows) * (runtime.workers if shared else 1),
            window_bytes=windows,
            strict=runtime.strict,
            skip_bad=runtime.skip_bad,
        )


def _work(tasks: Iterator[BlockTask], runtime: Runtime) -> Iterator[BlockRecord]:
    try:
        with open_engine(runtime.engine, runtime.workers) as executor:
            yield from run_bounded(executor, render_block, tasks, runtime.workers)
    except BrokenExecutor as error:
        raise HipsgenError(
            "a worker process died, perhaps for want of memory: run the same command again to go "
            "on, with fewer --workers or less --memory"
        ) from error
