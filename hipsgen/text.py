"""Format numbers and parameter names in messages."""

import re
from collections.abc import Callable, Sequence

_FLAGS = {"fresh", "recut", "skip_bad", "strict"}
# parameters of the API whose option on the command line has a different name
_OPTIONS = {
    "against_inputs": "--against-inputs",
    "bands": "--band",
    "collections": "--collection",
    "excluded": "--exclude-mask",
    "formats": "--format",
    "interpolation": "--interp",
    "output": "-o",
    "patches": "--patch",
    "plane": "--planes",
    "properties": "--property",
    "tracts": "--tract",
}
_NAMES = (
    *_OPTIONS, *_FLAGS, "assume_band", "blank", "color", "cuts", "dataset_type", "engine",
    "exclude", "frame", "hdu", "include", "manifest", "memory", "order", "overlap", "planes",
    "region", "skymap", "stretch", "tile_width", "unit", "where", "workers",
)  # fmt: skip
PARAMETER = re.compile(rf"\{{({'|'.join(_NAMES)})\}}")


def as_keyword(parameter: str) -> str:
    """Return the name of a parameter in a script."""
    return f"{parameter}=True" if parameter in _FLAGS else parameter


def as_option(parameter: str) -> str:
    """Return the option of the command line for a parameter."""
    return _OPTIONS.get(parameter, f"--{parameter.replace('_', '-')}")


def name_parameters(text: str, name: Callable[[str], str] = as_keyword) -> str:
    """Replace placeholders such as `{order}` in a message by the names of the parameters."""
    return PARAMETER.sub(lambda found: name(found[1]), text)


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: `1 coadd`, `2 coadds`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(texts: Sequence[str], most: int) -> str:
    """Return the first texts, separated by commas, and the number of the others."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def cuts_text(low: float, high: float) -> str:
    """Return `low to high`, with four digits, or more where they would hide the difference."""
    for digits in (4, 6, 9, 12):
        texts = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if abs(float(texts[1]) - float(texts[0]) - (high - low)) <= 0.05 * abs(high - low):
            break
    return " to ".join(texts)


def human_size(count: float) -> str:
    """Format a size in bytes, such as 1.2 MB for 1234567."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
