"""Rotations between the coordinate frames of a HiPS and ICRS."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# ICRS vectors = matrix @ vectors of the frame; keys are values of hips_frame. The galactic matrix
# is astropy's: the IAU 1958 pole carried to FK5 J2000 and from there to ICRS. The Hipparcos matrix,
# which takes the same numbers as if they were ICRS, differs from it by up to 25 mas.
_TO_ICRS: dict[str, FloatArray] = {
    "equatorial": np.eye(3),
    "galactic": np.array(
        [
            [-0.05487565771259163, 0.4941094371927268, -0.8676661375596576],
            [-0.8734370519556159, -0.4448297212232953, -0.19807633727300059],
            [-0.48383507361671546, 0.7469821839866676, 0.45598381368730156],
        ]
    ),
}
FRAMES = tuple(_TO_ICRS)


def to_icrs(vectors: FloatArray, frame: str) -> FloatArray:
    """Rotate vectors (..., 3) of a HiPS frame into ICRS."""
    return vectors if frame == "equatorial" else vectors @ _TO_ICRS[frame].T


def from_icrs(vectors: FloatArray, frame: str) -> FloatArray:
    """Rotate ICRS vectors (..., 3) into a HiPS frame."""
    return vectors if frame == "equatorial" else vectors @ _TO_ICRS[frame]
