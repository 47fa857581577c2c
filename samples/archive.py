"""Write the archive tables of an lsst.afw exposure: an index, then one table per class.

For each archived object (`id`) the index gives the table that holds its rows: `cat.archive` counts
the tables, beginning with the index (0). Flags share one bit column, `flags`, whose bits are named
by TFLAGn. The objects of the sample are PhotoCalib (1) and FilterLabel (2), and the field of a
calibration that varies (3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.io import fits

PHOTO_CALIB_ID, FILTER_LABEL_ID, FIELD_ID = 1, 2, 3

_INDEX_DOCS = {
    "id": "Archive ID of the persistable object that owns the records pointed at by this entry",
    "cat.archive": "index of the catalog this entry points to, from the perspective of the archive",
    "cat.persistable": (
        "index of the catalog this entry points to, from the perspective of the Persistable"
    ),
    "row0": "first row used by the persistable object in this catalog",
    "nrows": "number of rows used by the persistable object in this catalog",
    "name": "unique name for the persistable object's class",
    "module": "Python module that should be imported to register the object's factory",
}


@dataclass(frozen=True)
class Field:
    """A factor that varies over a box.

    box: x, y of its first pixel, then of its last. coefficients: of T_j(y) T_i(x) in row j, column
    i.
    """

    box: tuple[int, int, int, int]
    coefficients: npt.NDArray[np.float64]


def archive_hdus(
    nanojansky_per_count: float, band: str, field: Field | None = None
) -> list[fits.BinTableHDU]:
    """Return the archive of an exposure: index, PhotoCalib, FilterLabel and, if any, the field."""
    tables = [_photo_calib(nanojansky_per_count, field), _filter_label(band)]
    entries = [
        (PHOTO_CALIB_ID, 1, 0, 0, 1, "PhotoCalib", ""),
        (FILTER_LABEL_ID, 2, 0, 0, 1, "FilterLabel", "lsst.afw.image"),
    ]
    if field is not None:
        tables.append(_chebyshev_field(field))
        entries.append((FIELD_ID, 3, 0, 0, 1, "ChebyshevBoundedField", "lsst.afw.math"))
    hdus = [_index(entries, len(tables) + 1), *tables]
    for number, hdu in enumerate(hdus):
        hdu.header["AR_CATN"] = (number, "# of this catalog relative to the start")
        hdu.header["HIERARCH AFW_TABLE_VERSION"] = 3
    return hdus


def _index(entries: Sequence[tuple[object, ...]], tables: int) -> fits.BinTableHDU:
    formats = ("1J",) * 5 + ("64A",) * 2
    columns = [
        fits.Column(name, code, array=np.array(values))
        for name, code, values in zip(_INDEX_DOCS, formats, zip(*entries, strict=True), strict=True)
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="ARCHIVE_INDEX")
    for number, (name, doc) in enumerate(_INDEX_DOCS.items(), start=1):
        hdu.header[f"TDOC{number}"] = doc
        hdu.header[f"TCCLS{number}"] = "String" if name in ("name", "module") else "Scalar"
    hdu.header["EXTTYPE"] = "ARCHIVE_INDEX"
    hdu.header["AR_NCAT"] = (tables, "# of catalogs in this archive, with the index")
    return hdu


def _photo_calib(nanojansky_per_count: float, field: Field | None) -> fits.BinTableHDU:
    """Return a calibration that is constant over the image, or refers to its field."""
    columns = [
        fits.Column("calibrationMean", "1D", unit="count", array=[nanojansky_per_count]),
        fits.Column("calibrationErr", "1D", unit="count", array=[0.0]),
        fits.Column("field", "1J", array=[0 if field is None else FIELD_ID]),
        fits.Column("version", "1J", array=[1]),
    ]
    return _data("PhotoCalib", {"isConstant": field is None}, columns)


def _chebyshev_field(field: Field) -> fits.BinTableHDU:
    names = ("bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y")
    rows, cols = field.coefficients.shape
    columns = [
        fits.Column("order_x", "1J", array=[cols - 1]),
        *(
            fits.Column(n, "1J", unit="pixel", array=[v])
            for n, v in zip(names, field.box, strict=True)
        ),
        fits.Column("coefficients", f"{rows * cols}D", array=field.coefficients.reshape(1, -1)),
    ]
    return _data("ChebyshevBoundedField", {}, columns)


def _filter_label(band: str) -> fits.BinTableHDU:
    """Return the label of a coadd, which has a band but no physical filter."""
    columns = [
        fits.Column("band", "32A", array=[band]),
        fits.Column("physical", "32A", array=[""]),
    ]
    return _data("FilterLabel", {"band_exists": True, "physical_exists": False}, columns)


def _data(name: str, flags: dict[str, bool], columns: list[fits.Column]) -> fits.BinTableHDU:
    if flags:
        bits = fits.Column("flags", f"{len(flags)}X", array=np.array([list(flags.values())]))
        columns = [bits, *columns]
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    if flags:
        hdu.header["FLAGCOL"] = (1, "Column number for the bitflags.")
    for number, flag in enumerate(flags, start=1):
        hdu.header[f"TFLAG{number}"] = flag
    hdu.header["EXTTYPE"] = "ARCHIVE_DATA"
    hdu.header["AR_NAME"] = (name, "Class name for objects stored here")
    return hdu
