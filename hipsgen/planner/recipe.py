"""The recipe of a survey: everything besides its coadds that determines the bytes of its tiles."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import ConfigError
from hipsgen.images.coadd_fits import DEFAULT_EXCLUDED, FitsReader
from hipsgen.images.source import CoaddReader
from hipsgen.planner.options import TILE_WIDTH, BuildOptions, deepest_order
from hipsgen.planner.sample import CoaddSample
from hipsgen.sky.mask_planes import OTHER, OTHER_BIT, Pixels
from hipsgen.sky.stretch import Asinh, Linear, SkyLevel, choose_stretch
from hipsgen.sky.tiles import order_for, pixel_size
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, format_of

# changes when the same recipe gives other bytes; a survey of another version cannot be continued
RECIPE_VERSION = "0.1.0"

_KEYS = {
    "order", "render_order", "block_depth", "frame", "formats", "interpolation", "overlap",
    "stretch", "excluded", "blank", "unit", "band", "pixel_scale", "tile_width", "version", "plane",
    "names", "stated_unit", "offset",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Everything besides the coadds that determines the bytes of the tiles.

    Attributes
    ----------
    order : int
        HiPS order of the leaf tiles.
    render_order : int
        Order at which coadds are resampled. It is deeper than `order` if the tiles are coarser
        than the coadds; the pixels are then averaged.
    block_depth : int
        A block is the subtree below a tile of order ``order - block_depth``.
    frame : str
        Coordinate frame of the survey.
    formats : tuple of str
        Tile formats.
    interpolation, overlap : str
        How coadds are resampled, and how they are combined where they overlap.
    stretch : Linear or Asinh
        From values to the gray levels of the previews.
    excluded : tuple of str
        Mask planes whose pixels are treated as missing.
    blank : float or None
        Pixel value that means missing data.
    unit, band : str
        Unit of the values; band of the coadds.
    pixel_scale : float
        Pixel size of the coadds in degrees, to which the unit refers.
    tile_width : int
        Width of a tile in pixels.
    version : str
        `RECIPE_VERSION` when the survey was begun.
    plane : str
        ``image``, ``variance`` or ``mask``.
    mask_planes : tuple of str
        Names of the mask planes of a mask survey, from bit 0 on.
    stated_unit : str
        Unit of the coadds' values that the user gave; empty if it was read from the headers.
    offset : float
        Value to which pixels are relative while they are float32; FITS tiles are float64 if it is
        not 0 (see `sky.offset`).
    """

    order: int
    render_order: int
    block_depth: int
    frame: str
    formats: tuple[str, ...]
    interpolation: str
    overlap: str
    stretch: Linear | Asinh
    excluded: tuple[str, ...]
    blank: float | None
    unit: str
    band: str
    pixel_scale: float
    tile_width: int = TILE_WIDTH
    version: str = RECIPE_VERSION
    plane: str = "image"
    mask_planes: tuple[str, ...] = ()
    stated_unit: str = ""
    offset: float = 0.0

    @property
    def block_order(self) -> int:
        """Order of the roots of the blocks."""
        return self.order - self.block_depth

    @property
    def pixel_area(self) -> float:
        """Area in arcsec^2 of the pixels to which the unit refers."""
        return float(f"{(self.pixel_scale * 3600) ** 2:.9g}")

    @property
    def planes(self) -> dict[str, int]:
        """Bit of each mask plane by name, including `OTHER`; empty unless it is a mask survey."""
        if self.plane != "mask":
            return {}
        return {**{name: bit for bit, name in enumerate(self.mask_planes)}, OTHER: OTHER_BIT}

    @property
    def reader(self) -> CoaddReader:
        """Reader of the coadds; its values are relative to `offset`."""
        reader = FitsReader(self.excluded, self.blank, plane=self.plane, unit=self.stated_unit)
        return self.relative_reader(reader)

    def relative_reader(self, reader: CoaddReader) -> CoaddReader:
        """Return a reader of the same values relative to `offset`."""
        if not self.offset:
            return reader
        return reader.with_offset(self.offset, self.unit, self.pixel_scale)

    def levels(self, values: Pixels) -> npt.NDArray[np.uint8]:
        """Return the gray levels of values (n, m) relative to `offset`; 0 if missing."""
        stretch = self.stretch.relative_to(self.offset) if self.offset else self.stretch
        return stretch(values)

    def encoders(self) -> tuple[Format, ...]:
        """Return the encoders of the tiles, in the order of `formats`."""
        made: list[Format] = []
        for name in self.formats:
            if name == "fits":
                planes = tuple(self.planes.items())
                area = 0.0 if planes else self.pixel_area
                double = bool(self.offset)
                made.append(FitsTile(self.frame, self.unit, self.band, area, planes, double))
            else:
                made.append(format_of(name))
        return tuple(made)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as stored in build.json and hashed in digests.

        The keys are a stored format: those of version 0.1.0, whatever the attributes are called.
        """
        values = {
            "order": self.order,
            "render_order": self.render_order,
            "block_depth": self.block_depth,
            "frame": self.frame,
            "formats": self.formats,
            "interpolation": self.interpolation,
            "overlap": self.overlap,
            "stretch": _stretch_to_json(self.stretch),
            "excluded": self.excluded,
            "blank": self.blank,
            "unit": self.unit,
            "band": self.band,
            "pixel_scale": self.pixel_scale,
            "tile_width": self.tile_width,
            "version": self.version,
        }
        if self.plane != "image":  # image surveys are stored as before there were other planes
            values |= {"plane": self.plane, "names": self.mask_planes}
        if self.stated_unit:
            values["stated_unit"] = self.stated_unit
        if self.offset:  # surveys of float32 are stored as before there were others
            values["offset"] = self.offset
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `to_json` stored.

        Raises ConfigError if it was stored by another version of hipsgen.
        """
        if {*values, "plane", "names", "stated_unit", "offset"} != _KEYS:
            raise ConfigError("the build was begun by another version of hipsgen; use {fresh}")
        return cls(
            order=values["order"],
            render_order=values["render_order"],
            block_depth=values["block_depth"],
            frame=values["frame"],
            formats=tuple(values["formats"]),
            interpolation=values["interpolation"],
            overlap=values["overlap"],
            stretch=_stretch_from_json(*values["stretch"]),
            excluded=tuple(values["excluded"]),
            blank=values["blank"],
            unit=values["unit"],
            band=values["band"],
            pixel_scale=values["pixel_scale"],
            tile_width=values["tile_width"],
            version=values["version"],
            plane=values.get("plane", "image"),
            stated_unit=values.get("stated_unit", ""),
            mask_planes=tuple(values.get("names", ())),
            offset=values.get("offset", 0.0),
        )

    def digest(self) -> str:
        """Return a short hash of the whole recipe."""
        return _digest(self.to_json())

    def values_digest(self) -> str:
        """Return a short hash of what determines the values of tiles: all but the stretch."""
        return _digest({**self.to_json(), "stretch": None})

    def previews_digest(self) -> str:
        """Return a short hash of the stretch, which determines the previews."""
        return _digest(self.to_json()["stretch"])


def natural_order(pixel_scale: float, tile_width: int) -> int:
    """Return the order of leaf tiles for coadds with pixels of `pixel_scale` degrees.

    It is at most the deepest order that exists; `limit_note` tells if the pixels are smaller.
    """
    return min(order_for(pixel_scale, tile_width), deepest_order(tile_width))


def limit_note(pixel_scale: float, tile_width: int) -> str:
    """Return a sentence if coadds have smaller pixels, in degrees, than HEALPix; otherwise ""."""
    deepest = deepest_order(tile_width)
    if order_for(pixel_scale, tile_width) <= deepest:
        return ""
    return (
        f"the pixels of the coadds, {pixel_scale * 3600:.2g} arcsec, are smaller than the smallest "
        f"of HEALPix, {pixel_size(deepest, tile_width) * 3600:.2g} arcsec: they are averaged; if "
        "they are not that small, correct their WCS"
    )


def make_recipe(
    options: BuildOptions, sample: CoaddSample, band: str, order: int, depth: int
) -> Recipe:
    """Make the recipe of a survey from the options and a sample of its coadds.

    Parameters
    ----------
    options : BuildOptions
        Options of the build.
    sample : CoaddSample
        Properties of the coadds.
    band : str
        Band of the coadds.
    order : int
        Order of the leaf tiles.
    depth : int
        Depth of the blocks below their roots.
    """
    width = options.tile_width
    return Recipe(
        order=order,
        render_order=max(order, order_for(sample.pixel_scale, width)),
        block_depth=depth,
        frame=options.frame,
        formats=options.formats,
        interpolation=options.interpolation,
        overlap=options.overlap,
        stretch=stretch_of(options, sample.level),
        excluded=options.excluded,
        blank=options.blank,
        unit=sample.unit,
        band=band,
        pixel_scale=sample.pixel_scale,
        plane=options.plane,
        tile_width=options.tile_width,
        mask_planes=sample.mask_planes,
        stated_unit=options.unit,
        offset=sample.offset,
    )


def check_excluded(options: BuildOptions, sample: CoaddSample) -> None:
    """Raise ConfigError if a mask plane to be excluded is in none of the sampled coadds."""
    for name in options.excluded:
        if name not in (*DEFAULT_EXCLUDED, *sample.available_planes):
            planes = sample.available_planes
            known = (
                f"available: {', '.join(planes)}" if planes else "the coadds have no mask planes"
            )
            raise ConfigError(f"{{excluded}}: the masks have no plane {name!r}; {known}")


def stretch_of(options: BuildOptions, level: SkyLevel) -> Linear | Asinh:
    """Return the stretch of the previews for the levels of a sample of the values.

    The stretch of a variance starts at its minimum, so that differences in depth are visible.
    """
    cuts = options.cuts
    if cuts is None and options.plane == "variance":
        low, high = level.cuts()
        cuts = min(low, level.minimum), high
    return choose_stretch(options.stretch, level, cuts)


def _stretch_to_json(stretch: Linear | Asinh) -> list[Any]:
    cuts = {"low": stretch.low, "high": stretch.high}
    if isinstance(stretch, Linear):
        return ["Linear", cuts]
    return ["Asinh", {**cuts, "zero": stretch.zero, "softening": stretch.softening}]


def _stretch_from_json(name: str, values: Mapping[str, float]) -> Linear | Asinh:
    kinds: dict[str, type[Linear] | type[Asinh]] = {"Linear": Linear, "Asinh": Asinh}
    return kinds[name](**values)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
