"""Saved references: a text file of JSON lines, from which a build starts without a registry."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from hipsgen.errors import InputError
from hipsgen.images.source import CoaddRef

_HEAD = {"hipsgen_manifest": 1}


def write_manifest(path: Path, refs: Iterable[CoaddRef], description: str) -> int:
    """Write references; how many there were."""
    count = 0
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps({**_HEAD, "from": description}) + "\n")
            for ref in refs:
                handle.write(json.dumps(asdict(ref)) + "\n")
                count += 1
        aside.replace(path)  # a half of a manifest would be a smaller survey without a word
    finally:
        aside.unlink(missing_ok=True)
    return count


def is_manifest(path: Path) -> bool:
    """Whether a file begins as a manifest does."""
    try:
        with path.open("rb") as handle:
            return handle.read(20).startswith(b'{"hipsgen_manifest"')
    except OSError:
        return False


def read_manifest(path: Path) -> tuple[list[CoaddRef], str]:
    """References and where they came from. Raises InputError for a damaged file."""
    refs: list[CoaddRef] = []
    lines = path.read_bytes().splitlines()
    try:
        description = json.loads(lines[0])["from"]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(f"{path} does not begin as a manifest does ({error})") from error
    for number, line in enumerate(lines[1:], start=2):
        try:
            refs.append(_ref(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path} line {number} is not a reference ({error})") from error
    return refs, str(description)


def _ref(values: dict[str, object]) -> CoaddRef:
    lists = {
        key: tuple(tuple(item) for item in values.get(key, ()))  # type: ignore[attr-defined]
        for key in ("polygon", "data_id")
    }
    return CoaddRef(**{**values, **lists})  # type: ignore[arg-type]
