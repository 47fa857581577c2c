"""What a build would do: sizes and times of new surveys, changes of those in place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hipsgen.builder.prepare import earlier_recipe
from hipsgen.builder.surveys import SurveySet
from hipsgen.coadd import CoaddRef
from hipsgen.errors import ConfigError, HipsgenError
from hipsgen.journal.changes import ChangeSet
from hipsgen.journal.journal import Journal
from hipsgen.planner.blocks import make_plan
from hipsgen.planner.coadd_list import refs_of
from hipsgen.planner.jobs import SurveyJob
from hipsgen.planner.options import BuildOptions, tile_bytes
from hipsgen.planner.recipe import check_excluded, natural_order, stretch_of
from hipsgen.planner.sample import known_scales, sample_mask_planes, sample_pixels
from hipsgen.run.progress import Reporter
from hipsgen.sky.tiles import pixel_size
from hipsgen.survey.store import open_store

if TYPE_CHECKING:
    from astropy.units import Quantity

_SECONDS_PER_PIXEL = 0.02 / 512**2  # measured: CPU of a leaf tile with its share of parents


@dataclass(frozen=True, kw_only=True)
class SurveyChanges:
    """What a build would change in the survey that is in place; numbers are upper bounds.

    n_blocks, n_blocks_changed: blocks of the survey, and those to be worked on. n_tiles_made,
    n_tiles_removed: tiles of these blocks. block_order: order of the roots of the blocks; tiles
    above it are not counted.
    """

    n_blocks: int
    n_blocks_changed: int
    n_tiles_made: int
    n_tiles_removed: int
    block_order: int


@dataclass(frozen=True, kw_only=True)
class SurveyPlan:
    """What a build would make of the coadds of one band and plane.

    Attributes
    ----------
    band, plane : str
        Band of the coadds, empty where they do not say; image, variance or mask.
    source : str
        Where the coadds come from.
    path : str
        Folder of the survey; empty without an output.
    n_coadds : int
        Coadds that would be used.
    n_unusable : int
        Inputs that cannot be used; a build does not finish without ``skip_bad``.
    order : int
        Deepest HiPS order.
    n_leaf_tiles, n_tiles : int
        Upper bounds, from the outlines, of the leaf tiles and of the tiles of all orders.
    n_bytes : int
        Estimate of the bytes of all tiles.
    cpu_seconds : float
        Estimate of the CPU time; 0 for a survey that is in place.
    cuts : tuple of float or None
        Display range of the previews, in `unit`; None where it is not known.
    unit : str
        Unit of the values, empty where the coadds have none.
    mask_planes : tuple of str
        Names of the planes of a mask survey.
    problem : str
        Why `cuts` is not known; else empty.
    changes : SurveyChanges or None
        What would change in the survey that is in place; None for a new survey.
    """

    band: str
    plane: str
    source: str
    path: str
    n_coadds: int
    n_unusable: int
    order: int
    n_leaf_tiles: int
    n_tiles: int
    n_bytes: int
    cpu_seconds: float
    cuts: tuple[float, float] | None
    unit: str
    mask_planes: tuple[str, ...] = ()
    problem: str = ""
    changes: SurveyChanges | None = None

    @property
    def size(self) -> "Quantity":
        """`n_bytes` as an astropy.units.Quantity in byte."""
        from astropy import units

        return self.n_bytes * units.byte

    @property
    def cpu_time(self) -> "Quantity":
        """`cpu_seconds` as an astropy.units.Quantity in s."""
        from astropy import units

        return self.cpu_seconds * units.s


def plan_surveys(
    surveys: SurveySet, reporter: Reporter, is_in_place: bool = True
) -> list[SurveyPlan]:
    """Estimate every coadd survey of a set.

    is_in_place: whether the output may hold surveys, which would be updated.
    """
    return [_plan(surveys, job, reporter, is_in_place) for job in surveys.jobs()]


def _plan(surveys: SurveySet, job: SurveyJob, reporter: Reporter, is_in_place: bool) -> SurveyPlan:
    refs, options = refs_of(job.source), surveys.options_of(job)
    if is_in_place and Journal(open_store(surveys.place(job))).exists():
        return _update(surveys, job, refs, options)
    look = _look(job, refs, options, reporter)
    width = options.tile_width
    natural = natural_order(look.pixel_scale, width)
    order = natural if options.order is None else options.order
    plan = make_plan(refs, order, options.frame, width)
    counts = plan.leaf_counts()
    n_leaves, n_tiles = int(counts.sum()), plan.tile_count(counts)
    pixels = n_leaves * width**2 * 4 ** max(0, natural - order)
    return SurveyPlan(
        band=job.band,
        plane=job.plane,
        source=job.source.describe(),
        path=str(surveys.place(job)) if is_in_place else "",
        n_coadds=len(refs),
        n_unusable=_faults(job),
        order=order,
        n_leaf_tiles=n_leaves,
        n_tiles=n_tiles,
        n_bytes=n_tiles * tile_bytes(options.formats, width),
        cpu_seconds=pixels * _SECONDS_PER_PIXEL,
        cuts=look.cuts,
        unit=look.unit,
        mask_planes=look.mask_planes,
        problem=look.problem,
    )


def _faults(job: SurveyJob) -> int:
    return sum(problem.is_fault for problem in job.source.problems)


def _update(
    surveys: SurveySet, job: SurveyJob, refs: Sequence[CoaddRef], options: BuildOptions
) -> SurveyPlan:
    """Compare the coadds with the survey that is in place."""
    place = surveys.place(job)
    store = open_store(place)
    recipe = earlier_recipe(store, options, job.band)
    if recipe is None:
        raise ConfigError(f"{place} holds a survey of another kind: choose another {{output}}")
    plan = make_plan(refs, recipe.order, recipe.frame, recipe.tile_width, recipe.block_depth)
    change = ChangeSet.between(Journal(store), recipe, plan)
    counts = list(change.tiles(store))
    made, removed = (sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0)
    n_tiles = plan.tile_count(np.array(change.leaves))
    return SurveyPlan(
        band=job.band,
        plane=job.plane,
        source=job.source.describe(),
        path=str(place),
        n_coadds=len(refs),
        n_unusable=_faults(job),
        order=recipe.order,
        n_leaf_tiles=sum(change.leaves),
        n_tiles=n_tiles,
        n_bytes=n_tiles * tile_bytes(recipe.formats, recipe.tile_width),
        cpu_seconds=0.0,
        cuts=None if recipe.plane == "mask" else (recipe.stretch.low, recipe.stretch.high),
        unit=recipe.unit,
        mask_planes=recipe.mask_planes,
        changes=SurveyChanges(
            n_blocks=len(plan.npix),
            n_blocks_changed=len(change.pending),
            n_tiles_made=made,
            n_tiles_removed=removed,
            block_order=recipe.block_order,
        ),
    )


@dataclass(frozen=True)
class _Look:
    """What a sample of the coadds says. pixel_scale: of the finest, degrees."""

    pixel_scale: float
    cuts: tuple[float, float] | None = None
    unit: str = ""
    mask_planes: tuple[str, ...] = ()
    problem: str = ""


def _look(
    job: SurveyJob, refs: Sequence[CoaddRef], options: BuildOptions, reporter: Reporter
) -> _Look:
    """Sample the coadds.

    Where none can be read, what the references and the options say of the pixels is enough.
    """
    try:
        take = sample_mask_planes if options.plane == "mask" else sample_pixels
        sample, problems = take(refs, job.source.reader().with_range_reads())
    except HipsgenError as error:
        asked = [] if options.order is None else [pixel_size(options.order, options.tile_width)]
        scale = min(known_scales(refs) or asked, default=None)
        if scale is None:
            raise
        return _Look(scale, problem=error.message)
    check_excluded(options, sample)
    for problem in problems:
        reporter.problem(problem)
    if options.plane == "mask":
        return _Look(sample.pixel_scale, mask_planes=sample.mask_planes)
    stretch = stretch_of(options, sample.level)
    return _Look(sample.pixel_scale, (stretch.low, stretch.high), sample.unit)
