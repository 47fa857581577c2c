"""A valid survey, and copies of it to damage."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.conftest import StarField


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """Build a valid survey."""
    from hipsgen.builder.metadata import SurveyIdentity
    from hipsgen.images.fits_folder import FitsFolder
    from hipsgen.planner.options import BuildOptions, Runtime
    from hipsgen.run.progress import QuietReporter
    from hipsgen.survey.store import open_store
    from tests.building import build_one

    folder = tmp_path_factory.mktemp("check")
    stars = [(x, y, 300.0) for x, y in np.random.default_rng(2).uniform(10, 590, (80, 2))]
    path = StarField(40.0, -10.0, stars=stars, background=5.0).write(
        folder / "a.fits", FILTER="r", **{"MJD-OBS": 61000.0}
    )
    with fits.open(path, mode="update") as hdus:
        hdus[0].data += np.random.default_rng(3).normal(size=(600, 600)).astype(np.float32)
    options = BuildOptions(order=11, tile_width=128, formats=("fits", "png", "webp"))
    build_one(
        FitsFolder([str(path)]), open_store(folder / "sound"), SurveyIdentity("s", "s", "t", "r"),
        options, Runtime(), QuietReporter(),
    )  # fmt: skip
    return folder / "sound"


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))
