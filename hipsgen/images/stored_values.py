"""Physical values and bits of the numbers that a FITS image stores.

astropy is asked for the numbers as they are stored: where it applies BZERO itself, unsigned and
signed bytes lose their BLANK.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError


def physical_values(stored: npt.NDArray[Any], header: Any) -> npt.NDArray[Any]:
    """Return BZERO + BSCALE × stored, NaN where an integer equals BLANK.

    See FITS 4.0, sections 4.4.2.5 and 5.3: BLANK is compared with the stored integer.

    Parameters
    ----------
    stored
        (n, m) numbers as in the file, decompressed but not scaled.
    header
        Header of the image.

    Returns
    -------
    ndarray
        (n, m) float64, or `stored` itself where nothing has to be done.

    Raises
    ------
    CoaddError
        If BSCALE or BZERO is not a number, or BLANK not an integer.
    """
    scale, zero = _number(header, "BSCALE", 1.0), _number(header, "BZERO", 0.0)
    is_missing = _is_missing(stored, header)
    if scale == 1 and zero == 0 and is_missing is None:
        return stored
    values = np.asarray(stored, np.float64) * scale + zero
    if is_missing is not None:
        values[is_missing] = np.nan
    return values


def mask_bits(stored: npt.NDArray[Any], header: Any) -> npt.NDArray[np.integer[Any]]:
    """Return the bits (n, m) of a mask from the numbers that are stored: int32, or int64.

    Raises CoaddError for floating-point numbers, and unless BZERO is a whole number and BSCALE 1.
    """
    scale, zero = _number(header, "BSCALE", 1.0), _number(header, "BZERO", 0.0)
    if stored.dtype.kind not in "iu" or scale != 1 or zero != int(zero):
        raise CoaddError("its mask has no whole numbers (BITPIX, BSCALE, BZERO)")
    # modulo 2^64, for unsigned numbers of 64 bits: their BZERO is 2^63
    offset = np.uint64(int(zero) % (1 << 64))
    whole = (stored.astype(np.int64).view(np.uint64) + offset).view(np.int64)
    if stored.dtype.itemsize > 4:
        return whole
    bits = whole.astype(np.uint64) & ((1 << 8 * stored.dtype.itemsize) - 1)
    return bits.astype(np.uint32).view(np.int32)


def _is_missing(stored: npt.NDArray[Any], header: Any) -> npt.NDArray[np.bool_] | None:
    """Return where integers equal BLANK; None if none can."""
    blank = header.get("BLANK")
    if blank is None or stored.dtype.kind not in "iu":
        return None
    # programs that write it as a decimal (Hipsgen does) mean the integer
    if isinstance(blank, bool) or not isinstance(blank, int | float) or blank != int(blank):
        raise CoaddError(f"its BLANK = {blank!r} is not an integer")
    found = np.asarray(stored == int(blank)) if _can_be(stored, int(blank)) else None
    return found if found is not None and found.any() else None


def _can_be(stored: npt.NDArray[Any], number: int) -> bool:
    limits = np.iinfo(stored.dtype)
    return bool(limits.min <= number <= limits.max)


def _number(header: Any, keyword: str, default: float) -> float:
    value = header.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CoaddError(f"its {keyword} = {value!r} is not a number")
    return float(value)
