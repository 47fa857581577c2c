"""Provenance of a survey: a FITS table of its coadds that can be searched by position.

Column names follow IVOA ObsCore where it defines one: s_ra, s_dec, s_fov, s_region (STC-S), t_min,
t_max, access_url. The others are terms of the Butler.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef, Polygon, corners_of
from hipsgen.errors import SurveyError
from hipsgen.images.calibration import STATED
from hipsgen.sky.polygon import (
    bounding_circle,
    bounding_circles,
    contains,
    to_lonlat,
    to_vectors,
)

FILE_NAME = "provenance.fits"
# Python accepts NaN and Infinity, which JSON does not have; int() rejects them
_JSON = json.JSONDecoder(parse_constant=int)


@dataclass(frozen=True)
class LeftOut:
    """An input that was left out of a survey, with the reason.

    ref: for an input that could not be opened at all, its name in place of the URI.
    """

    ref: CoaddRef
    reason: str


@dataclass(frozen=True)
class UsedCoadd:
    """A coadd that contributed pixels to a survey.

    Attributes
    ----------
    ref
        Its identity is empty in tables of version 0.1.0.
    unit_in
        Unit of its pixels.
    scale
        Factor that converts its pixels to the unit of the survey.
    calibration
        Source of that factor.
    excluded_planes
        Mask planes whose pixels were treated as missing.
    t_min, t_max
        Time range of the observations, in MJD.
    """

    ref: CoaddRef
    unit_in: str = ""
    scale: float = 1.0
    calibration: str = ""
    excluded_planes: str = ""
    t_min: float = float("nan")
    t_max: float = float("nan")

    @property
    def stated_unit(self) -> str:
        """Unit of its values that the user gave; empty if it was read from the file."""
        return self.unit_in.removesuffix("**2") if self.calibration == STATED else ""

    def contains(self, lon: float, lat: float) -> bool:
        """Whether an ICRS position, in degrees, lies inside the outline."""
        return bool(self.holds(to_vectors([lon], [lat]))[0])

    def holds(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which ICRS unit vectors (n, 3) lie inside the outline, as bool (n,)."""
        if not self.ref.polygon:
            return np.ones(len(vectors), bool)
        return contains(self._vertices(), vectors)

    def circle(self) -> tuple[float, float, float]:
        """Return longitude, latitude and radius, in degrees, of a circle around the outline."""
        if not self.ref.polygon:
            return 0.0, 90.0, 180.0
        center, radius = bounding_circle(self._vertices())
        lon, lat = to_lonlat(center)
        return float(lon), float(lat), radius

    def _vertices(self) -> npt.NDArray[np.float64]:
        corners, _ = corners_of([self.ref])
        return to_vectors(corners[:, 0], corners[:, 1])


class Provenance:
    """The coadds of a survey, searchable by position, and the inputs that were left out."""

    def __init__(self, coadds: Sequence[UsedCoadd], left_out: Sequence[LeftOut] = ()) -> None:
        self.coadds, self.left_out = tuple(coadds), tuple(left_out)
        corners, counts = corners_of(c.ref for c in self.coadds)
        vertices = to_vectors(corners[:, 0], corners[:, 1])
        self._centers, self._radius = bounding_circles(vertices, counts)

    def at(self, lon: float, lat: float) -> list[UsedCoadd]:
        """Return the coadds whose outline contains an ICRS position, in degrees."""
        return [c for c in self.near(to_vectors(lon, lat), 0.0) if c.contains(lon, lat)]

    def near(self, center: npt.NDArray[np.float64], radius: float) -> list[UsedCoadd]:
        """Return the coadds that may overlap a circle: ICRS unit vector, radius in degrees."""
        reach = np.radians(np.minimum(self._radius + radius, 180.0))
        cosine = np.cos(reach) - 1e-12
        return [self.coadds[i] for i in np.flatnonzero(self._centers @ center >= cosine)]

    def to_bytes(self) -> bytes:
        """Return a FITS file with the tables PROVENANCE and, unless it is empty, LEFT_OUT."""
        from astropy.io import fits

        circles = [c.circle() for c in self.coadds]
        tables = [
            _table(
                "PROVENANCE",
                [
                    *_reference_columns([c.ref for c in self.coadds]),
                    ("s_ra", "D", [c[0] for c in circles], "deg"),
                    ("s_dec", "D", [c[1] for c in circles], "deg"),
                    ("s_fov", "D", [2 * c[2] for c in circles], "deg"),
                    ("s_region", "", [_region(c.ref.polygon) for c in self.coadds], ""),
                    ("unit_in", "", [c.unit_in for c in self.coadds], ""),
                    ("scale", "D", [c.scale for c in self.coadds], ""),
                    ("calibration", "", [c.calibration for c in self.coadds], ""),
                    ("excluded_planes", "", [c.excluded_planes for c in self.coadds], ""),
                    ("t_min", "D", [c.t_min for c in self.coadds], "d"),
                    ("t_max", "D", [c.t_max for c in self.coadds], "d"),
                ],
            )
        ]
        if self.left_out:
            regions = [_region(one.ref.polygon) for one in self.left_out]
            reasons = [one.reason for one in self.left_out]
            tables.append(
                _table(
                    "LEFT_OUT",
                    [
                        *_reference_columns([one.ref for one in self.left_out]),
                        ("s_region", "", regions, ""),
                        ("reason", "", reasons, ""),
                    ],
                )
            )
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Provenance":
        """Read a file written by `to_bytes`. Raises SurveyError for any other file."""
        from astropy.io import fits

        try:
            with fits.open(io.BytesIO(data)) as hdus:
                rows = np.array(hdus["PROVENANCE"].data)
                has_left_out = "LEFT_OUT" in hdus
                left_out = np.array(hdus["LEFT_OUT"].data) if has_left_out else ()
            used = [used_coadd(row) for row in rows]
            return cls(used, [LeftOut(_reference(r), _text(r, "reason")) for r in left_out])
        except Exception as error:  # astropy raises many kinds of errors for damaged files
            raise not_a_table(error) from error


def not_a_table(error: Exception) -> SurveyError:
    """Return the error for a file that cannot be read as a provenance table, with its cause."""
    return SurveyError(f"{FILE_NAME} is not a provenance table: {error}")


def used_coadd(row: Any) -> UsedCoadd:
    """Return the coadd of a row of PROVENANCE.

    Parameters
    ----------
    row
        A numpy.void with the columns of the table.

    Raises
    ------
    ValueError, TypeError, KeyError
        If a column is missing or has an invalid value.
    """
    return UsedCoadd(
        ref=_reference(row),
        unit_in=_text(row, "unit_in"),
        scale=float(row["scale"]),
        calibration=_text(row, "calibration"),
        excluded_planes=_text(row, "excluded_planes"),
        t_min=float(row["t_min"]),
        t_max=float(row["t_max"]),
    )


_Column = tuple[str, str, list[Any], str]  # name, form ("" for text), values, unit


def _reference_columns(refs: Sequence[CoaddRef]) -> list[_Column]:
    """Return the columns that identify coadds."""
    return [
        ("band", "", [ref.band for ref in refs], ""),
        ("dataset_type", "", [ref.dataset_type for ref in refs], ""),
        ("run", "", [ref.run for ref in refs], ""),
        ("dataset_id", "", [ref.dataset_id for ref in refs], ""),
        ("data_id", "", [json.dumps(dict(ref.data_id), sort_keys=True) for ref in refs], ""),
        ("access_url", "", [ref.uri for ref in refs], ""),
        ("hdu", "", [ref.hdu for ref in refs], ""),
        ("identity", "", [ref.identity for ref in refs], ""),
    ]


def _reference(row: Any) -> CoaddRef:
    """Return the coadd of a row; tables of version 0.1.0 have no identity."""
    numbers = [float(x) for x in _text(row, "s_region").split()[2:]]
    if not np.isfinite(numbers).all():
        raise ValueError(f"s_region is {_text(row, 's_region'):.40}")
    return CoaddRef(
        uri=_text(row, "access_url"),
        identity=_text(row, "identity") if "identity" in row.dtype.names else "",
        hdu=_text(row, "hdu"),
        band=_text(row, "band"),
        polygon=Polygon(zip(numbers[::2], numbers[1::2], strict=True)),
        data_id=tuple(parse_data_id(_text(row, "data_id")).items()),
        dataset_type=_text(row, "dataset_type"),
        run=_text(row, "run"),
        dataset_id=_text(row, "dataset_id"),
    )


def parse_data_id(text: str) -> dict[str, Any]:
    """Parse the column data_id: a JSON object of texts and numbers. Raises ValueError."""
    found = _JSON.decode(text or "{}")
    if not isinstance(found, dict) or not all(map(_is_data_id, found.values())):
        raise ValueError(f"data_id is {text:.40}")
    return found


def _is_data_id(value: Any) -> bool:
    # 1e999 is valid JSON, but no other program could read it back from here
    is_number = isinstance(value, int | float) and np.isfinite(float(value))
    return isinstance(value, str) or value is None or is_number


def _region(polygon: Polygon) -> str:
    """Return a polygon in STC-S, as in s_region of ObsCore."""
    if not polygon:
        return ""
    return "POLYGON ICRS " + " ".join(f"{lon:.8f} {lat:.8f}" for lon, lat in polygon)


def _table(name: str, columns: Sequence[_Column]) -> Any:
    from astropy.io import fits

    fits_columns = []
    for title, form, values, unit in columns:
        encoded = values if form else [_ascii(v) for v in values]
        width = form or f"{max([1, *map(len, encoded)])}A"
        fits_columns.append(fits.Column(title, width, unit=unit or None, array=np.array(encoded)))
    return fits.BinTableHDU.from_columns(fits_columns, nrows=len(columns[0][2]), name=name)


def _ascii(text: str) -> str:
    # FITS tables contain only ASCII, paths may not. Doubled backslashes make it reversible
    return text.encode("unicode_escape").decode("ascii")


def _text(row: Any, name: str) -> str:
    value = row[name]
    return text_of(value if isinstance(value, bytes) else str(value).encode("ascii"))


def text_of(stored: bytes) -> str:
    """Return the text of a column as it was before it was stored in ASCII."""
    return stored.decode("unicode_escape").strip()
