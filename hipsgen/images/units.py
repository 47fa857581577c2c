"""Bringing coadds of different units and pixel sizes to the survey's."""

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo

_SAME_AREA = 0.01  # pixels that differ by less count as equal
# words for counts that are one thing
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
    """What values of a coadd must be multiplied with to join a survey.

    unit, pixel_scale (degrees): the survey's. A unit of flux per pixel (Jy, adu, electron ...)
    is brought to the survey's pixel area, lest fine images come out fainter than coarse ones; the
    square of one, that of a variance, by the square of the factor.
    Raises CoaddError when one unit cannot be converted into the other.
    """
    if (info.unit or unit).endswith(_SQUARED):
        root = replace(info, unit=info.unit.removesuffix(_SQUARED))
        return factor_to(root, unit.removesuffix(_SQUARED), pixel_scale) ** 2
    factor = 1.0
    if info.unit and unit and info.unit != unit:
        factor = _convert(info.unit, unit)
    ratio = (pixel_scale / info.pixel_scale) ** 2
    if abs(ratio - 1.0) > _SAME_AREA and is_per_pixel(info.unit or unit):
        factor *= ratio
    return factor


@lru_cache
def is_per_pixel(unit: str) -> bool:
    """Whether a unit is an amount per pixel: a flux, a count, not a brightness per solid angle."""
    text = _plain(unit)
    if not text or _SOLID_ANGLE.search(text):
        return False
    if re.split(r"[\s/*.]", text)[0].lower() in _COUNTS:
        return True
    parsed = _parse(text)
    return parsed is not None and any(parsed.is_equivalent(flux) for flux in _fluxes())


def _plain(unit: str) -> str:
    """Without the words that say "per pixel"."""
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
    if _COUNTS.get(_plain(unit_in).lower(), unit_in) == _COUNTS.get(_plain(unit).lower(), unit):
        return 1.0
    source, target = _parse(_plain(unit_in)), _parse(_plain(unit))
    if source is None or target is None or not source.is_equivalent(target):
        raise CoaddError(f"its unit {unit_in!r} does not convert to the survey's {unit!r}")
    return float(source.to(target))
