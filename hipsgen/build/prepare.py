"""What a survey is to be: recipe and plan, from a sample of its coadds or an earlier build."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hipsgen.plan.recipe import check_excluded, natural_order, make_recipe, stretch_of
from hipsgen import __version__
from hipsgen.errors import ConfigError
from hipsgen.images.coadd_fits import DEFAULT_EXCLUDED
from hipsgen.coadd import CoaddRef, Problem
from hipsgen.images.source import CoaddReader
from hipsgen.plan.recipe import TILE_WIDTH, Recipe
from hipsgen.plan.options import BuildOptions
from hipsgen.journal.journal import Journal
from hipsgen.journal.output import wipe
from hipsgen.plan.blocks import Plan, make_plan
from hipsgen.plan.sample import COADDS, Sample, take_names, take_sample
from hipsgen.sky.stretch import Asinh, Linear, SkyLevel, choose_stretch
from hipsgen.sky.tiles import order_for
from hipsgen.survey.store import Store


def prepare(
    refs: Sequence[CoaddRef],
    reader: CoaddReader,
    store: Store,
    options: BuildOptions,
    band: str,
    fresh: bool,
    recut: bool,
) -> tuple[Recipe, Plan, list[Problem]]:
    """The recipe (an earlier one, if the place has it) and the plan; what could not be sampled.

    fresh: what is there is thrown away, once nothing more can be found wrong with what is asked.
    Raises ConfigError when the earlier one is of other options.
    """
    # of a few coadds, all will be read: whole copies of remote ones serve the blocks, too
    looking = reader if len(refs) <= COADDS else reader.with_range_reads()
    journal = Journal(store)
    earlier = None if fresh else earlier_recipe(store, options, band, recut)
    if earlier is None:
        take = take_names if options.plane == "mask" else take_sample
        sample, problems = take(refs, looking)
        check_excluded(options, sample)
        order = options.order if options.order is not None else natural_order(sample.pixel_scale)
        plan = make_plan(refs, order, options.frame)
        recipe = make_recipe(options, sample, band, order, plan.block_depth)
        if fresh:
            wipe(store)
        journal.begin(recipe)
        return recipe, plan, problems
    plan = make_plan(refs, earlier.order, earlier.frame, earlier.block_depth)
    if not recut or earlier.plane == "mask":
        return earlier, plan, []
    sample, problems = take_sample(refs, looking, (earlier.unit, earlier.pixel_scale))
    stretch = stretch_of(options, sample.level)
    return replace(earlier, stretch=stretch), plan, problems


def earlier_recipe(store: Store, options: BuildOptions, band: str, recut: bool = False) -> Recipe | None:
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


def _contradictions(options: BuildOptions, band: str, earlier: Recipe) -> tuple[list[str], list[str]]:
    """What is asked for otherwise than before: of the values, and of the pictures alone."""
    if options.plane != earlier.plane:
        return _unlike([("plane", options.plane, earlier.plane)]), []
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
