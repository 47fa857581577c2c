"""Values near a large number, kept as float32 relative to it, and as float64 in files.

float32 has 24 bits: dates such as MJD 60623 have a step of 5.6 minutes. A survey of such values has
an offset, which is subtracted in float64 before the values become float32, and added in float64
before they are written. An offset of 0 stands for a survey of float32 values, which are unchanged.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]


def absolute(pixels: Pixels, offset: float) -> Pixels:
    """Return the values as written: float64 if there is an offset, otherwise `pixels` itself.

    Parameters
    ----------
    pixels
        Values relative to the offset, float32, NaN if missing; or flags of a mask, int32.
    offset
        Offset of the survey, in its unit.
    """
    return pixels.astype(np.float64) + offset if offset else pixels


def relative(values: Pixels, offset: float) -> Pixels:
    """Return the values of a file relative to the offset.

    Parameters
    ----------
    values
        Values, float32 or float64, NaN if missing; or flags of a mask, int32.
    offset
        Offset of the survey, in its unit.

    Returns
    -------
    ndarray
        float32; flags, and float32 values without an offset, are returned unchanged.
    """
    if values.dtype == np.int32 or (values.dtype == np.float32 and not offset):
        return values
    with np.errstate(over="ignore"):  # of other programs: beyond float32 becomes infinite
        return (values.astype(np.float64) - offset).astype(np.float32)


def as_in_file(pixels: Pixels, offset: float) -> Pixels:
    """Return values relative to the offset, as they are after they were written and read back.

    The sum of value and offset is rounded to float64, so that digits of values close to 0 are lost.
    """
    return relative(absolute(pixels, offset), offset) if offset else pixels
