"""Annotations of positions in a survey, a small file each in its side folder.

A flag's file is named after the flag and its version. A change makes the file of the next version,
which only one of several at once can do; nothing is ever written over, so there is no lock.
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

MAX_FLAGS = 10_000
_MOST = {"note": 2000, "view": 4000, "author": 100}  # characters
_LONGEST = 1 << 17  # bytes of a flag: six for every character, and its numbers
_MEANWHILE = "somebody changed this flag meanwhile: load the list again"
_NAME = re.compile(r"([0-9a-f]{16})\.([1-9][0-9]{0,5})\.json")


class AnnotationError(HipsgenError):
    """A flag that cannot be kept as asked; status: as HTTP has it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Annotation:
    """A place (ICRS degrees), what is to be said of it, and the view in which that was seen.

    view: what the page has behind # in its address. version: counts changes, from 1.
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
    """Those of one survey. folder: the survey's."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / paths.ANNOTATIONS

    def all(self) -> list[Annotation]:
        """As they are now, the oldest first; what cannot be read is passed over."""
        flags = (self._current(name, entry) for name, entry in self._latest().items())
        found = [flag for flag in flags if flag and not flag.deleted]
        return sorted(found, key=lambda flag: (flag.created, flag.id))

    def add(self, content: Mapping[str, object]) -> Annotation:
        """A new one. Raises AnnotationError."""
        # those that were deleted leave a file each, and need not be read while there are few
        if len(self._latest()) >= MAX_FLAGS and len(self.all()) >= MAX_FLAGS:
            raise AnnotationError(
                f"there are {MAX_FLAGS} flags already: export and delete some", 409
            )
        now = _now()
        flag = Annotation(secrets.token_hex(8), 1, *_position(content), created=now, changed=now)
        return self._write(replace(flag, **_texts(content)))

    def change(self, name: str, content: Mapping[str, object]) -> Annotation:
        """Another note, view, author or place; content has the version that was seen.

        Raises AnnotationError: 409 when somebody else has changed it since, 404 when it is gone.
        """
        seen = self._seen(name, content)
        if "ra" in content or "dec" in content:
            ra, dec = _position({"ra": seen.ra, "dec": seen.dec, **content})
            seen = replace(seen, ra=ra, dec=dec)
        return self._write(
            replace(seen, **_texts(content), version=seen.version + 1, changed=_now())
        )

    def delete(self, name: str, content: Mapping[str, object]) -> None:
        """Raises AnnotationError, as `change`."""
        seen = self._seen(name, content)
        self._write(replace(seen, version=seen.version + 1, changed=_now(), deleted=True))

    def _seen(self, name: str, content: Mapping[str, object]) -> Annotation:
        """The flag, if it is still the one that was seen."""
        flag = self._current(name, self._latest().get(name))
        if flag is None or flag.deleted:
            raise AnnotationError(
                f"there is no flag {name[:40]!r} any more: load the list again", 404
            )
        if content.get("version") != flag.version:
            raise AnnotationError(_MEANWHILE, 409)
        return flag

    def _latest(self) -> dict[str, str]:
        """The file of the latest version of each flag, by the flag's name."""
        found: dict[str, tuple[int, str]] = {}
        for entry in self._names():
            if match := _NAME.fullmatch(entry):
                found[match[1]] = max(found.get(match[1], (0, "")), (int(match[2]), entry))
        return {name: entry for name, (_, entry) in found.items()}

    def _names(self) -> Iterator[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from os.listdir(self._place)

    def _current(self, name: str, entry: str | None) -> Annotation | None:
        """A flag as it is; None when it is not there, or not to be read."""
        while entry is not None:
            try:
                place = self._place.resolve()
                with open_inside([place], place / entry) as file:
                    content = json.loads(file.read(_LONGEST))
                return _checked(Annotation(**content), entry)
            except FileNotFoundError:
                # the next version took its place, unless it is no file
                seen, entry = entry, self._latest().get(name)
                if entry == seen:
                    return None
            except (OSError, ValueError, TypeError, RecursionError, AnnotationError):
                return None
        return None

    def _write(self, flag: Annotation) -> Annotation:
        """Make the file of this version, whole or not at all, unless there is one."""
        target = self._place / f"{flag.id}.{flag.version}.json"
        aside = self._place / f".{flag.id}.{secrets.token_hex(4)}.new"
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            with aside.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(flag), allow_nan=False))
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, target)
        except FileExistsError:
            raise AnnotationError(_MEANWHILE, 409) from None
        except OSError as error:
            raise AnnotationError(
                f"flags cannot be kept here ({error.strerror or error}): serve with --read-only "
                "to keep them in the browser",
                507,
            ) from error
        finally:
            with suppress(OSError):
                aside.unlink()
        matches = [match for name in self._names() if (match := _NAME.fullmatch(name))]
        versions = [int(match[2]) for match in matches if match[1] == flag.id]
        if max(versions) > flag.version:  # others made this version and the next, and removed it
            with suppress(OSError):
                target.unlink()
            raise AnnotationError(_MEANWHILE, 409)
        for version in versions:
            if version < flag.version:
                with suppress(OSError):
                    (self._place / f"{flag.id}.{version}.json").unlink()
        return flag


def _checked(flag: Annotation, entry: str) -> Annotation:
    """A flag as somebody's editor left it. Raises AnnotationError, TypeError or ValueError."""
    content = asdict(flag)
    ra, dec = _position(content)
    dates = flag.created, flag.changed
    is_whole = type(flag.version) is int and all(isinstance(date, str) for date in dates)
    if not is_whole or entry != f"{flag.id}.{flag.version}.json":
        raise ValueError(entry)
    return replace(flag, ra=ra, dec=dec, **_texts(content), deleted=flag.deleted is True)


def _position(content: Mapping[str, object]) -> tuple[float, float]:
    ra, dec = (_angle(content.get(name)) for name in ("ra", "dec"))
    if not (0.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):
        told = f"ra={content.get('ra')!s:.40}, dec={content.get('dec')!s:.40}"
        raise AnnotationError(f"{told}: ra is 0 to 360, dec -90 to 90 degrees")
    return ra, dec


def _angle(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) <= 360 else math.nan


def _texts(content: Mapping[str, object]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, most in _MOST.items():
        if key in content:
            text = content[key]
            if not isinstance(text, str) or len(text) > most:
                raise AnnotationError(f"{key} is not a text of at most {most} characters")
            found[key] = text.encode("utf-8", "replace").decode("utf-8")
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
