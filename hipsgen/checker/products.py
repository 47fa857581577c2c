"""What was made of all tiles together: coverage, Allskys, properties that tell of values."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hipsgen.builder.publish import range_words
from hipsgen.checker.finding import Finding
from hipsgen.checker.tile import Rules
from hipsgen.errors import SurveyError
from hipsgen.sky.mask_planes import as_float
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import (
    ALLSKY_ORDERS,
    MOC_NAME,
    Ranges,
    allsky,
    allsky_shape,
    moc_of,
    moc_order,
)
from hipsgen.survey.survey import Survey

if TYPE_CHECKING:
    from mocpy import MOC

_MOC_SLACK = 0.01  # share of another's MOC that may differ from the pixels
_ALLSKY_SLACK = 0.02  # share of the pixels of another's Allsky that may be beyond the tiles'


class SurveyProductsCheck:
    """Gathers what was seen of the tiles, and says what does not fit to it."""

    def __init__(self, survey: Survey, extensions: Mapping[str, str], rules: Rules) -> None:
        self._survey, self._extensions, self._rules = survey, extensions, rules
        self._low, self._high = math.inf, -math.inf
        self._cells: list[Ranges] = []
        self._small: dict[Tile, Layer] = {}

    def take(
        self,
        low: float,
        high: float,
        cells: Ranges,
        small: Mapping[Tile, Layer],
    ) -> None:
        """Take in a part: range of its leaf values, cells with data, small tiles of low orders."""
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._cells.append(cells)
        self._small.update(small)

    def findings(self) -> Iterator[Finding]:
        """What does not fit."""
        if "fits" not in self._extensions:
            return
        yield from self._moc()
        for order in ALLSKY_ORDERS:
            yield from self._allsky(order)
        if self._rules.ours and self._rules.recipe is not None:
            truth = range_words(self._low, self._high)
            stated = self._survey.properties.get("hips_data_range")
            if stated != truth:
                yield Finding("error", "hips_data_range", f"is {stated}, but the tiles' is {truth}")

    def _moc(self) -> Iterator[Finding]:
        """Moc.fits against the pixels that hold data."""
        try:
            moc = self._survey.moc
        except SurveyError:
            return  # said before
        if not any(map(len, self._cells)):
            return
        data = moc_of(self._cells, moc_order(self._survey.order))
        order = min(int(moc.max_order), int(data.max_order))
        moc, data = _at(moc, order), _at(data, order)
        total = max(moc.sky_fraction, data.sky_fraction)
        slack = 0.0 if self._rules.ours else _MOC_SLACK
        for rest, what in (
            (_without(data, moc), "does not cover all pixels with data"),
            (_without(moc, data), "covers what has no data"),
        ):
            if rest.sky_fraction > slack * total:
                cells = rest.flatten().size
                yield Finding("error", MOC_NAME, f"{what}: {cells} cells of order {order}")

    def _allsky(self, order: int) -> Iterator[Finding]:
        """NorderK/Allsky against the tiles of its order."""
        small = {t.npix: layer for t, layer in self._small.items() if t.order == order}
        if not small:
            return
        for name, extension in self._extensions.items():
            path = f"Norder{order}/Allsky.{extension}"
            try:
                pixels = self._survey.form(name).decode(self._survey.store.read(path))
            except (FileNotFoundError, SurveyError):
                continue  # optional; and said before
            recipe = self._rules.recipe
            if self._rules.ours and (name == "fits" or (recipe is not None and name == "png")):
                expected: Any = allsky(small, order, self._survey.tile_width)
                if name == "png" and recipe is not None:
                    expected = recipe.stretch(expected)
                same = expected.shape == pixels.shape and np.array_equal(
                    expected, pixels, equal_nan=name == "fits"
                )
                if not same:
                    yield Finding("error", path, "is not made of the tiles of its order")
            elif name == "fits" and self._is_beyond(as_float(pixels), order):
                yield Finding("error", path, "has values beyond those of the tiles of its order")

    def _is_beyond(self, pixels: npt.NDArray[np.float32], order: int) -> bool:
        """Whether another's Allsky shows what its tiles do not have.

        Every rule that was seen, means and single pixels, stays between the lowest and the highest
        value of the block that a pixel stands for.
        """
        columns, rows = allsky_shape(order)
        width = pixels.shape[1] // columns
        if width == 0 or pixels.shape != (rows * width, columns * width):
            return False  # said before
        beyond = count = 0
        for npix in {t.npix for t in self._small if t.order == order}:
            values = self._survey.values(Tile(order, npix))
            if values is None or values.shape[0] % width:
                continue
            row, column = divmod(npix, columns)
            bottom = (rows - 1 - row) * width
            cell = pixels[bottom : bottom + width, column * width : (column + 1) * width]
            low, high = _block_range(as_float(values), width)
            slack = 0.02 * np.maximum(np.abs(low), np.abs(high))
            shown = np.isfinite(cell)
            with np.errstate(invalid="ignore"):
                inside = (cell >= low - slack) & (cell <= high + slack)
            beyond += int((shown & ~inside).sum())
            count += int(shown.sum())
        return beyond > max(2.0, _ALLSKY_SLACK * count)


def _block_range(
    values: npt.NDArray[np.float32], width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Lowest and highest value (width, width) of square blocks; NaN where a block has none."""
    size = values.shape[0] // width
    blocks = values.reshape(width, size, width, size)
    known = np.isfinite(blocks)
    low = np.where(known, blocks, np.inf).min(axis=(1, 3))
    high = np.where(known, blocks, -np.inf).max(axis=(1, 3))
    none = ~known.any(axis=(1, 3))
    low[none] = high[none] = np.nan
    return low, high


def _without(moc: "MOC", other: "MOC") -> "MOC":
    """What only the first covers; mocpy's `difference` of two that do not touch is empty (0.21)."""
    return moc.intersection(other.complement())


def _at(moc: "MOC", order: int) -> "MOC":
    return moc.degrade_to_order(order) if order < moc.max_order else moc
