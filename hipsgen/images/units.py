"""Convert coadds of different units and pixel sizes to those of the survey."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo

_AREA_TOLERANCE = 0.01  # relative difference of pixel areas that counts as equal
# synonyms of units of counts
_COUNTS = {
    "adu": "adu", "dn": "adu",
    "ct": "ct", "count": "ct", "counts": "ct",
    "electron": "electron", "electrons": "electron", "e-": "electron", "e": "electron",
    "photon": "photon", "photons": "photon", "ph": "photon",
    "maggy": "maggy", "maggies": "maggy", "nanomaggy": "nanomaggy", "nanomaggies": "nanomaggy",
}  # fmt: skip
_SQUARED = "**2"
_SOLID_ANGLE = re.compile(r"sr|arcsec|arcmin|deg|beam|mas", re.IGNORECASE)


def factor_to(info: CoaddInfo, unit: str, pixel_scale: float) -> float:
    """Return the factor by which values of a coadd are multiplied to match a survey.

    A flux per pixel (Jy, adu, electron ...) is scaled to the survey's pixel area, since otherwise
    fine images would be fainter than coarse ones; the unit squared of a variance by the square of
    the factor.

    Parameters
    ----------
    info
        Properties of the coadd.
    unit
        Unit of the survey.
    pixel_scale
        Side of a pixel of the survey in degrees.

    Raises
    ------
    CoaddError
        If one unit cannot be converted to the other.
    """
    if (info.unit or unit).endswith(_SQUARED):
        root = replace(info, unit=info.unit.removesuffix(_SQUARED))
        return factor_to(root, unit.removesuffix(_SQUARED), pixel_scale) ** 2
    factor = 1.0
    if info.unit and unit and info.unit != unit:
        factor = _convert(info.unit, unit)
    ratio = (pixel_scale / info.pixel_scale) ** 2
    if abs(ratio - 1.0) > _AREA_TOLERANCE and is_per_pixel(info.unit or unit):
        factor *= ratio
    return factor


@dataclass(frozen=True)
class Offset:
    """What is subtracted from the values of a survey, in float64, before they become float32.

    Attributes
    ----------
    value
        Offset in `unit`.
    unit, pixel_scale
        Of the survey, as for `factor_to`.
    """

    value: float
    unit: str
    pixel_scale: float

    def of(self, info: CoaddInfo) -> float:
        """Return the offset in the unit of a coadd. Raises CoaddError as `factor_to` does."""
        return self.value / factor_to(info, self.unit, self.pixel_scale)


@lru_cache
def is_per_pixel(unit: str) -> bool:
    """Whether a unit is an amount per pixel (a flux or a count), not a surface brightness."""
    text = _without_per_pixel(unit)
    if not text or _SOLID_ANGLE.search(text):
        return False
    if re.split(r"[\s/*.]", text)[0].lower() in _COUNTS:
        return True
    parsed = _parse(text)
    return parsed is not None and any(parsed.is_equivalent(flux) for flux in _fluxes())


def _without_per_pixel(unit: str) -> str:
    """Remove "per pixel" from a unit."""
    return re.sub(
        r"\s*(/|\bper\b)?\s*(pixels?|pix)\b(\^?-1)?", "", unit.strip(), flags=re.I
    ).strip()


def _parse(text: str) -> Any | None:
    import astropy.units as u

    try:
        return u.Unit(text)
    except ValueError:
        return None


@lru_cache
def _fluxes() -> tuple[Any, ...]:
    import astropy.units as u

    energy = u.Unit("W / m2")
    photons = u.Unit("ph / (s m2)")
    return (
        u.Jy, energy, energy / u.um, u.W, u.Unit("W / Hz"),
        photons, photons / u.um, photons / u.Hz,
    )  # fmt: skip


@lru_cache
def _convert(unit_in: str, unit: str) -> float:
    if _COUNTS.get(_without_per_pixel(unit_in).lower(), unit_in) == _COUNTS.get(
        _without_per_pixel(unit).lower(), unit
    ):
        return 1.0
    source, target = _parse(_without_per_pixel(unit_in)), _parse(_without_per_pixel(unit))
    if source is None or target is None or not source.is_equivalent(target):
        raise CoaddError(f"its unit {unit_in!r} cannot be converted to the survey's {unit!r}")
    return float(source.to(target))
