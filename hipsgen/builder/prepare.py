"""Determine the recipe and the plan of a coadd survey, without writing anything."""

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
    """Recipe and plan of a survey, the sampled coadds that could not be read, and notes on it."""

    recipe: Recipe
    plan: Plan
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()


def prepare(
    refs: Sequence[CoaddRef],
    reader: CoaddReader,
    store: Store,
    options: BuildOptions,
    band: str,
    fresh: bool,
    recut: bool,
) -> Preparation:
    """Make recipe and plan; an existing survey keeps its recipe.

    fresh: ignore the existing survey. recut: compute its cuts again. Raises ConfigError when it was
    started with different options.
    """
    # few coadds are all sampled: copies of whole remote files are reused when rendering
    sampling = reader if len(refs) <= N_COADDS else reader.with_range_reads()
    existing = None if fresh else existing_recipe(store, options, band, recut)
    if existing is None:
        return _new(refs, sampling, options, band)
    width = existing.tile_width
    plan = make_plan(refs, existing.order, existing.frame, width, existing.block_depth)
    if not recut or existing.plane == "mask":
        return Preparation(existing, plan)
    sample, problems = sample_pixels(refs, sampling, (existing.unit, existing.pixel_scale))
    return Preparation(replace(existing, stretch=stretch_of(options, sample.level)), plan, problems)


def _new(
    refs: Sequence[CoaddRef], reader: CoaddReader, options: BuildOptions, band: str
) -> Preparation:
    take = sample_mask_planes if options.plane == "mask" else sample_pixels
    sample, problems = take(refs, reader)
    check_excluded(options, sample)
    width = options.tile_width
    order = natural_order(sample.pixel_scale, width) if options.order is None else options.order
    plan = make_plan(refs, order, options.frame, width)
    recipe = make_recipe(options, sample, band, order, plan.block_depth)
    return Preparation(recipe, plan, problems, sample.notes)


def existing_recipe(
    store: Store, options: BuildOptions, band: str, recut: bool = False
) -> Recipe | None:
    """Return the recipe of the existing survey, or None if there is none.

    Raises ConfigError when it was started with different options.
    """
    existing = Journal(store).recipe()
    if existing is None:
        return None
    values, previews = _differences(options, band, existing)
    differences = [*values, *([] if recut else previews)]
    if differences:
        ways = "{fresh}" if values else "{recut}, which keeps the values, or {fresh}"
        raise ConfigError(
            f"the survey in {store} was started with different options "
            f"({'; '.join(differences)}): use the same options, or {ways}"
        )
    return existing


def _differences(options: BuildOptions, band: str, existing: Recipe) -> tuple[list[str], list[str]]:
    """Describe options that differ: those that affect pixel values, those that affect previews."""
    if options.plane != existing.plane:
        return _format_differences([("{plane}", options.plane, existing.plane)]), []
    values: list[tuple[str, object, object]] = [
        ("band", band, existing.band),
        ("{frame}", options.frame, existing.frame),
        ("{tile_width}", options.tile_width, existing.tile_width),
        ("{formats}", ",".join(options.formats), ",".join(existing.formats)),
        ("{interpolation}", options.interpolation, existing.interpolation),
        ("{overlap}", options.overlap, existing.overlap),
        ("{excluded}", ",".join(options.excluded), ",".join(existing.excluded)),
        ("{blank}", options.blank, existing.blank),
        ("{unit}", options.unit, existing.stated_unit),
        ("version of the recipe", RECIPE_VERSION, existing.version),
    ]
    if options.order is not None:
        values.append(("{order}", options.order, existing.order))
    stretch = existing.stretch
    previews: list[tuple[str, object, object]] = [
        ("{stretch}", options.stretch, type(stretch).__name__.lower())
    ]
    if options.cuts is not None and options.cuts != (stretch.low, stretch.high):
        low, high = options.cuts
        previews.append(("{cuts}", f"{low:g},{high:g}", f"{stretch.low:g},{stretch.high:g}"))
    return _format_differences(values), _format_differences(previews)


def _format_differences(triples: Iterable[tuple[str, object, object]]) -> list[str]:
    return [
        f"{name} {_shown(existing)}, not {_shown(requested)}"
        for name, requested, existing in triples
        if requested != existing
    ]


def _shown(value: object) -> object:
    return "none" if value in (None, "") else value
