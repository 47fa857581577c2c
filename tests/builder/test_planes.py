"""Surveys of the variance and mask planes of coadds."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_interp

from hipsgen.builder.result import BuildResult
from hipsgen.builder.surveys import build_color_survey
from hipsgen.checker.survey import CheckOptions, check_survey
from hipsgen.errors import ConfigError, HipsgenError
from hipsgen.planner.jobs import CoaddQuery
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.run.progress import QuietReporter
from hipsgen.sky.tiles import Tile
from hipsgen.survey.store import open_store
from hipsgen.survey.survey import Survey
from tests.builder.test_survey import stopping, tile_bytes
from tests.builder.test_update import everything
from tests.building import build_all
from tests.conftest import StarField
from tests.test_cli import hipsgen

pytestmark = pytest.mark.slow

SIZE = 420
NO_DATA = -(2**31)
ALL = CoaddQuery()
THOROUGH = CheckOptions(deep=True, against_inputs=10, seed=1)


@dataclass(frozen=True)
class Made:
    """A coadd that was written, with the planes of its file."""

    path: Path
    field: StarField
    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    planes: Mapping[str, int]


def coadd(
    path: Path,
    lon: float = 40.0,
    lat: float = -10.0,
    planes: Mapping[str, int] | None = None,
    seed: int = 0,
    without: Sequence[str] = (),
    fluxmag0: float | None = None,
    compression: str | None = None,
    angle: float = 23.0,
    band: str = "g",
) -> Made:
    """Write IMAGE, MASK and VARIANCE to one file; where NO_DATA is set, the others are NaN."""
    path.parent.mkdir(exist_ok=True, parents=True)
    planes = {"BAD": 0, "SAT": 1, "NO_DATA": 8} if planes is None else planes
    rng = np.random.default_rng(seed)
    field = StarField(lon, lat, size=SIZE, angle=angle)
    shape = SIZE, SIZE
    image = rng.normal(10.0, 1.0, shape).astype(np.float32)
    variance = rng.uniform(2.0, 4.0, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint32)
    for bit in planes.values():
        mask |= (rng.random(shape) < 0.02).astype(np.uint32) << np.uint32(bit)
        row, col = rng.integers(0, SIZE - 40, 2)
        mask[row : row + 30, col : col + 40] |= np.uint32(1 << bit)
    mask = mask.view(np.int32)
    if "NO_DATA" in planes:
        missing = (mask.view(np.uint32) >> planes["NO_DATA"]) & 1 == 1
        image[missing] = variance[missing] = np.nan
    header = field.wcs.to_header()
    header["FILTER"] = band
    flags = field.wcs.to_header()
    for name, bit in planes.items():
        flags[f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}"] = bit
    if fluxmag0 is None:
        header["BUNIT"] = "nJy"
    else:
        header["FLUXMAG0"] = fluxmag0
    parts = {"IMAGE": (image, header), "MASK": (mask, flags), "VARIANCE": (variance, header)}
    hdus: list[fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU] = [fits.PrimaryHDU()]
    for name, (pixels, cards) in parts.items():
        if name in without:
            continue
        if compression is None:
            hdus.append(fits.ImageHDU(pixels, cards, name=name))
        elif pixels.dtype.kind == "f":  # compressed without loss
            kind = {"compression_type": "GZIP_2", "quantize_level": 0.0}
            hdus.append(fits.CompImageHDU(pixels, cards, name=name, **kind))
        else:
            hdus.append(fits.CompImageHDU(pixels, cards, name=name, compression_type=compression))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return Made(path, field, image, variance, mask, planes)


def build(
    inputs: Sequence[Path],
    out: Path,
    *planes: str,
    color: str = "",
    query: CoaddQuery = ALL,
    workers: int = 1,
    skip_bad: bool = False,
    fresh: bool = False,
    **options: object,
) -> list[BuildResult]:
    runtime = Runtime(workers=workers, skip_bad=skip_bad, fresh=fresh)
    made = BuildOptions(**options)  # type: ignore[arg-type]
    names = [str(path) for path in inputs]
    return build_all(names, query, made, runtime, out, color, QuietReporter(), planes)


def survey_at(place: Path) -> Survey:
    return Survey.open(open_store(place))


def header_of(survey: Survey, tile) -> fits.Header:
    with fits.open(survey.store.root / tile.path("fits")) as hdus:
        return hdus[0].header.copy()


@pytest.mark.parametrize("compression", [None, "GZIP_2"])
def test_the_variance_agrees_with_reproject_in_the_square_of_the_unit(
    compression: str | None, tmp_path: Path
):
    fluxmag0 = 1e12  # a count is 3.631 nJy
    scale = 3630780547701.0 / fluxmag0
    made = coadd(tmp_path / "in" / "a.fits", fluxmag0=fluxmag0, compression=compression)
    build([made.path], tmp_path / "out", "variance", interpolation="bilinear")
    survey = survey_at(tmp_path / "out")
    assert survey.properties["hipsgen_plane"] == "variance"
    assert survey.properties["hips_bunit"] == "nJy**2"
    compared = 0
    for tile in survey.tiles_of(survey.order):
        header = header_of(survey, tile)
        assert (header["BITPIX"], header["BUNIT"]) == (-32, "nJy**2")
        ours = survey.values(tile)
        truth, footprint = reproject_interp(
            (scale**2 * made.variance.astype(float), made.field.wcs), header, order="bilinear"
        )
        both = (footprint == 1) & np.isfinite(truth) & np.isfinite(ours)
        compared += both.sum()
        np.testing.assert_allclose(ours[both], truth[both], rtol=3e-6)
    assert compared > 0.7 * SIZE**2
    assert no_findings(tmp_path / "out")


def test_a_variance_keeps_off_what_the_mask_excludes(tmp_path: Path):
    made = coadd(tmp_path / "in" / "a.fits")
    out = tmp_path / "out"
    build([made.path], out, "image", "variance", interpolation="nearest", excluded=("SAT",))
    image, variance = survey_at(out / "band_g"), survey_at(out / "variance_g")
    for tile in image.tiles_of(image.order):
        np.testing.assert_array_equal(np.isnan(image.values(tile)), np.isnan(variance.values(tile)))


def test_a_coadd_without_a_variance_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "in"
    coadd(folder / "a.fits")
    coadd(folder / "b.fits", 40.01, without=["VARIANCE"])
    with pytest.raises(HipsgenError, match="1 input cannot be used"):
        build([folder], tmp_path / "out", "variance")
    assert "b.fits[1]: it has no variance plane" in capsys.readouterr().err
    build([folder], tmp_path / "out", "variance", skip_bad=True)
    assert survey_at(tmp_path / "out").properties["hipsgen_left_out"] == "1"
    with pytest.raises(HipsgenError, match="it has no variance plane"):
        build([folder / "b.fits"], tmp_path / "none", "variance")
    build([folder], tmp_path / "image", "image")  # the image needs no mask


def expected_flags(made: Made, survey: Survey, tile) -> tuple[np.ndarray, np.ndarray]:
    """Compute mask bits with astropy and numpy, and where rounding leaves the pixel uncertain.

    Pixels off the coadd are -2**31.
    """
    header = header_of(survey, tile)
    rows, cols = np.mgrid[0 : header["NAXIS2"], 0 : header["NAXIS1"]]
    lon, lat = WCS(header).wcs_pix2world(cols, rows, 0)
    x, y = made.field.wcs.wcs_world2pix(lon, lat, 0)
    i, j = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    height, width = made.mask.shape
    inside = (i >= 0) & (i < width) & (j >= 0) & (j < height)
    raw = made.mask.view(np.uint32)[j.clip(0, height - 1), i.clip(0, width - 1)]
    table = survey.planes
    flags = np.zeros(raw.shape, np.int64)
    named = 0
    for name, bit in made.planes.items():
        flags |= (raw.astype(np.int64) >> bit & 1) << table.get(name, table["OTHER"])
        named |= 1 << bit
    doubtful = (np.abs(x - i) > 0.5 - 1e-6) | (np.abs(y - j) > 0.5 - 1e-6)
    return np.where(inside, flags, NO_DATA), doubtful


def assert_flags(survey: Survey, expected: Mapping[Tile, Sequence[np.ndarray]]) -> None:
    for tile, (flags, doubtful) in expected.items():
        found = survey.values(tile)
        assert found.dtype == np.int32
        assert doubtful.mean() < 1e-3
        np.testing.assert_array_equal(found[~doubtful], flags[~doubtful])


def either(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Combine the bits of two masks."""
    both = np.where(some == NO_DATA, 0, some) | np.where(others == NO_DATA, 0, others)
    return np.where((some == NO_DATA) & (others == NO_DATA), NO_DATA, both)


def no_findings(place: Path) -> bool:
    return [f for f in check_survey(place, THOROUGH) if f.level != "note"] == []


@pytest.mark.parametrize("compression", [None, "RICE_1", "GZIP_2"])
def test_a_leaf_pixel_has_the_flags_of_the_nearest_one(compression: str | None, tmp_path: Path):
    """Float32 does not distinguish plane 27; plane 31 is the sign bit."""
    planes = {"BAD": 0, "SAT": 1, "NO_DATA": 8, "REJECTED_BY_US": 12, "FAR": 27, "LAST": 31}
    made = coadd(tmp_path / "a.fits", planes=planes, compression=compression)
    build([made.path], tmp_path / "out", "mask")
    survey = survey_at(tmp_path / "out")
    words = survey.properties
    assert words["hipsgen_plane"] == "mask"
    assert words["hipsgen_planes"] == (
        "BAD:0 SAT:1 NO_DATA:2 REJECTED_BY_US:3 FAR:4 LAST:5 OTHER:30"
    )
    assert (words["hips_pixel_bitpix"], words["hips_tile_format"]) == ("32", "fits")
    assert words["hips_hierarchy"] == "or"
    assert "mask" in words["obs_title"]
    assert "flags of the nearest pixels" in words["obs_description"]
    assert words["creator_did"].endswith("/mask")
    assert not list((tmp_path / "out").rglob("*.png"))
    tiles = list(survey.tiles_of(survey.order))
    assert_flags(survey, {tile: expected_flags(made, survey, tile) for tile in tiles})
    header = header_of(survey, tiles[0])
    assert (header["BITPIX"], header["BLANK"]) == (32, NO_DATA)
    assert {k[3:]: v for k, v in header.items() if k.startswith("MP_")} == survey.planes
    assert no_findings(tmp_path / "out")


def test_a_bit_that_float32_would_lose_is_kept_beside_the_others(tmp_path: Path):
    planes = {f"P{bit}": bit for bit in range(32)}
    made = coadd(tmp_path / "a.fits", planes=planes)
    build([made.path], tmp_path / "out", "mask")
    survey = survey_at(tmp_path / "out")
    assert survey.planes == {**{f"P{bit}": bit for bit in range(30)}, "OTHER": 30}
    tiles = list(survey.tiles_of(survey.order))
    assert_flags(survey, {tile: expected_flags(made, survey, tile) for tile in tiles})
    found = np.bitwise_or.reduce(
        [survey.values(t)[survey.values(t) != NO_DATA].max() for t in tiles]
    )
    assert found > 1 << 30
    assert no_findings(tmp_path / "out")


@pytest.mark.parametrize("overlap", ["feather", "mean", "primary"])
def test_coadds_that_number_their_planes_otherwise_agree_by_name(overlap: str, tmp_path: Path):
    one = coadd(tmp_path / "in" / "a.fits", planes={"BAD": 0, "SAT": 1, "NO_DATA": 8})
    other = coadd(
        tmp_path / "in" / "b.fits", 40.012, -10.002, {"NO_DATA": 0, "CR": 2, "BAD": 9, "SAT": 5},
        seed=1, angle=50.0,
    )  # fmt: skip
    build([tmp_path / "in"], tmp_path / "out", "mask", overlap=overlap)
    survey = survey_at(tmp_path / "out")
    # sorted by the lowest bit of the plane in any coadd
    assert survey.planes == {"BAD": 0, "NO_DATA": 1, "SAT": 2, "CR": 3, "OTHER": 30}
    assert survey.properties["hips_overlay"] == ("primary" if overlap == "primary" else "or")
    both = alone = 0
    for tile in survey.tiles_of(survey.order):
        first, doubt = expected_flags(one, survey, tile)
        second, more = expected_flags(other, survey, tile)
        known = (first != NO_DATA) & (second != NO_DATA)
        both += known.sum()
        found, clear = survey.values(tile), ~doubt & ~more
        if overlap == "primary":
            assert ((found == first) | (found == second))[clear & known].all()
            alone += (found != either(first, second))[clear & known].sum()
            clear &= ~known
        np.testing.assert_array_equal(found[clear], either(first, second)[clear])
    assert both > 10_000
    assert alone > 1000 or overlap != "primary"
    assert no_findings(tmp_path / "out")


def test_a_parent_has_the_flags_of_its_children(tmp_path: Path):
    for k in range(3):
        coadd(tmp_path / "in" / f"{k}.fits", 40.0 + 0.02 * k, seed=k)
    build([tmp_path / "in"], tmp_path / "out", "mask", workers=2)
    survey = survey_at(tmp_path / "out")
    for order in range(survey.order - 1, -1, -1):
        for tile in survey.tiles_of(order):
            expected = np.full((512, 512), NO_DATA)
            for child in tile.children:
                flags = survey.values(child)
                if flags is None:
                    continue
                small = either(
                    either(flags[::2, ::2], flags[1::2, ::2]),
                    either(flags[::2, 1::2], flags[1::2, 1::2]),
                )
                row, col = 0 if child.npix & 1 else 256, 256 if child.npix & 2 else 0
                expected[row : row + 256, col : col + 256] = small
            np.testing.assert_array_equal(survey.values(tile), expected)
    for order in range(4):
        path = tmp_path / "out" / f"Norder{order}" / "Allsky.fits"
        with fits.open(path, do_not_scale_image_data=True) as hdus:
            image, columns = hdus[0].data, int((12 << 2 * order) ** 0.5)
            assert hdus[0].header["BLANK"] == NO_DATA
        for tile in survey.tiles_of(order):
            flags = survey.values(tile).reshape(64, 8, 64, 8)
            known = flags != NO_DATA
            small = np.bitwise_or.reduce(np.where(known, flags, 0), axis=(1, 3))
            row, col = divmod(tile.npix, columns)
            top = image.shape[0] - 64 * (row + 1)
            np.testing.assert_array_equal(
                image[top : top + 64, 64 * col : 64 * (col + 1)],
                np.where(known.any(axis=(1, 3)), small, NO_DATA),
            )
    assert no_findings(tmp_path / "out")


def test_a_coarse_mask_has_the_flags_of_all_pixels_below(tmp_path: Path):
    made = coadd(tmp_path / "a.fits")
    build([made.path], tmp_path / "fine", "mask")
    fine = survey_at(tmp_path / "fine")
    build([made.path], tmp_path / "coarse", "mask", order=fine.order - 2)
    coarse = survey_at(tmp_path / "coarse")
    tiles = list(coarse.tiles_of(coarse.order))
    for tile in tiles:
        np.testing.assert_array_equal(coarse.values(tile), fine.values(tile))
    assert tiles == list(fine.tiles_of(coarse.order))
    assert no_findings(tmp_path / "coarse")


def test_a_name_met_later_goes_to_the_last_flag(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    one = coadd(folder / "a.fits", planes={"BAD": 0, "SAT": 1})
    build([folder], out, "mask")
    before = survey_at(out).planes
    other = coadd(folder / "b.fits", 40.05, planes={"LATE": 0, "SAT": 3}, seed=1)
    build([folder], out, "mask")
    survey = survey_at(out)
    assert survey.planes == before == {"BAD": 0, "SAT": 1, "OTHER": 30}
    for tile in survey.tiles_of(survey.order):
        first, doubt = expected_flags(one, survey, tile)
        second, more = expected_flags(other, survey, tile)
        clear = ~doubt & ~more
        np.testing.assert_array_equal(survey.values(tile)[clear], either(first, second)[clear])
    assert no_findings(out)


@pytest.mark.parametrize("plane", ["mask", "variance"])
def test_an_updated_survey_of_a_plane_is_that_of_a_build_from_scratch(
    plane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder, out = tmp_path / "in", tmp_path / "sky"
    options = {"order": 13}
    if plane == "variance":
        options |= {"cuts": (0.0, 5.0), "stretch": "linear"}
    for k in range(4):
        coadd(folder / f"{k}.fits", 40.0 + 0.02 * k, seed=k)
    (first,) = build([folder], out, plane, **options)
    coadd(folder / "3.fits", 40.07, seed=9)
    (folder / "2.fits").unlink()
    (updated,) = build([folder], out, plane, workers=2, **options)
    assert 0 < updated.n_tiles_made < 0.8 * first.n_tiles
    assert updated.n_tiles_removed > 0
    found = everything(out)
    assert no_findings(out)
    shutil.move(out, tmp_path / "updated")
    build([folder], out, plane, **options)
    assert everything(out) == found


def test_a_plane_that_no_mask_has_is_refused_before_anything_is_made(tmp_path: Path):
    coadd(tmp_path / "in" / "a.fits", 40.0)
    with pytest.raises(ConfigError, match=r"no plane 'SATT'; available: .*SAT"):
        build([tmp_path / "in"], tmp_path / "out", "image", excluded=("NO_DATA", "SATT"))
    assert not list(tmp_path.glob("out/**/Npix*"))
    plan = hipsgen("plan", tmp_path / "in", "--exclude-mask", "SATT")
    assert plan.returncode == 2
    assert "no plane 'SATT'" in plan.stderr


def test_a_mask_that_was_killed_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for k in range(2):
        coadd(tmp_path / "in" / f"{k}.fits", 40.0 + 0.02 * k, seed=k)
    inputs, out = [tmp_path / "in"], tmp_path / "out"
    build(inputs, tmp_path / "whole", "mask")
    for deaths in (5, 20, 12):
        with stopping(monkeypatch, deaths), pytest.raises(OSError, match="stops"):
            build(inputs, out, "mask")
    build(inputs, out, "mask")
    assert tile_bytes(out) == tile_bytes(tmp_path / "whole")


def test_a_coadd_without_a_mask_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "in"
    coadd(folder / "a.fits")
    coadd(folder / "b.fits", 40.01, without=["MASK"])
    with pytest.raises(HipsgenError, match="1 input cannot be used"):
        build([folder], tmp_path / "out", "mask")
    assert "b.fits[1]: it has no mask with named planes" in capsys.readouterr().err
    build([folder], tmp_path / "out", "mask", skip_bad=True)
    assert no_findings(tmp_path / "out")


def test_a_survey_of_one_plane_is_not_continued_as_another(tmp_path: Path):
    made = coadd(tmp_path / "a.fits")
    build([made.path], tmp_path / "out", "mask")
    with pytest.raises(ConfigError, match="plane mask, not image"):
        build([made.path], tmp_path / "out", "image")
    build([made.path], tmp_path / "out", "image", fresh=True)
    assert "hipsgen_plane" not in survey_at(tmp_path / "out").properties


def damage_a_flag(path: Path) -> None:
    """Flip a bit of one pixel and write matching checksums."""
    with fits.open(path, mode="update", do_not_scale_image_data=True, checksum=True) as hdus:
        flags = hdus[0].data
        row, col = np.argwhere(flags != NO_DATA)[-1]
        flags[row, col] ^= 2


@pytest.mark.parametrize(
    ("order", "what"),
    [
        (6, "is not the bitwise OR of its child tiles"),
        (-1, "differs from its coadds"),
    ],
)
def test_a_check_finds_a_flag_that_was_changed(order: int, what: str, tmp_path: Path):
    made = coadd(tmp_path / "a.fits")
    out = tmp_path / "out"
    build([made.path], out, "mask")
    survey = survey_at(out)
    order = order if order >= 0 else survey.order
    for tile in survey.tiles_of(order):
        damage_a_flag(out / tile.path("fits"))
    found = [str(f) for f in check_survey(out, THOROUGH)]
    assert any(what in text for text in found), found
    assert any("is not what was written" in text for text in found)


def test_a_check_finds_an_allsky_and_a_moc_that_are_not_those_of_a_mask(tmp_path: Path):
    made = coadd(tmp_path / "a.fits")
    other = coadd(tmp_path / "b.fits", 41.0)
    build([made.path], tmp_path / "out", "mask")
    build([other.path], tmp_path / "other", "mask")
    damage_a_flag(tmp_path / "out" / "Norder3" / "Allsky.fits")
    shutil.copy(tmp_path / "other" / "Moc.fits", tmp_path / "out" / "Moc.fits")
    found = " ".join(str(f) for f in check_survey(tmp_path / "out", CheckOptions(deep=True)))
    assert "Allsky.fits: does not show the tiles of its order" in found
    assert "does not cover all pixels with data" in found, found


def test_several_bands_and_planes_are_folders_and_the_color_is_of_the_images(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for k, band in enumerate("gri"):
        coadd(folder / f"{band}.fits", seed=k, band=band)
    query = CoaddQuery(bands=("g", "r", "i"))
    summaries = build([folder], out, "image", "variance", "mask", color="gri", query=query)
    names = [f"{plane}_{band}" for plane in ("band", "variance", "mask") for band in "gri"]
    assert [summary.name for summary in summaries] == [*names, "color_gri"]
    words = {name: survey_at(out / name).properties for name in names}
    dids = {p["creator_did"] for p in words.values()}
    assert dids == {f"ivo://unregistered/P/out/{name}" for name in names}
    assert len({p["obs_title"] for p in words.values()}) == len(names)
    assert "hipsgen_plane" not in words["band_g"]
    # the image does not depend on the other planes
    build([folder], tmp_path / "alone", "image", query=CoaddQuery(bands=("g",)))
    assert tile_bytes(out / "band_g") == tile_bytes(tmp_path / "alone")
    again = build([folder], out, "image", "variance", "mask", color="gri", query=query)
    assert all(summary.n_tiles_made == 0 for summary in again)
    with pytest.raises(ConfigError, match="add image to planes"):
        build([folder], tmp_path / "no", "mask", color="gri", query=query)
    masks = (out / "mask_g", out / "mask_r", out / "mask_i")
    with pytest.raises(ConfigError, match="mask"):
        build_color_survey(masks, tmp_path / "color", ("png",), Runtime(), QuietReporter())


def test_the_color_does_not_wait_for_a_mask(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for k, band in enumerate("gri"):
        coadd(folder / f"{band}.fits", seed=k, band=band)
    coadd(folder / "g2.fits", 40.01, without=["MASK"])
    with pytest.raises(HipsgenError, match="out/mask_g is not finished") as caught:
        build([folder], out, "image", "mask", color="gri", query=CoaddQuery(bands=("g", "r", "i")))
    assert "color_gri" in str(caught.value)
    assert (out / "color_gri" / "properties").exists()
    assert not (out / "mask_g" / "properties").exists()


def test_all_planes_of_a_butler_in_one_command(sample_repository: Path, tmp_path: Path):
    """Return a repository whose tracts have different mask bits and units, one in counts."""
    out = tmp_path / "out"
    words = ["-c", "sample/coadds", "-d", "deepCoadd_calexp", "-b", "g", "-b", "r"]
    what = (sample_repository, *words)
    planes = ("--planes", "image,mask,variance")
    plan = hipsgen("plan", *what, *planes)
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("\n") == 6
    assert "band r, mask: 8 coadds" in plan.stdout
    assert "mask planes BAD, SAT" in plan.stdout
    ran = hipsgen("build", *what, *planes, "-o", out)
    assert ran.returncode == 0, ran.stderr
    names = [f"{plane}_{band}" for plane in ("band", "mask", "variance") for band in "gr"]
    assert sorted(path.name for path in out.iterdir()) == names
    checked = hipsgen("check", out, "--deep", "--against-inputs", 20)
    assert checked.returncode == 0, checked.stdout
    survey = survey_at(out / "mask_g")
    assert survey.planes["SENSOR_EDGE"] < survey.planes["OTHER"]
    coadds = [masked(path) for path in butler_files(sample_repository, "g")]
    for tile in survey.tiles_of(survey.order):
        found = [expected_flags(made, survey, tile) for made in coadds]
        clear = ~np.any([doubt for _, doubt in found], axis=0)
        wanted = reduce(either, [flags for flags, _ in found])
        np.testing.assert_array_equal(survey.values(tile)[clear], wanted[clear])
    told = hipsgen("info", out / "mask_g").stdout
    assert "plane     mask" in told
    assert "SENSOR_EDGE" in told


def butler_files(repository: Path, band: str) -> list[Path]:
    """Return the files of the sample; the patch that was processed twice is of the second run."""
    found = {}
    for path in sorted(repository.rglob(f"{band}/*.fits")):
        found[path.parts[-4:-1]] = path
    return list(found.values())


def masked(path: Path) -> Made:
    """Read only the mask of a coadd, with astropy."""
    with fits.open(path) as hdus:
        hdu = next(hdu for hdu in hdus[1:] if hdu.header.get("EXTTYPE") == "MASK")
        cards, mask = hdu.header, hdu.data.astype(np.int32)
    planes = {key[3:]: bit for key, bit in cards.items() if key.startswith("MP_")}
    field = StarField(0.0, 0.0)
    field.wcs = WCS(cards)
    nothing = np.empty((0, 0), np.float32)
    return Made(path, field, nothing, nothing, mask, planes)


def test_a_mask_alone_says_that_there_are_no_previews(tmp_path: Path):
    made = coadd(tmp_path / "a.fits")
    ran = hipsgen("build", made.path, "--planes", "mask", "-o", tmp_path / "out")
    assert ran.returncode == 0
    assert "a mask survey has no previews: only FITS tiles are written" in ran.stderr + ran.stdout
    wrong = hipsgen("build", made.path, "--planes", "mask,psf", "-o", tmp_path / "no")
    assert wrong.returncode == 2
    assert "--planes 'psf' is not one of: image, variance, mask" in wrong.stderr
    other = hipsgen("build", made.path, "--planes", "variance", "-o", tmp_path / "out")
    assert other.returncode == 2
    assert "--planes mask, not variance" in other.stderr


def test_coadds_without_a_mask_keep_no_other_survey_from_being_made(tmp_path):
    for band in "gri":
        coadd(tmp_path / "in" / f"{band}.fits", band=band, without=("MASK",))
    out = tmp_path / "out"
    bands = [word for band in "gri" for word in ("--band", band)]
    done = hipsgen(
        "build", tmp_path / "in", *bands, "--color", "gri", "--planes", "image,mask", "-o", out
    )
    assert done.returncode == 1
    assert "mask_g: none of the coadds can be read" in done.stderr
    assert "no mask" in done.stderr
    for name in ("band_g", "band_r", "band_i", "color_gri"):
        assert (out / name / "properties").is_file()
