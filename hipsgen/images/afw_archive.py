"""Look up objects in the archive tables of an lsst.afw exposure (lsst.afw.table.io)."""

from typing import Any

from hipsgen.errors import CoaddError


def find_archived(hdus: Any, index: int, object_id: int, name: str) -> tuple[Any, Any]:
    """Return the table and the row of an archived object.

    Parameters
    ----------
    hdus
        HDUs of the open file.
    index
        Index of the HDU that holds the archive's index.
    wanted
        Number of the object.
    name
        Its class, for example PhotoCalib.

    Raises
    ------
    CoaddError
        If the archive has no such object.
    """
    rows = hdus[index].data
    others = set()
    for row in rows[rows["id"] == object_id]:
        if str(row["name"]).strip() == name:
            table = hdus[index + int(row["cat.archive"])]
            return table, table.data[int(row["row0"])]
        others.add(str(row["name"]).strip())
    hint = f"; object {object_id} is a {', '.join(sorted(others))}" if others else ""
    raise CoaddError(f"its archive has no {name} {object_id}{hint}")


def read_flag(table: Any, row: Any, name: str) -> bool:
    """Return a flag of an lsst.afw table: bit k of the column FLAGCOL, named by TFLAGk."""
    column = int(table.header.get("FLAGCOL", 1)) - 1
    bits = [k for k in range(1, 65) if table.header.get(f"TFLAG{k}") == name]
    return bool(row[column][bits[0] - 1]) if bits else False
