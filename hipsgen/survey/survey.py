"""A survey that lies in a store: its properties, its coverage, its tiles."""

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
from hipsgen.survey.store import Readable

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.nddata import CCDData
    from astropy.table import QTable
    from astropy.units import Quantity
    from mocpy import MOC

    from hipsgen.survey.provenance import Provenance, UsedCoadd

_PLANE = re.compile(r"(\S+):([0-9]+)")


@dataclass(frozen=True)
class Survey:
    """A finished survey, made by hipsgen or not. Make one with `Survey.open`.

    Attributes
    ----------
    store
        Where its files are.
    properties
        Its ``properties`` file, as text by key; the properties below are parsed from it.
    """

    store: Readable
    properties: dict[str, str]

    @classmethod
    def open(cls, store: Readable) -> "Survey":
        """Raises SurveyError when there is no properties file, or one that cannot be read."""
        try:
            data = store.read(FILE_NAME)
        except FileNotFoundError as error:
            raise SurveyError(f"{store} is not a finished HiPS: it has no properties") from error
        return cls.parse(store, data)

    @classmethod
    def parse(cls, store: Readable, data: bytes) -> "Survey":
        """Make one from the bytes of its properties file. Raises SurveyError."""
        try:
            return cls(store, parse_properties(data.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise SurveyError(f"properties of {store} is not UTF-8") from error

    @property
    def order(self) -> int:
        """Deepest order."""
        return self._whole("hips_order", most=MAX_ORDER)

    @property
    def order_min(self) -> int:
        """Lowest order that there are tiles of."""
        return self._whole("hips_order_min", "0", most=MAX_ORDER)

    @property
    def tile_width(self) -> int:
        """Pixels a side of a tile."""
        return self._whole("hips_tile_width", "512", least=1, most=1 << 15)

    @property
    def frame(self) -> str:
        """equatorial, galactic, or what the survey says."""
        return self.properties.get("hips_frame", "equatorial")

    @property
    def formats(self) -> tuple[str, ...]:
        """Tile formats as in hips_tile_format, lower case."""
        return tuple(self.properties.get("hips_tile_format", "").lower().split())

    @property
    def title(self) -> str:
        """obs_title, or where the survey is."""
        return self.properties.get("obs_title", str(self.store))

    @property
    def band(self) -> str:
        """The filter, empty when the properties do not name it."""
        return self.properties.get("obs_band") or self.properties.get("obs_filter", "")

    @property
    def unit(self) -> str:
        """Unit of the pixel values, empty when there is none."""
        return self.properties.get("hips_bunit", "")

    @property
    def is_color(self) -> bool:
        """Whether its tiles are color pictures."""
        return self.properties.get("dataproduct_subtype", "") == "color"

    @property
    def plane(self) -> str:
        """Plane of the coadds that it shows: image, variance or mask."""
        return self.properties.get("hipsgen_plane") or "image"

    @property
    def planes(self) -> dict[str, int]:
        """Bits of the mask planes by name; empty unless `plane` is mask."""
        words = self.properties.get("hipsgen_planes", "").split()
        found = (match for word in words if (match := _PLANE.fullmatch(word)))
        return {match[1]: int(match[2]) for match in found}

    def number(self, key: str) -> float | None:
        """A property as a finite number, None when it is absent or something else."""
        found = self.numbers(key)
        return found[0] if len(found) == 1 else None

    def numbers(self, key: str) -> list[float]:
        """A property as finite numbers, empty when it is absent or something else."""
        try:
            values = [float(word) for word in self.properties.get(key, "").split()]
        except ValueError:
            return []
        return values if all(map(math.isfinite, values)) else []

    def form(self, name: str) -> Format:
        """What its tiles of a format (name) are read with."""
        return FitsTile(planes=tuple(self.planes.items())) if name == "fits" else format_of(name)

    def values(self, tile: Tile) -> npt.NDArray[np.float32] | npt.NDArray[np.int32] | None:
        """Pixels of a FITS tile (width, width), row 0 at the bottom; None where there is no tile.

        float32 with NaN for missing, or int32 with `NO_DATA` for missing when `plane` is mask.
        Raises SurveyError for a file that is no FITS tile.
        """
        try:
            return self.form("fits").decode(self.store.read(tile.path("fits")))
        except FileNotFoundError:
            return None

    def tile(self, order: int, npix: int) -> npt.NDArray[np.float32] | npt.NDArray[np.int32] | None:
        """Read a FITS tile.

        Parameters
        ----------
        order, npix : int
            HiPS order, and NESTED HEALPix number of the tile at that order.

        Returns
        -------
        ndarray or None
            Shape (tile_width, tile_width), row 0 at the bottom: float32 in `unit` with NaN for
            missing values; of a mask int32 with the bits of `planes`, -2**31 for missing values.
            None where there is no tile.

        Raises
        ------
        SurveyError
            When the file is no FITS tile.
        """
        return self.values(Tile(order, npix))

    def coadds_at(self, position: "SkyCoord") -> "QTable":
        """Return the coadds that gave pixels at a position.

        Parameters
        ----------
        position : astropy.coordinates.SkyCoord
            A single position.

        Returns
        -------
        astropy.table.QTable
            Rows of `provenance`, in the survey's order.

        Raises
        ------
        SurveyError
            When the survey has no provenance.fits, as one made by another program.
        """
        from hipsgen.survey.provenance_table import provenance_table

        return provenance_table(self._coadds_at(position))

    def cutout(self, position: "SkyCoord", size: "Quantity") -> "CCDData":
        """Cut the pixels round a position out of the first coadd there, as they are in its file.

        Parameters
        ----------
        position : astropy.coordinates.SkyCoord
            A single position, the middle of the cutout.
        size : astropy.units.Quantity
            Angle along a side; the cutout ends at the edge of the coadd.

        Returns
        -------
        astropy.nddata.CCDData
            Pixels of the coadd with their unit and WCS, a mask that is true where there is no
            value, and the variance as uncertainty where the file has it.

        Raises
        ------
        SurveyError
            When the survey has no provenance.fits, or no coadd at the position.
        CoaddError
            When the file of the coadd cannot be read.
        """
        from hipsgen.images.coadd_fits import FitsReader
        from hipsgen.images.cutout import section_around

        coadds = self._coadds_at(position)
        if not coadds:
            raise SurveyError(f"{self.store} has no coadd at {position.to_string()}")
        reader, ref = FitsReader(excluded=()).with_range_reads(), coadds[0].ref
        place = position.icrs
        section = section_around(
            reader.info(ref), place.ra.deg, place.dec.deg, size.to_value("deg")
        )
        return reader.cutout(ref, section).to_ccddata()

    def _coadds_at(self, position: "SkyCoord") -> "list[UsedCoadd]":
        place = position.icrs
        return self.read_provenance().at(float(place.ra.deg), float(place.dec.deg))

    def read_provenance(self) -> "Provenance":
        """Read the coadds of the survey. Raises SurveyError without a provenance.fits."""
        from hipsgen.survey.provenance import FILE_NAME as PROVENANCE
        from hipsgen.survey.provenance import Provenance

        try:
            return Provenance.from_bytes(self.store.read(PROVENANCE))
        except FileNotFoundError as error:
            raise SurveyError(f"{self.store} has no {PROVENANCE}") from error

    @property
    def provenance(self) -> "QTable":
        """The coadds that gave pixels, a row each. Raises SurveyError without a provenance.fits.

        Columns: band, dataset_type, run, dataset_id, data_id (JSON), uri, hdu, identity, unit_in,
        scale, calibration, excluded_planes, t_min and t_max (MJD).
        """
        from hipsgen.survey.provenance_table import provenance_table

        return provenance_table(self.read_provenance().coadds)

    @cached_property
    def moc(self) -> "MOC":
        """Coverage as mocpy.MOC, in the survey's frame. Raises SurveyError without a Moc.fits."""
        try:
            return read_moc(self.store.read(MOC_NAME))
        except FileNotFoundError as error:
            raise SurveyError(f"{self.store} has no {MOC_NAME}") from error

    def npix_of(self, order: int) -> IntArray:
        """Numbers of the tiles of an order, sorted, as the MOC has them."""
        moc = self.moc
        depth = 2 * max(0, order - int(moc.max_order))
        cells = (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
        first = np.sort(cells.astype(np.int64)) << depth
        return np.asarray((first[:, None] + np.arange(1 << depth)).ravel())

    def tiles_of(self, order: int) -> Iterator[Tile]:
        """The tiles of an order, in NESTED order, as the MOC has them."""
        return (Tile(order, npix) for npix in self.npix_of(order).tolist())

    def _whole(self, key: str, default: str = "", least: int = 0, most: int = 0) -> int:
        text = self.properties.get(key, default)
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            limits = f"a whole number from {least} to {most}"
            raise SurveyError(f"{key} of {self.store} is {text[:40]!r}, not {limits}")
        return int(text[:9])
