"""Render leaf tiles again from their coadds and compare them with those of the survey."""

import random
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.checker.finding import Finding
from hipsgen.coadd import CoaddRef
from hipsgen.errors import SurveyError
from hipsgen.journal.journal import Journal
from hipsgen.planner.blocks import Plan, make_plan
from hipsgen.planner.recipe import Recipe
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.leaf import LeafSampler
from hipsgen.sky.mask_planes import Pixels, as_float, is_valid
from hipsgen.sky.offset import relative
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.provenance import FILE_NAME as PROVENANCE
from hipsgen.survey.provenance import Provenance
from hipsgen.survey.store import LocalStore
from hipsgen.survey.survey import Survey

_CACHE_BYTES = 512 << 20
_WINDOW_BYTES = 64 << 20
_NO_RECIPE = "is missing; without the recipe in it no tile can be rendered again"


def check_against_inputs(
    survey: Survey, count: int, workers: int, seed: int | None = None
) -> tuple[list[Finding], int]:
    """Render leaf tiles chosen at random again and compare them with those of the survey.

    Returns the differences, and the number of tiles compared: at most `count`, and all tiles if
    there are fewer. Cells of the MOC with neither a tile nor data do not count. Raises SurveyError
    when there is no provenance table, ConfigError when the journal is damaged.
    """
    if survey.is_color:
        reason = "a color survey is made from other surveys, not from coadds"
        return [Finding("note", "color", reason)], 0
    journal = Journal(survey.store) if isinstance(survey.store, LocalStore) else None
    recipe = journal.recipe() if journal is not None and journal.kind() == "bands" else None
    if journal is None or recipe is None:
        return [Finding("error", paths.FOLDER, _NO_RECIPE)], 0
    comparison = _Comparison(survey, recipe, _coadds(survey, journal))
    npix = survey.npix_of(survey.order)
    chosen = random.Random(seed).sample(range(npix.size), min(count, npix.size))
    tiles = [Tile(survey.order, int(npix[k])) for k in sorted(chosen)]
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(comparison.findings, tiles))
    found = [finding for findings, _ in results for finding in findings]
    return found, sum(exists for _, exists in results)


def _coadds(survey: Survey, journal: Journal) -> list[CoaddRef]:
    """Return the coadds of the survey, with their identities at the time of the build."""
    try:
        coadds = Provenance.from_bytes(survey.store.read(PROVENANCE)).coadds
    except FileNotFoundError as error:
        raise SurveyError(f"{survey.store} has no {PROVENANCE}") from error
    refs = [coadd.ref for coadd in coadds]
    return refs if all(ref.identity for ref in refs) else add_identities(refs, journal)


def add_identities(refs: Sequence[CoaddRef], journal: Journal) -> list[CoaddRef]:
    """Add the identities from the journal, since provenance tables of version 0.1.0 lack them.

    The journal has the key of each coadd, which consists of known fields and the identity.
    """
    keys = sorted({use.coadd for record in journal.records() for use in record.input_uses})

    def add_identity(ref: CoaddRef) -> CoaddRef:
        start = replace(ref, identity="").key
        at = bisect_left(keys, start)
        found = keys[at] if at < len(keys) and keys[at].startswith(start) else start
        return replace(ref, identity=found.removeprefix(start))

    return [add_identity(ref) for ref in refs]


class _Comparison:
    """Renders leaf tiles as the build did, and compares them."""

    def __init__(self, survey: Survey, recipe: Recipe, refs: list[CoaddRef]) -> None:
        self._survey, self._recipe, self._refs = survey, recipe, refs
        self._reader = recipe.reader
        self._cache = CoaddCache(self._reader, _CACHE_BYTES)
        self._plan: Plan = make_plan(refs, recipe.order, recipe.frame, recipe.block_depth)
        self._number = {root: k for k, root in enumerate(self._plan.roots())}

    def findings(self, tile: Tile) -> tuple[list[Finding], bool]:
        """Return what is wrong with a leaf tile, and whether the survey has it."""
        try:
            existing = self._survey.values(tile)
        except SurveyError as error:
            return [Finding("error", tile.path("fits"), str(error))], True
        return self._differences(tile, existing), existing is not None

    def _differences(self, tile: Tile, existing: Pixels | None) -> list[Finding]:
        path = tile.path("fits")
        rendered, problems = self._render(tile)
        if problems:
            return [Finding("error", path, f"cannot be rendered again: {p}") for p in problems]
        if existing is None:
            is_empty = rendered is None or not is_valid(rendered).any()
            message = "is missing, although its coadds have data there"
            return [] if is_empty else [Finding("error", path, message)]
        if rendered is None:
            return [Finding("error", path, "has data where there is no coadd")]
        existing = relative(existing, self._recipe.offset)
        if np.array_equal(rendered, existing, equal_nan=True):
            return []
        return [Finding("error", path, _difference(as_float(existing), as_float(rendered)))]

    def _render(self, tile: Tile) -> tuple[Pixels | None, list[str]]:
        k = self._number.get(tile.ancestor(self._plan.root_order))
        indices = () if k is None else dict(self._plan.block(k).leaves).get(tile.npix, ())
        refs = {i: self._refs[i] for i in indices}
        sampler = LeafSampler(self._recipe, refs, self._reader, self._cache, _WINDOW_BYTES)
        values = sampler.leaf(tile, indices)
        return values, [f"{refs[i]}: {reason}" for i, reason in sampler.problems.items()]


def _difference(existing: npt.NDArray[np.float32], rendered: npt.NDArray[np.float32]) -> str:
    """Describe how a tile differs from the one rendered again."""
    for flipped, how in ((existing[::-1], "upside down"), (existing[:, ::-1], "mirrored")):
        if np.array_equal(flipped, rendered, equal_nan=True):
            return f"differs from its coadds: it is {how}"
    for rows in (-2, -1, 0, 1, 2):
        for cols in (-2, -1, 0, 1, 2):
            if (rows or cols) and _agree(_shifted(existing, -rows, -cols), rendered):
                return f"differs from its coadds: it is shifted by {rows} rows, {cols} columns"
    has_data, should_have = np.isfinite(existing), np.isfinite(rendered)
    mismatch = (has_data != should_have).sum()
    both = has_data & should_have
    off = np.abs(existing[both] - rendered[both])
    worst = off.max() if off.size else 0.0
    return (
        f"differs from its coadds: {int((off > 0).sum())} pixels by up to {worst:.4g}, {mismatch} "
        "have data in only one of them"
    )


def _shifted(values: npt.NDArray[np.float32], rows: int, cols: int) -> Any:
    moved = np.full_like(values, np.nan)
    height, width = values.shape
    to = slice(max(0, rows), height + min(0, rows)), slice(max(0, cols), width + min(0, cols))
    of = slice(max(0, -rows), height + min(0, -rows)), slice(max(0, -cols), width + min(0, -cols))
    moved[to] = values[of]
    return moved


def _agree(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> bool:
    """Whether two tiles have equal values where both have data, in over 90 % of the second."""
    both = np.isfinite(one) & np.isfinite(other)
    fraction = both.sum() / max(1, np.isfinite(other).sum())
    return bool(fraction > 0.9 and (one[both] == other[both]).all())
