"""Read the band of a coadd from its file."""

import json
from typing import Any

from hipsgen.errors import CoaddError
from hipsgen.images.afw_archive import find_archived, read_flag

_KEYS = ("FILTER", "FILTER1", "BAND", "FILTNAM", "FILTERS", "INSFLNAM")
_LABELS = ("ARCHIVE_ID_FILTER", "FILTER_ID")


def band_of(hdus: Any, number: int) -> str:
    """Return the band of the image in HDU `number` of an open file, "" if unknown.

    Sources, in this order: the usual keywords of its header and of the primary header; the
    FilterLabel of an lsst.afw exposure; the tree of an lsst.images file (its JSON HDU).
    """
    for header in (hdus[number].header, hdus[0].header):
        for key in _KEYS:
            value = header.get(key)
            if isinstance(value, str) and value.strip():
                return value.strip()
    try:
        return _band_of_filter_label(hdus) or _band_of_json_tree(hdus)
    except (CoaddError, LookupError, TypeError, ValueError):
        # a label of an unknown form names no band
        return ""


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
