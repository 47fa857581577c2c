"""What names a Butler repository, and what its butler.yaml says to those who read it by SQL."""

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from hipsgen.errors import InputError, MissingExtraError
from hipsgen.images.uris import path_of

_CONFIG = "butler.yaml"
_YAML = (".yaml", ".yml")
_INDEX = ("DAF_BUTLER_REPOSITORY_INDEX", "DAF_BUTLER_REPOSITORIES")  # of labels of repositories
_IMAGE = re.compile(r"\.(fits|fit|fts|fz|gz|bz2|xz|txt|lst|list|json|jsonl)$", re.IGNORECASE)
_RECORDS = "file_datastore_records"


def is_repository(text: str) -> bool:
    """Whether an input names a Butler repository.

    That is a folder with a butler.yaml, such a file, the URL of either or of a Butler server, or
    a label of the site's index of repositories.
    """
    path = path_of(text)
    if path is not None and path.exists():
        return (path / _CONFIG).is_file() or (path.suffix in _YAML and _is_config(path))
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if parts.scheme and parts.netloc:
        return not _IMAGE.search(parts.path)
    return bool(labelled(text))


def _is_config(path: Path) -> bool:
    """Whether a yaml file is one of the Butler's, and no list of images."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(re.search(r"^(registry|datastore|remote_butler|includeConfigs)\b", text, re.M))


def place_of_repository(text: str) -> str:
    """As the Butler takes it, who guesses from a dot that a URL is that of a file."""
    if "://" in text and not text.endswith(("/", *_YAML)):
        return f"{text}/"
    return text


def why_not(text: str) -> str:
    """Why an input names no repository."""
    path = path_of(text)
    if path is None or path.exists():
        return "it has no butler.yaml"
    if not any(os.environ.get(name) for name in _INDEX):
        return "there is no such folder, and DAF_BUTLER_REPOSITORY_INDEX names no index of labels"
    from lsst.daf.butler import Butler

    known = ", ".join(sorted(Butler.get_known_repos()))
    index = known or "none, if the index can be read at all"
    return f"there is no such folder, nor such a label in the site's index, which has: {index}"


def labelled(text: str) -> str:
    """The place that a label of the site's index of repositories stands for, "" for no label."""
    if not any(os.environ.get(name) for name in _INDEX) or os.path.exists(text):
        return ""
    try:
        from lsst.daf.butler import Butler
    except ImportError as error:
        raise MissingExtraError(f"looking for a repository {text!r}", "butler") from error
    try:
        return str(Butler.get_repo_uri(text)) if text in Butler.get_known_repos() else ""
    except ImportError as error:  # of a place that needs another package
        raise MissingExtraError(f"the repository {text!r}", "remote") from error


class Datastore(NamedTuple):
    """Where files lie, and the table of what lies there."""

    root: str
    table: str


class Config(NamedTuple):
    """The database of a registry, and the datastores."""

    url: str
    namespace: str | None
    datastores: list[Datastore]


def config_of(repository: str) -> Config:
    """What is needed of a butler.yaml. Raises InputError."""
    import yaml
    from lsst.resources import ResourcePath

    text = labelled(repository) or repository
    try:
        place = ResourcePath(text)
    except ImportError as error:
        raise MissingExtraError(f"the repository {text}", "remote") from error
    if place.getExtension() not in _YAML:
        place = ResourcePath(text, forceDirectory=True).join(_CONFIG)
    try:
        config = yaml.safe_load(place.read())
        root = place.dirname()
        home = str(config.get("root", root.ospath.rstrip("/") if root.isLocal else root))

        def placed(text: str) -> str:
            return text.replace("<butlerRoot>", home)

        registry, datastore = config["registry"], config["datastore"]
        stores = [
            Datastore(placed(one["root"]), one.get("records", {}).get("table", _RECORDS))
            for one in datastore.get("datastores", [datastore])
            if "root" in one
        ]
        return Config(placed(registry["db"]), registry.get("namespace"), stores)
    except Exception as error:  # of a parser, or of the library of each kind of place
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        where = place.ospath if place.isLocal else str(place)
        raise InputError(f"{where}: no registry and datastore in it ({reason})") from error
