"""From a source of coadds to a finished survey: the way through all stations."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field

from hipsgen import __version__
from hipsgen.errors import ConfigError, HipsgenError, InputError
from hipsgen.images.source import CoaddReader, CoaddRef, ImageSource, Problem
from hipsgen.run.block import BlockTask, fingerprint, render_block
from hipsgen.run.config import TILE_WIDTH, Options, Recipe, Runtime
from hipsgen.run.describe import Subject, now
from hipsgen.run.engine import open_engine, run_bounded
from hipsgen.run.journal import BlockRecord, Journal
from hipsgen.run.place import check_room, claim, forget, note_departed, sweep_top, wipe
from hipsgen.run.plan import Plan, make_plan
from hipsgen.run.publish import Publication, created_before
from hipsgen.run.report import Reporter
from hipsgen.run.sample import COADDS, Sample, take_sample
from hipsgen.sky.stretch import choose_stretch
from hipsgen.sky.tiles import IntArray, Tile, order_for
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import Store

_WINDOW_BYTES = 128 << 20  # of a worker: four coadds that meet in 4x4 tiles of 512 pixels


@dataclass
class Summary:
    """What was made.

    tiles: of all orders, each counted once. size: bytes by format. redone: blocks worked on in
    this run, of `blocks`. skipped: inputs that were left out.
    """

    name: str
    order: int
    coadds: int
    tiles: int
    size: dict[str, int]
    seconds: float
    blocks: int
    redone: int
    skipped: list[Problem] = field(default_factory=list)
    kind: str = "coadds"


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

    Raises HipsgenError: for what cannot be read, contradicts what is in place, or fails.
    """
    started = time.monotonic()
    journal = Journal(store)
    claim(store)
    refs = collect(source, reporter)
    problems = dict.fromkeys(source.problems)
    if runtime.fresh:
        wipe(store)
    with journal.running():
        recipe, plan, sampled = _prepare(refs, source, journal, options, subject.band)
        if sampled and runtime.strict:
            raise InputError(str(sampled[0]))
        for problem in sampled:
            tell_once(problem, problems, reporter)
        roots, leaves = plan.roots(), plan.leaf_counts().tolist()
        reporter.note(
            f"{subject.name}: {len(refs)} coadds, order {recipe.order}, "
            f"about {sum(leaves)} leaf tiles in {len(roots)} blocks"
        )
        created = created_before(store) or now()
        earlier = list(journal.records())
        done = _still_good(earlier, recipe, plan)
        todo = [k for k, root in enumerate(roots) if root not in done]
        old = [record for record in earlier if record.root not in done]
        check_room(store, sum(leaves[k] for k in todo), recipe.formats, old)
        if todo or old:
            store.delete(PROPERTIES)
        note_departed(old, refs, reporter)
        forget(old, store, journal, recipe)
        last = plan.last_blocks()
        tasks = (_task(k, plan, last, recipe, source.reader(), store, runtime) for k in todo)
        work = {roots[k]: leaves[k] for k in todo}
        records = {**done, **_render(tasks, work, subject.name, runtime, problems, reporter)}
        filled = [records[root] for root in sorted(records) if records[root].tiles]
        if not filled:
            raise InputError(
                f"no valid pixel in any of the {len(refs)} coadds of {source.describe()}"
            )
        publication = _publish(store, journal, recipe, filled, subject, refs, options, created)
        return Summary(
            name=subject.name,
            order=recipe.order,
            coadds=len(refs),
            tiles=sum(r.tile_count for r in filled) + sum(map(len, publication.tiles.values())),
            size=_total([publication.size, *(record.size for record in filled)]),
            seconds=time.monotonic() - started,
            blocks=len(roots),
            redone=len(todo),
            skipped=list(problems),
        )


def _render(
    tasks: Iterator[BlockTask],
    leaves: Mapping[Tile, int],
    name: str,
    runtime: Runtime,
    problems: dict[Problem, None],
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
            for what, reason in record.problems:
                tell_once(Problem(what, reason), problems, reporter)
            reporter.advance(leaves[record.root])
            reporter.detail(f"block {record.root.order}/{record.npix}: {record.seconds:.1f} s")
    finally:
        reporter.stop()
    return records


def _publish(
    store: Store,
    journal: Journal,
    recipe: Recipe,
    records: Sequence[BlockRecord],
    subject: Subject,
    refs: Sequence[CoaddRef],
    options: Options,
    created: str,
) -> Publication:
    if journal.recipe() != recipe:
        raise ConfigError(f"another build with other options began in {store}: use --fresh")
    publication = Publication(store, recipe, records)
    publication.make(subject, refs, options, created)
    sweep_top(store, recipe, publication.tiles)
    return publication


def _total(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for size in sizes:
        for name, count in size.items():
            total[name] = total.get(name, 0) + count
    return total


def tell_once(problem: Problem, known: dict[Problem, None], reporter: Reporter) -> None:
    """Report a problem unless it is known; a coadd may fail in several blocks."""
    if problem not in known:
        known[problem] = None
        reporter.problem(problem)


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
    source: ImageSource,
    journal: Journal,
    options: Options,
    band: str,
) -> tuple[Recipe, Plan, list[Problem]]:
    """The recipe (an earlier one, if the place has it) and the plan."""
    earlier = journal.recipe()
    if earlier is not None:
        contradictions = _contradictions(options, band, earlier)
        if contradictions:
            raise ConfigError(
                "the survey that is there was begun otherwise "
                f"({'; '.join(contradictions)}): ask for the same, or use --fresh"
            )
        plan = make_plan(refs, earlier.order, earlier.frame, earlier.block_depth)
        return earlier, plan, []
    reader = source.reader()
    # of a few coadds, all will be read: whole copies of remote ones serve the blocks, too
    few = len(refs) <= COADDS
    sample, problems = take_sample(refs, reader if few else reader.at_a_glance())
    order = options.order if options.order is not None else natural_order(sample.pixel_scale)
    plan = make_plan(refs, order, options.frame)
    recipe = make_recipe(options, sample, band, order, plan.block_depth)
    journal.begin(recipe)
    return recipe, plan, problems


def _contradictions(options: Options, band: str, earlier: Recipe) -> list[str]:
    pairs: list[tuple[str, object, object]] = [
        ("band", band, earlier.band),
        ("frame", options.frame, earlier.frame),
        ("format", ",".join(options.formats), ",".join(earlier.formats)),
        ("interp", options.interpolation, earlier.interpolation),
        ("overlap", options.overlap, earlier.overlap),
        ("stretch", options.stretch, type(earlier.stretch).__name__.lower()),
        ("exclude-mask", ",".join(options.excluded), ",".join(earlier.excluded)),
        ("blank", options.blank, earlier.blank),
        ("version of hipsgen", __version__, earlier.version),
    ]
    if options.order is not None:
        pairs.append(("order", options.order, earlier.order))
    if options.cuts is not None:
        pairs.append(("cuts", options.cuts, (earlier.stretch.low, earlier.stretch.high)))
    return [
        f"{name} {there or 'none'}, not {asked or 'none'}"
        for name, asked, there in pairs
        if asked != there
    ]


def _still_good(
    earlier: Sequence[BlockRecord], recipe: Recipe, plan: Plan
) -> dict[Tile, BlockRecord]:
    """Finished blocks whose coadds are still the same and were all read."""
    number = {root: k for k, root in enumerate(plan.roots())}
    good = {}
    for record in earlier:
        k = number.get(record.root)
        if k is not None and not record.problems:
            refs = [plan.refs[i] for i in plan.ref_indices(k)]
            if record.fingerprint == fingerprint(recipe, refs):
                good[record.root] = record
    return good


def _task(
    k: int,
    plan: Plan,
    last: IntArray,
    recipe: Recipe,
    reader: CoaddReader,
    store: Store,
    runtime: Runtime,
) -> BlockTask:
    shared, own = runtime.engine == "threads", runtime.memory // runtime.workers
    windows = min(own // 2, _WINDOW_BYTES)
    indices = plan.ref_indices(k)
    return BlockTask(
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
