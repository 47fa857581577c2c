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
    with path.open("w", encoding="utf-8") as handle:
        handle.write(json.dumps({**_HEAD, "from": description}) + "\n")
        for ref in refs:
            handle.write(json.dumps(asdict(ref)) + "\n")
            count += 1
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
    with path.open(encoding="utf-8") as handle:
        description = json.loads(handle.readline()).get("from", "")
        for number, line in enumerate(handle, start=2):
            try:
                refs.append(_ref(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path} line {number} is not a reference ({error})") from error
    return refs, description


def _ref(values: dict[str, object]) -> CoaddRef:
    lists = {
        key: tuple(tuple(item) for item in values.get(key, ()))  # type: ignore[attr-defined]
        for key in ("polygon", "data_id")
    }
    return CoaddRef(**{**values, **lists})  # type: ignore[arg-type]
