"""A survey that lies in a store: its properties, its coverage, its tiles."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import MAX_ORDER, IntArray, Tile
from hipsgen.survey.coverage import MOC_NAME, read_moc
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, format_of
from hipsgen.survey.properties import FILE_NAME, parse_properties
from hipsgen.survey.store import Readable


@dataclass(frozen=True)
class Survey:
    """A finished survey, ours or another's. Make it with `Survey.open`."""

    store: Readable
    properties: dict[str, str]

    @classmethod
    def open(cls, store: Readable) -> "Survey":
        """Raises SurveyError when there is no properties file, or one that cannot be read."""
        try:
            text = store.read(FILE_NAME).decode("utf-8")
        except FileNotFoundError as error:
            raise SurveyError(f"{store} is not a finished HiPS: it has no properties") from error
        except UnicodeDecodeError as error:
            raise SurveyError(f"properties of {store} is not UTF-8") from error
        return cls(store, parse_properties(text))

    @property
    def order(self) -> int:
        """Deepest order."""
        return self._whole("hips_order", most=MAX_ORDER)

    @property
    def order_min(self) -> int:
        """Lowest order that there are tiles of."""
        return self._whole("hips_order_min", "0", most=MAX_ORDER)

    @property
    def tile_width(self) -> int:
        """Pixels a side of a tile."""
        return self._whole("hips_tile_width", "512", least=1, most=1 << 15)

    @property
    def frame(self) -> str:
        """equatorial, galactic, or what the survey says."""
        return self.properties.get("hips_frame", "equatorial")

    @property
    def formats(self) -> tuple[str, ...]:
        """hips_tile_format, one word each."""
        return tuple(self.properties.get("hips_tile_format", "").split())

    @property
    def title(self) -> str:
        """obs_title, or the place."""
        return self.properties.get("obs_title", str(self.store))

    @property
    def planes(self) -> dict[str, int]:
        """Bits of the flags that its pixels are, by name; empty for a survey of values."""
        found = re.findall(r"(\S+):(\d+)", self.properties.get("hipsgen_planes", ""))
        return {name: int(bit) for name, bit in found}

    def form(self, name: str) -> Format:
        """What its tiles of a format (name) are read with."""
        return FitsTile(planes=tuple(self.planes.items())) if name == "fits" else format_of(name)

    def values(self, tile: Tile) -> Any:
        """A FITS tile (width, width) float32, FITS orientation, NaN missing; None for no tile.

        Of a mask: flags, int32, `NO_DATA` missing.
        """
        try:
            return self.form("fits").decode(self.store.read(tile.path("fits")))
        except FileNotFoundError:
            return None

    def moc(self) -> Any:
        """Coverage as mocpy.MOC, in the survey's frame. Raises SurveyError without a Moc.fits."""
        try:
            return read_moc(self.store.read(MOC_NAME))
        except FileNotFoundError as error:
            raise SurveyError(f"{self.store} has no {MOC_NAME}") from error

    def npix_of(self, order: int) -> IntArray:
        """Numbers of the tiles of an order, sorted, as the MOC has them."""
        moc = self.moc()
        depth = 2 * max(0, order - int(moc.max_order))
        cells = (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
        first = np.sort(cells.astype(np.int64)) << depth
        return np.asarray((first[:, None] + np.arange(1 << depth)).ravel())

    def tiles_of(self, order: int) -> Iterator[Tile]:
        """The tiles of an order, in NESTED order, as the MOC has them."""
        return (Tile(order, npix) for npix in self.npix_of(order).tolist())

    def _whole(self, key: str, default: str = "", least: int = 0, most: int = 0) -> int:
        text = self.properties.get(key, default)
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            limits = f"a whole number from {least} to {most}"
            raise SurveyError(f"{key} of {self.store} is {text[:40]!r}, not {limits}")
        return int(text[:9])
