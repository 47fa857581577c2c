"""Convert between sky and pixels of an image, for every WCS that astropy supports.

astropy.wcs does the computation. This module adds the frame of the image (FK5, galactic, FK4 ...),
distortions only where they are valid (`distortion`), and the seam of maps that span the whole sky
(`cylinder`).
"""

import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError, NoCoaddError
from hipsgen.images.cylinder import Cylinder, is_cylinder
from hipsgen.images.distortion import Distortion
from hipsgen.images.header_limits import MAX_SIP_ORDER
from hipsgen.sky.polygon import bounding_circle, convex_hull, to_lonlat, to_vectors

if TYPE_CHECKING:
    from astropy.io.fits import Header

FloatArray = npt.NDArray[np.float64]

# guards Python's list of warnings, and astropy's transformations between frames
_LOCK = threading.RLock()
_ANGLES = {
    **dict.fromkeys(("deg", "degs", "degree", "degrees"), "deg"),
    **dict.fromkeys(("arcmin", "arcmins", "arcminute", "arcminutes"), "arcmin"),
    **dict.fromkeys(("arcsec", "arcsecs", "arcsecond", "arcseconds"), "arcsec"),
    **dict.fromkeys(("rad", "rads", "radian", "radians"), "rad"),
}
_SMALLEST_PIXEL = 1e-8 / 3600  # degrees; unit vectors in double precision resolve 2e-11 arcsec
# keywords of the WCS whose values are numbers; wcslib takes the default of one that is not
_NUMBERS = re.compile(
    r"(CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|EQUINOX"
)
_ORDERS = re.compile(r"[AB]P?_ORDER")  # of SIP: astropy loops over all coefficients there may be
_STEPS = 16  # points along a side of an outline
_STRAIGHT = 0.1  # pixels: a side that bulges by less is represented by its ends
_LARGE = 60.0  # degrees: an outline with a larger radius is not represented by a polygon
# steps along an image of which only a part is on the sky, and if that is so small as to be missed
_SAMPLES, _MORE_SAMPLES = 64, 1024
_HALVINGS = 40  # to find the edge of that part


class ImageWcs:
    """Celestial WCS of a 2-D image of `shape` (rows, columns). Raises CoaddError if it has none."""

    def __init__(self, header: "Header", shape: tuple[int, int], hdus: Any = None) -> None:
        from astropy.wcs import WCS, FITSFixedWarning

        self.shape = shape
        _check_numbers(header)
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            try:
                self._wcs = WCS(_with_known_units(header), fobj=hdus, naxis=2)
                celestial = self._wcs.has_celestial
            except (ValueError, MemoryError, KeyError, AssertionError) as error:
                raise CoaddError(f"its WCS cannot be read ({_last_line(error)})") from error
            except Exception as error:  # wcslib's own errors have a dozen bases
                if not type(error).__module__.startswith("astropy.wcs"):
                    raise
                raise CoaddError(f"its WCS cannot be used ({_last_line(error)})") from error
            if not celestial:
                raise NoCoaddError(f"no celestial WCS on its first two axes ({_axes(header)})")
            self._wcs.wcs.bounds_check(True, True)
            self._frame = _Frame(self._wcs)
        self._free: list[Any] = []
        self._lon, self._lat = self._wcs.wcs.lng, self._wcs.wcs.lat
        self.cylinder = Cylinder(self._wcs, shape) if is_cylinder(self._wcs) else None
        self._distortion = Distortion(self._wcs, shape) if self._wcs.has_distortion else None

    def __call__(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert ICRS unit vectors (..., 3) to x, y (...), 0 at the first pixel's center.

        NaN where the projection is undefined.
        """
        flat = vectors.reshape(-1, 3)
        world = np.empty((len(flat), 2))
        world[:, self._lon], world[:, self._lat] = self._frame.from_icrs(flat)
        with self._copy() as wcs:
            pixel = wcs.wcs_world2pix(world, 0)
            if self._distortion:
                self._distortion.invert(wcs, world, pixel)
        if self.cylinder:
            self.cylinder.wrap(pixel)
        return pixel[:, 0].reshape(vectors.shape[:-1]), pixel[:, 1].reshape(vectors.shape[:-1])

    def to_sky(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Convert pixels (n,) to ICRS unit vectors (n, 3); NaN where this is undefined."""
        pixel = np.stack([x, y], axis=1)
        with self._copy() as wcs:
            world = wcs.all_pix2world(pixel, 0)
            lost = np.isnan(world).any(axis=1)
            if self.cylinder and lost.any():
                world[lost] = wcs.all_pix2world(self.cylinder.to_first_turn(pixel[lost]), 0)
        return self._frame.to_icrs(world[:, self._lon], world[:, self._lat])

    def pixel_scale(self) -> float:
        """Return the side, in degrees, of a square with the nominal area of a pixel."""
        from astropy.wcs.utils import proj_plane_pixel_area

        with self._copy() as wcs:
            scale = float(np.sqrt(proj_plane_pixel_area(wcs)))
        if not _SMALLEST_PIXEL < scale < np.inf:
            raise CoaddError(
                f"its WCS has pixels of {scale * 3600:.2g} arcsec; the limit is "
                f"{_SMALLEST_PIXEL * 3600:.0e}, set by double precision: correct CDELT or CD"
            )
        return scale

    def outline(self) -> tuple[tuple[float, float], ...]:
        """Return (lon, lat) in ICRS degrees along the image's edge; empty for much of the sky.

        Raises CoaddError if no part of the image is on the sky.
        """
        rows, cols = self.shape
        n = _STEPS
        along = np.arange(n) / n
        zero, one = np.zeros(n), np.ones(n)
        u = np.concatenate([along, one, 1 - along, zero])
        v = np.concatenate([zero, along, one, 1 - along])
        vectors = self.to_sky(u * cols - 0.5, v * rows - 0.5)
        whole = np.isfinite(vectors).all()
        if not whole:
            vectors = self._points_on_sky()
        center, radius = bounding_circle(vectors)
        middle = self.to_sky(np.array([(cols - 1) / 2]), np.array([(rows - 1) / 2]))
        # the edge of a map may lie around the antipode of its middle
        if radius > _LARGE or (middle @ center < np.cos(np.radians(_LARGE))).any():
            return ()
        if not whole:
            vectors = convex_hull(vectors)
        elif _bulge(vectors) < _STRAIGHT * self.pixel_scale():
            vectors = vectors[::n]
        lon, lat = to_lonlat(vectors)
        return tuple(zip(lon.tolist(), lat.tolist(), strict=True))

    def _points_on_sky(self) -> FloatArray:
        """Return positions (n, 3) all over the part of the image that is on the sky, and its edge.

        Raises CoaddError if there is no such part.
        """
        low, high = np.full(2, -0.5), np.array(self.shape[::-1]) - 0.5
        # the second time with as many steps across that part alone
        for _ in range(2):
            pixel, vectors, known = self._sample(low, high, _SAMPLES)
            if not known.any():
                pixel, vectors, known = self._sample(low, high, _MORE_SAMPLES)
            if not known.any():
                raise CoaddError("no pixel of its image is on the sky: correct its WCS")
            step = pixel[1, 1] - pixel[0, 0]
            low = np.maximum(pixel[known].min(axis=0) - step, low)
            high = np.minimum(pixel[known].max(axis=0) + step, high)
        return np.concatenate([vectors[known], self._to_sky(self._edge(pixel, known))])

    def _sample(
        self, low: FloatArray, high: FloatArray, steps: int
    ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
        """Return evenly spaced pixels, their positions on the sky, and which of them have one."""
        along = np.linspace(low, high, steps + 1)
        pixel = np.stack(np.meshgrid(*along.T), axis=-1)
        vectors = self._to_sky(pixel)
        return pixel, vectors, ~np.isnan(vectors.sum(axis=-1))

    def _edge(self, pixel: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
        """Return the outermost pixels (k, 2) on the sky, between those that are and are not.

        pixel: (n, n, 2) positions; known: (n, n), which of them are on the sky.
        """
        inner, outer = [], []
        for axis in (0, 1):
            a, b = (np.moveaxis(pixel, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
            is_a, is_b = (np.moveaxis(known, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
            inner += [a[is_a & ~is_b], b[is_b & ~is_a]]
            outer += [b[is_a & ~is_b], a[is_b & ~is_a]]
        inside, outside = np.concatenate(inner), np.concatenate(outer)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            good = ~np.isnan(self._to_sky(middle).sum(axis=1, keepdims=True))
            inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        return inside

    def _to_sky(self, pixel: FloatArray) -> FloatArray:
        """Convert pixels (..., 2) to ICRS unit vectors (..., 3)."""
        flat = pixel.reshape(-1, 2)
        return self.to_sky(flat[:, 0], flat[:, 1]).reshape(*pixel.shape[:-1], 3)

    @contextmanager
    def _copy(self) -> Iterator[Any]:
        """Provide a WCS of this thread alone: wcslib modifies the structure it computes with."""
        try:
            wcs = self._free.pop()
        except IndexError:
            wcs = self._wcs.deepcopy()
        try:
            yield wcs
        finally:
            self._free.append(wcs)


class _Frame:
    """The frame of an image: a rotation if it is one, otherwise astropy's transformation."""

    def __init__(self, wcs: Any) -> None:
        self._frame = _astropy_frame(wcs)
        probe = np.vstack([np.eye(3), [[0.48, -0.6, 0.64]]])
        in_frame = to_vectors(*self._transform(probe))
        matrix = in_frame[:3].T  # frame = matrix @ icrs
        rotation = np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-13) and np.allclose(
            matrix @ probe[3], in_frame[3], atol=1e-13
        )
        self._matrix = matrix if rotation else None

    def from_icrs(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return longitude and latitude, in degrees of the frame, of ICRS vectors (n, 3)."""
        if self._matrix is None:
            return self._transform(vectors)
        return to_lonlat(vectors @ self._matrix.T)

    def to_icrs(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        """Return ICRS vectors (n, 3) of positions in the frame."""
        if self._matrix is not None:
            return to_vectors(lon, lat) @ self._matrix
        from astropy.coordinates import ICRS, UnitSphericalRepresentation
        from astropy.units import deg

        in_frame = self._frame.realize_frame(UnitSphericalRepresentation(lon * deg, lat * deg))
        with _LOCK:
            icrs = in_frame.transform_to(ICRS())
        return to_vectors(icrs.spherical.lon.deg, icrs.spherical.lat.deg)

    def _transform(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        from astropy.coordinates import ICRS, UnitSphericalRepresentation
        from astropy.units import deg

        lon, lat = to_lonlat(vectors)
        in_icrs = ICRS(UnitSphericalRepresentation(lon * deg, lat * deg))
        with _LOCK:
            in_frame = in_icrs.transform_to(self._frame)
        return np.asarray(in_frame.spherical.lon.deg), np.asarray(in_frame.spherical.lat.deg)


def _astropy_frame(wcs: Any) -> Any:
    """Return the frame that the headers name. Raises CoaddError if it is unknown."""
    from astropy.coordinates import BarycentricMeanEcliptic
    from astropy.time import Time
    from astropy.wcs.utils import wcs_to_celestial_frame

    if str(wcs.wcs.ctype[wcs.wcs.lng]).startswith("ELON"):
        # astropy would use RADESYS as the frame, as if these were right ascensions
        if wcs.wcs.radesys.startswith("FK4"):
            raise CoaddError("its celestial frame, the ecliptic of FK4, is not supported")
        year = wcs.wcs.equinox if wcs.wcs.equinox < 3000.0 else 2000.0  # NaN or 1e108 if absent
        return BarycentricMeanEcliptic(equinox=Time(year, format="jyear"))
    try:
        return wcs_to_celestial_frame(wcs)
    except ValueError as error:
        raise CoaddError(f"its celestial frame is unknown ({_last_line(error)})") from error


def _check_numbers(header: "Header") -> None:
    """Raise CoaddError if a number of the WCS is text, is not finite, or has no value at all.

    Also if an order is beyond what SIP allows.
    """
    for keyword in filter(_ORDERS.fullmatch, header):
        order = header[keyword]
        if isinstance(order, int | float) and not 0 <= order <= MAX_SIP_ORDER:
            raise CoaddError(
                f"its {keyword} = {order} is not an order of SIP (0 to {MAX_SIP_ORDER})"
            )
    for keyword in filter(_NUMBERS.fullmatch, header):
        value = header[keyword]
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            continue
        if keyword == "EQUINOX" and str(value).strip(" JB.0") == "2":
            continue  # 2000, the default
        shown = f"= {value!r}" if isinstance(value, str | float | bool) else "has no value and"
        raise CoaddError(f"its {keyword} {shown} is not a number, which its WCS needs")


def _bulge(vectors: FloatArray) -> float:
    """Return how far, in degrees, the sides of an outline deviate from great circles."""
    corners = vectors[::_STEPS]
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    with np.errstate(invalid="ignore"):  # a side may end where it begins
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    off = np.einsum("sik,sk->si", vectors.reshape(4, _STEPS, 3), normals)
    return float(np.degrees(np.abs(off).max()))


def _with_known_units(header: "Header") -> "Header":
    """Return a header with the units of the first two axes as the standard spells them.

    astropy does this itself, but not before it has selected the axes, which fails. The units of
    other axes are removed: one that is unknown would make it fail, too.
    """
    units = dict(header["CUNIT?"])
    known = {
        key: _ANGLES.get(str(unit).strip().lower(), unit)
        for key, unit in units.items()
        if key in ("CUNIT1", "CUNIT2")
    }
    if known == units:
        return header
    changed = header.copy()
    for key in units:
        del changed[key]
    changed.update(known)
    return changed


def _axes(header: "Header") -> str:
    return ", ".join(f"CTYPE{k} = {header.get(f'CTYPE{k}', 'missing')!r}" for k in (1, 2))


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
