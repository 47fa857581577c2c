"""CellCoadds: a real one of DP2, made small, which is not shipped; one of full size, made up."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.uris import path_of, uri_of
from tests.images.making import survey_of, tan_header

DATA = Path(__file__).parents[3] / "shared" / "data" / "butler_dp2_cell_coadd"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ButlerSource:
    if not DATA.is_dir():
        pytest.skip("needs shared/data/butler_dp2_cell_coadd beside the checkout")
    pytest.importorskip("lsst.daf.butler", reason="needs the extra butler")
    # SQLite makes files beside a database, and the data are read-only
    root = tmp_path_factory.mktemp("dp2") / "repo"
    shutil.copytree(DATA, root, copy_function=shutil.copyfile)
    registry = ButlerRegistry(str(root))
    (collection,) = registry.collections()
    assert registry.coadd_types([collection]) == ["deep_coadd"]
    return ButlerSource(str(root), "deep_coadd", (collection,), "g")


def test_a_cell_coadd_is_listed(source: ButlerSource):
    (ref,) = source.refs()
    assert source.problems == []
    assert ref.storage_class == "CellCoadd"
    assert dict(ref.data_id) == {
        **{"band": "g", "skymap": "lsst_cells_v2"},
        **{"tract": 5428, "patch": 76},
    }
    assert len(ref.polygon) == 4


def test_a_cell_coadd_is_read_in_njy_by_its_plane_names(source: ButlerSource):
    (ref,) = source.refs()
    info = source.reader().info(ref)
    assert (info.shape, info.unit, info.calibration) == ((64, 64), "nJy", "BUNIT")
    assert info.excluded == ("NO_DATA",)
    assert {"INTERPOLATED", "COSMIC_RAY", "SATURATED", "DETECTION_EDGE"} <= set(info.planes)
    path = path_of(ref.uri)
    assert path is not None
    with fits.open(path) as hdus:
        image, mask = hdus["IMAGE"].data, hdus["MASK"].data
        (card,) = (k for k, v in hdus["MASK"].header.items() if v == "DETECTED")
    everything = (slice(0, 64), slice(0, 64))
    pixels = source.reader().read(ref, everything)
    known = np.isfinite(pixels)
    np.testing.assert_array_equal(pixels[known], image[known])
    detected = (mask & (1 << int(card[4:]))) != 0
    assert detected.any()
    without = FitsReader(excluded=("DETECTED",)).read(ref, everything)
    assert np.isnan(without[detected]).all()


def write_cell_coadd(path: Path, side: int = 3300, cell: int = 150) -> tuple[Any, Any]:
    """A whole patch as lsst.images writes it: HDUs, names, tiles, cards; its image and mask."""
    rng = np.random.default_rng(4)
    image = np.tile(rng.normal(0, 5, (side // 4, side)).astype(np.float32).round(), (4, 1))
    image[:cell, :cell] = np.nan
    mask = np.where(image > 15, 1 << 5, 0).astype(np.int32)
    mask[1000:1100, 2000:2100] |= 1
    planes = ("NO_DATA", "INTERPOLATED", "COSMIC_RAY", "SATURATED", "DETECTION_EDGE", "CLIPPED")
    names = fits.Header([(f"MSKN{k:04d}", name) for k, name in enumerate(planes)])
    wcs = tan_header((side, side), CDELT1=-0.2 / 3600, CDELT2=0.2 / 3600)
    place = {"CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CRVAL1A": 9000.0, "CRVAL2A": 12000.0}
    layers = {
        "IMAGE": (image, fits.Header({**wcs, "BUNIT": "nJy", **place})),
        "MASK": (mask, fits.Header([*names.cards, *wcs.cards])),
        "VARIANCE": (np.full_like(image, 25), wcs),
        "MASK_FRACTIONS/REJECTED": (np.zeros_like(image), None),
        "NOISE_REALIZATIONS/0": (np.zeros_like(image), None),
    }
    options = {"compression_type": "GZIP_2", "quantize_level": 0, "tile_shape": (cell, cell)}
    made = fits.HDUList([fits.PrimaryHDU(header=fits.Header({"FMTVER": 1}))])
    for name, (pixels, header) in layers.items():
        made.append(fits.CompImageHDU(pixels, header, name=name, **options))
    psf = np.ones((cell // 10, cell // 10, 21, 21))
    made.append(fits.CompImageHDU(psf, name="PSF", **{**options, "tile_shape": psf.shape}))
    text = np.frombuffer(b'{"schema_version":"1.0.0"}', np.uint8)
    column = fits.Column("JSON", "PB()", array=np.array([text, None], object)[:1])
    made.append(fits.BinTableHDU.from_columns([column], name="JSON"))
    made.writeto(path)
    return image, mask


@pytest.mark.slow
def test_a_cell_coadd_of_full_size_is_read_and_built(tmp_path: Path):
    """By the windows of a build, and as one; the same tiles come of a plain file of its pixels."""
    (tmp_path / "cells").mkdir()
    (tmp_path / "plain").mkdir()
    image, mask = write_cell_coadd(tmp_path / "cells" / "a.fits")
    truth = np.where(mask & 1, np.nan, image)
    ref = CoaddRef(uri_of(tmp_path / "cells" / "a.fits"), "")
    info = FitsReader().info(ref)
    assert (info.shape, info.unit, info.excluded) == (truth.shape, "nJy", ("NO_DATA",))
    everything = (slice(0, 3300), slice(0, 3300))
    np.testing.assert_array_equal(FitsReader().read(ref, everything), truth)
    header = tan_header(truth.shape, CDELT1=-0.2 / 3600, CDELT2=0.2 / 3600, BUNIT="nJy")
    fits.PrimaryHDU(truth, header).writeto(tmp_path / "plain" / "a.fits")
    made = [survey_of(tmp_path / name, tmp_path / f"of {name}") for name in ("cells", "plain")]
    assert len(made[0]) > 100
    assert made[0] == made[1]
