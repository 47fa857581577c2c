"""Recognize Butler repositories, and read what SQL access needs from their butler.yaml."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hipsgen.errors import InputError, MissingExtraError
from hipsgen.files import read_regular, read_stream
from hipsgen.images.uris import path_if_local, path_of

_CONFIG = "butler.yaml"
_MAX_CONFIG = 1 << 20  # bytes
_YAML = (".yaml", ".yml")
_INDEX = ("DAF_BUTLER_REPOSITORY_INDEX", "DAF_BUTLER_REPOSITORIES")  # labels of repositories
_IMAGE = re.compile(r"\.(fits|fit|fts|fz|gz|bz2|xz|txt|lst|list|json|jsonl)$", re.IGNORECASE)
_RECORDS = "file_datastore_records"


def is_repository(text: str) -> bool:
    """Whether an input names a Butler repository.

    That is a folder with a butler.yaml, such a file, the URL of either or of a Butler server, or a
    label in the site's index of repositories.
    """
    path = path_if_local(text) if text else None
    if path is not None and path.exists():
        return (path / _CONFIG).is_file() or (path.suffix in _YAML and _is_config(path))
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if parts.scheme and parts.netloc:
        return not _IMAGE.search(parts.path)
    return bool(resolve_label(text))


def _is_config(path: Path) -> bool:
    """Whether a YAML file is a Butler configuration."""
    try:
        text = read_regular(path, _MAX_CONFIG).decode("utf-8", "replace")
    except OSError:
        return False
    return bool(re.search(r"^(registry|datastore|remote_butler|includeConfigs)\b", text, re.M))


def butler_uri(text: str) -> str:
    """Return the URI for the Butler, which takes a URL with a dot for that of a file."""
    if "://" in text and not text.endswith(("/", *_YAML)):
        return f"{text}/"
    return text


def why_not_repository(text: str) -> str:
    """Return why an input is not a repository."""
    path = path_of(text)
    if path is None or path.exists():
        return "it has no butler.yaml"
    if not any(os.environ.get(name) for name in _INDEX):
        return "there is no such folder, and DAF_BUTLER_REPOSITORY_INDEX is not set"
    from lsst.daf.butler import Butler

    known = ", ".join(sorted(Butler.get_known_repos()))
    labels = known or "none, or the index cannot be read"
    return f"there is no such folder or label; labels in the site's index: {labels}"


def resolve_label(text: str) -> str:
    """Return the URI of a label in the site's index of repositories, "" for any other text."""
    if not any(os.environ.get(name) for name in _INDEX) or os.path.exists(text):
        return ""
    try:
        from lsst.daf.butler import Butler
    except ImportError as error:
        raise MissingExtraError(f"looking for a repository {text!r}", "butler") from error
    try:
        return str(Butler.get_repo_uri(text)) if text in Butler.get_known_repos() else ""
    except ImportError as error:  # its scheme needs another package
        raise MissingExtraError(f"the repository {text!r}", "remote") from error


class Datastore(NamedTuple):
    """Root of the files of a datastore, and the table of its records."""

    root: str
    table: str


class RepositoryConfig(NamedTuple):
    """The database of a registry, and the datastores."""

    url: str
    namespace: str | None
    datastores: list[Datastore]


def read_config(repository: str) -> RepositoryConfig:
    """Read the database and the datastores from a butler.yaml. Raises InputError."""
    import yaml
    from lsst.resources import ResourcePath

    text = resolve_label(repository) or repository
    try:
        path = ResourcePath(text)
    except ImportError as error:
        raise MissingExtraError(f"the repository {text}", "remote") from error
    except NotImplementedError as error:
        raise InputError(f"the repository {text} cannot be read: {error}") from error
    if path.getExtension() not in _YAML:
        path = ResourcePath(text, forceDirectory=True).join(_CONFIG)
    try:
        config = yaml.safe_load(_content(path))
        root = path.dirname()
        root_uri = str(config.get("root", root.ospath.rstrip("/") if root.isLocal else root))

        def resolved(text: str) -> str:
            return text.replace("<butlerRoot>", root_uri)

        registry, datastore = config["registry"], config["datastore"]
        stores = [
            Datastore(resolved(one["root"]), one.get("records", {}).get("table", _RECORDS))
            for one in datastore.get("datastores", [datastore])
            if "root" in one
        ]
        return RepositoryConfig(resolved(registry["db"]), registry.get("namespace"), stores)
    except Exception as error:  # of the parser, or of a protocol's library
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        where = path.ospath if path.isLocal else str(path)
        raise InputError(f"{where} has no valid registry and datastore ({reason})") from error


def _content(path: Any) -> bytes:
    """Return the content of a butler.yaml, given as a ResourcePath. Raises OSError."""
    if path.isLocal:
        return read_regular(path.ospath, _MAX_CONFIG)
    with path.open("rb") as file:
        return read_stream(file, _MAX_CONFIG)
