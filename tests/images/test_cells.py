"""Coadds in cells (lsst.cell_coadds), made to their layout: stitched, they are one image."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader, open_fits
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.layout import layout_of
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.uris import path_of, uri_of
from samples.repository import CHAIN, DATASET_TYPE
from tests.images.making import survey_of, tan_header, write

INNER, COUNT, BORDER, FIRST = (30, 40), (4, 3), 10, (700, 1300)  # rows and columns, down and across
SHAPE = (INNER[0] * COUNT[0] + 2 * BORDER, INNER[1] * COUNT[1] + 2 * BORDER)
WRONG = -1e6  # what a cell says of pixels that belong to its neighbor
PLANES = {"BAD": 0, "NO_DATA": 8, "DETECTED": 5}
Image = npt.NDArray[np.float32]


def sky(shape: tuple[int, int] = SHAPE) -> tuple[Image, npt.NDArray[np.int32]]:
    rng = np.random.default_rng(3)
    image = rng.normal(0, 5, shape).astype(np.float32)
    image[40:45, 60:70] = np.nan
    mask = np.where(rng.random(shape) < 0.05, 1 << PLANES["DETECTED"], 0)
    mask[90:100, 20:130] |= 1 << PLANES["NO_DATA"]
    return image, mask.astype(np.int32)


def owned(number: int, size: int, count: int) -> slice:
    """What of the whole a cell has a say in: its own pixels, and beyond at the edge."""
    start = 0 if number == 0 else BORDER + number * size
    stop = 2 * BORDER + count * size if number == count - 1 else BORDER + (number + 1) * size
    return slice(start, stop)


def write_cells(
    path: Path,
    inner: tuple[int, int] = INNER,
    count: tuple[int, int] = COUNT,
    unit: str = "nJy",
    missing: tuple[int, int] | None = None,
    kinds: tuple[str, str] = ("I", "J"),
    by_column: bool = False,
    **cards: Any,
) -> Path:
    """A file with the tables and cards that lsst.cell_coadds 0.8 writes."""
    shape = tuple(n * c + 2 * BORDER for n, c in zip(inner, count, strict=True))
    image, mask = sky(shape)
    outer = tuple(n + 2 * BORDER for n in inner)
    ids, images, masks = [], [], []
    places = [(down, across) for down in range(count[0]) for across in range(count[1])]
    if by_column:
        places.sort(key=lambda place: place[::-1])
    for down, across in places:
        if (down, across) != missing:
            rows, cols = owned(down, inner[0], count[0]), owned(across, inner[1], count[1])
            whole = np.full(shape, WRONG, np.float32), np.full(shape, 1 << 8, np.int32)
            for to, values in zip(whole, (image, mask), strict=True):
                to[rows, cols] = values[rows, cols]
            top, left = down * inner[0], across * inner[1]
            cell = slice(top, top + outer[0]), slice(left, left + outer[1])
            ids.append((across, down))
            images.append(whole[0][cell].copy())
            masks.append(whole[1][cell].copy())
    pixels, dim = outer[0] * outer[1], f"({outer[1]}, {outer[0]})"
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("cell_id", f"2{kinds[0]}", array=np.array(ids)),
            fits.Column("image", f"{pixels}E", unit=unit, dim=dim, array=np.array(images)),
            fits.Column("mask", f"{pixels}{kinds[1]}", dim=dim, array=np.array(masks)),
            fits.Column("variance", f"{pixels}E", dim=dim, array=np.array(images) ** 2),
            fits.Column("psf", "9D", dim="(3, 3)", array=np.zeros((len(ids), 3, 3))),
        ]
    )
    table.header.update({"GRCELL1": inner[1], "GRCELL2": inner[0]})
    table.header.update({"GRSHAPE1": count[1], "GRSHAPE2": count[0]})
    table.header.update({"GRMIN1": FIRST[1] + BORDER, "GRMIN2": FIRST[0] + BORDER})
    table.header.update({"OCELL1": outer[1], "OCELL2": outer[0], "PSFSIZE1": 3, "PSFSIZE2": 3})
    table.header.update({"INBBOX11": FIRST[1], "INBBOX12": FIRST[0]})
    table.header.update({"VERSION": "0.8", "FILTER": "r", "TRACT": 3, "SKYMAP": "s", **cards})
    names = np.array(list(PLANES.items()), [("MASK_NAME", "U10"), ("BIT_VALUE", "u4")])
    path.parent.mkdir(exist_ok=True)
    primary = fits.PrimaryHDU()
    primary.header.extend(tract_wcs().cards)
    visits = fits.BinTableHDU.from_columns([fits.Column("visit", "K", array=[1])], name="VISIT")
    definitions = fits.BinTableHDU(names, name="MASKDEF")
    fits.HDUList([primary, table, visits, definitions]).writeto(path, checksum=True)
    return path


def tract_wcs() -> fits.Header:
    """Of the tract; FITS counts its pixels from 1."""
    header = tan_header(CRPIX1=1500.0, CRPIX2=900.0)
    return fits.Header({key: header[key] for key in header if not key.startswith("NAXIS")})


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells") / "cells.fits")


def ref_of(path: Path) -> CoaddRef:
    return CoaddRef(uri_of(path), "")


def test_it_is_stitched_of_what_each_cell_has_a_say_in(cells: Path):
    image, mask = sky()
    reader = FitsReader()
    info = reader.info(ref_of(cells))
    assert (info.shape, info.unit, info.calibration) == (SHAPE, "nJy", "TUNIT")
    assert info.excluded == ("NO_DATA",)
    assert set(info.planes) == set(PLANES)
    assert info.in_parts
    everything = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    truth = np.where(mask & 1 << 8, np.nan, image)
    np.testing.assert_array_equal(reader.read(ref_of(cells), everything), truth)
    detected = FitsReader(excluded=("DETECTED",)).read(ref_of(cells), everything)
    np.testing.assert_array_equal(detected, np.where(mask & 1 << 5, np.nan, image))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sections_are_those_of_the_whole_by_either_way(
    data: st.DataObject, cells: Path, monkeypatch: pytest.MonkeyPatch
):
    image, mask = sky()
    ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in SHAPE]
    section = slice(*ends[0]), slice(*ends[1])
    truth = np.where(mask & 1 << 8, np.nan, image)[section]
    reader = FitsReader()
    if truth.size:
        np.testing.assert_array_equal(reader.read(ref_of(cells), section), truth)
        with monkeypatch.context() as patched:
            patched.setattr(FitsReader, "_decode", lambda *_: False)
            np.testing.assert_array_equal(reader.read(ref_of(cells), section), truth)


def test_its_pixels_lie_where_the_tract_has_them(cells: Path):
    info = FitsReader().info(ref_of(cells))
    tract = WCS(tract_wcs())
    cols, rows = np.meshgrid([0.0, 17.0, SHAPE[1] - 1], [0.0, 99.0, SHAPE[0] - 1])
    lon, lat = tract.all_pix2world(cols.ravel() + FIRST[1], rows.ravel() + FIRST[0], 0)
    with open_fits(uri_of(cells)) as hdus:
        stitched = layout_of(hdus, 1).header
    x, y = WCS(stitched).all_world2pix(lon, lat, 0)
    np.testing.assert_allclose((x, y), (cols.ravel(), rows.ravel()), atol=1e-6)
    corner = min(np.hypot(lo - lon[0], la - lat[0]) for lo, la in info.wcs.outline())
    assert corner < 1 / 3600


def test_a_cell_that_is_not_there_is_missing_data(tmp_path: Path):
    path = write_cells(tmp_path / "holes.fits", missing=(1, 2))
    image, mask = sky()
    truth = np.where(mask & 1 << 8, np.nan, image)
    truth[owned(1, INNER[0], COUNT[0]), owned(2, INNER[1], COUNT[1])] = np.nan
    everything = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    np.testing.assert_array_equal(FitsReader().read(ref_of(path), everything), truth)


def test_an_arbitrary_zero_point_is_no_unit(tmp_path: Path):
    path = write_cells(tmp_path / "legacy.fits", unit="legacy")
    info = FitsReader().info(ref_of(path))
    assert (info.unit, info.calibration, info.scale) == ("", "none", 1.0)


def test_it_is_found_in_a_folder_with_its_band(cells: Path):
    (ref,) = FitsFolder([str(cells.parent)], FitsReader(), False).refs()
    assert (ref.band, ref.hdu, len(ref.polygon)) == ("r", "1", 4)


@pytest.mark.parametrize("kinds", [("I", "I"), ("J", "J"), ("K", "I")])
@pytest.mark.parametrize("by_column", [True, False])
def test_numbers_of_other_widths_are_read(kinds: tuple[str, str], by_column: bool, tmp_path: Path):
    """Masks had 16 bits before 2025-12; a rewritten table may count its cells in more."""
    path = write_cells(tmp_path / "other.fits", kinds=kinds, by_column=by_column)
    image, mask = sky()
    truth = np.where(mask & 1 << 8, np.nan, image)
    everything = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    np.testing.assert_array_equal(FitsReader().read(ref_of(path), everything), truth)


def test_an_old_file_has_its_unit_in_another_card(tmp_path: Path):
    path = write_cells(tmp_path / "old.fits", unit="", TUNIT1="nJy", VERSION="0.3")
    assert FitsReader().info(ref_of(path)).unit == "nJy"


@pytest.mark.parametrize("range_reads", [False, True])
def test_variance_and_flags_are_stitched_too(tmp_path: Path, range_reads: bool):
    path = write_cells(tmp_path / "holes.fits", missing=(1, 2))
    image, mask = sky()
    gone = owned(1, INNER[0], COUNT[0]), owned(2, INNER[1], COUNT[1])
    image[gone], mask[gone] = np.nan, 1 << PLANES["NO_DATA"]
    section = (slice(5, SHAPE[0] - 3), slice(11, SHAPE[1] - 1))
    ref = ref_of(path)
    flags = FitsReader((), plane="mask", range_reads=range_reads)
    np.testing.assert_array_equal(flags.read(ref, section), mask[section])
    assert (flags.info(ref).planes, flags.info(ref).unit) == (PLANES, "")
    variance = FitsReader((), plane="variance", range_reads=range_reads)
    np.testing.assert_array_equal(variance.read(ref, section), image[section] ** 2)
    assert variance.info(ref).unit == "nJy**2"
    assert variance.info(ref).in_parts


def test_a_plane_beyond_the_mask_is_refused(cells: Path, tmp_path: Path):
    path = Path(shutil.copy(cells, tmp_path / "odd.fits"))
    with fits.open(path, mode="update") as hdus:
        hdus["MASKDEF"].data["BIT_VALUE"][1] = 40
    with pytest.raises(CoaddError, match="beyond the 32 bits"):
        FitsReader().info(ref_of(path))
    assert FitsReader(excluded=("DETECTED",)).info(ref_of(path)).excluded == ("DETECTED",)


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"OCELL1": 61}, "do not surround"),
        ({"GRSHAPE2": 0}, "do not surround"),
        ({"TSCAL2": 2.0}, "image is scaled"),
        ({"TZERO3": 256}, "mask is scaled"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    cards: dict[str, int], reason: str, tmp_path: Path
):
    path = write_cells(tmp_path / "odd.fits", **cards)
    with pytest.raises(CoaddError, match=reason):
        FitsReader().info(ref_of(path))


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_one_that_is_cut_is_refused(cells: Path, tmp_path: Path):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(cells.read_bytes()[:100_000])
    with pytest.raises(CoaddError, match="truncated"):
        FitsReader().info(ref_of(cut))


def test_the_survey_is_that_of_the_stitched_image(tmp_path: Path):
    image, mask = sky()
    write_cells(tmp_path / "cells" / "c.fits")
    header = tract_wcs()
    header["CRPIX1"] -= FIRST[1]
    header["CRPIX2"] -= FIRST[0]
    planes = fits.Header({f"HIERARCH MP_{name}": bit for name, bit in PLANES.items()})
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(image, header, name="IMAGE"),
        fits.ImageHDU(mask, planes, name="MASK"),
    ]
    hdus[1].header.update({"BUNIT": "nJy", "FILTER": "r"})
    (tmp_path / "image").mkdir()
    write(tmp_path / "image" / "c.fits", *hdus)
    made = {
        name: survey_of(tmp_path / name, tmp_path / f"hips of {name}")
        for name in ("cells", "image")
    }
    assert len(made["cells"]) > 20
    assert made["cells"] == made["image"]


def test_in_a_butler_it_is_told_by_its_storage_class(repository: Path, tmp_path: Path):
    root = Path(shutil.copytree(repository, tmp_path / "copy"))
    (ref, *_) = ButlerSource(str(root), DATASET_TYPE, (CHAIN,), "r").refs()
    with sqlite3.connect(root / "gen3.sqlite3") as registry:
        (changed,) = registry.execute(
            "UPDATE dataset_type SET storage_class = ? WHERE name = ? RETURNING name",
            ("MultipleCellCoadd", DATASET_TYPE),
        ).fetchall()
        assert changed == (DATASET_TYPE,)
    registry.close()
    path = path_of(ref.uri)
    assert path is not None
    path.unlink()
    write_cells(path)
    source = ButlerSource(str(root), DATASET_TYPE, (CHAIN,), "r")
    (ref, *_) = source.refs()
    assert source.problems == []
    assert ref.storage_class == "MultipleCellCoadd"
    assert source.reader().info(ref).shape == SHAPE
    with ButlerRegistry(str(root)) as registry:
        assert registry.coadd_types([CHAIN]) == [DATASET_TYPE]
