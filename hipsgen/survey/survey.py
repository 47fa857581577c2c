"""A finished survey: its properties, coverage, tiles and coadds."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import MAX_ORDER, IntArray, Tile
from hipsgen.survey.coverage import MOC_NAME, read_moc
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, format_of
from hipsgen.survey.properties import FILE_NAME, parse_properties
from hipsgen.survey.store import SMALL, Readable

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.nddata import CCDData
    from astropy.table import QTable
    from astropy.units import Quantity
    from mocpy import MOC

    from hipsgen.survey.provenance import Provenance, UsedCoadd

_Pixels = npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int32]
_MAY_BEGIN = 3  # highest order at which a survey may begin without saying so
_PLANE = re.compile(r"(\S+):([0-9]+)")


@dataclass(frozen=True)
class Survey:
    """A finished survey, made by hipsgen or another program; see `hipsgen.open_survey`.

    Attributes
    ----------
    store
        Folder or web server that contains its files.
    properties
        Text values of its ``properties`` file, by key. Most attributes are parsed from them.
    """

    store: Readable
    properties: dict[str, str]

    @classmethod
    def open(cls, store: Readable) -> "Survey":
        """Open the survey in a store.

        Raises SurveyError if there is no properties file, or an unreadable one.
        """
        try:
            data = store.read(FILE_NAME, SMALL)
        except FileNotFoundError as error:
            raise SurveyError(f"{store} is not a finished HiPS: it has no properties") from error
        return cls.parse(store, data)

    @classmethod
    def parse(cls, store: Readable, data: bytes) -> "Survey":
        """Create a survey from its properties file. Raises SurveyError if it is not UTF-8."""
        try:
            return cls(store, parse_properties(data.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise SurveyError(f"the properties file of {store} is not UTF-8") from error

    @property
    def order(self) -> int:
        """Deepest HiPS order."""
        return self._integer("hips_order", most=MAX_ORDER)

    @property
    def order_min(self) -> int:
        """Lowest order with tiles."""
        return self._integer("hips_order_min", "0", most=MAX_ORDER)

    @property
    def states_order_min(self) -> bool:
        """Whether hips_order_min is stated, which HiPS 1.0 does not require."""
        return "hips_order_min" in self.properties

    @property
    def first_certain_order(self) -> int:
        """Lowest order that must have tiles: orders 0 to 2 may be omitted (HiPS 1.0, 4.3.1)."""
        return self.order_min if self.states_order_min else min(_MAY_BEGIN, self.order)

    @property
    def tile_width(self) -> int:
        """Width of a tile in pixels."""
        return self._integer("hips_tile_width", "512", least=1, most=1 << 15)

    @property
    def frame(self) -> str:
        """Coordinate frame: ``equatorial``, ``galactic``, ``ecliptic`` or another hips_frame."""
        return self.properties.get("hips_frame", "equatorial").lower()

    @property
    def formats(self) -> tuple[str, ...]:
        """Tile formats, in the order of hips_tile_format, in lower case."""
        return tuple(self.properties.get("hips_tile_format", "").lower().split())

    @property
    def title(self) -> str:
        """Title of the survey, or its location if it has none."""
        return self.properties.get("obs_title", str(self.store))

    @property
    def band(self) -> str:
        """Band of the survey, empty if unknown."""
        return self.properties.get("obs_band") or self.properties.get("obs_filter", "")

    @property
    def unit(self) -> str:
        """Unit of the pixel values, empty if there is none."""
        return self.properties.get("hips_bunit", "")

    @property
    def offset(self) -> float:
        """Value to which hipsgen's computation of the tiles was relative; see `sky.offset`."""
        return self.number("hipsgen_offset") or 0.0

    @property
    def is_color(self) -> bool:
        """Whether it is a color survey."""
        return self.properties.get("dataproduct_subtype", "") == "color"

    @property
    def plane(self) -> str:
        """Plane of the coadds: ``image``, ``variance`` or ``mask``."""
        return self.properties.get("hipsgen_plane") or "image"

    @property
    def planes(self) -> dict[str, int]:
        """Bits of the mask planes, by name; empty unless `plane` is ``mask``."""
        items = self.properties.get("hipsgen_planes", "").split()
        found = (match for item in items if (match := _PLANE.fullmatch(item)))
        return {match[1]: int(match[2]) for match in found}

    def number(self, key: str) -> float | None:
        """Return a property as a finite number, or None if it is absent or not a number."""
        found = self.numbers(key)
        return found[0] if len(found) == 1 else None

    def numbers(self, key: str) -> list[float]:
        """Return a property as finite numbers; empty if it is absent or not a list of numbers."""
        try:
            values = [float(word) for word in self.properties.get(key, "").split()]
        except ValueError:
            return []
        return values if all(map(math.isfinite, values)) else []

    def form(self, name: str) -> Format:
        """Return the decoder of its tiles in a format, such as ``fits``."""
        return FitsTile(planes=tuple(self.planes.items())) if name == "fits" else format_of(name)

    def values(self, tile: Tile) -> _Pixels | None:
        """Read a FITS tile; see `tile`."""
        try:
            return self.form("fits").decode(self.store.read(tile.path("fits")))
        except FileNotFoundError:
            return None

    def tile(self, order: int, npix: int) -> _Pixels | None:
        """Read a FITS tile.

        Parameters
        ----------
        order, npix : int
            HiPS order, and NESTED HEALPix number of the tile at that order.

        Returns
        -------
        ndarray or None
            Pixels of shape (tile_width, tile_width), row 0 at the bottom: float32 in `unit`, NaN if
            missing, or float64 if the file has BITPIX -64; for a mask survey int32 with the bits of
            `planes`, -2**31 if missing. None if the tile does not exist.

        Raises
        ------
        SurveyError
            If the file is not a FITS tile.
        """
        return self.values(Tile(order, npix))

    def coadds_at(self, position: "SkyCoord") -> "QTable":
        """Return the coadds whose outline contains a position.

        Parameters
        ----------
        position : astropy.coordinates.SkyCoord
            A single position.

        Returns
        -------
        astropy.table.QTable
            Rows of `provenance`, in the same order.

        Raises
        ------
        SurveyError
            If the survey has no provenance.fits, which only hipsgen writes.
        """
        from hipsgen.survey.provenance_table import provenance_table

        return provenance_table(self._coadds_at(position))

    def cutout(self, position: "SkyCoord", size: "Quantity") -> "CCDData":
        """Cut out the pixels around a position from the first coadd that contains it.

        The file is the one that provenance.fits names, wherever it is.

        Parameters
        ----------
        position : astropy.coordinates.SkyCoord
            A single position, the center of the cutout.
        size : astropy.units.Quantity
            Width and height, as an angle; the cutout is clipped at the edge of the coadd.

        Returns
        -------
        astropy.nddata.CCDData
            Pixels as in the file of the coadd, with unit and WCS; a mask that is true for missing
            values; and the variance as uncertainty, if the file has it.

        Raises
        ------
        SurveyError
            If the survey has no provenance.fits, or no coadd at the position.
        CoaddError
            If the file of the coadd cannot be read.
        """
        from hipsgen.images.coadd_fits import FitsReader
        from hipsgen.images.cutout import section_around

        coadds = self._coadds_at(position)
        if not coadds:
            raise SurveyError(f"{self.store} has no coadd at {position.to_string()}")
        reader = FitsReader(excluded=(), unit=coadds[0].stated_unit).with_range_reads()
        ref = coadds[0].ref
        center = position.icrs
        section = section_around(
            reader.info(ref), center.ra.deg, center.dec.deg, size.to_value("deg")
        )
        return reader.cutout(ref, section).to_ccddata()

    def _coadds_at(self, position: "SkyCoord") -> "list[UsedCoadd]":
        icrs = position.icrs
        return self.read_provenance().at(float(icrs.ra.deg), float(icrs.dec.deg))

    def read_provenance(self) -> "Provenance":
        """Read the provenance table. Raises SurveyError if there is none."""
        from hipsgen.survey.provenance import FILE_NAME as PROVENANCE
        from hipsgen.survey.provenance import Provenance

        try:
            return Provenance.from_bytes(self.store.read(PROVENANCE))
        except FileNotFoundError as error:
            raise SurveyError(f"{self.store} has no {PROVENANCE}") from error

    @property
    def provenance(self) -> "QTable":
        """Coadds that contributed pixels, one row each. Raises SurveyError if there is no table.

        Columns: band, dataset_type, run, dataset_id, data_id (JSON), uri, hdu, identity, unit_in,
        scale, calibration, excluded_planes, t_min and t_max (MJD).
        """
        from hipsgen.survey.provenance_table import provenance_table

        return provenance_table(self.read_provenance().coadds)

    @cached_property
    def moc(self) -> "MOC":
        """Coverage in the frame of the survey. Raises SurveyError if there is no Moc.fits."""
        try:
            return read_moc(self.store.read(MOC_NAME))
        except FileNotFoundError as error:
            raise SurveyError(f"{self.store} has no {MOC_NAME}") from error

    def npix_of(self, order: int) -> IntArray:
        """Return the sorted numbers of the tiles of an order, according to the MOC."""
        moc = self.moc
        depth = 2 * max(0, order - int(moc.max_order))
        cells = (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
        first = np.sort(cells.astype(np.int64)) << depth
        return np.asarray((first[:, None] + np.arange(1 << depth)).ravel())

    def tiles_of(self, order: int) -> Iterator[Tile]:
        """Return the tiles of an order, in NESTED order, according to the MOC."""
        return (Tile(order, npix) for npix in self.npix_of(order).tolist())

    def _integer(self, key: str, default: str = "", least: int = 0, most: int = 0) -> int:
        text = self.properties.get(key, default)
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            limits = f"an integer from {least} to {most}"
            raise SurveyError(f"{key} of {self.store} is {text[:40]!r}, not {limits}")
        return int(text[:9])
