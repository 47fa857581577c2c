"""The coordinate frames of a HiPS: their rotations to ICRS, and their names in FITS."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError

FloatArray = npt.NDArray[np.float64]


class _Frame(NamedTuple):
    """matrix: ICRS vectors = matrix @ vectors of the frame. axes: of CTYPE. letter: COORDSYS."""

    matrix: FloatArray
    axes: tuple[str, str]
    letter: str


# Keys are the values of hips_frame (HiPS 1.0, 4.4.1); the matrices are astropy's. The galactic one
# carries the IAU 1958 pole to FK5 J2000 and from there to ICRS. The Hipparcos matrix, which uses
# the same numbers as ICRS coordinates, differs from it by up to 25 mas. The ecliptic one is that
# of the mean ecliptic and equinox of J2000 (IAU 2006 obliquity and frame bias, erfa.ecm06).
_FRAMES: dict[str, _Frame] = {
    "equatorial": _Frame(np.eye(3), ("RA", "DEC"), "C"),
    "galactic": _Frame(
        np.array(
            [
                [-0.05487565771259163, 0.4941094371927268, -0.8676661375596576],
                [-0.8734370519556159, -0.4448297212232953, -0.19807633727300059],
                [-0.48383507361671546, 0.7469821839866676, 0.45598381368730156],
            ]
        ),
        ("GLON", "GLAT"),
        "G",
    ),
    "ecliptic": _Frame(
        np.array(
            [
                [0.9999999999999941, 3.2897004077419646e-08, -1.0207044725484355e-07],
                [-7.078368960971556e-08, 0.9174821299149584, -0.39777699944404304],
                [8.056213977613186e-08, 0.3977769994440479, 0.9174821299149556],
            ]
        ),
        ("ELON", "ELAT"),
        "E",
    ),
}
FRAMES = tuple(_FRAMES)


def to_icrs(vectors: FloatArray, frame: str) -> FloatArray:
    """Rotate vectors (..., 3) of a HiPS frame into ICRS. Raises SurveyError if it is unknown."""
    return vectors if frame == "equatorial" else vectors @ _known(frame).matrix.T


def from_icrs(vectors: FloatArray, frame: str) -> FloatArray:
    """Rotate ICRS vectors (..., 3) into a HiPS frame. Raises SurveyError if it is unknown."""
    return vectors if frame == "equatorial" else vectors @ _known(frame).matrix


def axes_of(frame: str) -> tuple[str, str]:
    """Return the names of longitude and latitude in CTYPE. Raises SurveyError if unknown."""
    return _known(frame).axes


def letter_of(frame: str) -> str:
    """Return the value of COORDSYS in a Moc.fits. Raises SurveyError if the frame is unknown."""
    return _known(frame).letter


def _known(frame: str) -> _Frame:
    try:
        return _FRAMES[frame]
    except KeyError:
        raise SurveyError(f"hips_frame {frame[:40]!r} is not one of: {', '.join(FRAMES)}") from None
