"""Refuse headers with numbers for which readers would loop or allocate without end."""

import os
import re
import string
from io import BufferedIOBase, RawIOBase

from hipsgen.errors import CoaddError

_File = RawIOBase | BufferedIOBase
_BLOCK, _CARD = 2880, 80
_MAX_BLOCKS = 4000  # of a header: 144,000 cards
# largest values in FITS 4.0 (sections 4.4.1, 7.3.1, 8.2) and in the SIP convention
MAX_SIP_ORDER = 9
_LIMITS = {
    **dict.fromkeys(("NAXIS", "ZNAXIS", "TFIELDS", "WCSAXES"), 999),
    # of alternate WCSs, which wcslib reads as well
    **dict.fromkeys((f"WCSAXES{letter}" for letter in string.ascii_uppercase), 999),
    **dict.fromkeys(("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"), MAX_SIP_ORDER),
}
# astropy takes small letters for capitals, and 1.0E5 for an integer where it needs one
_NUMBER = re.compile(
    rb" *(?:HIERARCH +)?([A-Z][A-Z0-9_]{0,7}) *= *"
    rb"([+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?)(?=[ /]|$)",
    re.IGNORECASE,
)


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
        numbers, size = _read_numbers(file, position)
        for keyword, limit in _LIMITS.items():
            text = numbers.get(keyword, "0")
            if not 0 <= float(text.replace("D", "E")) <= limit:
                raise CoaddError(f"is damaged: {keyword} = {text} in HDU {number} (limit {limit})")
        if not size:
            break
        position, number = position + size + _data_size(numbers), number + 1
    file.seek(0)


def _read_numbers(file: _File, position: int) -> tuple[dict[str, str], int]:
    """Return the numbers of a header, and its size in bytes; 0 if it does not end."""
    file.seek(position)
    found: dict[str, str] = {}
    for count in range(1, _MAX_BLOCKS + 1):
        block = file.read(_BLOCK)
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == b"END":
                return found, count * _BLOCK
            match = _NUMBER.match(card)
            if match:
                found.setdefault(match[1].decode().upper(), match[2].decode().upper())
        if len(block) < _BLOCK:
            break
    return found, 0


def _data_size(numbers: dict[str, str]) -> int:
    """Return the size of the data of an HDU, with padding (FITS 4.0, equations 1 and 2)."""

    def integer(keyword: str, default: int) -> int:
        try:
            return int(numbers.get(keyword, default))
        except ValueError:  # a decimal
            return default

    naxis = integer("NAXIS", 0)
    if not naxis:
        return 0
    axes = [max(0, integer(f"NAXIS{k}", 0)) for k in range(1, naxis + 1)]
    if axes[0] == 0 and len(axes) > 1:  # random groups
        axes = axes[1:]
    pixels = 1
    for length in axes:
        pixels *= length
    groups, parameters = integer("GCOUNT", 1), integer("PCOUNT", 0)
    size = abs(integer("BITPIX", 8)) // 8 * max(0, groups) * (max(0, parameters) + pixels)
    return -(-size // _BLOCK) * _BLOCK
