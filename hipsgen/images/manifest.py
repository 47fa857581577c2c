"""Saved references: a text file of JSON lines, from which a build starts without a registry."""

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from hipsgen.coadd import CoaddRef
from hipsgen.errors import InputError

_HEAD = {"hipsgen_manifest": 1}
_NAMES = tuple(f.name for f in fields(CoaddRef))
_REPEATED = ("hdu", "band", "dataset_type", "run", "storage_class")


def write_manifest(path: Path, refs: Iterable[CoaddRef], description: str) -> int:
    """Write references; how many there were."""
    count = 0
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps({**_HEAD, "from": description}) + "\n")
            for ref in refs:
                values = {name: getattr(ref, name) for name in _NAMES}
                handle.write(json.dumps({**values, "polygon": [*ref.polygon]}) + "\n")
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
    known: dict[Any, Any] = {}
    with path.open("rb") as lines:
        try:
            description = json.loads(next(lines, b""))["from"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} does not begin as a manifest does ({error})") from error
        for number, line in enumerate(lines, start=2):
            try:
                refs.append(_ref(json.loads(line), known))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(f"{path} line {number} is not a reference ({error})") from error
    return refs, str(description)


def _ref(values: dict[str, Any], known: dict[Any, Any]) -> CoaddRef:
    """A reference; what it has in common with earlier ones, which `known` holds, it shares."""
    for name in _REPEATED:
        text = values.get(name, "")
        values[name] = known.setdefault(text, text)
    if values.get("dataset_id") == values["identity"]:
        values["dataset_id"] = values["identity"]
    pairs = ((key, value) for key, value in values.get("data_id", ()))
    values["data_id"] = tuple([known.setdefault(pair, pair) for pair in pairs])
    return CoaddRef(**values)
