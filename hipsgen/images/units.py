"""Units of coadds: which spellings are one unit, and the factors between units and pixel sizes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hipsgen.errors import CoaddError, InputError
from hipsgen.images.source import CoaddInfo
from hipsgen.text import counted

_AREA_TOLERANCE = 0.01  # relative difference of pixel areas that counts as equal
_SQUARED = "**2"
# AB magnitude of 1 nJy, and of 1 nanomaggy (SDSS)
_NJY_ZERO_POINT, _NANOMAGGY_ZERO_POINT = 31.4, 22.5
# from units as headers spell them (in capitals, plural, or as words) to the spelling of astropy
_NAMES = {
    "adu": "adu", "dn": "adu",
    "ct": "ct", "count": "ct", "counts": "ct", "cps": "ct s-1",
    "electron": "electron", "electrons": "electron", "e": "electron",
    "photon": "ph", "photons": "ph", "ph": "ph",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "sr": "sr", "steradian": "sr", "steradians": "sr",
    "arcsec": "arcsec", "arcsecs": "arcsec", "arcsecond": "arcsec", "arcseconds": "arcsec",
    "arcmin": "arcmin", "arcmins": "arcmin", "deg": "deg", "degree": "deg", "degrees": "deg",
    "beam": "beam", "beams": "beam",
    "hz": "Hz", "erg": "erg", "ergs": "erg", "cm": "cm", "kelvin": "K",
    "a": "Angstrom", "ang": "Angstrom", "angstrom": "Angstrom", "angstroms": "Angstrom",
    "micron": "um", "microns": "um", "mag": "mag", "mags": "mag",
}  # fmt: skip
_COUNTS = {"adu", "ct", "ct s-1", "electron", "ph", "mgy", "nmgy"}  # astropy's, and no fluxes
_FLUX = re.compile(
    r"((?i:nano|micro|milli|kilo|mega|giga)|[nNuUmMkKgG]?)(?i:(jy|janskys?)|(?:mgy|magg(?:y|ies)))"
)
# prefixes in a unit written in capitals only, except M, which means mega there too
_PREFIXES = {
    "nano": "n", "micro": "u", "milli": "m", "kilo": "k", "mega": "M", "giga": "G",
    "N": "n", "U": "u", "K": "k", "g": "G",
}  # fmt: skip
_WORD = re.compile(r"(?<![0-9A-Za-z])(?<![0-9]\.)[A-Za-z]+")
_FACTOR = re.compile(r"[A-Za-z]+((\*\*|\^)?[+-]?[0-9]+)?")
_ELECTRON = re.compile(r"\be-(?![0-9])", re.IGNORECASE)
_SOLID_ANGLE = re.compile(r"sr|arcsec|arcmin|deg|beam|mas", re.IGNORECASE)
_LOGARITHMIC = re.compile(
    r"(?<![a-z])((ab|st|m)?mag(s|nitudes?)?|dex|db)(?![a-z])|^\W*(log|ln)", re.IGNORECASE
)


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
    factor = conversion(info.unit, unit) if info.unit and unit else 1.0
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
    if not text or _SOLID_ANGLE.search(text) or is_logarithmic(text):
        return False
    if _spelled(re.split(r"[\s/*.]", text)[0]) in _COUNTS:
        return True
    parsed = parse(text)
    if parsed is None:
        return False
    return any(parsed.is_equivalent(amount) for amount in (*_fluxes(), *_counts()))


def is_logarithmic(unit: str) -> bool:
    """Whether values in a unit are logarithms, such as magnitudes: no factor converts them."""
    return bool(_LOGARITHMIC.search(unit))


def _without_per_pixel(unit: str) -> str:
    """Remove "per pixel" from a unit."""
    return re.sub(
        r"\s*(/|\bper\b)?\s*(pixels?|pix)\b(\^?-1)?", "", unit.strip(), flags=re.I
    ).strip()


@lru_cache
def parse(unit: str) -> Any | None:
    """Return a unit as an astropy unit, a maggy as 3631 Jy (AB); None if it is unknown.

    "Per pixel" is left out. Only prefixes are case-sensitive: `MJY/SR` is a megajansky per
    steradian.
    """
    import astropy.units as u

    try:
        parsed = u.Unit(_spelled(_without_per_pixel(unit)))
    except (ValueError, TypeError):
        return None
    whole = parsed.decompose()
    if not isinstance(parsed, u.UnitBase) or u.mgy not in whole.bases:
        return parsed
    power = whole.powers[whole.bases.index(u.mgy)]
    factor = 10 ** (0.4 * (_NJY_ZERO_POINT - _NANOMAGGY_ZERO_POINT))
    return u.Unit(parsed * (factor * u.Jy / u.mgy) ** power)


def _spelled(text: str) -> str:
    """Spell the names of units in a text as astropy does."""
    text = re.sub("[\N{MICRO SIGN}\N{GREEK SMALL LETTER MU}]", "u", text)
    text = re.sub(r"\bper\b", "/", _ELECTRON.sub("electron", text), flags=re.IGNORECASE)
    first, *others = (part.strip() for part in _WORD.sub(_name, text).split("/"))
    if len(others) > 1 and all(map(_FACTOR.fullmatch, others)):
        others = [f"({' '.join(others)})"]  # without the warning of astropy
    return "/".join([first, *others])


def _name(word: "re.Match[str]") -> str:
    flux = _FLUX.fullmatch(word[0])
    if flux is not None:
        prefix = _PREFIXES.get(flux[1].lower() if len(flux[1]) > 1 else flux[1], flux[1])
        return prefix + ("Jy" if flux[2] else "mgy")
    return _NAMES.get(word[0].lower(), word[0])


@lru_cache
def _counts() -> tuple[Any, ...]:
    """Return the units of counts and of their rates, for spellings such as `10 e-/s` and `kct`."""
    import astropy.units as u

    counts = u.adu, u.ct, u.electron, u.ph
    return *counts, *(count / u.s for count in counts)


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
def conversion(unit_in: str, unit: str) -> float:
    """Return the factor from one unit to another; 1 between spellings of one unit.

    Raises CoaddError if there is none.
    """
    if unit_in == unit:
        return 1.0
    if unit_in.endswith(_SQUARED) and unit.endswith(_SQUARED):
        return conversion(unit_in.removesuffix(_SQUARED), unit.removesuffix(_SQUARED)) ** 2
    source, target = parse(unit_in), parse(unit)
    if source is not None and target is not None:
        if source == target:
            return 1.0
        if source.is_equivalent(target) and not (is_logarithmic(unit_in) or is_logarithmic(unit)):
            return float(source.to(target))
    raise CoaddError(
        f"its unit {unit_in!r} cannot be converted to the survey's {unit!r}: leave it out, or give "
        "the {unit} of all values"
    )


def common_unit(units: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """Choose the unit of a survey: that of the first coadd that has one.

    Parameters
    ----------
    units
        Name and unit of each coadd; "" for no unit.

    Returns
    -------
    unit : str
        The unit, "" if no coadd has one.
    notes : list of str
        What is assumed about the units and what is converted, one line each.

    Raises
    ------
    InputError
        If a unit cannot be converted to that of the survey.
    """
    first = {unit: name for name, unit in reversed(units)}
    counts = Counter(unit for _, unit in units)
    unit = next((unit for _, unit in units if unit), "")
    if not unit:
        return "", []
    notes, unknown = [], []
    for other in [text for text in counts if text]:
        try:
            factor = conversion(other, unit)
        except CoaddError:
            unknown.append(other)
            continue
        if factor != 1.0:
            notes.append(
                f"values in {other} are converted to {unit}, the unit of the survey, by the "
                f"factor {factor:.6g}"
            )
    if unknown:
        seen = ", ".join(
            f"{text} ({counted(counts[text], 'coadd')}, first {first[text]})"
            for text in (unit, *unknown)
        )
        raise InputError(
            f"the sampled coadds have units that cannot be converted to each other: {seen}; build "
            "them separately, or give the {unit} of all values",
            parameter="unit",
        )
    if "" in counts:
        notes.append(
            f"{counts['']} of {len(units)} sampled coadds have no unit (first {first['']}): their "
            f"values are taken to be in {unit}; give the {{unit}} of all if they are not"
        )
    if is_logarithmic(unit):
        notes.append(
            f"{unit} is a logarithmic unit: the values are averaged as they are, where coadds "
            "overlap and in tiles of lower orders"
        )
    return unit, notes
