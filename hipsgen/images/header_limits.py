"""Refuse headers with numbers for which readers would loop or allocate without end."""

import os
import re
from io import BufferedIOBase, RawIOBase

from hipsgen.errors import CoaddError

_File = RawIOBase | BufferedIOBase
_BLOCK, _CARD = 2880, 80
_MAX_BLOCKS = 4000  # of a header: 144,000 cards
# largest values in FITS 4.0 (sections 4.4.1, 7.3.1, 8.2) and in the SIP convention
_LIMITS = {
    **dict.fromkeys((b"NAXIS", b"ZNAXIS", b"TFIELDS", b"WCSAXES"), 999),
    **dict.fromkeys((b"A_ORDER", b"B_ORDER", b"AP_ORDER", b"BP_ORDER"), 9),
}
_INTEGER = re.compile(rb"([A-Z][A-Z0-9_]{0,7}) *= *([+-]?\d+)(?=[ /]|$)")


def check_limits(file: _File) -> None:
    """Check the headers of all HDUs of a FITS file; the position in the file is then 0.

    astropy's time and memory grow with NAXIS, whatever data there are.

    Raises
    ------
    CoaddError
        If a number is beyond what FITS allows.
    """
    end = file.seek(0, os.SEEK_END)
    position, number = 0, 0
    while 0 <= position < end:
        integers, size = _read_integers(file, position)
        for keyword, limit in _LIMITS.items():
            value = integers.get(keyword, 0)
            if not 0 <= value <= limit:
                raise CoaddError(
                    f"is damaged: {keyword.decode()} = {value} in HDU {number} (limit {limit})"
                )
        if not size:
            break
        position, number = position + size + _data_size(integers), number + 1
    file.seek(0)


def _read_integers(file: _File, position: int) -> tuple[dict[bytes, int], int]:
    """Return the integers of a header, and its size in bytes; 0 if it does not end."""
    file.seek(position)
    found: dict[bytes, int] = {}
    for count in range(1, _MAX_BLOCKS + 1):
        block = file.read(_BLOCK)
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == b"END":
                return found, count * _BLOCK
            match = _INTEGER.match(card)
            if match:
                found.setdefault(match[1], int(match[2]))
        if len(block) < _BLOCK:
            break
    return found, 0


def _data_size(integers: dict[bytes, int]) -> int:
    """Return the size of the data of an HDU, with padding (FITS 4.0, equations 1 and 2)."""
    naxis = integers.get(b"NAXIS", 0)
    if not naxis:
        return 0
    axes = [max(0, integers.get(b"NAXIS%d" % k, 0)) for k in range(1, naxis + 1)]
    if axes[0] == 0 and len(axes) > 1:  # random groups
        axes = axes[1:]
    pixels = 1
    for length in axes:
        pixels *= length
    groups, parameters = integers.get(b"GCOUNT", 1), integers.get(b"PCOUNT", 0)
    size = abs(integers.get(b"BITPIX", 8)) // 8 * max(0, groups) * (max(0, parameters) + pixels)
    return -(-size // _BLOCK) * _BLOCK
