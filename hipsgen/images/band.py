"""The band of a coadd, as its file names it."""

import json
from typing import Any

from hipsgen.errors import CoaddError
from hipsgen.images.afw_archive import archived, flag_of

_KEYS = ("FILTER", "FILTER1", "BAND", "FILTNAM", "FILTERS", "INSFLNAM")
_LABELS = ("ARCHIVE_ID_FILTER", "FILTER_ID")


def band_of(hdus: Any, number: int) -> str:
    """Of the image in HDU `number` of an open file, "" when nothing says.

    In this order: the usual words of its header and of the first one; the FilterLabel of an
    lsst.afw exposure; the tree of an lsst.images file (its JSON HDU).
    """
    for header in (hdus[number].header, hdus[0].header):
        for key in _KEYS:
            value = header.get(key)
            if isinstance(value, str) and value.strip():
                return value.strip()
    try:
        return _of_label(hdus) or _of_tree(hdus)
    except (CoaddError, LookupError, TypeError, ValueError):
        # what is told otherwise than is known here tells nothing
        return ""


def _of_label(hdus: Any) -> str:
    header = hdus[0].header
    wanted = next((header[key] for key in _LABELS if key in header), None)
    number = header.get("AR_HDU")
    if wanted is None or number is None:
        return ""
    table, row = archived(hdus, number - 1, wanted, "FilterLabel")  # AR_HDU counts from 1
    for name in ("band", "physical"):
        if flag_of(table, row, f"{name}_exists"):
            return str(row[name]).strip()
    return ""


def _of_tree(hdus: Any) -> str:
    if "JSONADDR" not in hdus[0].header:
        return ""
    band = json.loads(bytes(hdus["JSON"].data[0][0])).get("band", "")
    return band if isinstance(band, str) else ""
