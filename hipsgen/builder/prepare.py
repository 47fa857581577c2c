"""Find out what is to be built: the recipe and the plan. Nothing is written here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hipsgen.coadd import CoaddRef, Problem
from hipsgen.errors import ConfigError
from hipsgen.images.source import CoaddReader
from hipsgen.journal.journal import Journal
from hipsgen.planner.blocks import Plan, make_plan
from hipsgen.planner.options import BuildOptions
from hipsgen.planner.recipe import (
    RECIPE_VERSION,
    Recipe,
    check_excluded,
    make_recipe,
    natural_order,
    stretch_of,
)
from hipsgen.planner.sample import N_COADDS, sample_mask_planes, sample_pixels
from hipsgen.survey.store import Store


@dataclass(frozen=True)
class Preparation:
    """What is to be built, and which of the sampled coadds could not be read."""

    recipe: Recipe
    plan: Plan
    problems: Sequence[Problem] = ()


def prepare(
    refs: Sequence[CoaddRef],
    reader: CoaddReader,
    store: Store,
    options: BuildOptions,
    band: str,
    fresh: bool,
    recut: bool,
) -> Preparation:
    """Make recipe and plan, or take the recipe of the survey in place.

    fresh: the survey in place does not count. recut: choose its cuts again. Raises ConfigError when
    it was begun with other options.
    """
    # of few coadds every one will be read: whole copies of remote files serve the blocks as well
    sampling = reader if len(refs) <= N_COADDS else reader.with_range_reads()
    earlier = None if fresh else earlier_recipe(store, options, band, recut)
    if earlier is None:
        return _new(refs, sampling, options, band)
    width = earlier.tile_width
    plan = make_plan(refs, earlier.order, earlier.frame, width, earlier.block_depth)
    if not recut or earlier.plane == "mask":
        return Preparation(earlier, plan)
    sample, problems = sample_pixels(refs, sampling, (earlier.unit, earlier.pixel_scale))
    return Preparation(replace(earlier, stretch=stretch_of(options, sample.level)), plan, problems)


def _new(
    refs: Sequence[CoaddRef], reader: CoaddReader, options: BuildOptions, band: str
) -> Preparation:
    take = sample_mask_planes if options.plane == "mask" else sample_pixels
    sample, problems = take(refs, reader)
    check_excluded(options, sample)
    width = options.tile_width
    order = natural_order(sample.pixel_scale, width) if options.order is None else options.order
    plan = make_plan(refs, order, options.frame, width)
    return Preparation(make_recipe(options, sample, band, order, plan.block_depth), plan, problems)


def earlier_recipe(
    store: Store, options: BuildOptions, band: str, recut: bool = False
) -> Recipe | None:
    """Return the recipe of the survey in place, None for no survey.

    Raises ConfigError when that was begun with other options.
    """
    earlier = Journal(store).recipe()
    if earlier is None:
        return None
    values, pictures = _contradictions(options, band, earlier)
    contradictions = [*values, *([] if recut else pictures)]
    if contradictions:
        ways = "{fresh}" if values else "{recut}, which keeps the values, or {fresh}"
        raise ConfigError(
            f"the survey in {store} was started with different options "
            f"({'; '.join(contradictions)}): use the same options, or {ways}"
        )
    return earlier


def _contradictions(
    options: BuildOptions, band: str, earlier: Recipe
) -> tuple[list[str], list[str]]:
    """What is asked for otherwise than before: of the values, and of the pictures alone."""
    if options.plane != earlier.plane:
        return _unlike([("plane", options.plane, earlier.plane)]), []
    values: list[tuple[str, object, object]] = [
        ("band", band, earlier.band),
        ("frame", options.frame, earlier.frame),
        ("tile-width", options.tile_width, earlier.tile_width),
        ("format", ",".join(options.formats), ",".join(earlier.formats)),
        ("interp", options.interpolation, earlier.interpolation),
        ("overlap", options.overlap, earlier.overlap),
        ("exclude-mask", ",".join(options.excluded), ",".join(earlier.excluded)),
        ("blank", options.blank, earlier.blank),
        ("version of the recipe", RECIPE_VERSION, earlier.version),
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
