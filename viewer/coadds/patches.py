"""Outlines of coadds as JSON."""

import json
import re
from typing import Any

from hipsgen.survey.provenance import not_a_table, parse_data_id, text_of
from hipsgen.survey.provenance_rows import Rows

_JSON = json.JSONEncoder(separators=(",", ":"))
_NUMBER = rb"-?(?:0|[1-9]\d{0,2})\.\d{1,9}"
_REGION = re.compile(rb"POLYGON ICRS((?: %s %s)+)" % (_NUMBER, _NUMBER))


class PatchOutlines:
    """The outlines of coadds, each once for all bands."""

    def __init__(self) -> None:
        self._known: set[int] = set()  # hashes: the outlines themselves would take 100 MB

    def encode(self, rows: Rows) -> bytes:
        """Return the outlines that are new, as JSON objects separated by commas.

        Raises SurveyError if a row is invalid.
        """
        columns = (rows[name].tolist() for name in ("s_region", "data_id", "access_url"))
        try:
            found = [self._outline(*row) for row in zip(*columns, strict=True)]
        except ValueError as error:
            raise not_a_table(error) from error
        return ",".join(filter(None, found)).encode("ascii")

    def _outline(self, region: bytes, data_id: bytes, url: bytes) -> str:
        """Return a new outline, "" if it is known or there is none."""
        region = region.strip()
        if not region:
            return ""
        match = _REGION.fullmatch(region)
        if match is None:
            raise ValueError(f"s_region is {text_of(region):.40}")
        numbers = match[1].decode("ascii").split()
        corners = ",".join(f"[{a},{d}]" for a, d in zip(numbers[::2], numbers[1::2], strict=True))
        label = _JSON.encode(_label(data_id, url))
        outline = f'{label[:-1]},"polygon":[{corners}]}}'
        key = hash(outline)
        if key in self._known:
            return ""
        self._known.add(key)
        return outline


def _label(data_id: bytes, url: bytes) -> dict[str, Any]:
    """Return what identifies the patch of a coadd, for all bands."""
    found = parse_data_id(text_of(data_id))
    if "tract" in found:
        return {key: found.get(key) for key in ("skymap", "tract", "patch")}
    name = text_of(url).rsplit("/", 1)[-1]
    return {"skymap": None, "tract": None, "patch": None, "name": name[:80]}
