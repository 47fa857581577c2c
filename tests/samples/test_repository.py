import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from samples.coadd import SKY_SIGMA
from samples.sky import BANDS, PIXEL_AREA
from samples.skymap import NAME, make_tracts
from samples.tractfiles import FIRST_RUN, REPROCESSED, SECOND_RUN, sample_sky

from .conftest import SEED, SIZE
from .reading import Planes, read_planes

CHAIN = "sample/coadds"
OPEN_ELSEWHERE = """
import sys
from lsst.daf.butler import Butler
with Butler.from_config(sys.argv[1], writeable=False) as butler:
    refs = butler.query_datasets("deepCoadd_calexp", collections="sample/coadds", limit=None)
    assert len({str(butler.getURI(ref)) for ref in refs}) == len(refs)
    assert all(butler.getURI(ref).exists() for ref in refs)
    assert {ref.datasetType.storageClass_name for ref in refs} == {"ExposureF"}
assert not any(name.startswith(("lsst.obs", "lsst.afw")) for name in sys.modules)
print(len(refs))
"""


@pytest.fixture(scope="module")
def butler(repository: Path) -> Iterator[Any]:
    from lsst.daf.butler import Butler

    with Butler.from_config(str(repository), writeable=False) as opened:
        yield opened


def planes(butler: Any, tract: int, patch: int, band: str, collection: str = CHAIN) -> Planes:
    ref = butler.find_dataset(
        "deepCoadd_calexp",
        skymap=NAME,
        tract=tract,
        patch=patch,
        band=band,
        collections=collection,
    )
    return read_planes(butler.getURI(ref).ospath)


def test_opens_in_a_fresh_process_without_the_stack(repository: Path) -> None:
    command = [sys.executable, "-c", OPEN_ELSEWHERE, str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "24"


def test_newer_run_is_found_first(butler: Any) -> None:
    refs = butler.query_datasets("deepCoadd_calexp", collections=CHAIN, limit=None)
    newer = {(r.dataId["tract"], r.dataId["patch"]) for r in refs if r.run == SECOND_RUN}
    assert newer == {REPROCESSED}
    assert sum(r.run == FIRST_RUN for r in refs) == 21
    assert len({r.id for r in refs}) == 24


def test_registry_names_the_stack_formatter(repository: Path) -> None:
    import sqlite3

    database = sqlite3.connect(repository / "gen3.sqlite3")
    rows = database.execute("select formatter, path from file_datastore_records").fetchall()
    database.close()
    formatters = {(path.rpartition(".")[2], formatter) for formatter, path in rows}
    assert formatters == {
        ("fits", "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter"),
        ("parq", "lsst.daf.butler.formatters.parquet.ParquetFormatter"),
    }
    assert all((repository / path).is_file() for _, path in rows)
    assert not any(name.startswith("lsst.obs") for name in sys.modules)


def test_patch_regions_are_the_outer_boxes(butler: Any) -> None:
    import lsst.sphgeom as sphgeom

    tracts = {t.id: t for t in make_tracts(SIZE)}
    records = butler.query_dimension_records("patch", skymap=NAME)
    assert len(records) == 8
    for record in records:
        tract = tracts[record.tract]
        patch = list(tract.patches())[record.id]
        assert (record.cell_x, record.cell_y) == (patch.x, patch.y)
        wcs = tract.wcs(patch.box)
        rows, columns = (s.stop - s.start for s in patch.slices)
        for x, inside in ((-0.4, True), (-0.6, False), (columns - 0.6, True)):
            ra, dec = wcs.wcs_pix2world([(x, rows / 2)], 0)[0]
            point = sphgeom.UnitVector3d(sphgeom.LonLat.fromDegrees(ra, dec))
            assert record.region.contains(point) == inside


@pytest.mark.parametrize("band", ["g", "r"])
def test_overlapping_patches_hold_the_same_pixels(butler: Any, band: str) -> None:
    for tract in make_tracts(SIZE):
        image, mask = (np.zeros(tract.shape, dtype=d) for d in (np.float32, np.int32))
        seen = np.zeros(tract.shape, dtype=int)
        for patch in tract.patches():
            part = planes(butler, tract.id, patch.id, band, FIRST_RUN)
            assert part.box == patch.box
            again = seen[patch.slices] > 0
            np.testing.assert_array_equal(part.image[again], image[patch.slices][again])
            np.testing.assert_array_equal(part.mask[again], mask[patch.slices][again])
            image[patch.slices], mask[patch.slices] = part.image, part.mask
            seen[patch.slices] += 1
        assert seen.min() == 1
        assert seen.max() == 4


def test_rice_patches_agree_to_their_steps(butler: Any) -> None:
    left, right = (planes(butler, 4849, p, "i") for p in (0, 1))
    width = left.box[2] - right.box[0]
    a, b = left.image[:, -width:], right.image[:, :width]
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    faint = np.abs(a) < 50
    assert np.abs(a[faint] - b[faint]).max() < SKY_SIGMA["i"] * 0.3


@pytest.mark.parametrize("band", BANDS)
def test_both_forms_are_the_analytic_sky_where_tracts_overlap(butler: Any, band: str) -> None:
    sky = sample_sky(SIZE, SEED)
    west, east = make_tracts(SIZE)
    for tract, other, counts in ((west, east, True), (east, west, False)):
        part = planes(butler, tract.id, 3 if tract is west else 2, band, FIRST_RUN)
        assert part.nanojansky != counts
        y, x = np.indices(part.image.shape)
        ra, dec = part.wcs.wcs_pix2world(x.ravel(), y.ravel(), 0)
        ox, oy = other.wcs().wcs_world2pix(ra, dec, 0)
        shared = (ox >= 0) & (oy >= 0) & (ox < other.shape[1]) & (oy < other.shape[0])
        shared &= np.isfinite(part.image.ravel()) & ~part.has("SAT").ravel()
        assert shared.sum() > 10_000
        truth = sky.brightness(ra[shared], dec[shared], band) * PIXEL_AREA
        noise = np.sqrt(part.variance.ravel()[shared])
        pull = (part.image.ravel()[shared] - truth) / noise
        assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
        assert pull.std() == pytest.approx(1.0, abs=0.03)


def test_missing_pixels_are_nan_and_flagged_in_every_file(repository: Path) -> None:
    paths = sorted(repository.rglob("*.fits"))
    assert len(paths) == 27
    missing, compressions = 0, set()
    for path in paths:
        part = read_planes(path)
        nan = np.isnan(part.image)
        np.testing.assert_array_equal(nan, part.has("NO_DATA"))
        np.testing.assert_array_equal(nan, np.isnan(part.variance))
        missing += int(nan.any())
        with fits.open(path, disable_image_compression=True) as hdus:
            compressions.add((part.nanojansky, hdus[1].header["ZCMPTYPE"]))
    assert missing > 12
    assert len(compressions) == 4


def test_ragged_edge_square_and_lone_pixel(butler: Any) -> None:
    part = planes(butler, 4848, 3, "r")
    nan = np.isnan(part.image)
    widths = nan[:, -40:].sum(axis=1)
    assert widths.min() >= 1
    assert len(set(widths)) > 3
    lone = planes(butler, 4848, 1, "r")
    x, y = int(0.86 * 400) - lone.box[0], int(0.30 * 400)
    assert np.isnan(lone.image[y - 1 : y + 2, x - 1 : x + 2]).sum() == 1
    x, y = int(0.80 * 400) - part.box[0], int(0.62 * 400) - part.box[1]
    assert nan[y : y + 20, x : x + 20].all()
    assert nan[y - 1 : y + 21, x - 1 : x + 21].sum() == 400


def test_sky_is_zero_and_noise_as_promised(butler: Any) -> None:
    for band in BANDS:
        part = planes(butler, 4849, 2, band)
        empty = (part.mask == 0) & np.isfinite(part.image)
        assert abs(np.median(part.image[empty])) < 0.3 * SKY_SIGMA[band]
        assert np.sqrt(np.median(part.variance[empty])) == pytest.approx(SKY_SIGMA[band], rel=0.02)


def test_second_run_is_deeper_and_whole(butler: Any) -> None:
    older = planes(butler, *REPROCESSED, "r", FIRST_RUN)
    newer = planes(butler, *REPROCESSED, "r")
    assert np.isnan(older.image).sum() > 20
    assert not np.isnan(newer.image).any()
    assert np.median(newer.variance) < 0.5 * np.nanmedian(older.variance)


def test_one_star_is_saturated(butler: Any) -> None:
    parts = [planes(butler, 4848, p, "g", FIRST_RUN) for p in range(4)]
    saturated = [p for p in parts if p.has("SAT").any()]
    assert saturated
    for part in saturated:
        core = part.image[part.has("SAT")]
        assert np.ptp(core) <= 1e-6 * core.max()
        np.testing.assert_array_equal(part.has("SAT"), part.has("SAT") & part.has("INTRP"))


def test_same_arguments_give_the_same_bytes_on_two_processes(
    repository: Path, tmp_path: Path
) -> None:
    from samples.repository import make_repository

    again = tmp_path / "again"
    make_repository(again, SIZE, SEED, workers=2)
    for path in sorted(repository.rglob("*.fits")):
        assert (again / path.relative_to(repository)).read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob(".*")), "scratch folder left behind"


def test_a_full_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lsst.daf.butler")
    from samples.__main__ import main

    (tmp_path / "mine").touch()
    for taken in (tmp_path, tmp_path / "mine"):
        assert main([str(taken)]) == 1
        message = capsys.readouterr().err
        assert f"{taken} is a file or not empty" in message
        assert message.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_small_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from samples.__main__ import main

    assert main([str(tmp_path / "repo"), "--size", "50"]) == 2
    assert "--size 50 is below 200" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_command_prints_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lsst.daf.butler")
    from samples.__main__ import main

    # a relative path means the working directory to a user, and the datastore to the Butler
    monkeypatch.chdir(tmp_path)
    assert main(["repo", "--size", "200", "--workers", "1"]) == 0
    output = capsys.readouterr().out
    assert "27 files" in output
    assert f"hipsgen build repo -c {CHAIN} -d deepCoadd_calexp -b g -b r -b i" in output
    assert output.endswith(" -o hips\n")
