"""Wavelength ranges of the usual bands, for em_min and em_max."""

_NM = 1e-9

# Rubin: as in the project's own HiPS; 2MASS: Cohen et al. 2003; UBVRI: Bessell 1990 (FWHM)
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


def wavelengths(band: str) -> tuple[float, float] | None:
    """Shortest and longest wavelength, in metres, of a band; None when it is not known.

    Besides plain names: `HSC-G`, `r_00`, `g.MP9402`, and j, h, k in lower case.
    """
    name = band.strip()
    if name.startswith("HSC-"):
        name = name[4:5].lower()
    for separator in ("_", ".", " "):
        name = name.split(separator)[0] if separator in name else name
    found = _BANDS.get(name) or _BANDS.get(
        {"j": "J", "h": "H", "k": "Ks", "ks": "Ks"}.get(name, "")
    )
    return (found[0] * _NM, found[1] * _NM) if found else None


def regime(low: float, high: float) -> str:
    """HiPS word for a wavelength range in metres."""
    middle = (low + high) / 2
    limits = ((1e-11, "Gamma-ray"), (1e-8, "X-ray"), (3e-7, "UV"), (1e-6, "Optical"))
    return next((word for limit, word in limits if middle < limit), _longer(middle))


def _longer(middle: float) -> str:
    return "Infrared" if middle < 1e-3 else "Radio"
