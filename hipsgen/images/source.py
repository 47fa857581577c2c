"""The seam between a survey and where its coadds come from."""

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
    """What the headers of a coadd say.

    shape: (rows, columns). pixel_scale: degrees, side of a square of a pixel's nominal area.
    unit: of the values that `read` gives. scale: what they were multiplied with to get there,
    calibration: where that comes from, unit_in: the unit before.
    planes: bits of the mask by name. excluded: names of those that `read` leaves out.
    t_min, t_max: MJD, NaN when the file does not say.
    in_parts: a section costs no more to read than its own pixels, as it does in a compressed image.
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


@runtime_checkable
class CoaddReader(Protocol):
    """Reads coadds by reference; picklable, since workers get one."""

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """Headers only. Raises CoaddError when the file cannot be used."""

    def read(
        self,
        ref: CoaddRef,
        section: Section,
        parts: Sequence[Section] = (),
        out: Values | None = None,
    ) -> Values:
        """Rows and columns of a coadd, native float32, NaN where there is no data.

        The values are in `info(ref).unit`. A reader of masks gives their bits as they are in the
        file, int32. parts: sections inside this one; when there are some, no other pixel is wanted,
        and what stands there is not defined. out: memory to put them into, float32 of the section's
        shape. Raises CoaddError when they cannot be read.
        """

    def with_range_reads(self) -> "CoaddReader":
        """A reader of the same values for who reads little of a coadd.

        Of a file that is not on this machine it fetches what is read, instead of all of it.
        """


@runtime_checkable
class ImageSource(Protocol):
    """A collection of coadds."""

    problems: list[Problem]
    """What `refs` had to leave out; filled while it runs."""

    def refs(self) -> Iterator[CoaddRef]:
        """Every coadd, in an order that does not change from one call to the next.

        Raises InputError when the collection itself cannot be read.
        """

    def describe(self) -> str:
        """One line on where the coadds come from."""

    def reader(self) -> CoaddReader:
        """What workers read with."""


@dataclass
class RefList:
    """A source that has all its references already: a saved manifest, or a selection."""

    items: tuple[CoaddRef, ...]
    read_with: CoaddReader
    text: str = ""
    problems: list[Problem] = field(default_factory=list)

    def refs(self) -> Iterator[CoaddRef]:
        """The references, as given."""
        return iter(self.items)

    def describe(self) -> str:
        """Where they came from."""
        return self.text

    def reader(self) -> CoaddReader:
        """What was given to read with."""
        return self.read_with
