"""Find folders that contain surveys."""

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

# folders that never contain surveys: tiles, the web page of a survey, hidden folders
_NOT_DESCENDED = re.compile(r"Norder[0-9]+|Dir[0-9]+|page|\..*")

logger = logging.getLogger(__name__)


def survey_folders(root: Path, depth: int = MAX_DEPTH, marker: str = FILE_NAME) -> Iterator[Path]:
    """Find surveys: the folder itself, or folders a few levels below it.

    A survey has a properties file. marker: another file that marks one, such as an unfinished one.
    """
    try:
        with os.scandir(root) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        logger.debug("%s cannot be listed: %s", root, error)
        return
    if any(entry.name == FILE_NAME and _is_file(entry) for entry in entries) or (
        marker != FILE_NAME and (root / marker).is_file()
    ):
        yield root
        return
    if depth <= 0:
        return
    for entry in entries:
        # a link could lead out of the folder
        if entry.is_dir(follow_symlinks=False) and not _NOT_DESCENDED.fullmatch(entry.name):
            yield from survey_folders(Path(entry.path), depth - 1, marker)


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        # a circular link
        return False


def surveys_under(location: str | Path, unfinished: bool = False) -> list[str]:
    """Return the surveys at a location: a survey, a folder of surveys, or a URL.

    unfinished: whether to include surveys that are not finished. Raises SurveyError for none.
    """
    if is_url(location):
        return [str(location)]
    if not str(location):
        raise SurveyError('the name of the folder is empty; the current folder is "."')
    out = Path(location)
    if not out.exists():
        raise SurveyError(f"{out} does not exist: name a survey, or a folder of surveys")
    if not out.is_dir():
        raise SurveyError(f"{out} is not a folder: name a survey, or a folder of surveys")
    marker = paths.BUILD if unfinished else FILE_NAME
    found = [str(folder) for folder in survey_folders(out, marker=marker)]
    if not found:
        raise SurveyError(
            f"{out} contains no survey: there is no properties file in it or in folders below it"
        )
    return found
