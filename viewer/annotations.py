"""Annotations of positions in a survey, called flags on the page; one small file each.

The file name contains the annotation's ID and version. A change creates the file of the next
version, which only one of several concurrent writers can do (optimistic locking); files are never
overwritten, so no lock is needed.
"""

import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hipsgen.errors import HipsgenError
from hipsgen.survey import paths
from viewer.http.files import open_inside

MAX_ANNOTATIONS = 10_000
_MAX_LENGTHS = {"note": 2000, "view": 4000, "author": 100}  # characters
# invisible characters that reorder or overwrite the text around them: control characters (C0, C1),
# and those of bidirectional text; a note may have several lines
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MULTILINE = re.compile("(?![\n\t])" + _INVISIBLE.pattern)
_MAX_FILE_SIZE = 1 << 17  # bytes: six for every character, and the numbers
_CONFLICT = "this flag has been changed by another user: reload the list"
_NAME = re.compile(r"([0-9a-f]{16})\.([1-9][0-9]{0,5})\.json")


class AnnotationError(HipsgenError):
    """An annotation cannot be stored; status: the HTTP status of the response."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Annotation:
    """A note on a position.

    Parameters
    ----------
    id
        16 hexadecimal digits.
    version
        Number of the change, from 1.
    ra, dec
        ICRS degrees.
    note, author
        Text of the user.
    view
        The view in which it was made, as in the page's address after #.
    created, changed
        Times in ISO 8601, UTC.
    deleted
        Whether this version marks it as deleted.
    """

    id: str
    version: int
    ra: float
    dec: float
    note: str = ""
    view: str = ""
    author: str = ""
    created: str = ""
    changed: str = ""
    deleted: bool = False


class Annotations:
    """The annotations of one survey. folder: the survey's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / paths.ANNOTATIONS

    def all(self) -> list[Annotation]:
        """Return the current annotations, the oldest first; unreadable files are skipped."""
        current = (self._current(name, entry) for name, entry in self._latest().items())
        existing = [one for one in current if one and not one.deleted]
        return sorted(existing, key=lambda one: (one.created, one.id))

    def add(self, content: Mapping[str, object]) -> Annotation:
        """Add an annotation; content: its fields. Raises AnnotationError if it is invalid."""
        # a deleted annotation leaves a file; the files are only read if they exceed the limit
        if len(self._latest()) >= MAX_ANNOTATIONS and len(self.all()) >= MAX_ANNOTATIONS:
            raise AnnotationError(
                f"there are {MAX_ANNOTATIONS} flags already: export and delete some", 409
            )
        now = _now()
        new = Annotation(secrets.token_hex(8), 1, *_position(content), created=now, changed=now)
        return self._write(replace(new, **_texts(content)))

    def change(self, name: str, content: Mapping[str, object]) -> Annotation:
        """Change the note, view, author or position.

        Parameters
        ----------
        name
            ID of the annotation.
        content
            The fields to change, and `version`, the version that the client last read.

        Raises
        ------
        AnnotationError
            With status 409 if another client has changed it since, 404 if it does not exist.
        """
        old = self._unchanged(name, content)
        if "ra" in content or "dec" in content:
            ra, dec = _position({"ra": old.ra, "dec": old.dec, **content})
            old = replace(old, ra=ra, dec=dec)
        return self._write(replace(old, **_texts(content), version=old.version + 1, changed=_now()))

    def delete(self, name: str, content: Mapping[str, object]) -> None:
        """Delete an annotation; raises like `change`."""
        old = self._unchanged(name, content)
        self._write(replace(old, version=old.version + 1, changed=_now(), deleted=True))

    def _unchanged(self, name: str, content: Mapping[str, object]) -> Annotation:
        """Return the annotation if it still has the version that the client last read."""
        current = self._current(name, self._latest().get(name))
        if current is None or current.deleted:
            raise AnnotationError(f"flag {name[:40]!r} no longer exists: reload the list", 404)
        if content.get("version") != current.version:
            raise AnnotationError(_CONFLICT, 409)
        return current

    def _latest(self) -> dict[str, str]:
        """Return the file name of the latest version of each annotation, by ID."""
        latest: dict[str, tuple[int, str]] = {}
        for entry in self._names():
            if match := _NAME.fullmatch(entry):
                latest[match[1]] = max(latest.get(match[1], (0, "")), (int(match[2]), entry))
        return {name: entry for name, (_, entry) in latest.items()}

    def _names(self) -> Iterator[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from os.listdir(self._folder)

    def _current(self, name: str, entry: str | None) -> Annotation | None:
        """Return the current version of an annotation; None if it is missing or unreadable."""
        while entry is not None:
            try:
                folder = self._folder.resolve()
                with open_inside([folder], folder / entry) as file:
                    content = json.loads(file.read(_MAX_FILE_SIZE))
                return _validated(Annotation(**content), entry)
            except FileNotFoundError:
                # replaced by the next version, unless it is not a file
                previous, entry = entry, self._latest().get(name)
                if entry == previous:
                    return None
            except (OSError, ValueError, TypeError, RecursionError, AnnotationError):
                return None
        return None

    def _write(self, annotation: Annotation) -> Annotation:
        """Create the file of this version atomically. Raises AnnotationError if it exists."""
        target = self._path(annotation.id, annotation.version)
        temporary = self._folder / f".{annotation.id}.{secrets.token_hex(4)}.new"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(annotation), allow_nan=False))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, target)
        except FileExistsError:
            raise AnnotationError(_CONFLICT, 409) from None
        except OSError as error:
            raise AnnotationError(
                f"flags cannot be stored here ({error.strerror or error}): serve with --read-only "
                "to keep them in the browser",
                507,
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink()
        self._remove_old_versions(annotation)
        return annotation

    def _remove_old_versions(self, written: Annotation) -> None:
        """Remove the versions before the written one. Raises AnnotationError if it is obsolete."""
        matches = [match for name in self._names() if (match := _NAME.fullmatch(name))]
        versions = [int(match[2]) for match in matches if match[1] == written.id]
        if max(versions) > written.version:
            # other writers had made this version and the next, and removed this one
            with suppress(OSError):
                self._path(written.id, written.version).unlink()
            raise AnnotationError(_CONFLICT, 409)
        for version in versions:
            if version < written.version:
                with suppress(OSError):
                    self._path(written.id, version).unlink()

    def _path(self, name: str, version: int) -> Path:
        return self._folder / f"{name}.{version}.json"


def _validated(stored: Annotation, entry: str) -> Annotation:
    """Validate the content of a file, which may have been edited by hand.

    Raises AnnotationError, TypeError or ValueError.
    """
    content = asdict(stored)
    ra, dec = _position(content)
    dates = stored.created, stored.changed
    is_valid = type(stored.version) is int and all(isinstance(date, str) for date in dates)
    if not is_valid or entry != f"{stored.id}.{stored.version}.json":
        raise ValueError(entry)
    return replace(stored, ra=ra, dec=dec, **_texts(content), deleted=stored.deleted is True)


def _position(content: Mapping[str, object]) -> tuple[float, float]:
    ra, dec = (_angle(content.get(name)) for name in ("ra", "dec"))
    if not (0.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):
        given = f"ra={content.get('ra')!s:.40}, dec={content.get('dec')!s:.40}"
        raise AnnotationError(f"{given}: ra must be 0 to 360, dec -90 to 90 degrees")
    return ra, dec


def _angle(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) <= 360 else math.nan


def _texts(content: Mapping[str, object]) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    for key, max_length in _MAX_LENGTHS.items():
        if key in content:
            text = content[key]
            if not isinstance(text, str) or len(text) > max_length:
                raise AnnotationError(f"{key} must be a text of at most {max_length} characters")
            invisible = _MULTILINE if key == "note" else _INVISIBLE
            texts[key] = invisible.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return texts


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
