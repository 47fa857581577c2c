"""Read and write the `properties` file of a HiPS: UTF-8 lines `key = value` (HiPS 1.0, 4.4.1)."""

import re
from collections.abc import Mapping

from hipsgen.errors import SurveyError

FILE_NAME = "properties"


def parse_properties(text: str) -> dict[str, str]:
    """Parse the text of a properties file; a repeated key keeps its last value.

    Lines that begin with `#` are comments. Raises SurveyError for a line that is neither blank, a
    comment nor `key = value`.
    """
    found: dict[str, str] = {}
    # other separators of lines, such as U+2028, are part of a value
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not key.strip():
            raise SurveyError(f"properties line {number} is not 'key = value': {stripped[:60]!r}")
        found[key.strip()] = value.strip()
    return found


def format_properties(values: Mapping[str, object]) -> str:
    """Format `key = value` lines in the given order, omitting None and empty values."""
    width = max((len(key) for key in values), default=0)
    lines = [
        f"{key:<{width}} = {_one_line(value)}"
        for key, value in values.items()
        if value is not None and _one_line(value)
    ]
    return "\n".join(lines) + "\n"


def encode_properties(values: Mapping[str, object]) -> bytes:
    """Return the bytes of the file; what is not valid text, as in names of files, is escaped."""
    return format_properties(values).encode("utf-8", "backslashreplace")


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
