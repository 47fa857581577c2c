"""The seam between a survey and where its coadds come from."""

import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hipsgen.images.wcs import ImageWcs

Section = tuple[slice, slice]
Values = npt.NDArray[np.float32]
_CORNER = struct.Struct("dd")


class Polygon(Sequence[tuple[float, float]]):
    """Corners (lon, lat) in degrees, in 16 bytes each: a survey may have millions of them.

    Raises ValueError or TypeError for anything but pairs of finite numbers.
    """

    __slots__ = ("packed",)

    def __init__(self, corners: Iterable[tuple[float, float]] = ()) -> None:
        numbers = array("d", [angle for lon, lat in corners for angle in (lon, lat)])
        if not math.isfinite(sum(numbers)):
            raise ValueError("a corner is not finite")
        self.packed = numbers.tobytes()

    @classmethod
    def of_packed(cls, packed: bytes) -> "Polygon":
        """Of lon and lat of each corner, as doubles."""
        polygon = cls.__new__(cls)
        polygon.packed = packed
        return polygon

    def __len__(self) -> int:
        return len(self.packed) // _CORNER.size

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __iter__(self) -> Iterator[Any]:
        return _CORNER.iter_unpack(self.packed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class CoaddRef:
    """One coadd before any pixel of it is read: small, picklable, enough to plan with.

    uri: where its file is, percent-encoded. hdu: number of the image's HDU, empty to look for it.
    identity: changes when the content does: dataset UUID, or size and mtime of the file.
    polygon: outline as (lon, lat) in ICRS degrees; empty for the whole sky or when unknown.
    pixel_scale: as in CoaddInfo, 0 when it is not known before the file is opened.
    data_id, dataset_type, run, dataset_id, storage_class: the Butler's words, empty for plain FITS.
    """

    uri: str
    identity: str
    hdu: str = ""
    band: str = ""
    polygon: Polygon = field(default_factory=Polygon)
    pixel_scale: float = 0.0
    data_id: tuple[tuple[str, int | str], ...] = ()
    dataset_type: str = ""
    run: str = ""
    dataset_id: str = ""
    storage_class: str = ""

    def __post_init__(self) -> None:
        if type(self.polygon) is not Polygon:
            object.__setattr__(self, "polygon", Polygon(self.polygon))

    @property
    def key(self) -> str:
        """Names the image and its content, in this run and in any other."""
        return f"{self.uri}[{self.hdu}] {self.identity}"

    def __str__(self) -> str:
        name = ", ".join(f"{k}={v}" for k, v in self.data_id)
        place = f"{self.uri}[{self.hdu}]" if self.hdu not in ("", "0") else self.uri
        return f"{{{name}}} ({place})" if name else place


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


@dataclass(frozen=True)
class Problem:
    """An input that cannot be used, and why.

    is_fault: it is damaged or missing, not merely something else than a coadd.
    """

    what: str
    reason: str
    is_fault: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


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


def corners_of(
    refs: Iterable[CoaddRef],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Corners (v, 2) of one polygon after another: lon, lat in degrees; how many each has (n,)."""
    packed = [ref.polygon.packed for ref in refs]
    counts = np.fromiter(map(len, packed), np.int64, len(packed)) // _CORNER.size
    return np.frombuffer(b"".join(packed)).reshape(-1, 2), counts


def data_id_dict(ref: CoaddRef) -> dict[str, Any]:
    """The data ID as a dictionary, as `butler.get` takes it."""
    return dict(ref.data_id)
