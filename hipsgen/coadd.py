"""References to coadds: where a coadd is and what it is called, before any pixel is read."""

import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

_CORNER = struct.Struct("dd")


class Polygon(Sequence[tuple[float, float]]):
    """Corners (lon, lat) in degrees, in 16 bytes each, since a survey may have millions of them.

    Raises ValueError or TypeError for anything but pairs of finite numbers.
    """

    __slots__ = ("packed",)

    def __init__(self, corners: Iterable[tuple[float, float]] = ()) -> None:
        numbers = array("d", [angle for lon, lat in corners for angle in (lon, lat)])
        if not math.isfinite(sum(numbers)):
            raise ValueError("a corner of the polygon is not finite")
        self.packed = numbers.tobytes()

    @classmethod
    def of_packed(cls, packed: bytes) -> "Polygon":
        """Make a polygon from the longitude and latitude of each corner, as packed doubles."""
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
    """Reference to a coadd: small, picklable, and sufficient for planning a survey.

    Attributes
    ----------
    uri
        URI of the file, percent-encoded.
    identity
        Changes when the content does: UUID of the dataset, or size and mtime of the file.
    hdu
        Number of the image's HDU; "" to search for it.
    band
        Name of the band.
    polygon
        Outline as (lon, lat) in ICRS degrees; empty for the whole sky or if unknown.
    pixel_scale
        Side of a square with the area of a pixel, in degrees; 0 if it is unknown until the file is
        opened.
    data_id, dataset_type, run, dataset_id, storage_class
        As in the Butler; empty for plain FITS.
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
        """Identifies the image and its content, in this run and in any other."""
        return f"{self.uri}[{self.hdu}] {self.identity}"

    def __str__(self) -> str:
        data_id = ", ".join(f"{k}={v}" for k, v in self.data_id)
        location = f"{self.uri}[{self.hdu}]" if self.hdu not in ("", "0") else self.uri
        return f"{{{data_id}}} ({location})" if data_id else location


@dataclass(frozen=True)
class Problem:
    """An input that cannot be used, and the reason.

    Attributes
    ----------
    source : str
        The coadd, file or dataset.
    reason : str
        Why it cannot be used.
    is_fault : bool
        Whether it is damaged or missing, rather than not a coadd.
    """

    source: str
    reason: str
    is_fault: bool = True

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def reasons_of(problems: Iterable[Problem], limit: int = 3) -> str:
    """Return the first different reasons, each with its first input, in one line."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.reason, problem)
    return "; ".join(str(problem) for problem in list(first.values())[:limit])


def corners_of(
    refs: Iterable[CoaddRef],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the corners of all polygons and their numbers.

    Returns
    -------
    corners
        (v, 2) float64: longitude and latitude in degrees, one polygon after another.
    counts
        (n,) int64: number of corners of each polygon.
    """
    packed = [ref.polygon.packed for ref in refs]
    counts = np.fromiter(map(len, packed), np.int64, len(packed)) // _CORNER.size
    return np.frombuffer(b"".join(packed)).reshape(-1, 2), counts
