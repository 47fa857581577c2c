"""Objects that lsst.afw keeps in the tables of an exposure's file (lsst.afw.table.io)."""

from typing import Any

from hipsgen.errors import CoaddError


def archived(hdus: Any, index: int, wanted: int, name: str) -> tuple[Any, Any]:
    """The table and the row of an object of an archive. Raises CoaddError without it."""
    rows = hdus[index].data
    others = set()
    for row in rows[rows["id"] == wanted]:
        if str(row["name"]).strip() == name:
            table = hdus[index + int(row["cat.archive"])]
            return table, table.data[int(row["row0"])]
        others.add(str(row["name"]).strip())
    there = f"; what has that number is a {', '.join(sorted(others))}" if others else ""
    raise CoaddError(f"its archive has no {name} {wanted}{there}")


def flag_of(table: Any, row: Any, name: str) -> bool:
    """A flag of an lsst.afw table: bit k of the column FLAGCOL, named by TFLAGk."""
    column = int(table.header.get("FLAGCOL", 1)) - 1
    bits = [k for k in range(1, 65) if table.header.get(f"TFLAG{k}") == name]
    return bool(row[column][bits[0] - 1]) if bits else False
