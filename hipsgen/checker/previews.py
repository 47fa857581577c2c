"""Check preview tiles against the FITS tiles: same missing pixels, same order of brightness."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.planner.recipe import Recipe
from hipsgen.survey.formats import format_of

Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_MAX_LEVEL_DIFFERENCE = 12  # mean difference, of 255 levels, allowed for a lossy format
_MAX_MISMATCH = 0.001  # fraction of pixels that may be missing in only one of preview and values
_MAX_RANKED = 20_000  # pixels used for the rank correlation
_MIN_PIXELS = 1000  # pixels needed for a comparison


def check_preview(
    name: str, picture: Picture, values: Values, recipe: Recipe | None, is_leaf: bool
) -> Iterator[str]:
    """Yield what is wrong with a preview tile, given the values that it shows.

    name: name of its format. picture, values: both with row 0 at the bottom; values relative to the
    offset of the survey. recipe: that of the survey, None if unknown. is_leaf: whether it is a leaf
    tile. Above the leaf tiles Hipsgen makes previews of previews, which may show fewer pixels than
    the FITS tile has, but never more.
    """
    if recipe is not None:
        yield from _compare_levels(recipe.levels(values), picture, name)
        return
    known = np.isfinite(values)
    if format_of(name).keeps_missing:
        shown = picture[..., -1] > 0 if picture.ndim == 3 else picture > 0
        wrong = shown != known if is_leaf else shown & ~known
        if wrong.mean() > _MAX_MISMATCH:
            flipped_mismatch = shown[::-1] != known if is_leaf else shown[::-1] & ~known
            is_flipped = flipped_mismatch.mean() < _MAX_MISMATCH
            yield "is upside down" if is_flipped else "does not cover the pixels of the FITS tile"
            return
    gray = picture if picture.ndim == 2 else picture[..., :3].mean(axis=2)
    upright, flipped = rank_correlation(values, gray), rank_correlation(values, gray[::-1])
    if flipped > upright + 0.2:
        yield "is upside down"


def _compare_levels(levels: Picture, picture: Picture, name: str) -> Iterator[str]:
    """Yield what is wrong with a preview tile, given the expected gray levels."""
    encoder = format_of(name)
    if encoder.name == "png":
        if np.array_equal(levels, picture):
            return
        flipped = np.array_equal(levels[::-1], picture)
        yield "is upside down" if flipped else "does not show the values of the FITS tile"
        return
    gray = picture if picture.ndim == 2 else picture[..., 0]
    difference = _mean_difference(levels, gray)
    shown = picture[..., -1] > 0 if encoder.keeps_missing and picture.ndim == 3 else levels > 0
    if (shown != (levels > 0)).mean() > _MAX_MISMATCH:
        flipped = (shown[::-1] != (levels > 0)).mean() <= _MAX_MISMATCH
        yield "is upside down" if flipped else "does not cover the pixels of the FITS tile"
    elif difference > _MAX_LEVEL_DIFFERENCE:
        flipped = _mean_difference(levels[::-1], gray) < difference / 2
        yield "is upside down" if flipped else "does not show the values of the FITS tile"


def _mean_difference(levels: Picture, gray: Any) -> float:
    shown = levels > 0
    if shown.sum() < _MIN_PIXELS:  # a lossy format may change a few pixels arbitrarily
        return 0.0
    return float(np.abs(levels[shown].astype(int) - gray[shown].astype(int)).mean())


def rank_correlation(values: Any, gray: Any) -> float:
    """Return the rank correlation (Spearman), which is invariant under a monotonic stretch.

    0 if there are too few pixels.
    """
    both = np.flatnonzero(np.isfinite(values) & (gray > 0))
    if both.size < _MIN_PIXELS:
        return 0.0
    both = both[:: max(1, both.size // _MAX_RANKED)]
    a, b = values.ravel()[both], gray.ravel()[both]
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def is_colored(pixels: Picture) -> bool:
    """Whether a picture contains colors."""
    if pixels.ndim == 2:
        return False
    rgb = pixels[..., :3]
    return bool((rgb.max(axis=2).astype(int) - rgb.min(axis=2)).max() > 16)
