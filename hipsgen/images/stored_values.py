"""Physical values and bits of the numbers that a FITS image stores.

astropy reads the numbers as they are stored: where it applies BZERO itself, unsigned integers and
signed bytes lose their BLANK.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.decode_kernels import HUGE

# Pogson's ratio, 2.5 log10(e): magnitudes per unit of a natural logarithm
_POGSON = 2.5 / np.log(10.0)
_MORE_DIGITS = (-64, 32, 64)  # BITPIX of numbers that float32 may not hold


def physical_values(stored: npt.NDArray[Any], header: Any) -> npt.NDArray[Any]:
    """Return BZERO + BSCALE × stored, NaN where an integer equals BLANK; linear, see `is_asinh`.

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
        (n, m) float64, or `stored` itself if it has neither a scale nor a BLANK.

    Raises
    ------
    CoaddError
        If BSCALE or BZERO is not a number, or BLANK not an integer, or the asinh scale incomplete.
    """
    scale, zero = _number(header, "BSCALE", 1.0), _number(header, "BZERO", 0.0)
    is_missing = _is_missing(stored, header)
    if is_asinh(header):
        softening, offset = asinh_scale(header)
    elif scale == 1 and zero == 0 and is_missing is None:
        return stored
    values = np.asarray(stored, np.float64) * scale + zero
    if is_missing is not None:
        values[is_missing] = np.nan
    if is_asinh(header):
        with np.errstate(over="ignore"):  # infinite, so missing
            values = offset + 2.0 * softening * np.sinh(values / _POGSON)
    return values


def is_asinh(header: Any) -> bool:
    """Whether the values of an image are asinh magnitudes, as those of stacks of Pan-STARRS.

    value = BOFFSET + 2 BSOFTEN sinh(scaled / 1.0857362), where scaled = BZERO + BSCALE × stored
    (Image Processing Pipeline of Pan-STARRS, "asinh compression").
    """
    return "BSOFTEN" in header


def asinh_scale(header: Any) -> tuple[float, float]:
    """Return BSOFTEN and BOFFSET. Raises CoaddError if one is missing or has an invalid value."""
    softening, offset = (_number(header, key, np.nan) for key in ("BSOFTEN", "BOFFSET"))
    if not (np.isfinite(offset) and 0.0 < softening < np.inf):
        raise CoaddError(
            f"its asinh scale BSOFTEN = {header.get('BSOFTEN')!r}, BOFFSET = "
            f"{header.get('BOFFSET')!r} is incomplete: BSOFTEN must be positive, BOFFSET a number"
        )
    return softening, offset


def needs_double(header: Any) -> bool:
    """Whether float32 may not hold the values of an image, given its header.

    Small integers need it if BZERO is so large that float32 steps are coarser than a sixteenth of
    BSCALE, as for dates.
    """
    bitpix = header.get("BITPIX")
    if bitpix not in (8, 16) or is_asinh(header):
        return bitpix in _MORE_DIGITS
    scale, zero = _number(header, "BSCALE", 1.0), _number(header, "BZERO", 0.0)
    largest = abs(zero) + abs(scale) * (1 << bitpix)
    return bool(largest < HUGE and np.spacing(np.float32(largest)) > abs(scale) / 16)


def scale_in_double(
    values: npt.NDArray[Any],
    blank: float,
    scale: float | npt.NDArray[np.float64],
    offset: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Return values × scale - offset, for numbers that float32 cannot hold.

    Parameters
    ----------
    values
        (n, m), of any type, as from `physical_values`.
    blank
        Value that counts as missing; NaN for none.
    scale
        A factor, or one for each pixel.
    offset
        What is subtracted.

    Returns
    -------
    ndarray
        (n, m) float64, NaN where `values` is `blank`, not finite, or 3e38 and more.
    """
    numbers = np.asarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        is_valid = (numbers != blank) & (numbers != np.float32(blank))
        found = numbers * scale - offset
        is_valid &= (np.abs(numbers) < float(HUGE)) & (np.abs(found) < float(HUGE))
    return np.where(is_valid, found, np.nan)


def mask_bits(stored: npt.NDArray[Any], header: Any) -> npt.NDArray[np.integer[Any]]:
    """Return the bits (n, m) of a mask from the numbers that are stored: int32, or int64.

    Raises CoaddError for floating-point numbers, and unless BZERO is a whole number and BSCALE 1.
    """
    scale, zero = _number(header, "BSCALE", 1.0), _number(header, "BZERO", 0.0)
    if stored.dtype.kind not in "iu" or scale != 1 or zero != int(zero):
        raise CoaddError("its mask is not stored as integers (see BITPIX, BSCALE, BZERO)")
    # modulo 2^64, for unsigned numbers of 64 bits: their BZERO is 2^63
    offset = np.uint64(int(zero) % (1 << 64))
    whole = (stored.astype(np.int64).view(np.uint64) + offset).view(np.int64)
    if stored.dtype.itemsize > 4:
        return whole
    bits = whole.astype(np.uint64) & ((1 << 8 * stored.dtype.itemsize) - 1)
    return bits.astype(np.uint32).view(np.int32)


def check_blank(header: Any, is_compressed: bool) -> None:
    """Raise CoaddError if an image has a BLANK that is needed and not an integer.

    Only integers need it, and compressed images, whose values may be stored as integers.
    """
    blank = header.get("BLANK")
    if blank is None or (header.get("BITPIX", 0) < 0 and not is_compressed):
        return
    # programs that write it as a decimal (Hipsgen does) mean the integer
    if isinstance(blank, bool) or not isinstance(blank, int | float) or blank != int(blank):
        raise CoaddError(f"its BLANK = {blank!r} is not an integer")


def _is_missing(stored: npt.NDArray[Any], header: Any) -> npt.NDArray[np.bool_] | None:
    """Return where integers equal BLANK; None if none can."""
    blank = header.get("BLANK")
    if blank is None or stored.dtype.kind not in "iu":
        return None
    check_blank(header, False)
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
