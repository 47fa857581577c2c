"""The files that a survey was made from, as its build has recorded them next to the recipe.

The provenance table names them as well. A server that opened whatever the table names would read
any file that the author of the table chose; this record counts only if nobody else can have
written it.
"""

import grp
import io
import json
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np

from hipsgen.images.staging import parts_of
from hipsgen.images.uris import path_of, uri_of
from hipsgen.survey import paths

KEY = "originals"  # in build.json
MAX_ROOTS = 100
_HERE = "file:///"


def roots_of(uris: Iterable[str]) -> list[str]:
    """Return URIs that cover those of files, by their names and by the targets of their links.

    They are the files themselves or, if there are more than `MAX_ROOTS`, the folders that contain
    them, or the folders above those; a folder ends with a slash.
    """
    _folder_target.cache_clear()
    return _covering({root for uri in uris for part in parts_of(uri) for root in _names_of(part)})


def _covering(roots: set[str]) -> list[str]:
    while len(roots) > MAX_ROOTS and (deepest := max(map(_depth, roots))) > _depth("file:///top/"):
        roots = {_folder_of(root) if _depth(root) == deepest else root for root in roots}
    return sorted(roots)


def _depth(root: str) -> int:
    """Return how deep a file or a folder is: each file is deeper than its folder."""
    return 2 * root.partition("://")[2].count("/") - root.endswith("/")


def _folder_of(root: str) -> str:
    return root.rstrip("/").rpartition("/")[0] + "/"


def _names_of(uri: str) -> Iterator[str]:
    """Yield the URI of a file and, if it is on this machine, that of the target of its links."""
    if not uri.startswith(_HERE):
        path = path_of(uri)
        if path is None:
            yield uri.partition("?")[0]
            return
        uri = uri_of(path)
    yield uri
    yield _target(*uri[len(_HERE) :].rpartition("/")[::2])[1]


def _target(folder: str, name: str) -> tuple[str, str]:
    """Return path and URI of a file or folder, with links resolved.

    folder, name: percent-encoded. Folders are resolved once, since there may be a million files.
    """
    real, uri = _folder_target(folder) if folder else ("/", _HERE)
    path = os.path.join(real, os.fsdecode(unquote_to_bytes(name)))
    if name in ("", ".", "..") or os.path.islink(path):
        path = os.path.realpath(path)
        return path, uri_of(path)
    return path, f"{uri.removesuffix('/')}/{name}"


@lru_cache(1 << 16)
def _folder_target(folder: str) -> tuple[str, str]:
    return _target(*folder.rpartition("/")[::2])


def recorded_roots(folder: Path) -> list[str]:
    """Return what the build of a survey in a folder has recorded, [] if others may have written it.

    A build by version 0.1.0 has recorded no roots; then they are the inputs of its blocks.
    """
    try:
        recipe = json.loads(_own_file(folder, paths.BUILD))
        roots = recipe[KEY] if KEY in recipe else _inputs_of_blocks(folder)
    except (OSError, ValueError, TypeError):
        return []
    return [root for root in roots if isinstance(root, str)]


def _inputs_of_blocks(folder: Path) -> list[str]:
    found: set[str] = set()
    for record in (folder / paths.BLOCKS).glob("*/*.npz"):
        with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
            data = _own_file(folder, str(record.relative_to(folder)))
            with np.load(io.BytesIO(data)) as arrays:
                uses = json.loads(arrays["record"].tobytes())["uses"]
            # the key of a coadd: URI[HDU] IDENTITY
            found.update(use["coadd"].rpartition("[")[0] for use in uses)
    return sorted({part for uri in found for part in parts_of(uri)})


def _own_file(folder: Path, path: str) -> bytes:
    """Read a file of this user in folders of this user, down from .hipsgen. Raises OSError."""
    place = folder / path
    inner = list(_folders_to(folder, place))
    file = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(file, "rb") as opened:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(f"{place} is not a file")
        for one in (status, *map(os.lstat, inner)):
            if not _is_own(one):
                raise PermissionError(f"{place} may have been written by others")
        return opened.read()


def _folders_to(folder: Path, place: Path) -> Iterator[Path]:
    while place.parent != folder:
        place = place.parent
        yield place


def _is_own(status: os.stat_result) -> bool:
    """Whether a file, or a folder that is no link, can only be written by this user (and root)."""
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    is_link = stat.S_ISLNK(status.st_mode)
    return status.st_uid == os.geteuid() and not (others or group or is_link)


def _is_own_group(number: int) -> bool:
    """Whether a group has only this user, as on systems where each user has a group of that name.

    There, files can be written by the group unless the user has changed the umask.
    """
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    is_named_so = user.pw_uid != 0 and user.pw_gid == number and user.pw_name == group.gr_name
    return is_named_so and not set(group.gr_mem) - {user.pw_name}
