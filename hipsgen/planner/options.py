"""The options of a build: of the survey (`BuildOptions`) and of the run (`Runtime`)."""

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hipsgen import values
from hipsgen.errors import ConfigError
from hipsgen.images.coadd_fits import DEFAULT_EXCLUDED, DEFAULT_MEMORY, PLANES
from hipsgen.run.engine import ENGINES
from hipsgen.sky.combine import DEFAULT_OVERLAP, OVERLAPS
from hipsgen.sky.frames import FRAMES
from hipsgen.sky.resample import DEFAULT_INTERPOLATION, INTERPOLATIONS
from hipsgen.sky.stretch import STRETCHES
from hipsgen.sky.tiles import MAX_ORDER
from hipsgen.survey.formats import FORMATS

# measured on typical tiles
_BYTES_PER_PIXEL = {"png": 0.42, "jpeg": 0.23, "webp": 0.15}
_FITS_BLOCK = 2880
_UNIT_LENGTH = 60  # fits into a card of a header, squared and with quotes doubled
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
TILE_WIDTH = 512
TILE_WIDTHS = tuple(1 << k for k in range(6, 13))

# properties that are computed from the tiles and cannot be set
_COMPUTED = {
    "dataproduct_type", "dataproduct_subtype", "hips_frame", "hips_order", "hips_order_min",
    "hips_pixel_bitpix", "hips_pixel_scale", "hips_tile_format", "hips_tile_width", "hips_version",
    "hipsgen_offset", "hipsgen_plane", "hipsgen_planes",
}  # fmt: skip


@dataclass(frozen=True)
class BuildOptions:
    """Options that determine the content of a survey, validated on creation.

    Attributes
    ----------
    order : int, optional
        HiPS order of the leaf tiles. By default the lowest order with pixels at most 5 % larger
        than the smallest pixels of the coadds.
    tile_width : int
        Width of a tile in pixels, a power of two from 64 to 4096.
    frame : str
        Coordinate frame: ``equatorial``, ``galactic`` or ``ecliptic``.
    formats : tuple of str
        Tile formats, ``fits`` among them: ``fits``, ``png``, ``jpeg``, ``webp``.
    interpolation : str
        Resampling kernel: ``optimal``, ``bilinear``, ``nearest``, ``lanczos3`` or ``lanczos5``.
    overlap : str
        How overlapping coadds are combined: ``feather``, ``primary`` or ``mean``.
    stretch : str
        Stretch of the previews: ``asinh`` or ``linear``.
    cuts : (float, float), optional
        Values shown as black and as white. By default from a sample of the whole survey.
    excluded : tuple of str
        Mask planes whose pixels are treated as missing.
    blank : float, optional
        Pixel value that means missing data, in addition to NaN, infinity and ±3e38 and beyond.
    properties : tuple of (str, str)
        Lines that are added to the properties file or replace lines of it.
    plane : str
        Plane of the coadds: ``image``, ``variance`` or ``mask``.
    unit : str
        Unit of the values of all coadds, such as ``nJy``, if their headers lack it or are wrong:
        values are then taken as they are stored, without the calibration that a file contains.
        Empty to read it from the headers.

    Raises
    ------
    ConfigError
        When an option is invalid.
    """

    order: int | None = None
    tile_width: int = TILE_WIDTH
    frame: str = "equatorial"
    formats: tuple[str, ...] = ("fits", "png")
    interpolation: str = DEFAULT_INTERPOLATION
    overlap: str = DEFAULT_OVERLAP
    stretch: str = "asinh"
    cuts: tuple[float, float] | None = None
    excluded: tuple[str, ...] = DEFAULT_EXCLUDED
    blank: float | None = None
    properties: tuple[tuple[str, str], ...] = ()
    plane: str = "image"
    unit: str = ""

    def __post_init__(self) -> None:
        set_ = partial(object.__setattr__, self)
        set_("plane", values.one_of("plane", self.plane, PLANES))
        if self.tile_width not in TILE_WIDTHS:
            known = ", ".join(map(str, TILE_WIDTHS))
            raise ConfigError(
                f"{{tile_width}} {self.tile_width} is not one of: {known}", value=self.tile_width
            )
        set_("tile_width", values.integer("tile_width", self.tile_width))
        deepest = deepest_order(self.tile_width)
        if self.order is not None:
            set_("order", values.integer("order", self.order))
            if not 0 <= self.order <= deepest:
                raise ConfigError(
                    f"{{order}} {self.order} is not between 0 and {deepest}, the deepest order for "
                    f"tiles of {self.tile_width} pixels",
                    value=self.order,
                )
        for name, known_names in (
            ("frame", FRAMES),
            ("interpolation", INTERPOLATIONS),
            ("overlap", OVERLAPS),
            ("stretch", STRETCHES),
        ):
            set_(name, values.one_of(name, getattr(self, name), known_names))
        set_("formats", formats_of(self.formats, tuple(FORMATS)))
        if "fits" not in self.formats:
            raise ConfigError(
                "{formats} must contain fits: previews, color surveys and checks are made from it",
                value=self.formats,
            )
        if self.cuts is not None:
            set_("cuts", values.interval("cuts", self.cuts))
        set_("excluded", values.names("excluded", self.excluded))
        if self.blank is not None:
            set_("blank", values.number("blank", self.blank))
            if not math.isfinite(self.blank):
                raise ConfigError(
                    f"{{blank}} {self.blank} must be finite: NaN and infinity are always missing "
                    "data",
                    value=self.blank,
                )
        set_("properties", properties_of(self.properties))
        set_("unit", values.text("unit", self.unit).strip())
        if len(self.unit) > _UNIT_LENGTH or not re.fullmatch(r"[ -~]*", self.unit):
            raise ConfigError(
                f"{{unit}} {values.shown(self.unit)} must be at most {_UNIT_LENGTH} ASCII "
                "characters (examples: nJy, MJy/sr)",
                value=self.unit,
            )

    def of_plane(self, plane: str, alone: bool = True) -> "BuildOptions":
        """Return the options for another plane of the coadds.

        A mask survey has only FITS tiles, without interpolation, stretch and excluded pixels.

        Parameters
        ----------
        plane : str
            ``image``, ``variance`` or ``mask``.
        alone : bool
            Whether no other plane is built, so that the cuts were given for this one.
        """
        if plane == "mask":
            return replace(
                self,
                plane=plane,
                formats=("fits",),
                interpolation="nearest",
                stretch="linear",
                cuts=(0.0, 1.0),  # a picture shows which pixels have a flag
                excluded=(),
                blank=None,
                unit="",
            )
        if plane == "variance":
            return replace(self, plane=plane, blank=None, cuts=self.cuts if alone else None)
        return replace(self, plane=plane)


@dataclass(frozen=True)
class Runtime:
    """Options of a run, which have no influence on the bytes of the tiles.

    Attributes
    ----------
    workers : int
        Number of blocks rendered at the same time.
    memory : int
        Bytes for decoded coadds, for all workers of this machine together; no read takes more.
    engine : str
        ``threads``, ``processes``, ``dask`` (a local cluster), or the address of a Dask scheduler
        (``tcp://HOST:PORT``).
    strict : bool
        Whether to stop at the first input that cannot be used.
    skip_bad : bool
        Whether to finish the survey without the inputs that cannot be used.
    fresh : bool
        Whether to delete the survey in the output folder and start over.
    recut : bool
        Whether to choose the cuts of an existing survey again; its values are kept.

    Raises
    ------
    ConfigError
        When an option is invalid.
    """

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory: int = DEFAULT_MEMORY
    engine: str = "threads"
    strict: bool = False
    skip_bad: bool = False
    fresh: bool = False
    recut: bool = False

    def __post_init__(self) -> None:
        set_ = partial(object.__setattr__, self)
        set_("workers", values.integer("workers", self.workers))
        if self.workers < 1:
            raise ConfigError(f"{{workers}} {self.workers} must be at least 1", value=self.workers)
        engine = values.text("engine", self.engine)
        if engine not in ENGINES and not engine.startswith("tcp://"):
            known = ", ".join(ENGINES)
            raise ConfigError(
                f"{{engine}} {engine!r} is not one of: {known}, or tcp://HOST:PORT", value=engine
            )
        for name in ("strict", "skip_bad", "fresh", "recut"):
            set_(name, values.flag(name, getattr(self, name)))
        if self.strict and self.skip_bad:
            raise ConfigError("{strict} and {skip_bad} contradict each other: choose one")
        memory = values.number("memory", self.memory)
        if not 64 << 20 <= memory < math.inf:
            whole = memory >= 1 << 20
            size = f"{memory / (1 << 20):g} MB" if whole else f"{memory:g} bytes"
            raise ConfigError(
                f"{{memory}} {size} must be at least 64 MB (example: 500M)", value=self.memory
            )
        set_("memory", int(memory))


def deepest_order(tile_width: int) -> int:
    """Return the deepest order of tiles, at which their pixels are HEALPix cells of order 29."""
    return MAX_ORDER - (tile_width.bit_length() - 1)


def tile_bytes(
    formats: Iterable[str], tile_width: int = TILE_WIDTH, is_double: bool = False
) -> int:
    """Estimate the size of a tile in bytes, in all its formats together.

    is_double: whether FITS tiles are float64.
    """
    pixels = tile_width**2
    fits = _FITS_BLOCK * (1 - (-(8 if is_double else 4) * pixels // _FITS_BLOCK))
    return sum(fits if name == "fits" else int(_BYTES_PER_PIXEL[name] * pixels) for name in formats)


def planes_of(planes: object) -> tuple[str, ...]:
    """Return planes without duplicates, image first. Raises ConfigError for unknown ones."""
    wanted = [values.one_of("planes", plane, PLANES) for plane in values.names("planes", planes)]
    if not wanted:
        raise ConfigError(f"{{planes}} is empty: choose from {', '.join(PLANES)}", value=planes)
    return tuple(plane for plane in PLANES if plane in wanted)


def formats_of(formats: object, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return tile formats without duplicates. Raises ConfigError for unknown ones."""
    given = values.names("formats", formats)
    return tuple(values.one_of("formats", name, known) for name in given)


def properties_of(properties: Any) -> tuple[tuple[str, str], ...]:
    """Return keys and values for the properties file. Raises ConfigError for invalid ones."""
    try:
        pairs = [(key, value) for key, value in properties]
    except (TypeError, ValueError):
        raise ConfigError(
            f"{{properties}} {values.shown(properties)} must be pairs of a keyword and a text",
            value=properties,
        ) from None
    for key, value in pairs:
        _check_property(key, value)
    return tuple(pairs)


def _check_property(key: Any, value: Any) -> None:
    is_text = isinstance(key, str) and isinstance(value, str)
    if not is_text or not re.fullmatch(_KEYWORD, key) or not value.isprintable() or not value:
        raise ConfigError(
            f"{{properties}} {key}={value!r}: expected a keyword and one line of text", value=value
        )
    if key in _COMPUTED:
        raise ConfigError(
            f"{{properties}} {key}: this property is computed from the survey and cannot be set",
            value=value,
        )


def parse_size(text: str) -> int:
    """Parse a size such as `2G`, `500MB`, `1.5 GiB` or a number of bytes. Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT]?)(i?[bB])?\s*", text)
    if not match or match[1].count(".") > 1 or match[1] == ".":
        raise ConfigError(f"{{memory}} {text!r} is an invalid size (examples: 500M, 2G)")
    power = " KMGT".index(match[2].upper()) if match[2] else 0
    return int(float(match[1]) * 1024**power)
