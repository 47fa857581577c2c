"""The `properties` file of a HiPS: UTF-8 lines `key = value`, `#` comments (HiPS 1.0, 4.4.1)."""

from collections.abc import Mapping

from hipsgen.errors import SurveyError

FILE_NAME = "properties"


def parse_properties(text: str) -> dict[str, str]:
    """Read the text of a properties file; a repeated key keeps its last value.

    Raises SurveyError for a line that is neither blank, a comment nor `key = value`.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not key.strip():
            raise SurveyError(f"properties line {number} is not 'key = value': {stripped[:60]!r}")
        found[key.strip()] = value.strip()
    return found


def format_properties(values: Mapping[str, object]) -> str:
    """Write key = value lines in the given order; None and empty values are left out."""
    width = max((len(key) for key in values), default=0)
    lines = [
        f"{key:<{width}} = {_one_line(value)}"
        for key, value in values.items()
        if value is not None and _one_line(value)
    ]
    return "\n".join(lines) + "\n"


def encode_properties(values: Mapping[str, object]) -> bytes:
    """The file's bytes; what is no text, as names of files may be, is escaped."""
    return format_properties(values).encode("utf-8", "backslashreplace")


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
