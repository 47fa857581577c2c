"""Read the band of a coadd from its file."""

import json
import re
from typing import Any

from hipsgen.errors import CoaddError
from hipsgen.images.afw_archive import find_archived, read_flag

# keywords of NOAO, HST, DECam, PS1 (HIERARCH FPA.FILTERID), UKIRT, ESO, JWST, in this order
_KEYS = (
    *("FILTER", "BAND", "EXPBAND", "FPA.FILTERID", "FILTNAM", "FILTNAM1", "FILTERID", "FILTERS"),
    *("INSFLNAM", "INSFLNM", "INSFILTE", "ESO INS FILT1 NAME"),
    *("FILTER1", "FILTER2", "FILTER3", "PUPIL"),
)
# values that mean that the name is unknown
_NO_NAME = re.compile(
    r"[\W_]*(unknown|none|null|n/?a|nan|undefined|unspecified|not?[ _](filter|set|value))?[\W_]*",
    re.IGNORECASE,
)
_NO_FILTER = re.compile(r"(clear|open|empty|blank)\w*", re.IGNORECASE)
_JWST_PUPIL = re.compile(r"F\d+[MN]")
# names with the serial number of a filter of NOAO, and those of PS1: `g DECam SDSS c0001 4720.0
# 1520.0`, `g.00000`
_SHORT = re.compile(r"(\S+) (?:.* )?[ck]\d{4}\b.*|(\w)\.0+")
_LABELS = ("ARCHIVE_ID_FILTER", "FILTER_ID")
# telescopes or instruments that number their bands, by keyword
_NUMBERED = {
    ("BAND", "WISE"): ("W1", "W2", "W3", "W4"),
    ("BAND", "GALEX"): ("NUV", "FUV"),
    ("CHNLNUM", "IRAC"): ("IRAC1", "IRAC2", "IRAC3", "IRAC4"),
    ("CHNLNUM", "MIPS"): ("MIPS1", "MIPS2", "MIPS3"),
}
_SPECTRAL = ("WAVELNTH", "WAVELEN", "FREQ", "RESTFRQ", "RESTFREQ", "OBSFREQ")


def band_of(hdus: Any, number: int) -> str:
    """Return the band of the image in HDU `number` of an open file, "" if unknown.

    Sources, in this order: the usual keywords of its header and of the primary header; the
    FilterLabel of an lsst.afw exposure; the tree of an lsst.images file (its JSON HDU); the number
    or the wavelength of a band. Names such as `g DECam SDSS c0001 4720.0 1520.0` are shortened to
    their first word.
    """
    headers = hdus[number].header, hdus[0].header
    if name := named_band(*headers):
        return name
    try:
        found = _band_of_filter_label(hdus) or _band_of_json_tree(hdus)
    except (CoaddError, LookupError, TypeError, ValueError):
        # a label of an unknown form names no band
        found = ""
    return found or next((name for header in headers if (name := _numbered(header))), "")


def named_band(*headers: Any) -> str:
    """Return the band that the usual keywords of headers name, "" if none does."""
    names = [name for header in headers if (name := _named(header))]
    if not names:
        return ""
    # an extension may give one wheel, which is open, and the primary header the filter
    name = next((name for name in names if not _NO_FILTER.fullmatch(name)), names[0])
    short = _SHORT.fullmatch(name)
    return (short[1] or short[2]) if short else name


def instrument_of(hdus: Any, number: int) -> str:
    """Return instrument, and wavelength or frequency, of an image, in one line."""
    headers = hdus[number].header, hdus[0].header
    instrument = _first_text(headers, "INSTRUME", "TELESCOP")
    parts = [instrument, next((text for h in headers if (text := _spectral(h))), "")]
    return ", ".join(part for part in parts if part)


def _named(header: Any) -> str:
    """Return the band that a keyword of a header names, "" if none does."""
    texts = [value.strip() for key in _KEYS if isinstance(value := header.get(key), str)]
    names = [text for text in texts if not _NO_NAME.fullmatch(text)]
    pupil = header.get("PUPIL")
    if isinstance(pupil, str) and _JWST_PUPIL.fullmatch(pupil.strip()):
        return pupil.strip()
    informative = [name for name in names if not _NO_FILTER.fullmatch(name)]
    return next(iter(informative or names), "")


def _numbered(header: Any) -> str:
    """Return the band that a header gives as a number: of the band, or its wavelength."""
    origin = " ".join(str(header.get(key, "")) for key in ("TELESCOP", "INSTRUME", "ORIGIN"))
    for (key, name), bands in _NUMBERED.items():
        value = header.get(key)
        if name in origin.upper() and isinstance(value, int) and 0 < value <= len(bands):
            return bands[value - 1]
    wavelength = header.get("WAVELNTH")
    if isinstance(wavelength, bool) or not isinstance(wavelength, int | float) or wavelength <= 0:
        return ""
    is_micron = re.search(r"micro|um\b|µm", str(header.comments["WAVELNTH"]), re.IGNORECASE)
    return f"{wavelength:g}{'um' if is_micron else ''}"


def _spectral(header: Any) -> str:
    """Return the wavelength or frequency of an image, to two digits, "" if it is not given."""
    for key in _SPECTRAL:
        value = header.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return f"{key} {value:.2g}"
    for axis in (3, 4):
        kind, value = str(header.get(f"CTYPE{axis}", "")), header.get(f"CRVAL{axis}")
        if kind.startswith(("FREQ", "WAVE", "AWAV")) and isinstance(value, int | float):
            return f"{kind.strip()} {value:.2g}"
    return ""


def _first_text(headers: tuple[Any, ...], *keys: str) -> str:
    values = (str(header.get(key) or "").strip() for key in keys for header in headers)
    return next((value for value in values if value), "")


def _band_of_filter_label(hdus: Any) -> str:
    header = hdus[0].header
    wanted = next((header[key] for key in _LABELS if key in header), None)
    number = header.get("AR_HDU")
    if wanted is None or number is None:
        return ""
    table, row = find_archived(hdus, number - 1, wanted, "FilterLabel")  # AR_HDU counts from 1
    for name in ("band", "physical"):
        if read_flag(table, row, f"{name}_exists"):
            return str(row[name]).strip()
    return ""


def _band_of_json_tree(hdus: Any) -> str:
    if "JSONADDR" not in hdus[0].header:
        return ""
    band = json.loads(bytes(hdus["JSON"].data[0][0])).get("band", "")
    return band if isinstance(band, str) else ""
