"""Save and load coadd references as JSON lines, so that a build can start without a registry."""

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from hipsgen.coadd import CoaddRef
from hipsgen.errors import InputError
from hipsgen.files import open_regular

_HEAD = {"hipsgen_manifest": 1}
_NAMES = tuple(f.name for f in fields(CoaddRef))
_MAX_LINE = 1 << 20  # bytes
_REPEATED = ("hdu", "band", "dataset_type", "run", "storage_class")


def write_manifest(path: Path, refs: Iterable[CoaddRef], description: str) -> int:
    """Write references to a file; return how many there are."""
    count = 0
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps({**_HEAD, "from": description}) + "\n")
            for ref in refs:
                values = {name: getattr(ref, name) for name in _NAMES}
                handle.write(json.dumps({**values, "polygon": [*ref.polygon]}) + "\n")
                count += 1
        partial.replace(path)  # half a manifest would silently give a smaller survey
    finally:
        partial.unlink(missing_ok=True)
    return count


def is_manifest(path: Path) -> bool:
    """Whether a file begins like a manifest."""
    try:
        with open_regular(path) as handle:
            return handle.read(20).startswith(b'{"hipsgen_manifest"')
    except OSError:
        return False


def read_manifest(path: Path) -> tuple[list[CoaddRef], str]:
    """Return the references and where they came from. Raises InputError for a damaged file."""
    refs: list[CoaddRef] = []
    shared: dict[Any, Any] = {}
    with open_regular(path) as file:
        lines = iter(lambda: file.readline(_MAX_LINE), b"")
        try:
            description = json.loads(next(lines, b""))["from"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is not a manifest ({error}): save it again") from error
        for number, line in enumerate(lines, start=2):
            try:
                refs.append(_ref(json.loads(line), shared))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"{path} line {number} is not a reference ({error}): save the manifest again"
                ) from error
    return refs, str(description)


def _ref(values: dict[str, Any], shared: dict[Any, Any]) -> CoaddRef:
    """Make a reference; values equal to those of earlier ones, kept in `shared`, share memory."""
    for name in _REPEATED:
        text = values.get(name, "")
        values[name] = shared.setdefault(text, text)
    if values.get("dataset_id") == values["identity"]:
        values["dataset_id"] = values["identity"]
    pairs = ((key, value) for key, value in values.get("data_id", ()))
    values["data_id"] = tuple([shared.setdefault(pair, pair) for pair in pairs])
    return CoaddRef(**values)
