"""Fixtures of many tests: analytic skies, small surveys, the folder of real data."""

import fcntl
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.builder.result import BuildResult
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.render.precompile import precompile
from hipsgen.run.progress import QuietReporter
from hipsgen.survey.store import open_store
from hipsgen.survey.survey import Survey
from tests import profiles
from tests.building import build_one

profiles.load()

# The default marker of the tests of a folder or file; a test may have another one.
KINDS = {
    "browser": "slow",
    "builder": "integration",
    "checker": "integration",
    "contracts": "integration",
    "damage": "slow",
    "finished": "slow",
    "images": "unit",
    "journal": "integration",
    "peers": "slow",
    "planner": "unit",
    "render": "integration",
    "repositories": "integration",
    "samples": "integration",
    "web": "unit",
    "test_api.py": "integration",
    "test_api_arguments.py": "integration",
    "test_api_notebook.py": "integration",
    "docs": "integration",
    "sky": "unit",
    "survey": "unit",
    "test_cli.py": "integration",
    "test_coadd.py": "unit",
    "test_files.py": "integration",
    "test_local_paths.py": "integration",
    "test_mutants.py": "unit",
    "torture": "slow",
    "viewer": "integration",
}
# each worker loads numba and astropy, and builds with several threads
MAX_WORKERS = 8
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
SCALE = 0.2 / 3600


@pytest.hookimpl(tryfirst=True)  # before pytest evaluates -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test as unit, integration or slow."""
    for item in items:
        if not any(item.get_closest_marker(kind) for kind in KINDS.values()):
            place = item.path.relative_to(Path(__file__).parent).parts[0]
            if place not in KINDS:
                raise pytest.UsageError(f"tests/{place} is missing in KINDS of tests/conftest.py")
            item.add_marker(KINDS[place])


def pytest_collection_finish() -> None:
    """Exempt all that was imported from garbage collection, which takes a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run tests in this process if files are named on the command line, else in several."""
    named = any(Path(argument.partition("::")[0]).is_file() for argument in config.args)
    return 0 if named else min(len(os.sched_getaffinity(0)), MAX_WORKERS)


@pytest.fixture(scope="session", autouse=True)
def compiled_loops(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile the inner loops once for all workers, of which each would take 17 s for them."""
    if "PYTEST_XDIST_WORKER" in os.environ and not numba.config.DISABLE_JIT:
        make_shared(tmp_path_factory, "compiled loops", lambda _: compile_loops())


def compile_loops() -> None:
    """Compile what builds need, or load it if it is compiled."""
    precompile("optimal", "feather", QuietReporter(), masks=True)
    precompile("bilinear", "mean", QuietReporter())
    precompile("lanczos5", "mean", QuietReporter())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and registries, which are not in the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the folder of real data, shared/data next to the checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest sample repository, shared by all tests, which must not modify it."""
    pytest.importorskip("lsst.daf.butler", reason="needs the extra butler")
    from samples.repository import make_repository

    return make_shared(
        tmp_path_factory, "sample repository", lambda root: make_repository(root, size=200)
    )


@pytest.fixture(scope="session")
def sample_surveys(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Surveys in g, r, i and color of the sample repository; tests must not modify them."""

    def make(out: Path) -> None:
        arguments = ("-c", "sample/coadds", "-d", "deepCoadd_calexp", "--color", "gri")
        build_by_command(out, sample_repository, *arguments)

    return make_shared(tmp_path_factory, "sample surveys", make)


def build_by_command(out: Path, *arguments: str | Path) -> None:
    """Build surveys with the command line, in a separate process."""
    command = [sys.executable, "-m", "hipsgen", "build", *map(str, arguments), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def make_shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills, once for all workers of this test run."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared by all workers
    root, done = folder / name, folder / f"{name}.done"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            make(root)
            done.touch()
    return root


def linked_copy(root: Path, folder: Path) -> Path:
    """Copy a survey as hard links: a build replaces files and never modifies the originals."""
    return Path(shutil.copytree(root, folder, copy_function=os.link))


def needs(program: str, package: str) -> str:
    """Return the path of a program; if it is missing, skip the test, naming its Debian package."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program} (Debian package {package})")
    return found


@dataclass
class StarField:
    """Image of Gaussian stars whose value is known at every point.

    stars: (x, y, peak) in pixels; sigma in pixels. Evaluate at any position with `at`.
    """

    lon: float
    lat: float
    size: int = 600
    sigma: float = 4 / 2.35482
    stars: Sequence[tuple[float, float, float]] = ()
    background: float = 0.0
    holes: Sequence[tuple[slice, slice]] = ()
    angle: float = 23.0
    frame: str = "ICRS"
    scale: float = SCALE
    wcs: WCS = field(init=False)

    def __post_init__(self) -> None:
        a = np.radians(self.angle)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = (
            ["GLON-TAN", "GLAT-TAN"] if self.frame == "galactic" else ["RA---TAN", "DEC--TAN"]
        )
        wcs.wcs.crval = [self.lon, self.lat]
        wcs.wcs.crpix = [self.size / 2 + 0.5, self.size / 2 + 0.5]
        wcs.wcs.cd = self.scale * np.array([[-np.cos(a), np.sin(a)], [np.sin(a), np.cos(a)]])
        if self.frame != "galactic":
            wcs.wcs.radesys = "ICRS"
        wcs.wcs.set()
        self.wcs = wcs

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the sky, without holes, at pixel positions."""
        value = np.full(np.shape(x), self.background, float)
        for x0, y0, peak in self.stars:
            value += peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * self.sigma**2))
        return value

    def image(self) -> np.ndarray:
        """Return the image, (size, size) float32 with NaN in the holes."""
        # as `at` on a grid, where a Gaussian is the product of one along x and one along y
        grid = np.arange(self.size)
        x0, y0, peaks = np.array(self.stars, float).reshape(-1, 3).T
        along_x, along_y = (
            np.exp(-((grid - center[:, None]) ** 2) / (2 * self.sigma**2)) for center in (x0, y0)
        )
        value = self.background + (along_y.T * peaks) @ along_x
        for hole in self.holes:
            value[hole] = np.nan
        return value.astype(np.float32)

    def write(self, path: Path, unit: str = "nJy", **cards: object) -> Path:
        """Write the image to a FITS file and return its path."""
        header = self.wcs.to_header()
        header["BUNIT"] = unit
        header.update(cards)
        fits.PrimaryHDU(self.image(), header).writeto(path, overwrite=True)
        return path


@dataclass
class Built:
    """A survey that was built, and the result of the build."""

    survey: Survey
    summary: BuildResult
    place: Path


Build = Callable[..., Built]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that builds a survey of FITS files in tmp_path."""

    def run(
        inputs: Sequence[Path], name: str = "out", workers: int = 1, **options: object
    ) -> Built:
        runtime = {
            k: options.pop(k)
            for k in ("engine", "fresh", "strict", "recut", "skip_bad")
            if k in options
        }
        made = BuildOptions(**options)  # type: ignore[arg-type]
        place = tmp_path / name
        reader = FitsReader(made.excluded, made.blank, unit=made.unit)
        source = FitsFolder([str(p) for p in inputs], reader, bool(runtime.get("strict")))
        summary = build_one(
            source,
            open_store(place),
            SurveyIdentity(name, name, "test", ""),
            made,
            Runtime(workers=workers, **runtime),  # type: ignore[arg-type]
            QuietReporter(),
        )
        return Built(Survey.open(open_store(place)), summary, place)

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the findings of the tests of repositories, if they were run."""
    module = sys.modules.get("tests.repositories.conftest")
    if module is not None and module.FINDINGS.rows:
        terminalreporter.section("repositories")
        for line in module.FINDINGS.lines():
            terminalreporter.write_line(line)
