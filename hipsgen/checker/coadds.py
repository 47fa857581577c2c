"""Leaf tiles against the coadds they were made of: some are made again, and compared."""

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
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
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.provenance import FILE_NAME as PROVENANCE
from hipsgen.survey.provenance import Provenance
from hipsgen.survey.store import LocalStore
from hipsgen.survey.survey import Survey

_CACHE_BYTES = 512 << 20
_WINDOW_BYTES = 64 << 20
_NEEDS = (
    "is not there, in which the build load_block how tiles were made: they cannot be made again"
)


def against_inputs(
    survey: Survey, count: int, workers: int, seed: int | None = None
) -> Iterator[Finding]:
    """Make some leaf tiles again, chosen at random, and say which are others than the survey's.

    Raises SurveyError without provenance, ConfigError for a damaged journal.
    """
    if survey.is_color:
        yield Finding("note", "color", "is made of other surveys, not of coadds")
        return
    journal = Journal(survey.store) if isinstance(survey.store, LocalStore) else None
    recipe = journal.recipe() if journal is not None and journal.kind() == "bands" else None
    if journal is None or recipe is None:
        yield Finding("error", paths.FOLDER, _NEEDS)
        return
    again = _Again(survey, recipe, _coadds(survey, journal))
    npix = survey.npix_of(survey.order)
    some = random.Random(seed).sample(range(npix.size), min(count, npix.size))
    tiles = [Tile(survey.order, int(npix[k])) for k in sorted(some)]
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(again.compare, tiles):
            yield from found


def _coadds(survey: Survey, journal: Journal) -> list[CoaddRef]:
    """The coadds that gave pixels, with the identities that they had then."""
    try:
        known = Provenance.from_bytes(survey.store.read(PROVENANCE)).coadds
    except FileNotFoundError as error:
        raise SurveyError(f"{survey.store} has no {PROVENANCE}") from error
    refs = [coadd.ref for coadd in known]
    return refs if all(ref.identity for ref in refs) else identified(refs, journal)


def identified(refs: Sequence[CoaddRef], journal: Journal) -> list[CoaddRef]:
    """References without identities, as version 0.1.0 kept them, completed from the journal.

    The journal has the whole key of each coadd, of which all but the identity is known.
    """
    keys = sorted({use.coadd for record in journal.records() for use in record.input_uses})

    def completed(ref: CoaddRef) -> CoaddRef:
        start = replace(ref, identity="").key
        at = bisect_left(keys, start)
        found = keys[at] if at < len(keys) and keys[at].startswith(start) else start
        return replace(ref, identity=found.removeprefix(start))

    return [completed(ref) for ref in refs]


class _Again:
    """Makes leaf tiles as the build did."""

    def __init__(self, survey: Survey, recipe: Recipe, refs: list[CoaddRef]) -> None:
        self._survey, self._recipe, self._refs = survey, recipe, refs
        self._reader = recipe.reader
        self._cache = CoaddCache(self._reader, _CACHE_BYTES)
        self._plan: Plan = make_plan(refs, recipe.order, recipe.frame, recipe.block_depth)
        self._number = {root: k for k, root in enumerate(self._plan.roots())}

    def compare(self, tile: Tile) -> list[Finding]:
        """What is wrong with a leaf tile."""
        path = tile.path("fits")
        try:
            there = self._survey.values(tile)
        except SurveyError as error:
            return [Finding("error", path, str(error))]
        made, trouble = self._made(tile)
        if trouble:
            return [Finding("error", path, f"cannot be made again: {text}") for text in trouble]
        if there is None:
            what = "is missing, and its coadds have data there"
            nothing = made is None or not is_valid(made).any()
            return [] if nothing else [Finding("error", path, what)]
        if made is None:
            return [Finding("error", path, "has data where no coadd is")]
        if np.array_equal(made, there, equal_nan=True):
            return []
        return [Finding("error", path, _difference(as_float(there), as_float(made)))]

    def _made(self, tile: Tile) -> tuple[Pixels | None, list[str]]:
        k = self._number.get(tile.ancestor(self._plan.root_order))
        indices = () if k is None else dict(self._plan.block(k).leaves).get(tile.npix, ())
        refs = {i: self._refs[i] for i in indices}
        sampler = LeafSampler(self._recipe, refs, self._reader, self._cache, _WINDOW_BYTES)
        made = sampler.leaf(tile, indices)
        return made, [f"{refs[i]}: {reason}" for i, reason in sampler.problems.items()]


def _difference(there: npt.NDArray[np.float32], made: npt.NDArray[np.float32]) -> str:
    """In what a tile differs from what its coadds give."""
    for turned, how in ((there[::-1], "upside down"), (there[:, ::-1], "mirrored")):
        if np.array_equal(turned, made, equal_nan=True):
            return f"differs from its coadds: it is {how}"
    for rows in (-2, -1, 0, 1, 2):
        for cols in (-2, -1, 0, 1, 2):
            if (rows or cols) and _agree(_shifted(there, -rows, -cols), made):
                return f"differs from its coadds: it is shifted by {rows} rows, {cols} columns"
    here, wanted = np.isfinite(there), np.isfinite(made)
    apart = (here != wanted).sum()
    both = here & wanted
    off = np.abs(there[both] - made[both])
    worst = off.max() if off.size else 0.0
    return (
        f"differs from its coadds: {int((off > 0).sum())} pixels by up to {worst:.4g}, {apart} are "
        "data in one and missing in the other"
    )


def _shifted(values: npt.NDArray[np.float32], rows: int, cols: int) -> Any:
    moved = np.full_like(values, np.nan)
    height, width = values.shape
    to = slice(max(0, rows), height + min(0, rows)), slice(max(0, cols), width + min(0, cols))
    of = slice(max(0, -rows), height + min(0, -rows)), slice(max(0, -cols), width + min(0, -cols))
    moved[to] = values[of]
    return moved


def _agree(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> bool:
    """Whether two tiles have the same values where both have some, and that is nearly all."""
    both = np.isfinite(one) & np.isfinite(other)
    share = both.sum() / max(1, np.isfinite(other).sum())
    return bool(share > 0.9 and (one[both] == other[both]).all())
