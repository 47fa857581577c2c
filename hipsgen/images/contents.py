"""Choose the sky images of a FITS file, and describe files that have none."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hipsgen.errors import CoaddError, NoCoaddError
from hipsgen.images.band import named_band
from hipsgen.images.cells import is_cell_table
from hipsgen.images.companions import Candidate, companion_words, kind_of, leave_out
from hipsgen.text import listed

if TYPE_CHECKING:
    from astropy.io import fits

ALL_HDUS = "all"
_SCIENCE = {"sci", "science", "image", "primary", "data", "signal", "flux"}
_WCS_KEYWORDS = (
    *("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2", "CROTA2"),
    *("PC1_1", "PC1_2", "PC2_1", "PC2_2"),
)


@dataclass(frozen=True)
class SkyImages:
    """The sky images of a file.

    Attributes
    ----------
    numbers
        Numbers of their HDUs; empty if the header says that the images are no science images.
    left_out
        Number and reason of each image HDU that is not used.
    """

    numbers: list[int]
    left_out: list[tuple[int, str]]

    @property
    def first(self) -> int:
        """Number of the first HDU. Raises NoCoaddError if there is none."""
        if not self.numbers:
            raise NoCoaddError(f"no science image ({self.left_out[0][1]})")
        return self.numbers[0]


def sky_images(hdus: "fits.HDUList", wanted: Sequence[str] = ()) -> SkyImages:
    """Return the HDUs of a file that hold sky images.

    Images have two axes, or more if the others have length 1. lsst.afw and lsst.images files: the
    image, not its mask and variance, which are read with it. lsst.cell_coadds: the table of cells.
    Other files: every image but those that accompany another one (see `companions`).

    Parameters
    ----------
    hdus
        The open file.
    wanted
        Numbers or names (EXTNAME, may contain wildcards) of the HDUs to use, or `ALL_HDUS`; by
        default they are chosen as above.

    Raises
    ------
    NoCoaddError
        If there is no sky image, or the science image is a cube, or the file has no HDU of one of
        `wanted`; the message says what there is.
    CoaddError
        If an HDU whose number is in `wanted` is not an image.
    """
    images = [k for k, hdu in enumerate(hdus) if is_image(hdu)]
    has_all = ALL_HDUS in map(str.lower, wanted)
    if wanted and not has_all:
        return SkyImages(_any_wanted(hdus, images, wanted), [])
    if not images:
        tables = [k for k, hdu in enumerate(hdus) if is_cell_table(hdu)]
        if not tables:
            raise NoCoaddError(f"no two-dimensional image in the file: {_describe_file(hdus)}")
        return SkyImages(tables, [])
    if has_all:
        return SkyImages(images, [])
    names = {k: hdu_name(hdus[k]) for k in images}
    if "MASK" in names.values() or hdus[0].header.get("EXPINFO_V"):
        of_lsst = [k for k in images if names[k] == "IMAGE"]
        if of_lsst:
            return SkyImages(of_lsst, [])
    _refuse_cube(hdus, images)
    return _science(hdus, images)


def is_image(hdu: Any) -> bool:
    """Whether an HDU is an image with two axes, others having length 1."""
    shape = _shape(hdu)
    return len(shape) >= 2 and min(shape) > 0 and all(n == 1 for n in shape[:-2])


def hdu_name(hdu: Any) -> str:
    """Return EXTNAME in capitals, or EXTTYPE, the only one that older lsst.afw wrote."""
    name = str(hdu.header.get("EXTTYPE") or hdu.header.get("EXTNAME") or "").strip().upper()
    return "" if name == "COMPRESSED_IMAGE" else name


def _shape(hdu: Any) -> tuple[int, ...]:
    """Return the shape of an image HDU, slowest axis first; () if it is not an image."""
    if not getattr(hdu, "is_image", False):
        return ()
    # extensions unknown to astropy have no shape
    return tuple(getattr(hdu, "shape", ()))


def _any_wanted(hdus: "fits.HDUList", images: list[int], wanted: Sequence[str]) -> list[int]:
    """Return the HDUs of a file that the user names; at least one name must be in the file."""
    found: set[int] = set()
    missing: NoCoaddError | None = None
    for one in wanted:
        try:
            found.update(_wanted(hdus, images, one))
        except NoCoaddError as error:
            missing = missing or error
    if missing and not found:
        raise missing
    return sorted(found)


def _wanted(hdus: "fits.HDUList", images: list[int], wanted: str) -> list[int]:
    """Return the HDUs that the user names."""
    if wanted.isdecimal():
        number = int(wanted)
        if number >= len(hdus):
            raise NoCoaddError(f"there is no HDU {number}: it has {_numbered(hdus)}")
        if number not in images and not is_cell_table(hdus[number]):
            raise CoaddError(f"HDU {number} is {_describe_hdu(hdus[number])}")
        return [number]
    named = [k for k in range(len(hdus)) if fnmatchcase(hdu_name(hdus[k]), wanted.upper())]
    found = [k for k in named if k in images]
    if named and not found:
        raise NoCoaddError(f"HDU {wanted} is {_describe_hdu(hdus[named[0]])}")
    if not found:
        raise NoCoaddError(f"there is no HDU {wanted}: it has {_numbered(hdus)}")
    return found


def _refuse_cube(hdus: "fits.HDUList", images: list[int]) -> None:
    """Raise NoCoaddError if the science image is a cube, to which other images are auxiliary."""
    if any(hdu_name(hdus[k]).lower() in _SCIENCE for k in images):
        return
    for k, hdu in enumerate(hdus):
        if k in images and not companion_words(hdu_name(hdu)) and not kind_of(hdu.header):
            return
        if len(_shape(hdu)) > 2 and not is_image(hdu) and min(_shape(hdu)) > 0:
            others = ", ".join(hdu_name(hdus[m]) or str(m) for m in images)
            raise NoCoaddError(
                f"its image {hdu_name(hdu) or k} is {_describe_hdu(hdu)}; if one of its other "
                f"images is meant, choose it with --hdu: {others}"
            )


def _science(hdus: "fits.HDUList", images: list[int]) -> SkyImages:
    candidates = [_candidate(hdus, k) for k in images]
    reasons = leave_out(candidates, _belongs_to)
    if any(one.place.wcs for one in candidates):
        for k, one in enumerate(candidates):
            if not one.place.wcs and one.name.lower() not in _SCIENCE:
                reasons.setdefault(k, "no celestial WCS")
    chosen = [k for k in range(len(images)) if k not in reasons]
    for k in sorted(chosen, key=lambda k: candidates[k].name.lower() not in _SCIENCE):
        if k in reasons:
            continue
        for m in chosen:
            if m != k and m not in reasons and _is_auxiliary(candidates[m], candidates[k]):
                reasons[m] = f"covers the pixels of {candidates[k].name or f'HDU {images[k]}'}"
    numbers = [images[k] for k in range(len(images)) if k not in reasons]
    return SkyImages(numbers, [(images[k], reason) for k, reason in sorted(reasons.items())])


def _is_auxiliary(one: Candidate, science: Candidate) -> bool:
    """Whether an image that covers the pixels of another one has another unit or purpose."""
    if not _is_same_grid(one.place, science.place):
        return False
    is_named = science.name.lower() in _SCIENCE and one.name.lower() not in _SCIENCE
    return is_named or one.unit != science.unit or bool(one.words and science.words)


def _candidate(hdus: "fits.HDUList", number: int) -> Candidate:
    header = hdus[number].header
    kind = kind_of(header, hdus[0].header)
    wcs = tuple(header.get(key) for key in _WCS_KEYWORDS) if header.get("CTYPE1") else ()
    unit = str(header.get("BUNIT", "")).strip()
    band = named_band(header, hdus[0].header)
    place = _Grid(_shape(hdus[number])[-2:], wcs, header.get("EXTVER"), band)
    return Candidate(hdu_name(hdus[number]), kind, unit, place)


@dataclass(frozen=True)
class _Grid:
    """The pixels of an image HDU.

    shape, WCS keywords (none if it has no WCS), EXTVER if any, and the band ("" if unknown).
    """

    shape: tuple[int, ...]
    wcs: tuple[Any, ...]
    version: int | None
    band: str


def _belongs_to(one: _Grid, other: _Grid) -> bool:
    """Whether two image HDUs have the same pixels, or the same shape and EXTVER."""
    if _differ_in_band(one, other):
        return False
    has_version = one.version is not None and one.version == other.version
    return _is_same_grid(one, other) or (has_version and one.shape == other.shape)


def _is_same_grid(one: _Grid, other: _Grid) -> bool:
    """Whether two image HDUs have the same pixels; one without a WCS has that of its EXTVER."""
    if one.shape != other.shape or _differ_in_band(one, other):
        return False
    return one.wcs == other.wcs if one.wcs and other.wcs else one.version == other.version


def _differ_in_band(one: _Grid, other: _Grid) -> bool:
    return bool(one.band and other.band) and one.band != other.band


def _numbered(hdus: "fits.HDUList") -> str:
    """Return the numbers and names of the HDUs of a file, such as `0, 1 (SCI), 2 (ERR)`."""
    names = [(k, hdu_name(hdu)) for k, hdu in enumerate(hdus)]
    return listed([f"{k} ({name})" if name else str(k) for k, name in names], 8)


def _describe_file(hdus: "fits.HDUList") -> str:
    """Describe the HDUs of a file in a few words."""
    found = [_describe_hdu(hdu) for hdu in hdus if not _is_empty(hdu)]
    return f"it has {listed(list(dict.fromkeys(found)), 3) or 'headers only'}"


def _is_empty(hdu: Any) -> bool:
    return int(hdu.header.get("NAXIS", 0)) == 0


def _describe_hdu(hdu: Any) -> str:
    """Describe an HDU: a cube of n × rows × columns, a HEALPix table, a spectrum ..."""
    header, shape = hdu.header, tuple(n for n in _shape(hdu) if n != 1)
    if _is_empty(hdu):
        return "a header without data"
    if getattr(hdu, "is_image", False):
        size = " × ".join(map(str, shape))
        if len(shape) < 2:
            return f"a spectrum or other image of one axis ({size or 1} pixels)"
        if len(shape) == 2:
            return f"an image of {size} pixels"
        last = str(header.get(f"CTYPE{len(_shape(hdu))}", "")).strip()
        is_rgb = len(shape) == 3 and shape[0] in (3, 4) and last in ("", "RGB", "COLOR")
        return f"{'an RGB image' if is_rgb else 'a cube'} ({size})"
    if str(header.get("PIXTYPE", "")).upper() == "HEALPIX":
        return f"a HEALPix table (NSIDE {header.get('NSIDE', '?')})"
    if str(header.get("PIXTYPE", "")).upper() == "HEALSPARSE":
        return "a HealSparse map"
    return f"a table of {header.get('NAXIS2', 0)} rows"
