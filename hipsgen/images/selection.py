"""Select coadds by tract, by patch and by region of the sky."""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hipsgen.coadd import CoaddRef, Polygon
from hipsgen.errors import ConfigError, InputError
from hipsgen.files import FileTooLargeError, check_size, open_regular
from hipsgen.images.uris import local_path
from hipsgen.text import counted

_MAX_MOC = 1 << 28  # bytes of a MOC file
_ORDER = 14  # cells of 13 arcsec: the tolerance with which outlines touch a region
_SHAPES: dict[str, tuple[str, Callable[[int], bool]]] = {
    "circle": ("RA,DEC,RADIUS", lambda n: n == 3),
    "box": ("RA,DEC,WIDTH,HEIGHT", lambda n: n == 4),
    "polygon": ("RA,DEC,RA,DEC,RA,DEC...", lambda n: n >= 6 and n % 2 == 0),
}
_USAGE = ", ".join(f"{name}:{words}" for name, (words, _) in _SHAPES.items())


@dataclass(frozen=True)
class Region:
    """A region of the sky (ICRS) as given by the user: a shape in degrees, or a MOC file.

    Raises ConfigError if the text is not a region, InputError if a file cannot be read.
    """

    text: str
    moc: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, region: Any) -> "Region":
        """Return the region of a text, of a mocpy.MOC, or of a SkyCoord with a radius.

        Raises ConfigError.
        """
        if isinstance(region, str):
            return cls(region)
        if isinstance(region, _moc_class()):
            return cls("the given MOC", region)
        try:
            position, radius = region
            ra, dec = position.icrs.ra.deg, position.icrs.dec.deg
            return cls(f"circle:{ra:.12g},{dec:.12g},{radius.to_value('deg'):.12g}")
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{{region}} {str(region)[:60]!r} is neither a text, a MOC, nor (SkyCoord, radius)"
            ) from error

    def __post_init__(self) -> None:
        """Parse the region."""
        _ = self._moc

    def touches(self, polygon: Polygon) -> bool:
        """Whether an outline and the region overlap, to within 13 arcsec.

        An unknown outline, one with fewer than three corners, overlaps every region.
        """
        if len(polygon) < 3:
            return True
        lon, lat = np.array(polygon).T
        return not self._outline(lon, lat).intersection(self._moc).empty()

    @cached_property
    def _moc(self) -> Any:
        if self.moc is not None:
            return self.moc
        name, _, rest = self.text.strip().partition(":")
        if name.lower() in _SHAPES:
            return self._shape(name.lower(), rest)
        words = self.text.split()
        if words and words[0].lower() in _SHAPES:  # IVOA form: CIRCLE 10 -5 0.5
            return self._shape(words[0].lower(), " ".join(words[1:]))
        return self._file(local_path(self.text))

    def _shape(self, name: str, rest: str) -> Any:
        from astropy import units

        moc = _moc_class()
        words, fits = _SHAPES[name]
        try:
            values = [float(word) for word in re.split(r"[,\s]+", rest.strip())]
        except ValueError:
            values = []
        if not fits(len(values)) or not np.isfinite(values).all():
            raise ConfigError(f"{{region}} {self.text!r} is not {name}:{words} in degrees")
        if any(abs(v) > 90 for v in (values[1::2] if name == "polygon" else values[1:2])):
            raise ConfigError(f"{{region}} {self.text!r} has a declination beyond 90 degrees")
        angles = np.array(values) * units.deg
        if name == "polygon":
            return self._outline(values[0::2], values[1::2])
        if name == "circle":
            if not 0 < values[2] <= 180:
                raise ConfigError(
                    f"{{region}} {self.text!r}: the radius must be above 0, up to 180"
                )
            return moc.from_cone(angles[0], angles[1], radius=angles[2], max_depth=_ORDER)
        if not (0 < values[2] <= 180 and 0 < values[3] <= 180):
            raise ConfigError(f"{{region}} {self.text!r}: the sides must be above 0, up to 180")
        # mocpy wants the longer half side first, and how far that is turned from north to east
        half_width, half_height = angles[2] / 2, angles[3] / 2
        a, b = max(half_width, half_height), min(half_width, half_height)
        turned = (90 if half_width > half_height else 0) * units.deg
        return moc.from_box(angles[0], angles[1], a=a, b=b, angle=turned, max_depth=_ORDER)

    def _file(self, path: Path) -> Any:
        try:
            with open_regular(path) as file:
                # files of /proc have no size, and may have no end
                is_empty = not check_size(file, _MAX_MOC)
                is_damaged = is_empty or (file.read(6) == b"SIMPLE" and _is_truncated(path))
        except FileTooLargeError as error:
            raise InputError(f"{{region}} {path} cannot be read: {error.strerror}") from error
        except OSError as error:
            raise ConfigError(
                f"{{region}} {self.text!r} is neither {_USAGE} in degrees nor a file"
                f" ({error.strerror})"
            ) from error
        for file_format in () if is_damaged else ("fits", "json", "ascii"):
            try:
                return _moc_class().load(path, format=file_format)
            except Exception:  # mocpy has no common class for these errors
                continue
        if not is_damaged and (letter := _other_frame(path)):
            raise InputError(
                f"{{region}} {path} is a MOC with COORDSYS {letter!r}, as of a survey in another "
                "frame: give one in ICRS, COORDSYS 'C'"
            )
        raise InputError(f"{{region}} {path} is not a MOC file (FITS, JSON or ASCII)")

    @staticmethod
    def _outline(lon: Sequence[float], lat: Sequence[float]) -> Any:
        from astropy import units

        return _moc_class().from_polygon(
            np.asarray(lon, float) * units.deg, np.asarray(lat, float) * units.deg, max_depth=_ORDER
        )


def _other_frame(path: Path) -> str:
    """Return COORDSYS of a FITS table that mocpy does not read; "" if it is absent, or ICRS."""
    from astropy.io import fits

    try:
        letter = str(fits.getheader(path, 1).get("COORDSYS", "C")).strip()
    except (OSError, IndexError):  # not FITS
        return ""
    return "" if letter == "C" else letter


def _is_truncated(path: Path) -> bool:
    """Whether a FITS file has fewer bytes than its headers say, which mocpy would crash on."""
    from astropy.io import fits

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            open_regular(path) as file,
            fits.open(file, memmap=False) as hdus,
        ):
            ends = [hdu.fileinfo()["datLoc"] + hdu.size for hdu in hdus]
            return bool(max(ends) > path.stat().st_size)
    except (OSError, ValueError, TypeError, LookupError, fits.VerifyError):
        return True


def _moc_class() -> Any:
    from mocpy import MOC

    return MOC


@dataclass(frozen=True)
class Selection:
    """Conditions on coadds.

    tracts, patches: their numbers, empty for all. region: None for the whole sky.
    """

    tracts: frozenset[int] = frozenset()
    patches: frozenset[int] = frozenset()
    region: Region | None = None

    def __bool__(self) -> bool:
        return bool(self.tracts or self.patches or self.region)

    def __str__(self) -> str:
        parts = [
            f"{name} {', '.join(map(str, sorted(numbers)))}"
            for name, numbers in (("tract", self.tracts), ("patch", self.patches))
            if numbers
        ]
        return "; ".join([*parts, *([self.region.text] if self.region else [])])

    def has_tract(self, tract: int) -> bool:
        """Whether coadds of a tract can be selected."""
        return not self.tracts or tract in self.tracts

    def has(self, ref: CoaddRef) -> bool:
        """Whether a coadd is selected; one without tract or patch is not if these are required."""
        if not self:
            return True
        data_id = dict(ref.data_id)
        return (
            (not self.tracts or data_id.get("tract") in self.tracts)
            and (not self.patches or data_id.get("patch") in self.patches)
            and (self.region is None or self.region.touches(ref.polygon))
        )

    def of(self, refs: Iterable[CoaddRef]) -> list[CoaddRef]:
        """Return the selected coadds. Raises InputError if there are none."""
        refs = list(refs)
        found = [ref for ref in refs if self.has(ref)]
        if refs and not found:
            raise InputError(
                f"none of {counted(len(refs), 'coadd')} is in {self}: widen the selection"
            )
        return found


ALL = Selection()
