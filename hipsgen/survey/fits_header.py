"""Read headers and images of FITS tiles without astropy: a check reads millions of them."""

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
    """Cards of a primary header.

    Attributes
    ----------
    cards
        Value of the first card of each keyword; numbers are floats.
    start
        Offset of the data in bytes.
    """

    cards: dict[str, Any] = field(default_factory=dict)
    start: int = 0

    def number(self, key: str, default: float = float("nan")) -> float:
        """Return a card as a number, the default if it is missing or not a number."""
        value = self.cards.get(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number else default

    def integer(self, key: str) -> int | None:
        """Return a card as an integer, None if it is missing or not a whole number."""
        value = self.cards.get(key)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, key: str) -> str:
        """Return a card as text, stripped; "" if it is missing or not text."""
        value = self.cards.get(key, "")
        return value.strip() if isinstance(value, str) else ""


def read_header(data: bytes | memoryview) -> Header:
    """Read the header at the beginning of a file (FITS 4.0, section 4). Raises SurveyError."""
    if bytes(data[:9]) != b"SIMPLE  =":
        raise SurveyError("not a FITS tile: it does not begin with SIMPLE")
    cards: dict[str, Any] = {}
    for offset in range(0, len(data), CARD):
        card = bytes(data[offset : offset + CARD]).decode("latin-1")
        key = card[:8].rstrip()
        if key == "END":
            return Header(cards, pad_to_block(offset + CARD))
        if card[8:10] == "= ":
            cards.setdefault(key, _value(card[10:]))
    raise SurveyError("not a FITS tile: its header has no END")


def read_image(data: bytes | memoryview, header: Header) -> npt.NDArray[Any] | None:
    """Read the primary image (n, m), NaN if missing, with BSCALE applied.

    It is native float32, or float64 if the file has BITPIX -64. Returns None if it is not a plain
    image with two axes. Raises SurveyError if it is truncated.
    """
    raw = _raw(data, header)
    if raw is None:
        return None
    scale, zero = header.number("BSCALE", 1.0), header.number("BZERO", 0.0)
    dtype = np.float64 if raw.dtype == ">f8" else np.float32
    if (scale, zero) == (1.0, 0.0):
        values = raw.astype(dtype)
    else:
        values = (raw.astype(np.float64) * scale + zero).astype(dtype)
    blank = header.integer("BLANK")  # Hipsgen (Java) writes it as a decimal
    if raw.dtype.kind in "iu" and blank is not None:
        values[raw == blank] = np.nan
    return values


def read_flags(data: bytes | memoryview, header: Header) -> npt.NDArray[np.int32]:
    """Read the primary image (n, m) as native int32. Raises SurveyError if it is not a mask."""
    raw = _raw(data, header)
    if raw is None or raw.dtype != ">i4":
        raise SurveyError(f"not a mask tile: BITPIX is {header.number('BITPIX'):.0f}, not 32")
    return raw.astype(np.int32)


def _raw(data: bytes | memoryview, header: Header) -> npt.NDArray[Any] | None:
    """Return the numbers (n, m) as stored in the file; see `read_image`."""
    dtype = _TYPES.get(int(header.number("BITPIX", 0)))
    if dtype is None or header.number("NAXIS") != 2:
        return None
    rows, cols = int(header.number("NAXIS2", 0)), int(header.number("NAXIS1", 0))
    size = rows * cols * np.dtype(dtype).itemsize
    if size <= 0:
        return None
    if len(data) < header.start + size:
        missing = header.start + size - len(data)
        raise SurveyError(f"truncated: {missing} bytes of its image are missing")
    return np.frombuffer(data, dtype, rows * cols, header.start).reshape(rows, cols)


def checksums_match(data: bytes | memoryview, header: Header) -> bool:
    """Whether DATASUM and CHECKSUM, if present, are those of the file (FITS 4.0, appendix J)."""
    words = np.frombuffer(data, ">u4", len(data) // 4)
    stated = header.text("DATASUM")
    data_sum = fold_carries(int(words[header.start // 4 :].sum(dtype=np.uint64)))
    if stated.isdecimal() and int(stated) % 0xFFFFFFFF != data_sum % 0xFFFFFFFF:
        return False
    file_sum = fold_carries(int(words.sum(dtype=np.uint64)))
    return not header.text("CHECKSUM").strip("0") or file_sum == 0xFFFFFFFF


def _value(text: str) -> Any:
    """Parse a value: text, an integer, a float or a bool; None for anything else."""
    text = text.lstrip()
    if text.startswith("'"):
        end = text.find("'", 1)
        while end >= 0 and text[end + 1 : end + 2] == "'":
            end = text.find("'", end + 2)
        return text[1 : end if end >= 0 else None].replace("''", "'").rstrip()
    literal = text.partition("/")[0].strip()
    if literal in ("T", "F"):
        return literal == "T"
    try:
        return int(literal)
    except ValueError:
        pass
    try:
        return float(literal.replace("D", "E"))
    except ValueError:
        return None


def pad_to_block(size: int) -> int:
    """Round a size in bytes up to FITS blocks."""
    return -(-size // _BLOCK) * _BLOCK


def fold_carries(total: int) -> int:
    """Return the 1's complement sum of 32-bit words from their plain sum."""
    while total > 0xFFFFFFFF:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
