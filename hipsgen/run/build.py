"""From a source of coadds to a finished survey: the way through all stations."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace

from hipsgen import __version__
from hipsgen.errors import ConfigError, HipsgenError, InputError
from hipsgen.images.source import CoaddReader, CoaddRef, ImageSource, Problem
from hipsgen.run.block import BlockTask, render_block
from hipsgen.run.change import Change
from hipsgen.run.config import TILE_WIDTH, Options, Recipe, Runtime
from hipsgen.run.describe import Subject, now
from hipsgen.run.engine import check_engine, open_engine, run_bounded
from hipsgen.run.journal import BlockRecord, Journal
from hipsgen.run.place import check_room, claim, departed, forget, is_half_wiped, wipe
from hipsgen.run.plan import Plan, make_plan
from hipsgen.run.problems import Problems
from hipsgen.run.publish import Publication, created_before
from hipsgen.run.report import Reporter
from hipsgen.run.sample import COADDS, Sample, known_scales, take_sample
from hipsgen.sky.stretch import choose_stretch
from hipsgen.sky.tiles import Tile, order_for
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import Store

_WINDOW_BYTES = 128 << 20  # of a worker: four coadds that meet in 4x4 tiles of 512 pixels


@dataclass
class Summary:
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
    kind: str = "coadds"


class UnfinishedError(HipsgenError):
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
    subject: Subject,
    options: Options,
    runtime: Runtime,
    reporter: Reporter,
) -> Summary:
    """Make a survey, or finish or update one that was begun with the same options.

    Raises HipsgenError: for what cannot be read, contradicts what is in place, or fails;
    UnfinishedError when all is done but what needs coadds that cannot be used.
    """
    started = time.monotonic()
    journal = Journal(store)
    claim(store)
    refs = collect(source, reporter)
    problems = Problems(source.problems, refs, reporter)
    fresh = runtime.fresh or is_half_wiped(store)
    if fresh:
        check_engine(runtime.engine)
    with journal.running():
        recipe, plan, sampled = _prepare(
            refs, source.reader(), store, options, subject.band, fresh, runtime.recut
        )
        problems.tell_sampled(sampled, runtime.strict)
        inputs = journal.begin_inputs(ref.key for ref in refs)
        created = created_before(store) or journal.created() or now()
        change = Change.between(journal, recipe, plan)
        leaves = plan.leaf_counts().tolist()
        _announce(subject, recipe, plan, change, leaves, reporter)
        removed = _make_way(
            change, problems, store, recipe, plan, leaves, runtime, created, reporter
        )
        tasks = _tasks(change.todo, plan, recipe, source.reader(), store, runtime)
        roots = plan.roots()
        work = {roots[k]: leaves[k] for k in change.todo}
        made = _render(tasks, work, subject.name, runtime, problems, reporter)
        if problems.faults and not runtime.skip_bad:
            raise UnfinishedError(problems.advice(store, made.values(), change.is_one))
        records = {**change.done, **made}
        filled = [records[root] for root in sorted(records) if records[root].tiles]
        if not filled:
            raise InputError(
                f"no valid pixel in any of the {len(refs)} coadds of {source.describe()}"
            )
        if journal.recipe() != recipe or journal.inputs() != inputs:
            raise ConfigError(f"another build of {store} began meanwhile: run this one again")
        publication = Publication(store, recipe, filled)
        publication.make(subject, refs, options, created, problems.left_out())
        removed += publication.removed
        top = sum(map(len, publication.tiles.values()))
        return Summary(
            name=subject.name,
            order=recipe.order,
            coadds=len(refs) - len(problems.coadds),
            tiles=sum(record.tiles for record in filled) + top,
            size=_total([publication.size, *(record.size for record in filled)]),
            seconds=time.monotonic() - started,
            blocks=len(plan.npix),
            redone=len(change.todo),
            made=sum(record.made for record in made.values()) + publication.made,
            removed=removed + sum(record.removed for record in made.values()),
            updated=bool(change.done or change.old),
            skipped=list(problems.all),
        )


def _announce(
    subject: Subject,
    recipe: Recipe,
    plan: Plan,
    change: Change,
    leaves: Sequence[int],
    reporter: Reporter,
) -> None:
    """Say what is going to be done."""
    reporter.note(
        f"{subject.name}: {len(plan.refs)} coadds, order {recipe.order}, "
        f"about {sum(leaves)} leaf tiles in {len(leaves)} blocks"
    )
    finest = min(known_scales(plan.refs), default=recipe.pixel_scale)
    if finest < 0.999 * recipe.pixel_scale:
        reporter.note(
            f"the finest pixels are of {3600 * finest:.4g} arcsec now; the survey was begun for "
            f"{3600 * recipe.pixel_scale:.4g} and stays as it is, unless --fresh begins anew"
        )
    if change.is_one and change.done:
        cuts = f"{recipe.stretch.low:.4g} to {recipe.stretch.high:.4g} {recipe.unit}".rstrip()
        kept = f"{len(change.done)} of {len(leaves)} blocks are there"
        reporter.note(f"{kept}; cuts stay at {cuts}, unless --recut chooses others")


def _make_way(
    change: Change,
    problems: Problems,
    store: Store,
    recipe: Recipe,
    plan: Plan,
    leaves: Sequence[int],
    runtime: Runtime,
    created: str,
    reporter: Reporter,
) -> int:
    """Prepare the place for what is to be done; how many tiles that removes.

    Raises ConfigError when there is no room for it, UnfinishedError when coadds of the survey that
    is there are gone and perhaps only damaged.
    """
    gone = departed(change.old, plan.refs)
    if gone and problems.faults and not runtime.skip_bad:
        raise UnfinishedError(problems.warning(store, len(gone)))
    check_room(store, sum(leaves[k] for k in change.todo), recipe.formats, change.old)
    if change.is_one:
        Journal(store).note_created(created)
        store.delete(PROPERTIES)
    if gone:
        reporter.note(
            f"{len(gone)} of the coadds of the earlier build are changed or no longer given: "
            "what they gave is made anew or removed"
        )
    journal = Journal(store)
    if journal.recipe() != recipe:  # other cuts
        journal.begin(recipe)
    extensions = [encoder.extension for encoder in recipe.encoders()]
    return forget(change.departed, recipe.order, extensions, store)


def _render(
    tasks: Iterator[BlockTask],
    leaves: Mapping[Tile, int],
    name: str,
    runtime: Runtime,
    problems: Problems,
    reporter: Reporter,
) -> dict[Tile, BlockRecord]:
    """Do the blocks, with progress; coadds that fail go into `problems`.

    leaves: how many tiles each block has, by its root.
    """
    records: dict[Tile, BlockRecord] = {}
    if not leaves:
        return records
    reporter.start(name, sum(leaves.values()))
    try:
        for record in _work(tasks, runtime):
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


def natural_order(pixel_scale: float) -> int:
    """The order for input pixels of this size, degrees."""
    return order_for(pixel_scale, TILE_WIDTH)


def make_recipe(options: Options, sample: Sample, band: str, order: int, depth: int) -> Recipe:
    """What fixes the bytes, from what was asked for and what the coadds are like."""
    return Recipe(
        order=order,
        render_order=max(order, natural_order(sample.pixel_scale)),
        block_depth=depth,
        frame=options.frame,
        formats=options.formats,
        interpolation=options.interpolation,
        overlap=options.overlap,
        stretch=choose_stretch(options.stretch, sample.level, options.cuts),
        excluded=options.excluded,
        blank=options.blank,
        unit=sample.unit,
        band=band,
        pixel_scale=sample.pixel_scale,
    )


def _prepare(
    refs: Sequence[CoaddRef],
    reader: CoaddReader,
    store: Store,
    options: Options,
    band: str,
    fresh: bool,
    recut: bool,
) -> tuple[Recipe, Plan, list[Problem]]:
    """The recipe (an earlier one, if the place has it) and the plan; what could not be sampled.

    fresh: what is there is thrown away, once nothing more can be found wrong with what is asked.
    Raises ConfigError when the earlier one is of other options.
    """
    # of a few coadds, all will be read: whole copies of remote ones serve the blocks, too
    looking = reader if len(refs) <= COADDS else reader.at_a_glance()
    journal = Journal(store)
    earlier = None if fresh else earlier_recipe(store, options, band, recut)
    if earlier is None:
        sample, problems = take_sample(refs, looking)
        order = options.order if options.order is not None else natural_order(sample.pixel_scale)
        plan = make_plan(refs, order, options.frame)
        recipe = make_recipe(options, sample, band, order, plan.block_depth)
        if fresh:
            wipe(store)
        journal.begin(recipe)
        return recipe, plan, problems
    plan = make_plan(refs, earlier.order, earlier.frame, earlier.block_depth)
    if not recut:
        return earlier, plan, []
    sample, problems = take_sample(refs, looking, (earlier.unit, earlier.pixel_scale))
    stretch = choose_stretch(options.stretch, sample.level, options.cuts)
    return replace(earlier, stretch=stretch), plan, problems


def earlier_recipe(store: Store, options: Options, band: str, recut: bool = False) -> Recipe | None:
    """What a build in this place was begun with, None for none. Raises ConfigError if otherwise."""
    earlier = Journal(store).recipe()
    if earlier is None:
        return None
    values, pictures = _contradictions(options, band, earlier)
    contradictions = [*values, *([] if recut else pictures)]
    if contradictions:
        ways = "--fresh" if values else "--recut, which keeps the values, or --fresh"
        raise ConfigError(
            f"the survey in {store} was begun otherwise ({'; '.join(contradictions)}): ask for "
            f"the same, or use {ways}"
        )
    return earlier


def _contradictions(options: Options, band: str, earlier: Recipe) -> tuple[list[str], list[str]]:
    """What is asked for otherwise than before: of the values, and of the pictures alone."""
    values: list[tuple[str, object, object]] = [
        ("band", band, earlier.band),
        ("frame", options.frame, earlier.frame),
        ("format", ",".join(options.formats), ",".join(earlier.formats)),
        ("interp", options.interpolation, earlier.interpolation),
        ("overlap", options.overlap, earlier.overlap),
        ("exclude-mask", ",".join(options.excluded), ",".join(earlier.excluded)),
        ("blank", options.blank, earlier.blank),
        ("version of hipsgen", __version__, earlier.version),
    ]
    if options.order is not None:
        values.append(("order", options.order, earlier.order))
    stretch = earlier.stretch
    pictures: list[tuple[str, object, object]] = [
        ("stretch", options.stretch, type(stretch).__name__.lower())
    ]
    if options.cuts is not None and options.cuts != (stretch.low, stretch.high):
        low, high = options.cuts
        pictures.append(("cuts", f"{low:g},{high:g}", f"{stretch.low:g},{stretch.high:g}"))
    return _unlike(values), _unlike(pictures)


def _unlike(pairs: Iterable[tuple[str, object, object]]) -> list[str]:
    return [
        f"{name} {there or 'none'}, not {asked or 'none'}"
        for name, asked, there in pairs
        if asked != there
    ]


def _tasks(
    todo: Sequence[int],
    plan: Plan,
    recipe: Recipe,
    reader: CoaddReader,
    store: Store,
    runtime: Runtime,
) -> Iterator[BlockTask]:
    """The blocks that are to be done, by their numbers."""
    last = plan.last_blocks()
    shared, own = runtime.engine == "threads", runtime.memory // runtime.workers
    windows = min(own // 2, _WINDOW_BYTES)
    for k in todo:
        indices = plan.ref_indices(k)
        yield BlockTask(
            number=k,
            block=plan.block(k),
            refs=tuple((i, plan.refs[i]) for i in indices),
            until=tuple(last[indices].tolist()),
            recipe=recipe,
            reader=reader,
            store=store,
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
