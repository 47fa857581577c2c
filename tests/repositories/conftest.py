"""Repositories of several versions with files for their references; findings for the summary."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.coadd import CoaddRef
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.uris import path_of
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.run.progress import QuietReporter
from hipsgen.sky.polygon import to_lonlat, to_vectors
from hipsgen.survey.store import open_store
from tests.building import build_one

CHAIN, DATASET_TYPE, BANDS = "u/me/coadds", "deepCoadd_calexp", ("g", "r", "i")
# with how many coadds of a band in the chain
AS_WRITTEN = ("23.0.4", "w.2022.20", "rv26", "rv28", "23int")
_MANAGERS = "config:registry.managers"
_DATASETS = f"{_MANAGERS}.datasets"


def _attributes(statement: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        with sqlite3.connect(root / "gen3.sqlite3") as registry:
            assert registry.execute(f"{statement}").rowcount == 1
        registry.close()

    return damage


def _yaml(old: str, new: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / "butler.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return damage


# what a site's repository may have come to, and daf_butler refuses
DAMAGED = {
    "another version of the dimensions": _attributes(
        "UPDATE butler_attributes SET value = '9.0.0' "
        "WHERE name LIKE 'version:%StaticDimensionRecordStorageManager'"
    ),
    "a manager deleted": _attributes(f"DELETE FROM butler_attributes WHERE name = '{_DATASETS}'"),
    "a manager renamed": _attributes(
        f"UPDATE butler_attributes SET value = 'lsst.obs.other.Manager' WHERE name = '{_DATASETS}'"
    ),
    "PosixDatastore": _yaml(
        "lsst.daf.butler.datastores.fileDatastore.FileDatastore",
        "lsst.daf.butler.datastores.posixDatastore.PosixDatastore",
    ),
    "includeConfigs": _yaml(
        "datastore:\n", "includeConfigs: $OBS_SITE_DIR/config/site.yaml\ndatastore:\n"
    ),
}
REPOSITORIES = (*AS_WRITTEN, *DAMAGED)


@pytest.fixture(params=REPOSITORIES)
def aged(request: pytest.FixtureRequest, shared_data: Path, tmp_path: Path) -> tuple[str, Path]:
    """Name and folder of a copy of a repository, with its files."""
    return request.param, make_aged(request.param, shared_data, tmp_path / "repository")


def make_aged(name: str, shared_data: Path, root: Path) -> Path:
    """Copy an old registry, damage it if the name says so, and write its coadds."""
    shutil.copytree(shared_data / "old_registries" / (name if name in AS_WRITTEN else "rv28"), root)
    write_coadds(root)
    if name in DAMAGED:
        DAMAGED[name](root)
    return root


def write_coadds(root: Path) -> None:
    """Write a small image for every reference of the chain, determined by data ID and run."""
    for band in BANDS:
        for ref in ButlerSource(str(root), DATASET_TYPE, (CHAIN,), band).refs():
            path = path_of(ref.uri)
            assert path is not None
            path.parent.mkdir(parents=True, exist_ok=True)
            image_of(ref).writeto(path)


def image_of(ref: CoaddRef, size: int = 60) -> fits.PrimaryHDU:
    """Return an image of noise, in nJy, on the outline of a reference."""
    corners = to_vectors(*np.array(ref.polygon).T)
    lon, lat = to_lonlat(corners.sum(axis=0, keepdims=True))
    side = np.degrees(np.linalg.norm(corners[0] - corners[1])) / size
    header = fits.Header({"BUNIT": "nJy"})
    axes = [("RA---TAN", lon.item(), -side), ("DEC--TAN", lat.item(), side)]
    for axis, (kind, value, step) in enumerate(axes, 1):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = kind, value
        header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = (size + 1) / 2, step
    seed = hashlib.sha256(f"{ref.data_id} {ref.run}".encode()).digest()
    noise = np.random.default_rng(list(seed)).normal(0, 5, (size, size))
    return fits.PrimaryHDU(noise.astype(np.float32), header)


def build_band(root: Path, out: Path, band: str = "r") -> dict[str, str]:
    """Build a band; see `survey_bytes`."""
    source = ButlerSource(str(root), DATASET_TYPE, (CHAIN,), band)
    subject = SurveyIdentity(band, band, "test", band)
    build_one(source, open_store(out), subject, BuildOptions(), Runtime(workers=2), QuietReporter())
    return survey_bytes(out)


def survey_bytes(out: Path) -> dict[str, str]:
    """Return hashes of the parts of a survey that do not depend on the path of its inputs."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.relative_to(out).parts[0].startswith(("Norder", "Moc", "preview"))
        and path.is_file()
    }


def hashes(root: Path) -> dict[str, str]:
    """Return hashes of all files of a folder."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class Findings:
    """Findings about each repository, for the table at the end of a test run."""

    columns = ("open", "count", "build", "untouched")

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str]] = {}

    def note(self, name: str, column: str, text: str) -> None:
        self.rows.setdefault(name, {})[column] = text

    def lines(self) -> Iterator[str]:
        yield "| repository | " + " | ".join(self.columns) + " |"
        yield "|---" * (1 + len(self.columns)) + "|"
        for name, row in self.rows.items():
            yield f"| {name} | " + " | ".join(row.get(c, "") for c in self.columns) + " |"


FINDINGS = Findings()


@pytest.fixture(scope="session")
def truth(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Survey of the same coadds, from a repository that daf_butler can read."""
    place = tmp_path_factory.mktemp("truth")
    root = make_aged("rv28", shared_data, place / "repository")
    return build_band(root, place / "out")


@pytest.fixture(scope="session")
def findings() -> Findings:
    return FINDINGS
