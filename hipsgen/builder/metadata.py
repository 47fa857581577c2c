"""The words of a survey: its properties file."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hipsgen.sky.tiles import pixel_size
from hipsgen.survey.bands import regime, wavelengths
from hipsgen.survey.provenance import UsedCoadd
from hipsgen.version import __version__

HIPS_VERSION = "1.4"
_WORDS = {
    "image": "coadded images resampled to HEALPix tiles",
    "variance": "variance of coadded images, as a map, resampled to HEALPix tiles",
    "mask": "mask of coadded images, the flags of the nearest pixels, in HEALPix tiles",
}


@dataclass(frozen=True)
class SurveyIdentity:
    """What a survey is of.

    name: of its folder; place: that with the folder above it, where there are several.
    title: one line. progenitor: where its coadds come from. plane: of those.
    """

    name: str
    title: str
    progenitor: str
    band: str = ""
    place: str = ""
    plane: str = "image"


def now() -> str:
    """ISO 8601 in UTC, to the minute; SOURCE_DATE_EPOCH stands in for the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = float(epoch) if epoch else time.time()
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))


def identity_properties(subject: SurveyIdentity, created: str) -> dict[str, Any]:
    """Who, what, when: the keys that come first."""
    return {
        "creator_did": f"ivo://unregistered/P/{_path_name(subject.place or subject.name)}",
        "obs_title": subject.title,
        "obs_description": f"{subject.title}: {_WORDS[subject.plane]} by hipsgen {__version__}",
        "prov_progenitor": subject.progenitor,
        "hips_creator": "unknown",
        "hips_builder": f"hipsgen/{__version__}",
        "hips_version": HIPS_VERSION,
        "hips_creation_date": created,
        "hips_release_date": now(),
        "hips_status": "private master clonableOnce",
        "dataproduct_type": "image",
    }


def wavelength_range(bands: Sequence[str]) -> dict[str, Any]:
    """obs_regime, em_min and em_max, where the bands are known."""
    ranges = [found for band in bands if (found := wavelengths(band))]
    if not ranges:
        return {}
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    return {"obs_regime": regime(low, high), "em_min": f"{low:.6g}", "em_max": f"{high:.6g}"}


def times(coadds: Sequence[UsedCoadd]) -> dict[str, Any]:
    """t_min and t_max, when some coadd says."""
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
    """Orders, tiles and where to look."""
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
        "moc_sky_fraction": f"{moc.sky_fraction:.8g}",
    }


def override(values: Mapping[str, Any], own: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The values with the user's put in place or added."""
    return {**values, **dict(own)}


def _path_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._/-]+", "_", text).strip("_/") or "survey"
