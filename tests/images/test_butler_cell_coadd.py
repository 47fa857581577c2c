"""A real CellCoadd of DP2, made small, in its own repository; not shipped with the project."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.images.butler import ButlerCatalogue
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.files import path_of

DATA = Path(__file__).parents[3] / "shared" / "data" / "butler_dp2_cell_coadd"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ButlerSource:
    if not DATA.is_dir():
        pytest.skip("needs shared/data/butler_dp2_cell_coadd beside the checkout")
    pytest.importorskip("lsst.daf.butler", reason="needs the extra butler")
    # SQLite makes files beside a database, and the data are read-only
    root = tmp_path_factory.mktemp("dp2") / "repo"
    shutil.copytree(DATA, root, copy_function=shutil.copyfile)
    catalogue = ButlerCatalogue(str(root))
    (collection,) = catalogue.collections()
    assert catalogue.coadd_types([collection]) == ["deep_coadd"]
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
