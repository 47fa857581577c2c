"""The header of a FITS tile, read without going through astropy: a checker reads millions."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError

CARD = 80  # bytes
_BLOCK = 2880
_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class Header:
    """Cards of the primary header, the first of each key; numbers as float. start: of the data."""

    cards: dict[str, Any] = field(default_factory=dict)
    start: int = 0

    def number(self, key: str, default: float = float("nan")) -> float:
        """A card as a number, the default for none or something else."""
        value = self.cards.get(key, default)
        return value if isinstance(value, float) else default

    def text(self, key: str) -> str:
        """A card as text without blanks at its ends, empty for none."""
        value = self.cards.get(key, "")
        return value.strip() if isinstance(value, str) else ""


def read_header(data: bytes | memoryview) -> Header:
    """The header at the beginning of a file (FITS 4.0, section 4). Raises SurveyError for none."""
    if bytes(data[:9]) != b"SIMPLE  =":
        raise SurveyError("not a FITS tile: it does not begin with SIMPLE")
    cards: dict[str, Any] = {}
    for place in range(0, len(data), CARD):
        card = bytes(data[place : place + CARD]).decode("latin-1")
        key = card[:8].rstrip()
        if key == "END":
            return Header(cards, whole_blocks(place + CARD))
        if card[8:10] == "= ":
            cards.setdefault(key, _value(card[10:]))
    raise SurveyError("not a FITS tile: its header does not end")


def read_image(data: bytes | memoryview, header: Header) -> npt.NDArray[np.float32] | None:
    """The primary image (n, m), native float32, NaN missing, scaled integers unscaled.

    None when it is not a plain image of two axes. Raises SurveyError when it is cut short.
    """
    raw = _raw(data, header)
    if raw is None:
        return None
    scale, zero = header.number("BSCALE", 1.0), header.number("BZERO", 0.0)
    if (scale, zero) == (1.0, 0.0):
        values = raw.astype(np.float32)
    else:
        values = (raw.astype(np.float64) * scale + zero).astype(np.float32)
    blank = header.number("BLANK")  # Hipsgen writes it with a point, which is no integer
    if raw.dtype.kind in "iu" and np.isfinite(blank):
        values[raw == blank] = np.nan
    return values


def read_flags(data: bytes | memoryview, header: Header) -> npt.NDArray[np.int32]:
    """The primary image (n, m), native int32. Raises SurveyError for one of something else."""
    raw = _raw(data, header)
    if raw is None or raw.dtype != ">i4":
        raise SurveyError(f"not flags: BITPIX is {header.number('BITPIX'):.0f}, not 32")
    return raw.astype(np.int32)


def _raw(data: bytes | memoryview, header: Header) -> npt.NDArray[Any] | None:
    """Numbers (n, m) as they stand in the file; as `read_image`."""
    kind = _TYPES.get(int(header.number("BITPIX", 0)))
    if kind is None or header.number("NAXIS") != 2:
        return None
    rows, cols = int(header.number("NAXIS2", 0)), int(header.number("NAXIS1", 0))
    size = rows * cols * np.dtype(kind).itemsize
    if size <= 0:
        return None
    if len(data) < header.start + size:
        missing = header.start + size - len(data)
        raise SurveyError(f"truncated: {missing} bytes of its image are not there")
    return np.frombuffer(data, kind, rows * cols, header.start).reshape(rows, cols)


def sums_agree(data: bytes | memoryview, header: Header) -> bool:
    """Whether DATASUM, and CHECKSUM, are those of the file, if it has them (FITS 4.0, app. J)."""
    words = np.frombuffer(data, ">u4", len(data) // 4)
    stated = header.text("DATASUM")
    in_data = fold(int(words[header.start // 4 :].sum(dtype=np.uint64)))
    if stated.isdecimal() and int(stated) % 0xFFFFFFFF != in_data % 0xFFFFFFFF:
        return False
    whole = fold(int(words.sum(dtype=np.uint64)))
    return not header.text("CHECKSUM").strip("0") or whole == 0xFFFFFFFF


def _value(text: str) -> Any:
    """What stands before the comment: text, a float, a truth value; None for nothing known."""
    text = text.lstrip()
    if text.startswith("'"):
        end = text.find("'", 1)
        while end >= 0 and text[end + 1 : end + 2] == "'":
            end = text.find("'", end + 2)
        return text[1 : end if end >= 0 else None].replace("''", "'").rstrip()
    word = text.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    try:
        return float(word.replace("D", "E"))
    except ValueError:
        return None


def whole_blocks(size: int) -> int:
    """Bytes in whole FITS blocks."""
    return -(-size // _BLOCK) * _BLOCK


def fold(total: int) -> int:
    """1's complement sum of 32-bit words from their plain sum."""
    while total > 0xFFFFFFFF:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
