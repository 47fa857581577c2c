"""Which coadds went into a survey: one row each, in a FITS table that can be asked by position.

Column names follow ObsCore (IVOA) where it has a word: s_ra, s_dec, s_fov, s_region (STC-S),
t_min, t_max, access_url; the rest are Butler words.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import bounding_circle, contains, to_lonlat, to_vectors

FILE_NAME = "provenance.fits"


@dataclass(frozen=True)
class UsedCoadd:
    """One coadd that gave pixels to the survey.

    polygon: (lon, lat) in ICRS degrees; empty when it is the whole sky or unknown.
    scale: what its pixels were multiplied with to come to the survey's unit.
    calibration: where that factor comes from.
    """

    uri: str
    hdu: str = ""
    data_id: dict[str, Any] = field(default_factory=dict)
    dataset_type: str = ""
    run: str = ""
    dataset_id: str = ""
    band: str = ""
    polygon: tuple[tuple[float, float], ...] = ()
    unit_in: str = ""
    scale: float = 1.0
    calibration: str = ""
    excluded_planes: str = ""
    t_min: float = float("nan")
    t_max: float = float("nan")

    def contains(self, lon: float, lat: float) -> bool:
        """Whether an ICRS position (degrees) lies inside the coadd's polygon."""
        if not self.polygon:
            return True
        return bool(contains(self._vertices(), to_vectors([lon], [lat]))[0])

    def region(self) -> str:
        """The polygon as STC-S, as in ObsCore's s_region."""
        if not self.polygon:
            return ""
        return "POLYGON ICRS " + " ".join(f"{lon:.8f} {lat:.8f}" for lon, lat in self.polygon)

    def circle(self) -> tuple[float, float, float]:
        """Centre and radius, in degrees, of a circle round the polygon."""
        if not self.polygon:
            return 0.0, 90.0, 180.0
        centre, radius = bounding_circle(self._vertices())
        lon, lat = to_lonlat(centre)
        return float(lon), float(lat), radius

    def _vertices(self) -> Any:
        lon, lat = zip(*self.polygon, strict=True)
        return to_vectors(lon, lat)


class Provenance:
    """The coadds of a survey, to be asked by position."""

    def __init__(self, coadds: Sequence[UsedCoadd]) -> None:
        self.coadds = tuple(coadds)
        circles = np.array([c.circle() for c in self.coadds]).reshape(-1, 3)
        self._centres = to_vectors(circles[:, 0], circles[:, 1])
        self._cos_radius = np.cos(np.radians(circles[:, 2])) - 1e-12

    def at(self, lon: float, lat: float) -> list[UsedCoadd]:
        """The coadds whose polygon holds an ICRS position (degrees), in the survey's order."""
        near = np.flatnonzero(self._centres @ to_vectors(lon, lat) >= self._cos_radius)
        return [self.coadds[i] for i in near if self.coadds[i].contains(lon, lat)]

    def to_bytes(self) -> bytes:
        """A FITS file with one binary table, PROVENANCE."""
        from astropy.io import fits

        circles = [c.circle() for c in self.coadds]
        columns: list[tuple[str, str, list[Any], str]] = [
            ("band", "", [c.band for c in self.coadds], ""),
            ("dataset_type", "", [c.dataset_type for c in self.coadds], ""),
            ("run", "", [c.run for c in self.coadds], ""),
            ("dataset_id", "", [c.dataset_id for c in self.coadds], ""),
            ("data_id", "", [json.dumps(c.data_id, sort_keys=True) for c in self.coadds], ""),
            ("access_url", "", [c.uri for c in self.coadds], ""),
            ("hdu", "", [c.hdu for c in self.coadds], ""),
            ("s_ra", "D", [c[0] for c in circles], "deg"),
            ("s_dec", "D", [c[1] for c in circles], "deg"),
            ("s_fov", "D", [2 * c[2] for c in circles], "deg"),
            ("s_region", "", [c.region() for c in self.coadds], ""),
            ("unit_in", "", [c.unit_in for c in self.coadds], ""),
            ("scale", "D", [c.scale for c in self.coadds], ""),
            ("calibration", "", [c.calibration for c in self.coadds], ""),
            ("excluded_planes", "", [c.excluded_planes for c in self.coadds], ""),
            ("t_min", "D", [c.t_min for c in self.coadds], "d"),
            ("t_max", "D", [c.t_max for c in self.coadds], "d"),
        ]
        made = []
        for name, form, values, unit in columns:
            encoded = values if form else [_ascii(v) for v in values]
            width = form or f"{max([1, *map(len, encoded)])}A"
            made.append(fits.Column(name, width, unit=unit or None, array=np.array(encoded)))
        table = fits.BinTableHDU.from_columns(made, nrows=len(self.coadds), name="PROVENANCE")
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Provenance":
        """Read what `to_bytes` wrote. Raises SurveyError when it is something else."""
        from astropy.io import fits

        try:
            with fits.open(io.BytesIO(data)) as hdus:
                rows = np.array(hdus["PROVENANCE"].data)
            return cls([_from_row(row) for row in rows])
        except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
            raise SurveyError(f"{FILE_NAME} is not a provenance table: {error}") from error


def _ascii(text: str) -> str:
    # FITS tables hold ASCII only; a path may not be. A backslash is doubled, to be read back.
    return text.encode("unicode_escape").decode("ascii")


def _from_row(row: Any) -> UsedCoadd:
    def text(name: str) -> str:
        value = row[name]
        ascii_bytes = value if isinstance(value, bytes) else str(value).encode("ascii")
        return ascii_bytes.decode("unicode_escape").strip()

    numbers = [float(x) for x in text("s_region").split()[2:]]
    return UsedCoadd(
        uri=text("access_url"),
        hdu=text("hdu"),
        data_id=json.loads(text("data_id") or "{}"),
        dataset_type=text("dataset_type"),
        run=text("run"),
        dataset_id=text("dataset_id"),
        band=text("band"),
        polygon=tuple(zip(numbers[::2], numbers[1::2], strict=True)),
        unit_in=text("unit_in"),
        scale=float(row["scale"]),
        calibration=text("calibration"),
        excluded_planes=text("excluded_planes"),
        t_min=float(row["t_min"]),
        t_max=float(row["t_max"]),
    )
