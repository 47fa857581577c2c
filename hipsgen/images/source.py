"""The interface between a survey and the source of its coadds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef, Problem
from hipsgen.images.wcs import ImageWcs

Section = tuple[slice, slice]
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CoaddInfo:
    """Properties of a coadd, read from its headers.

    Attributes
    ----------
    shape
        (rows, columns).
    wcs
        From ICRS unit vectors to pixels, and back.
    pixel_scale
        Side of a square with the nominal area of a pixel, in degrees.
    unit
        Unit of the values that `CoaddReader.read` returns.
    unit_in
        Unit of the values in the file.
    scale
        Factor from the values in the file to `unit`.
    calibration
        Source of that factor.
    excluded
        Names of the mask planes whose pixels are read as NaN.
    planes
        Bit of each mask plane by name.
    t_min, t_max
        Time range of the exposures as MJD; NaN if unknown.
    in_parts
        Whether reading a section costs only its own pixels; false for compressed images.
    notes
        What a user should know about how its pixels are read.
    as_whole
        Whether reading a section costs a large part of the image, which is in few compressed tiles.
    """

    shape: tuple[int, int]
    wcs: ImageWcs
    pixel_scale: float
    unit: str = ""
    unit_in: str = ""
    scale: float = 1.0
    calibration: str = ""
    excluded: tuple[str, ...] = ()
    planes: Mapping[str, int] = field(default_factory=dict)
    t_min: float = float("nan")
    t_max: float = float("nan")
    in_parts: bool = False
    notes: tuple[str, ...] = ()
    as_whole: bool = False


@runtime_checkable
class CoaddReader(Protocol):
    """Reader of coadds by reference; picklable, since it is sent to workers."""

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """Read the headers only. Raises CoaddError if the file cannot be used."""

    def read(
        self,
        ref: CoaddRef,
        section: Section,
        parts: Sequence[Section] = (),
        out: Values | None = None,
        *,
        huge: float = math.nan,
    ) -> Values:
        """Read a section of a coadd.

        Parameters
        ----------
        ref
            The coadd.
        section
            Rows and columns.
        parts
            Sections inside `section`; if there are any, only their pixels are needed, and the
            others are undefined.
        out
            Array to read into, float32 with the shape of the section.
        huge
            What stands for finite numbers of 3e38 and more, of either sign, which are no data
            either: NaN, or infinity to find them.

        Returns
        -------
        ndarray
            Values in `info(ref).unit`, native float32, NaN where there is no data. A reader of
            masks returns their bits as in the file, int32.

        Raises
        ------
        CoaddError
            If the pixels cannot be read.
        """

    def with_range_reads(self) -> "CoaddReader":
        """Return a reader of the same values with range reads, for callers that need few pixels.

        From a remote file it fetches only what is read, instead of copying the file.
        """

    def with_offset(self, value: float, unit: str, pixel_scale: float) -> "CoaddReader":
        """Return a reader of the same values minus an offset, subtracted in float64.

        value: in the unit of the survey; unit, pixel_scale: of the survey, as for
        `units.factor_to`.
        """


@runtime_checkable
class ImageSource(Protocol):
    """A collection of coadds."""

    problems: list[Problem]
    """Coadds that `refs` left out; filled while it runs."""

    def refs(self) -> Iterator[CoaddRef]:
        """Iterate over all coadds, in an order that is the same for every call.

        Raises InputError if the collection itself cannot be read.
        """

    def describe(self) -> str:
        """Return one line on the source of the coadds."""

    def reader(self) -> CoaddReader:
        """Return the reader for workers."""


@dataclass
class RefList:
    """A source with known references: a saved manifest, or a selection."""

    items: tuple[CoaddRef, ...]
    read_with: CoaddReader
    text: str = ""
    problems: list[Problem] = field(default_factory=list)

    def refs(self) -> Iterator[CoaddRef]:
        """Iterate over the references, as given."""
        return iter(self.items)

    def describe(self) -> str:
        """Return the description, as given."""
        return self.text

    def reader(self) -> CoaddReader:
        """Return the reader, as given."""
        return self.read_with
