"""Bringing coadds of different units and pixel sizes to the survey's."""

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo

_PER_PIXEL = {"adu", "dn", "count", "counts", "ct", "electron", "electrons", "photon", "photons"}
_SAME_AREA = 0.01  # pixels that differ by less count as equal


def factor_to(info: CoaddInfo, unit: str, pixel_scale: float) -> float:
    """What values of a coadd must be multiplied with to join a survey.

    unit, pixel_scale (degrees): the survey's. A unit of flux per pixel (Jy, adu, electron ...)
    is brought to the survey's pixel area, lest fine images come out fainter than coarse ones.
    Raises CoaddError when one unit cannot be converted into the other.
    """
    factor = 1.0
    if info.unit and unit and info.unit != unit:
        factor = _convert(info.unit, unit)
    ratio = (pixel_scale / info.pixel_scale) ** 2
    if abs(ratio - 1.0) > _SAME_AREA and is_per_pixel(info.unit or unit):
        factor *= ratio
    return factor


def is_per_pixel(unit: str) -> bool:
    """Whether a unit is an amount per pixel: a flux, a count, not a brightness per solid angle."""
    words = unit.lower().replace("/pixel", "").replace("/pix", "").strip()
    if words.split("/")[0].strip() in _PER_PIXEL and "sr" not in words and "arcsec" not in words:
        return True
    import astropy.units as u

    try:
        parsed = u.Unit(unit)
    except ValueError:
        return False
    return bool(unit) and parsed.is_equivalent(u.Jy)


def _convert(unit_in: str, unit: str) -> float:
    import astropy.units as u

    try:
        return float(u.Unit(unit_in).to(u.Unit(unit)))
    except (ValueError, u.UnitsError) as error:
        raise CoaddError(
            f"its unit {unit_in!r} does not convert to the survey's {unit!r}"
        ) from error
