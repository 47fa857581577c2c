"""Values of the properties file of a survey."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hipsgen.sky.tiles import pixel_size
from hipsgen.survey.bands import regime, wavelengths
from hipsgen.survey.coverage import sky_fraction
from hipsgen.survey.provenance import UsedCoadd
from hipsgen.version import __version__

HIPS_VERSION = "1.4"
_DESCRIPTIONS = {
    "image": "coadded images resampled to HEALPix tiles",
    "variance": "variance of coadded images, as a map, resampled to HEALPix tiles",
    "mask": "mask of coadded images, the flags of the nearest pixels, in HEALPix tiles",
}


@dataclass(frozen=True)
class SurveyIdentity:
    """Names that identify a survey.

    Attributes
    ----------
    name
        Name of its folder.
    title
        One line for obs_title.
    progenitor
        Description of the source of its inputs.
    band
        Band of its coadds.
    path
        Path in creator_did: `name`, below the name of the folder that holds several surveys.
    plane
        Plane of its coadds.
    """

    name: str
    title: str
    progenitor: str
    band: str = ""
    path: str = ""
    plane: str = "image"


def now() -> str:
    """Return the UTC time in ISO 8601, to the minute; SOURCE_DATE_EPOCH overrides the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = float(epoch) if epoch else time.time()
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))


def identity_properties(identity: SurveyIdentity, created: str) -> dict[str, Any]:
    """Return identifier, title, description, creator and dates."""
    description = f"{_DESCRIPTIONS[identity.plane]} by hipsgen {__version__}"
    return {
        "creator_did": f"ivo://unregistered/P/{_did_path(identity.path or identity.name)}",
        "obs_title": identity.title,
        "obs_description": f"{identity.title}: {description}",
        "prov_progenitor": identity.progenitor,
        "hips_creator": "unknown",
        "hips_builder": f"hipsgen/{__version__}",
        "hips_version": HIPS_VERSION,
        "hips_creation_date": created,
        "hips_release_date": now(),
        "hips_status": "private master clonableOnce",
        "dataproduct_type": "image",
    }


def wavelength_range(bands: Sequence[str]) -> dict[str, Any]:
    """Return obs_regime, em_min and em_max of the known ones of the bands."""
    ranges = [found for band in bands if (found := wavelengths(band))]
    if not ranges:
        return {}
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    return {"obs_regime": regime(low, high), "em_min": f"{low:.6g}", "em_max": f"{high:.6g}"}


def times(coadds: Sequence[UsedCoadd]) -> dict[str, Any]:
    """Return t_min and t_max of the coadds with known times."""
    known = [c for c in coadds if c.t_min == c.t_min]
    if not known:
        return {}
    first, last = min(c.t_min for c in known), max(c.t_max for c in known)
    return {"t_min": f"{first:.8f}", "t_max": f"{last:.8f}"}


def geometry(
    order: int,
    width: int,
    frame: str,
    formats: str,
    center: tuple[float, float],
    fov: float,
    moc: Any,
) -> dict[str, Any]:
    """Return orders, tile properties, initial view and sky fraction."""
    return {
        "hips_frame": frame,
        "hips_order": order,
        "hips_order_min": 0,
        "hips_tile_width": width,
        "hips_tile_format": formats,
        "hips_pixel_scale": f"{pixel_size(order, width):.8g}",
        "hips_initial_ra": f"{center[0]:.7f}",
        "hips_initial_dec": f"{center[1]:.7f}",
        "hips_initial_fov": f"{fov:.5g}",
        "moc_sky_fraction": f"{sky_fraction(moc):.8g}",
    }


def override(
    values: Mapping[str, Any], own_properties: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the values, with those of the user replaced or added."""
    return {**values, **dict(own_properties)}


def _did_path(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._/-]+", "_", text).strip("_/") or "survey"
