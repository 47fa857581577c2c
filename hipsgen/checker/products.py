"""Check what depends on all tiles: MOC, Allsky files and the range of values."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hipsgen.builder.publish import format_range
from hipsgen.checker.finding import Finding
from hipsgen.checker.tile import Rules
from hipsgen.errors import SurveyError
from hipsgen.sky.mask_planes import as_float
from hipsgen.sky.offset import as_in_file, relative
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
    sky_fraction,
)
from hipsgen.survey.survey import Survey

if TYPE_CHECKING:
    from mocpy import MOC

# tolerances for surveys of other programs
_MOC_TOLERANCE = 0.01  # fraction of the MOC that may differ from the pixels with data
_ALLSKY_TOLERANCE = 0.02  # fraction of Allsky pixels that may be outside the range of the tiles


class SurveyProductsCheck:
    """Collects data of all tiles and compares the products of the survey with them."""

    def __init__(self, survey: Survey, extensions: Mapping[str, str], rules: Rules) -> None:
        self._survey, self._extensions, self._rules = survey, extensions, rules
        self._low, self._high = math.inf, -math.inf
        self._cells: list[Ranges] = []
        self._small: dict[Tile, Layer] = {}

    def add(
        self,
        low: float,
        high: float,
        cells: Ranges,
        small: Mapping[Tile, Layer],
    ) -> None:
        """Add a subtree: range of its leaf values, cells with data, small tiles of low orders."""
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._cells.append(cells)
        self._small.update(small)

    def findings(self) -> Iterator[Finding]:
        """Yield what contradicts the tiles."""
        if "fits" not in self._extensions:
            return
        yield from self._moc()
        for order in ALLSKY_ORDERS:
            yield from self._allsky(order)
        if self._rules.is_ours and self._rules.recipe is not None:
            offset = self._survey.offset
            truth = format_range(self._low + offset, self._high + offset, bool(offset))
            if offset != self._rules.recipe.offset:
                message = f"is {offset}, but that of the recipe is {self._rules.recipe.offset}"
                yield Finding("error", "hipsgen_offset", message)
            stated = self._survey.properties.get("hips_data_range")
            if stated != truth:
                yield Finding(
                    "error", "hips_data_range", f"is {stated}, but that of the tiles is {truth}"
                )

    def _moc(self) -> Iterator[Finding]:
        """Check Moc.fits against the pixels with data."""
        try:
            moc = self._survey.moc
        except SurveyError:
            return  # already reported
        if not any(map(len, self._cells)):
            return
        data = moc_of(self._cells, moc_order(self._survey.order))
        order = min(int(moc.max_order), int(data.max_order))
        moc, data = _at(moc, order), _at(data, order)
        total = max(sky_fraction(moc), sky_fraction(data))
        tolerance = 0.0 if self._rules.is_ours else _MOC_TOLERANCE
        for rest, message in (
            (_without(data, moc), "does not cover all pixels with data"),
            (_without(moc, data), "covers pixels without data"),
        ):
            if sky_fraction(rest) > tolerance * total:
                cells = rest.flatten().size
                yield Finding("error", MOC_NAME, f"{message}: {cells} cells of order {order}")

    def _allsky(self, order: int) -> Iterator[Finding]:
        """Check the Allsky files of an order against its tiles."""
        small = {t.npix: layer for t, layer in self._small.items() if t.order == order}
        if not small:
            return
        for name, extension in self._extensions.items():
            path = f"Norder{order}/Allsky.{extension}"
            try:
                pixels = self._survey.form(name).decode(self._survey.store.read(path))
                pixels = relative(pixels, self._survey.offset) if name == "fits" else pixels
            except (FileNotFoundError, SurveyError):
                continue  # optional, or already reported
            recipe = self._rules.recipe
            if self._rules.is_ours and (name == "fits" or (recipe is not None and name == "png")):
                expected: Any = allsky(small, order, self._survey.tile_width)
                expected = as_in_file(expected, self._survey.offset)
                if name == "png" and recipe is not None:
                    expected = recipe.levels(expected)
                same = expected.shape == pixels.shape and np.array_equal(
                    expected, pixels, equal_nan=name == "fits"
                )
                if not same:
                    yield Finding("error", path, "does not show the tiles of its order")
            elif name == "fits" and self._is_out_of_range(as_float(pixels), order):
                yield Finding(
                    "error", path, "has values outside the range of the tiles of its order"
                )

    def _is_out_of_range(self, pixels: npt.NDArray[np.float32], order: int) -> bool:
        """Whether an Allsky of another program shows values that its tiles do not have.

        All known generators take means or single pixels, which lie between the lowest and the
        highest value of the square of tile pixels that an Allsky pixel covers.
        """
        columns, rows = allsky_shape(order)
        width = pixels.shape[1] // columns
        if width == 0 or pixels.shape != (rows * width, columns * width):
            return False  # already reported
        outside = count = 0
        for npix in {t.npix for t in self._small if t.order == order}:
            values = self._survey.values(Tile(order, npix))
            if values is None or values.shape[0] % width:
                continue
            row, column = divmod(npix, columns)
            bottom = (rows - 1 - row) * width
            cell = pixels[bottom : bottom + width, column * width : (column + 1) * width]
            low, high = _range_of_squares(as_float(values), width)
            tolerance = 0.02 * np.maximum(np.abs(low), np.abs(high))
            shown = np.isfinite(cell)
            with np.errstate(invalid="ignore"):
                inside = (cell >= low - tolerance) & (cell <= high + tolerance)
            outside += int((shown & ~inside).sum())
            count += int(shown.sum())
        return outside > max(2.0, _ALLSKY_TOLERANCE * count)


def _range_of_squares(
    values: npt.NDArray[np.float32], width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the lowest and highest value of width x width squares; NaN for empty ones."""
    size = values.shape[0] // width
    squares = values.reshape(width, size, width, size)
    known = np.isfinite(squares)
    low = np.where(known, squares, np.inf).min(axis=(1, 3))
    high = np.where(known, squares, -np.inf).max(axis=(1, 3))
    none = ~known.any(axis=(1, 3))
    low[none] = high[none] = np.nan
    return low, high


def _without(moc: "MOC", other: "MOC") -> "MOC":
    """Return the part of `moc` outside `other`.

    `difference` of mocpy 0.21 is wrong: empty if the two MOCs are disjoint.
    """
    return moc.intersection(other.complement())


def _at(moc: "MOC", order: int) -> "MOC":
    return moc.degrade_to_order(order) if order < moc.max_order else moc
