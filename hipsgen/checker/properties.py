"""Check the properties file against the standard (HiPS 1.0, section 4.4.1)."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from hipsgen.checker.finding import Finding
from hipsgen.sky.frames import FRAMES
from hipsgen.sky.tiles import pixel_size

_MUST = (
    "creator_did",
    "obs_title",
    "dataproduct_type",
    "hips_version",
    "hips_release_date",
    "hips_status",
    "hips_tile_format",
    "hips_order",
    "hips_frame",
)
_SHOULD = (
    "obs_description",
    "prov_progenitor",
    "obs_regime",
    "hips_creation_date",
    "hips_initial_ra",
    "hips_initial_dec",
    "hips_initial_fov",
    "t_min",
    "t_max",
    "em_min",
    "em_max",
)
_STATUS = (
    {"private", "public"},
    {"master", "mirror", "partial"},
    {"clonable", "unclonable", "clonableOnce"},
)
_TYPES = {"image", "cube", "catalog"}


def check_properties(p: Mapping[str, str]) -> Iterator[Finding]:
    """Check that the required keys are present and that the values are valid."""
    for key in _MUST:
        if key not in p:
            yield Finding("error", key, "is missing; the standard requires it")
    for key in _SHOULD:
        if key not in p:
            yield Finding("note", key, "is missing; the standard recommends it")
    for key, is_valid, expected in _FORMATS:
        if key in p and not is_valid(p[key]):
            yield Finding("error", key, f"{p[key]!r} is not {expected}")
    if "fits" in p.get("hips_tile_format", "") and "hips_pixel_bitpix" not in p:
        yield Finding("warning", "hips_pixel_bitpix", "is missing; Aladin Lite fails without it")
    yield from _check_scale(p)


def _check_scale(p: Mapping[str, str]) -> Iterator[Finding]:
    try:
        order, scale = int(p["hips_order"]), float(p["hips_pixel_scale"])
        width = int(p.get("hips_tile_width", "512"))
    except (KeyError, ValueError):
        return
    if 0 <= order <= 29 and width > 0 and abs(scale / pixel_size(order, width) - 1) > 0.05:
        expected = f"{pixel_size(order, width):.4g} deg"
        message = f"is {scale:g} deg; pixels of order {order} have {expected}"
        yield Finding("error", "hips_pixel_scale", message)


def _is_did(text: str) -> bool:
    return re.fullmatch(r"ivo://[^\s/]+(/\S*)?", text) is not None


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _is_status(text: str) -> bool:
    words = text.split()
    return all(len(kind & set(words)) == 1 for kind in _STATUS) and len(words) == len(_STATUS)


def is_power_of_two(text: str) -> bool:
    """Whether a text is a power of two, such as 512."""
    return text.isdecimal() and len(text) < 9 and int(text) > 0 and int(text) & (int(text) - 1) == 0


def _increases(text: str) -> bool:
    try:
        low, high = map(float, text.split())
    except ValueError:
        return False
    return low < high


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _formats_known(text: str) -> bool:
    return bool(text.split()) and all(
        f in {"fits", "png", "jpeg", "webp", "tsv"} for f in text.split()
    )


_STATUS_TEXT = ", ".join("/".join(sorted(kind)) for kind in _STATUS)
_FORMATS = (
    ("creator_did", _is_did, "an IVOA identifier (ivo://authority/path without spaces)"),
    ("hips_release_date", _is_date, "an ISO 8601 date"),
    ("hips_creation_date", _is_date, "an ISO 8601 date"),
    ("hips_status", _is_status, "one of each of " + _STATUS_TEXT),
    ("hips_tile_format", _formats_known, "a list of fits, png, jpeg, webp"),
    ("hips_order", str.isdigit, "a whole number"),
    ("hips_order_min", str.isdigit, "a whole number"),
    ("hips_frame", FRAMES.__contains__, "one of " + ", ".join(sorted(FRAMES))),
    ("dataproduct_type", _TYPES.__contains__, "one of " + ", ".join(sorted(_TYPES))),
    ("hips_tile_width", is_power_of_two, "a power of two"),
    ("hips_pixel_cut", _increases, "two increasing numbers"),
    ("hips_data_range", _increases, "two increasing numbers"),
    ("hips_pixel_bitpix", {"8", "16", "32", "64", "-32", "-64"}.__contains__, "a FITS BITPIX"),
    ("hips_estsize", is_number, "a number of kB"),
    ("hips_initial_ra", is_number, "a number of degrees"),
    ("hips_initial_dec", is_number, "a number of degrees"),
    ("hips_initial_fov", is_number, "a number of degrees"),
    ("moc_sky_fraction", is_number, "a number"),
    ("t_min", is_number, "a Modified Julian Date"),
    ("t_max", is_number, "a Modified Julian Date"),
    ("em_min", is_number, "a number of meters"),
    ("em_max", is_number, "a number of meters"),
)  # fmt: skip
