"""Estimates of a build: size and CPU time of new surveys, changes to existing ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hipsgen.builder.prepare import existing_recipe
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
from hipsgen.sky.tiles import order_for, pixel_size
from hipsgen.survey.store import open_store

if TYPE_CHECKING:
    from astropy.units import Quantity

_SECONDS_PER_PIXEL = (
    0.02 / 512**2
)  # measured: CPU time of a leaf tile, including its share of the parents


@dataclass(frozen=True, kw_only=True)
class SurveyChanges:
    """Changes that a build would make to an existing survey, as upper bounds.

    Attributes
    ----------
    n_blocks, n_blocks_changed : int
        Blocks of the survey, and blocks that would be rendered again.
    n_tiles_made, n_tiles_removed : int
        Tiles of these blocks that would be written or deleted.
    block_order : int
        Order of the roots of the blocks; tiles of lower orders are not counted.
    """

    n_blocks: int
    n_blocks_changed: int
    n_tiles_made: int
    n_tiles_removed: int
    block_order: int


@dataclass(frozen=True, kw_only=True)
class SurveyPlan:
    """Estimate of the survey that a build would make of one band and plane.

    Attributes
    ----------
    band, plane : str
        Band of the coadds, empty if unknown; ``image``, ``variance`` or ``mask``.
    source : str
        Description of the source of the coadds.
    path : str
        Folder of the survey; empty if no output was given.
    n_coadds : int
        Number of coadds.
    n_unusable : int
        Number of inputs that cannot be used; if not 0, a build needs ``skip_bad`` to finish.
    order : int
        Deepest HiPS order.
    n_leaf_tiles, n_tiles : int
        Upper bounds, from the outlines of the coadds, of the number of leaf tiles and of tiles
        of all orders.
    n_bytes : int
        Estimated size of all tiles in bytes.
    cpu_seconds : float
        Estimated CPU time; 0 for an existing survey.
    cuts : tuple of float or None
        Display range of the previews, in `unit`; None if unknown.
    unit : str
        Unit of the pixel values, empty if the coadds have none.
    mask_planes : tuple of str
        Names of the mask planes of a mask survey.
    problem : str
        Reason why `cuts` is unknown; otherwise empty.
    changes : SurveyChanges or None
        Changes to the existing survey; None for a new survey.
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
        """Estimated size as an astropy.units.Quantity in bytes."""
        from astropy import units

        return self.n_bytes * units.byte

    @property
    def cpu_time(self) -> "Quantity":
        """Estimated CPU time as an astropy.units.Quantity in seconds."""
        from astropy import units

        return self.cpu_seconds * units.s


def plan_surveys(
    surveys: SurveySet, reporter: Reporter, has_output: bool = True
) -> list[SurveyPlan]:
    """Estimate every coadd survey of a set.

    has_output: whether to compare with existing surveys in the output folder.
    """
    return [_plan(surveys, job, reporter, has_output) for job in surveys.jobs()]


def _plan(surveys: SurveySet, job: SurveyJob, reporter: Reporter, has_output: bool) -> SurveyPlan:
    refs, options = refs_of(job.source), surveys.options_of(job)
    if has_output and Journal(open_store(surveys.folder(job))).exists():
        return _update(surveys, job, refs, options)
    sampled = _sample(job, refs, options, reporter)
    width = options.tile_width
    order = options.order
    if order is None:
        order = natural_order(sampled.pixel_scale, width)
    plan = make_plan(refs, order, options.frame, width)
    counts = plan.leaf_counts()
    n_leaves, n_tiles = int(counts.sum()), plan.tile_count(counts)
    pixels = n_leaves * width**2 * 4 ** max(0, order_for(sampled.pixel_scale, width) - order)
    return SurveyPlan(
        band=job.band,
        plane=job.plane,
        source=job.source.describe(),
        path=str(surveys.folder(job)) if has_output else "",
        n_coadds=len(refs),
        n_unusable=_faults(job),
        order=order,
        n_leaf_tiles=n_leaves,
        n_tiles=n_tiles,
        n_bytes=n_tiles * tile_bytes(options.formats, width),
        cpu_seconds=pixels * _SECONDS_PER_PIXEL,
        cuts=sampled.cuts,
        unit=sampled.unit,
        mask_planes=sampled.mask_planes,
        problem=sampled.problem,
    )


def _faults(job: SurveyJob) -> int:
    return sum(problem.is_fault for problem in job.source.problems)


def _update(
    surveys: SurveySet, job: SurveyJob, refs: Sequence[CoaddRef], options: BuildOptions
) -> SurveyPlan:
    """Compare the coadds with the existing survey."""
    folder = surveys.folder(job)
    store = open_store(folder)
    recipe = existing_recipe(store, options, job.band)
    if recipe is None:
        raise ConfigError(f"{folder} contains a color survey: choose another {{output}}")
    plan = make_plan(refs, recipe.order, recipe.frame, recipe.tile_width, recipe.block_depth)
    change = ChangeSet.between(Journal(store), recipe, plan)
    counts = list(change.tiles(store))
    made, removed = (sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0)
    n_tiles = plan.tile_count(np.array(change.leaves))
    return SurveyPlan(
        band=job.band,
        plane=job.plane,
        source=job.source.describe(),
        path=str(folder),
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
class _SampleResult:
    """Properties found from a sample of the coadds.

    pixel_scale: that of the smallest pixels, in degrees.
    """

    pixel_scale: float
    cuts: tuple[float, float] | None = None
    unit: str = ""
    mask_planes: tuple[str, ...] = ()
    problem: str = ""


def _sample(
    job: SurveyJob, refs: Sequence[CoaddRef], options: BuildOptions, reporter: Reporter
) -> _SampleResult:
    """Sample the coadds; raise ConfigError or InputError if an option must be given.

    If none can be read, take the pixel scale from the references or the options.
    """
    try:
        take = sample_mask_planes if options.plane == "mask" else sample_pixels
        sample, problems = take(refs, job.source.reader().with_range_reads())
    except HipsgenError as error:
        requested = [] if options.order is None else [pixel_size(options.order, options.tile_width)]
        scale = min(known_scales(refs) or requested, default=None)
        if scale is None or error.parameter:  # an option is needed for the build, too
            raise
        return _SampleResult(scale, problem=str(error))
    check_excluded(options, sample)
    for problem in problems:
        reporter.problem(problem)
    for note in sample.notes:
        reporter.note(note)
    if options.plane == "mask":
        return _SampleResult(sample.pixel_scale, mask_planes=sample.mask_planes)
    stretch = stretch_of(options, sample.level)
    return _SampleResult(sample.pixel_scale, (stretch.low, stretch.high), sample.unit)
