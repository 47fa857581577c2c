"""Single rows of a provenance table, which may have hundreds of thousands of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import Vectors, to_vectors
from hipsgen.survey.provenance import FILE_NAME, UsedCoadd, not_a_table, used_coadd

Rows = npt.NDArray[np.void]
_CIRCLE = ("s_ra", "s_dec", "s_fov")


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of the table PROVENANCE are in its file.

    Attributes
    ----------
    offset
        Of the first row, bytes.
    dtype
        Of a row, with the columns as fields.
    count
        Number of rows.
    """

    offset: int
    dtype: np.dtype[Any]
    count: int

    @classmethod
    def of_file(cls, file: FileIO) -> "RowLayout":
        """Read the headers of a file. Raises SurveyError if it is no complete provenance table."""
        from astropy.io import fits

        try:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            with (
                open(file.fileno(), "rb", closefd=False) as opened,
                fits.open(opened, memmap=False) as hdus,
            ):
                table = hdus["PROVENANCE"]
                dtype = table.columns.dtype.newbyteorder(">")
                offset, count = table.fileinfo()["datLoc"], int(table.header["NAXIS2"])
            if any(dtype[name] != ">f8" for name in _CIRCLE):
                raise ValueError(f"{', '.join(_CIRCLE)} must be numbers")
            if os.fstat(file.fileno()).st_size < offset + count * dtype.itemsize:
                raise ValueError("it is truncated")
        except Exception as error:  # astropy raises many kinds of errors for damaged files
            raise not_a_table(error) from error
        return cls(offset, dtype, count)

    def rows(self, data: bytes) -> Rows:
        """Return rows (n,) from their bytes. Raises SurveyError if some bytes are missing."""
        if len(data) % self.dtype.itemsize:
            raise SurveyError(f"{FILE_NAME} was truncated while it was read: try again")
        return np.frombuffer(data, self.dtype)

    def coadds(self, file: FileIO, numbers: Sequence[int]) -> Iterator[UsedCoadd]:
        """Read the coadds of some rows, by number. Raises SurveyError for an invalid row."""
        size = self.dtype.itemsize
        for number in numbers:
            data = os.pread(file.fileno(), size, self.offset + number * size)
            try:
                yield used_coadd(self.rows(data)[0])
            except (ValueError, TypeError, LookupError) as error:
                raise not_a_table(error) from error


def circles_of(rows: Rows) -> tuple[Vectors, npt.NDArray[np.float64]]:
    """Return circles around the outlines of coadds.

    Parameters
    ----------
    rows
        (n,) rows of the table.

    Returns
    -------
    centers
        (n, 3) float64, ICRS unit vectors.
    radii
        (n,) float64, degrees; 180 for a coadd without an outline.

    Raises
    ------
    SurveyError
        If a circle is not finite.
    """
    lon, lat, width = (rows[name].astype(np.float64) for name in _CIRCLE)
    if not np.isfinite(lon + lat + width).all():
        raise not_a_table(ValueError(f"{', '.join(_CIRCLE)} must be finite"))
    return to_vectors(lon, lat), width / 2
