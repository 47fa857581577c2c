"""A picture of a tile against its values: the same pixels are missing, brighter is brighter."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.planner.recipe import Recipe
from hipsgen.survey.formats import format_of

Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_LEVELS = 12  # of 255, on average, that a lossy picture may be off
_APART = 0.001  # share of pixels that may be shown and missing, or the other way round
_RANKED = 20_000  # pixels that are ranked
_ENOUGH = 1000


def picture_faults(
    name: str, picture: Picture, values: Values, recipe: Recipe | None, is_leaf: bool
) -> Iterator[str]:
    """What is wrong with a picture in a format (name), given the values it shows, both upright.

    recipe: with which it was made, None for not known. Above the leaf tiles Hipsgen makes pictures
    of pictures, which show fewer pixels than the values; never more.
    """
    if recipe is not None:
        yield from _against(recipe.stretch(values), picture, name)
        return
    known = np.isfinite(values)
    if format_of(name).keeps_missing:
        shown = picture[..., -1] > 0 if picture.ndim == 3 else picture > 0
        wrong = shown != known if is_leaf else shown & ~known
        if wrong.mean() > _APART:
            turned = shown[::-1] != known if is_leaf else shown[::-1] & ~known
            is_turned = turned.mean() < _APART
            yield "is upside down" if is_turned else "does not cover the pixels of the FITS tile"
            return
    gray = picture if picture.ndim == 2 else picture[..., :3].mean(axis=2)
    upright, flipped = agreement(values, gray), agreement(values, gray[::-1])
    if flipped > upright + 0.2:
        yield "is upside down"


def _against(levels: Picture, picture: Picture, name: str) -> Iterator[str]:
    """A picture against the levels that it is to have."""
    form = format_of(name)
    if form.name == "png":
        if np.array_equal(levels, picture):
            return
        turned = np.array_equal(levels[::-1], picture)
        yield "is upside down" if turned else "does not show the values of the FITS tile"
        return
    gray = picture if picture.ndim == 2 else picture[..., 0]
    off, turned_off = _mean_off(levels, gray), _mean_off(levels[::-1], gray)
    shown = picture[..., -1] > 0 if form.keeps_missing and picture.ndim == 3 else levels > 0
    if (shown != (levels > 0)).mean() > _APART:
        turned = (shown[::-1] != (levels > 0)).mean() <= _APART
        yield "is upside down" if turned else "does not cover the pixels of the FITS tile"
    elif off > _LEVELS:
        turned = turned_off < off / 2
        yield "is upside down" if turned else "does not show the values of the FITS tile"


def _mean_off(levels: Picture, gray: Any) -> float:
    shown = levels > 0
    if shown.sum() < _ENOUGH:  # of a few pixels a lossy format shows what it likes
        return 0.0
    return float(np.abs(levels[shown].astype(int) - gray[shown].astype(int)).mean())


def agreement(values: Any, gray: Any) -> float:
    """Correlation of ranks (Spearman) where both are known, which no monotonic stretch changes.

    0 where there is too little to say.
    """
    both = np.flatnonzero(np.isfinite(values) & (gray > 0))
    if both.size < _ENOUGH:
        return 0.0
    both = both[:: max(1, both.size // _RANKED)]
    a, b = values.ravel()[both], gray.ravel()[both]
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def is_colored(pixels: Picture) -> bool:
    """Whether a picture is more than gray."""
    if pixels.ndim == 2:
        return False
    rgb = pixels[..., :3]
    return bool((rgb.max(axis=2).astype(int) - rgb.min(axis=2)).max() > 16)
