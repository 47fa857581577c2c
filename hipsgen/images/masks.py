"""Read the mask planes of a coadd: names and bits always come from the file."""

from typing import Any


def plane_bits(header: Any) -> dict[str, int]:
    """Return name -> bit from `MP_NAME = bit` (lsst.afw) or `MSKNnnnn = NAME` (lsst.images)."""
    planes: dict[str, int] = {}
    for key, value in header.items():
        if key.startswith("MP_") and isinstance(value, int):
            planes[key[3:]] = value
        elif key.startswith("MSKN") and key[4:].isdigit():
            planes[str(value).strip()] = int(key[4:])
    return planes


def bit_mask(planes: dict[str, int], names: tuple[str, ...]) -> int:
    """Return the bits of the named planes, ignoring those that do not exist."""
    bits = 0
    for name in names:
        if name in planes:
            bits |= 1 << planes[name]
    return bits
