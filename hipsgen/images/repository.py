"""What names a Butler repository, and what its butler.yaml says to those who read it by SQL."""

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from hipsgen.errors import InputError
from hipsgen.images.files import path_of

_CONFIG = "butler.yaml"
_YAML = (".yaml", ".yml")
_INDEX = ("DAF_BUTLER_REPOSITORY_INDEX", "DAF_BUTLER_REPOSITORIES")  # of labels of repositories
_RECORDS = "file_datastore_records"


def is_repository(text: str) -> bool:
    """Whether an input names a Butler repository.

    That is a folder with a butler.yaml, such a file, the URL of either or of a Butler server, or
    a label of the site's index of repositories.
    """
    path = path_of(text)
    if path is not None and path.exists():
        return (path / _CONFIG).is_file() or (path.is_file() and path.suffix in _YAML)
    parts = urlsplit(text)
    if parts.scheme and parts.netloc:
        return Path(parts.path).suffix in ("", *_YAML)
    return bool(labelled(text))


def why_not(text: str) -> str:
    """Why an input names no repository."""
    path = path_of(text)
    if path is not None and not path.exists():
        return "there is no such folder, nor such a label in DAF_BUTLER_REPOSITORY_INDEX"
    return "it has no butler.yaml"


def labelled(text: str) -> str:
    """The place that a label of the site's index of repositories stands for, "" for no label."""
    if not any(name in os.environ for name in _INDEX):
        return ""
    try:
        from lsst.daf.butler import Butler
    except ImportError:
        return ""
    if text not in Butler.get_known_repos():
        return ""
    return str(Butler.get_repo_uri(text))


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
    place = ResourcePath(text)
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
