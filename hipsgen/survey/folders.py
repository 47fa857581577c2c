"""Find the folders that hold surveys."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hipsgen.errors import SurveyError
from hipsgen.survey import paths
from hipsgen.survey.properties import FILE_NAME
from hipsgen.survey.store import is_url

MAX_DEPTH = 4

# folders that never hold surveys: tiles, the web page of a survey, hidden folders
_NOT_DESCENDED = re.compile(r"Norder[0-9]+|Dir[0-9]+|page|\..*")

logger = logging.getLogger(__name__)


def survey_folders(root: Path, depth: int = MAX_DEPTH, begun: str = FILE_NAME) -> Iterator[Path]:
    """Find folders with a properties file: root itself, or folders a few levels below it.

    begun: another file that marks a survey, for example one that is unfinished.
    """
    try:
        with os.scandir(root) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        logger.debug("%s cannot be listed: %s", root, error)
        return
    if any(entry.name == FILE_NAME and _is_file(entry) for entry in entries) or (
        begun != FILE_NAME and (root / begun).is_file()
    ):
        yield root
        return
    if depth <= 0:
        return
    for entry in entries:
        # a link could lead out of the folder
        if entry.is_dir(follow_symlinks=False) and not _NOT_DESCENDED.fullmatch(entry.name):
            yield from survey_folders(Path(entry.path), depth - 1, begun)


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        # a circular link
        return False


def surveys_under(place: str | Path, unfinished: bool = False) -> list[str]:
    """Return a survey itself, or the surveys in a folder. Raises SurveyError for none.

    unfinished: whether those that a build has only begun count.
    """
    if is_url(place):
        return [str(place)]
    out = Path(place)
    if not out.is_dir():
        raise SurveyError(f"no folder {out}")
    begun = paths.BUILD if unfinished else FILE_NAME
    found = [str(folder) for folder in survey_folders(out, begun=begun)]
    if not found:
        raise SurveyError(f"{out} is not a finished HiPS and holds none: no properties file")
    return found
