"""JSON descriptions of coadds for the API."""

import math
from typing import NotRequired, TypedDict

from hipsgen.errors import CoaddError
from hipsgen.survey.provenance import UsedCoadd
from viewer.coadds.originals import NotAllowedError
from viewer.coadds.pixels import PixelDescription, coadd_id, pixel_at


class CoaddDescription(TypedDict):
    """A coadd that contributed to a survey, with a pixel or the reason why it cannot be read.

    coadd: its identifier in the API. t_min, t_max: MJD. scale, t_min, t_max: None if unknown.
    allowed: false if this server may not open its file.
    """

    coadd: str
    data_id: dict[str, int | str]
    dataset_type: str
    run: str
    uuid: str
    band: str
    uri: str
    hdu: str
    unit_in: str
    scale: float | None
    t_min: float | None
    t_max: float | None
    pixel: NotRequired[PixelDescription]
    error: NotRequired[str]
    allowed: NotRequired[bool]


def describe_coadd(coadd: UsedCoadd) -> CoaddDescription:
    """Describe a coadd from the provenance table."""
    return {
        "coadd": coadd_id(coadd),
        "data_id": dict(coadd.ref.data_id),
        "dataset_type": coadd.ref.dataset_type,
        "run": coadd.ref.run,
        "uuid": coadd.ref.dataset_id,
        "band": coadd.ref.band,
        "uri": coadd.ref.uri,
        "hdu": coadd.ref.hdu,
        "unit_in": coadd.unit_in,
        "scale": _finite(coadd.scale),
        "t_min": _finite(coadd.t_min),
        "t_max": _finite(coadd.t_max),
    }


def describe_with_pixel(coadd: UsedCoadd, ra: float, dec: float) -> CoaddDescription:
    """Describe a coadd with the pixel of its own file at an ICRS position (degrees)."""
    description = describe_coadd(coadd)
    try:
        description["pixel"] = pixel_at(coadd, ra, dec)
    except CoaddError as error:
        description["error"] = str(error)
        if isinstance(error, NotAllowedError):
            description["allowed"] = False
    return description


def _finite(value: float) -> float | None:
    # JSON has no NaN
    return value if math.isfinite(value) else None
