"""The web page with which a survey's folder can be opened in a browser, on any web server.

Its files are built as part of the package `viewer` (viewer/web); here they are only data.
"""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable


def page_files() -> Iterator[tuple[str, bytes]]:
    """Iterate over (path in the survey, content) of index.html and the files that it needs.

    There are none if this installation was made without the page.
    """
    static = files("viewer") / "static"
    survey = static / "survey"
    if not survey.is_dir():
        return
    yield from _tree(survey, "")
    yield from _tree(static / "aladin", "page/aladin/")


def _tree(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _tree(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()
