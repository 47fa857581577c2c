"""Wavelength ranges of common bands, for em_min and em_max, and their white balance."""

_NM = 1e-9

# nm; Rubin: as in the project's own HiPS; 2MASS: Cohen et al. 2003; UBVRI: Bessell 1990 (FWHM)
_BANDS: dict[str, tuple[float, float]] = {
    "u": (330, 400),
    "g": (402, 552),
    "r": (552, 691),
    "i": (691, 818),
    "z": (818, 922),
    "y": (970, 1060),
    "U": (332, 398),
    "B": (398, 492),
    "V": (507, 595),
    "R": (589, 727),
    "I": (732, 881),
    "Y": (970, 1070),
    "J": (1154, 1316),
    "H": (1536, 1788),
    "K": (2028, 2290),
    "Ks": (2028, 2290),
}


# absolute AB magnitude of the Sun, Willmer 2018, ApJS 236, 47 (SDSS; y as z)
_SUN_AB = {"u": 6.39, "g": 5.11, "r": 4.65, "i": 4.53, "z": 4.50, "y": 4.50}


def white_balance(band: str) -> float:
    """Return the factor for a calibrated band with which the Sun is white in a color image.

    It is 1 for r, and for bands in which the Sun's magnitude is not listed.
    """
    return float(10 ** (0.4 * (_SUN_AB.get(_band_letter(band), _SUN_AB["r"]) - _SUN_AB["r"])))


def wavelengths(band: str) -> tuple[float, float] | None:
    """Return the shortest and longest wavelength of a band in meters, None if it is unknown.

    Besides plain names it recognizes `HSC-G`, `r_00`, `g.MP9402`, and j, h, k in lower case.
    """
    name = _band_letter(band)
    found = _BANDS.get(name) or _BANDS.get(
        {"j": "J", "h": "H", "k": "Ks", "ks": "Ks"}.get(name, "")
    )
    return (found[0] * _NM, found[1] * _NM) if found else None


def _band_letter(band: str) -> str:
    """Return the name of a band without its instrument."""
    name = band.strip()
    if name.startswith("HSC-"):
        return name[4:5].lower()
    for separator in ("_", ".", " "):
        name = name.split(separator)[0] if separator in name else name
    return name


def regime(low: float, high: float) -> str:
    """Return the value of obs_regime for a wavelength range in meters."""
    middle = (low + high) / 2
    limits = ((1e-11, "Gamma-ray"), (1e-8, "X-ray"), (3e-7, "UV"), (1e-6, "Optical"))
    return next((word for limit, word in limits if middle < limit), _long_wave_regime(middle))


def _long_wave_regime(middle: float) -> str:
    return "Infrared" if middle < 1e-3 else "Radio"
