"""Which files are a survey's own."""

import re

_SURVEY_FILE = re.compile(
    r"""Norder\d+/(Dir\d+/Npix\d+|Allsky)\.(fits|png|jpg|webp)
    |properties|Moc\.fits|provenance\.fits|preview\.jpg|index\.html
    |page/.*|\.hipsgen/.*""",
    re.VERBOSE,
)


def is_survey_file(path: str) -> bool:
    """Whether a path, relative to a survey's root, is one that a build writes."""
    return _SURVEY_FILE.fullmatch(path) is not None
