"""Files as some twenty observatories publish them: which of their images are used.

Science images have the value 10, whatever accompanies them 1000: a survey of both would differ.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

import hipsgen
from hipsgen.cli import cli
from hipsgen.errors import CoaddError, ConfigError, InputError
from hipsgen.images import fits_folder
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder, ImageChoice
from hipsgen.planner.jobs import ALL_BANDS, CoaddQuery, find_jobs
from hipsgen.run.progress import QuietReporter
from tests.images.making import COLS, ROWS, tan_header

SCIENCE, OTHER = 10, 1000
WHOLE = slice(0, ROWS), slice(0, COLS)
Hdu = tuple[str, int, dict[str, Any]]


def image(value: int, dtype: str = "f4", depth: int = 0) -> np.ndarray:
    return np.full(((depth,) if depth else ()) + (ROWS, COLS), value, dtype)


def extension(name: str, data: np.ndarray | None, packed: bool = False, **cards: Any) -> Any:
    kind = fits.CompImageHDU if packed else fits.ImageHDU
    return kind(data, tan_header(**cards), name=name)


def primary(data: np.ndarray | None = None, **cards: Any) -> Any:
    hdu = fits.PrimaryHDU(data, tan_header() if data is not None else None)
    for key, value in cards.items():
        hdu.header[key.replace("__", " ")] = value
    return hdu


def save(path: Path, *hdus: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(hdus)).writeto(path)


def pair_of_files(names: Sequence[str], **cards: Any) -> Callable[[Path], None]:
    """The first file is the science image; each has its image in the primary HDU."""

    def make(folder: Path) -> None:
        for k, name in enumerate(names):
            save(folder / name, primary(image(OTHER if k else SCIENCE), **cards))

    return make


def of_extensions(
    names: Sequence[str], *, first: dict[str, Any] | None = None, **cards: Any
) -> Callable[[Path], None]:
    """A file of extensions, of which the first is the science image."""

    def make(folder: Path) -> None:
        hdus = [
            extension(name, image(OTHER if k else SCIENCE), **cards) for k, name in enumerate(names)
        ]
        save(folder / "a.fits", primary(**(first or {})), *hdus)

    return make


def decam(folder: Path) -> None:
    kinds = {"ooi": "image", "ood": "dqmask", "oow": "wtmap"}
    for letters, kind in kinds.items():
        hdus = [
            extension(
                chip,
                image(SCIENCE if kind == "image" else OTHER, "f4" if kind != "dqmask" else "i4"),
                packed=True,
                CRVAL1=150.0 + k,
            )
            for k, chip in enumerate(("N1", "S1"))
        ]
        cards = {
            "PRODTYPE": kind,
            "FILTER": "g DECam SDSS c0001 4720.0 1520.0",
            "OBSTYPE": "object",
        }
        save(folder / f"c4d_150617_001234_{letters}_g_v1.fits.fz", primary(**cards), *hdus)


def decam_all_called_image(folder: Path) -> None:
    for letters in ("ooi", "ood", "oow"):
        data = image(SCIENCE if letters == "ooi" else OTHER)
        hdus = [extension("N1", data, packed=True)]
        first = primary(PRODTYPE="image", FILTER="r DECam SDSS c0002 6415.0 1480.0")
        save(folder / f"c4d_{letters}_r_v1.fits.fz", first, *hdus)


def ps1(folder: Path) -> None:
    stem = "rings.v3.skycell.1783.050.stk.g.unconv"
    for part in ("", ".wt", ".mask", ".num", ".exp"):
        hdu = extension("", image(OTHER if part else SCIENCE), packed=True)
        hdu.header["HIERARCH FPA.FILTERID"] = "g.00000"
        save(folder / f"{stem}{part}.fits", primary(), hdu)


def jwst(folder: Path) -> None:
    names = ("SCI", "ERR", "CON", "WHT", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
    hdus: list[Any] = []
    for name in names:
        if name == "CON":
            hdus.append(fits.ImageHDU(image(OTHER, "i4", depth=2), name=name))
        elif name == "SCI":
            hdus.append(extension(name, image(SCIENCE), BUNIT="MJy/sr"))
        else:  # their headers have no WCS
            hdus.append(fits.ImageHDU(image(OTHER), name=name))
    save(folder / "jw_i2d.fits", primary(FILTER="F150W2", PUPIL="F162M"), *hdus)


def hst_of_two_wheels(folder: Path) -> None:
    first = primary(FILTER1="CLEAR1L", FILTER2="F814W", INSTRUME="ACS")
    hdus = [extension(n, image(v)) for n, v in (("SCI", SCIENCE), ("WHT", OTHER), ("CTX", OTHER))]
    save(folder / "j_drz.fits", first, *hdus)


def wise(folder: Path) -> None:
    for part in ("int", "unc", "cov"):
        data = image(SCIENCE if part == "int" else OTHER)
        cards = {"BAND": 3, "TELESCOP": "WISE"}
        save(folder / f"0657p151_ac51-w3-{part}-3.fits", primary(data, **cards))


def irac(folder: Path) -> None:
    for part in ("maic", "munc", "mcov"):
        data = image(SCIENCE if part == "maic" else OTHER)
        name = f"SPITZER_I1_4455168_0000_7_E8350211_{part}.fits"
        save(folder / name, primary(data, CHNLNUM=1, INSTRUME="IRAC"))


def pacs(folder: Path) -> None:
    names = {"image": SCIENCE, "coverage": OTHER, "stDev": OTHER, "error": OTHER}
    hdus = [extension(name, image(value), BUNIT="Jy/pixel") for name, value in names.items()]
    first = primary(INSTRUME="PACS")
    first.header["WAVELNTH"] = (100.0, "[micrometer] wavelength")
    save(folder / "hpacs.fits", first, *hdus)


def sdss_frame(folder: Path) -> None:
    sky = fits.BinTableHDU.from_columns([fits.Column("ALLSKY", "4E", array=np.ones((1, 4)))])
    calib = fits.ImageHDU(np.ones(COLS, "f4"))
    first = primary(image(SCIENCE), FILTER="r", BUNIT="nanomaggy")
    save(folder / "frame-r.fits", first, calib, sky)


def euclid_mer(folder: Path) -> None:
    stems = {
        "EUC_MER_BGSUB-MOSAIC-VIS_TILE101-4F2B85_2024": SCIENCE,
        "EUC_MER_MOSAIC-VIS-RMS_TILE101-AB1234_2024": OTHER,
        "EUC_MER_MOSAIC-VIS-FLAG_TILE101-CD5678_2024": OTHER,
    }
    for stem, value in stems.items():
        save(folder / f"{stem}.fits", primary(image(value), FILTER="VIS"))


def legacy(folder: Path) -> None:
    for part in ("image", "invvar", "model", "nexp", "chi2", "depth"):
        data = image(SCIENCE if part == "image" else OTHER)
        name = f"legacysurvey-1500p020-{part}-r.fits.fz"
        save(folder / name, primary(), extension("", data, packed=True, FILTER="r"))


def eso_classes(folder: Path) -> None:
    kinds = {"CHIP1.DATA": "DATA", "CHIP1.E": "ERROR", "CHIP1.Q": "QUALITY"}
    hdus = [
        extension(name, image(SCIENCE if kind == "DATA" else OTHER), HDUCLAS2=kind)
        for name, kind in kinds.items()
    ]
    first = primary()
    first.header["HIERARCH ESO INS FILT1 NAME"] = "r_SDSS"
    save(folder / "a.fits", first, *hdus)


# name: maker, band, number of images in the survey
LAYOUTS: dict[str, tuple[Callable[[Path], None], str, int]] = {
    "HST drizzled": (of_extensions(("SCI", "WHT", "CTX"), first={"FILTER": "F160W"}), "F160W", 1),
    "HST, two filter wheels": (hst_of_two_wheels, "F814W", 1),
    "HST, mosaic in files": (
        pair_of_files(("x_f606w_drz_sci.fits", "x_f606w_drz_wht.fits"), FILTER="F606W"),
        "F606W",
        1,
    ),
    "JWST i2d": (jwst, "F162M", 1),
    "DECam": (decam, "g", 2),
    "DECam, all called image": (decam_all_called_image, "r", 1),
    "DES": (of_extensions(("SCI", "MSK", "WGT"), BAND="i"), "i", 1),
    "PS1": (ps1, "g", 1),
    "Legacy Surveys": (legacy, "r", 1),
    "SDSS": (sdss_frame, "r", 1),
    "Euclid, extensions": (of_extensions(("3-4-F.SCI", "3-4-F.RMS", "3-4-F.FLG")), "", 1),
    "Euclid, files": (euclid_mer, "VIS", 1),
    "chips": (of_extensions(("CCD1", "CCD1_WT", "CCD1_DQM")), "", 1),
    "flux": (of_extensions(("FLUX", "NEXP", "CHI2")), "", 1),
    "MUSE, images": (of_extensions(("DATA", "DQ", "STAT")), "", 1),
    "ESO, HDUCLAS2": (eso_classes, "r_SDSS", 1),
    "VISTA": (pair_of_files(("v_st_tl.fit", "v_st_tl_conf.fit"), FILTER="Ks"), "Ks", 1),
    "CFHT": (
        pair_of_files(("D2.IQ.R.fits", "D2.IQ.R.weight.fits"), FILTER="r.MP9601"),
        "r.MP9601",
        1,
    ),
    "SWarp": (pair_of_files(("coadd.fits", "coadd.weight.fits", "coadd_rms.fits")), "", 1),
    "WISE": (wise, "W3", 1),
    "ZTF": (
        pair_of_files([f"ztf_000519_zg_c01_q1_ref{k}.fits" for k in ("img", "unc", "cov")]),
        "",
        1,
    ),
    "SExtractor": (pair_of_files(("a.fits", "a_seg.fits", "a_segmentation.fits")), "", 1),
    "IRAC": (irac, "IRAC1", 1),
    "GALEX": (
        pair_of_files(("M31-nd-int.fits", "M31-nd-rrhr.fits"), BAND=1, TELESCOP="GALEX"),
        "NUV",
        1,
    ),
    "PACS": (pacs, "100um", 1),
    "2MASS, integers": (
        lambda folder: save(folder / "ki.fits", primary(image(SCIENCE, "i2"), FILTER="k")),
        "k",
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_science_images_are_used(name: str, tmp_path: Path):
    make, band, count = LAYOUTS[name]
    make(tmp_path)
    source = FitsFolder([str(tmp_path)])
    refs = list(source.refs())
    assert source.problems == []
    assert [ref.band for ref in refs] == [band] * count
    for ref in refs:
        assert np.unique(FitsReader().read(ref, WHOLE)).tolist() == [SCIENCE]
    everything = FitsFolder([str(tmp_path)], choice=ImageChoice(hdus=("all",)))
    assert len(list(everything.refs())) >= len(refs)
    assert everything.left_out == []


ALONE = {
    "an object called Mask": ("mask.fits", "mask_2.fits"),
    "weights without an image": ("a.weight.fits",),
    "errors alone": ("rms.fits",),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_name_alone_leaves_nothing_out(name: str, tmp_path: Path):
    for file in ALONE[name]:
        save(tmp_path / file, primary(image(SCIENCE)))
    source = FitsFolder([str(tmp_path)])
    assert len(list(source.refs())) == len(ALONE[name])
    assert source.left_out == []


def test_files_far_from_each_other_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Comparing all files of one declination took 200 s for 3,600 images and their weights."""
    compared: list[object] = []
    inner = fits_folder._File.covers_pixels_of

    def counted(one: fits_folder._File, other: fits_folder._File) -> bool:
        compared.append(one)
        return inner(one, other)

    monkeypatch.setattr(fits_folder._File, "covers_pixels_of", counted)
    pairs = 40
    for k in range(pairs):
        for name in (f"{k:02d}.fits", f"{k:02d}_wt.fits"):
            save(tmp_path / name, primary(image(k), CRVAL1=9.0 * k))
    source = FitsFolder([str(tmp_path)])
    assert len(list(source.refs())) == pairs
    assert [one.reason for one in source.left_out] == [f"wt of {k:02d}.fits" for k in range(pairs)]
    assert len(compared) <= 10 * pairs


def test_a_word_that_the_image_has_as_well_does_not_hide_its_companions(tmp_path: Path):
    for name in ("exp1.fits", "exp1_wt.fits", "exp1_wt_sig.fits", "exp2.fits"):
        save(tmp_path / name, primary(image(OTHER if "wt" in name else SCIENCE), BUNIT="adu"))
    source = FitsFolder([str(tmp_path)])
    assert [Path(ref.uri).name for ref in source.refs()] == ["exp1.fits", "exp2.fits"]
    reasons = {Path(left.source).name: left.reason for left in source.left_out}
    assert reasons == {
        "exp1_wt.fits": "wt of exp1.fits",
        "exp1_wt_sig.fits": "wt of exp1.fits",
    }


def test_an_image_without_a_band_among_others_is_named(tmp_path: Path):
    save(tmp_path / "a.fits", primary(image(1), FILTER="r"))
    save(tmp_path / "b_check.fits", primary(image(1)))
    words = (
        r"^1 image of 2 \(first .*/b_check.fits\) without a band, beside band 'r': .*assume_band"
    )
    with pytest.raises(ConfigError, match=words):
        jobs(tmp_path)
    assert jobs(tmp_path, choice=ImageChoice(assume_band="r")) == ["r"]


def test_an_extension_named_as_a_companion_is_used_if_it_is_alone(tmp_path: Path):
    save(tmp_path / "a.fits", primary(), extension("SKYMAP", image(SCIENCE)))
    save(tmp_path / "b.fits", primary(), extension("RMS", image(SCIENCE)))
    assert len(list(FitsFolder([str(tmp_path)]).refs())) == 2


def test_files_of_another_time_place_or_band_are_no_companions(tmp_path: Path):
    first = {"DATE-OBS": "2026-01-01T00:00:00", "FILTER": "r"}
    save(tmp_path / "exp.fits", primary(image(SCIENCE), **first))
    save(tmp_path / "n1.fits", primary(image(SCIENCE), **{**first, "DATE-OBS": "2026-01-02"}))
    save(tmp_path / "n2.fits", primary(image(SCIENCE), **{**first, "FILTER": "g"}))
    save(tmp_path / "n3.fits", primary(image(SCIENCE), **{**first, "CRVAL1": 150.01}))
    source = FitsFolder([str(tmp_path)])
    assert len(list(source.refs())) == 4
    save(tmp_path / "n4.fits", primary(image(SCIENCE), **first))
    assert len(list(source.refs())) == 4
    (left,) = source.left_out
    assert (Path(left.source).name, left.reason) == ("exp.fits", "exp of n4.fits")


def test_images_that_were_left_out_are_reported_in_one_line(tmp_path: Path):
    decam(tmp_path)
    notes: list[str] = []

    class Listener(QuietReporter):
        def note(self, text: str) -> None:
            notes.append(text)

    find_jobs([str(tmp_path)], CoaddQuery(), FitsReader(), Listener())
    (note,) = notes
    assert note.startswith("left out 4 images that accompany others: c4d_150617_001234_ood_g_v1")
    assert "(PRODTYPE = dqmask)" in note
    assert "{hdu} and {include} choose other images" in note
    assert "\n" not in note


def muse(folder: Path) -> None:
    hdus = [
        extension("DATA", image(SCIENCE, depth=3), CTYPE3="AWAV"),
        extension("STAT", image(OTHER, depth=3), CTYPE3="AWAV"),
        extension("IMA_V_DATA", image(SCIENCE)),
        extension("IMA_V_STAT", image(OTHER)),
    ]
    save(folder / "a.fits", primary(), *hdus)


def test_images_beside_a_cube_are_not_used_unless_chosen(tmp_path: Path):
    muse(tmp_path)
    source = FitsFolder([str(tmp_path)])
    assert list(source.refs()) == []
    (problem,) = source.problems
    assert problem.reason == (
        f"its image DATA is a cube (3 × {ROWS} × {COLS}); if one of its other images is meant, "
        "choose it with --hdu: IMA_V_DATA, IMA_V_STAT"
    )
    (ref,) = FitsFolder([str(tmp_path)], choice=ImageChoice(hdus=("ima_*_data",))).refs()
    assert ref.hdu == "3"
    with pytest.raises(CoaddError, match=r"HDU DATA is a cube \(3 × 40 × 50\)"):
        list(FitsFolder([str(tmp_path)], strict=True, choice=ImageChoice(hdus=("DATA",))).refs())


def healpix_table(folder: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("I", "1024E", array=np.ones((12, 1024)))])
    table.header["PIXTYPE"], table.header["NSIDE"] = "HEALPIX", 32
    save(folder / "a.fits", primary(), table)


NO_IMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a HEALPix map": (healpix_table, "it has a HEALPix table (NSIDE 32)"),
    "a spectrum": (
        lambda f: save(f / "a.fits", fits.PrimaryHDU(np.ones(300, "f4"))),
        "it has a spectrum or other image of one axis (300 pixels)",
    ),
    "a cube": (
        lambda f: save(f / "a.fits", fits.PrimaryHDU(image(1, depth=7), tan_header(CTYPE3="FREQ"))),
        f"it has a cube (7 × {ROWS} × {COLS})",
    ),
    "a color image": (
        lambda f: save(f / "a.fits", fits.PrimaryHDU(image(1, "u1", depth=3), tan_header())),
        f"it has an RGB image (3 × {ROWS} × {COLS})",
    ),
    "headers": (lambda f: save(f / "a.fits", primary()), "it has headers only"),
}


@pytest.mark.parametrize("name", NO_IMAGE)
def test_an_error_for_a_file_without_an_image_describes_its_hdus(name: str, tmp_path: Path):
    make, words = NO_IMAGE[name]
    make(tmp_path)
    source = FitsFolder([str(tmp_path)])
    assert list(source.refs()) == []
    assert source.problems[0].reason == f"no two-dimensional image in the file: {words}"


def test_hdus_and_files_can_be_chosen(tmp_path: Path):
    of_extensions(("SCI", "WHT"))(tmp_path)
    save(tmp_path / "b_drz.fits", primary(image(SCIENCE)))

    def chosen(**choice: Any) -> list[tuple[str, str]]:
        source = FitsFolder([str(tmp_path)], choice=ImageChoice(**choice))
        return [(ref.uri.rsplit("/", 1)[1], ref.hdu) for ref in source.refs()]

    assert chosen() == [("a.fits", "1"), ("b_drz.fits", "0")]
    assert chosen(hdus=("WHT",)) == chosen(hdus=("2",)) == [("a.fits", "2")]
    assert (
        chosen(hdus=("SCI", "wht"))
        == chosen(hdus=("2", "1", "9"))
        == [("a.fits", "1"), ("a.fits", "2")]
    )
    assert chosen(hdus=("WHT", "PRIMARY")) == [("a.fits", "2")]
    assert chosen(hdus=("all",)) == [("a.fits", "1"), ("a.fits", "2"), ("b_drz.fits", "0")]
    assert chosen(include=("*_drz.fits",)) == chosen(exclude=("a*",)) == [("b_drz.fits", "0")]
    assert chosen(include=("*/b*",)) == [("b_drz.fits", "0")]
    with pytest.raises(InputError, match=r"none of 2 files .* is chosen by include and exclude"):
        chosen(include=("*.fit",))


def test_an_hdu_that_is_not_there_is_answered_by_those_that_are(tmp_path: Path):
    of_extensions(("SCI", "WHT"))(tmp_path)
    for hdus in (("ERR",), ("7", "ERR"), ("W",)):
        source = FitsFolder([str(tmp_path)], choice=ImageChoice(hdus=hdus))
        assert list(source.refs()) == []
        (problem,) = source.problems
        assert problem.reason == f"there is no HDU {hdus[0]}: it has 0, 1 (SCI), 2 (WHT)"


def jobs(folder: Path, **query: Any) -> list[str]:
    found = find_jobs([str(folder)], CoaddQuery(**query), FitsReader(), QuietReporter())
    return [job.band for job in found]


def test_images_without_a_band_that_differ_are_not_merged(tmp_path: Path):
    save(tmp_path / "a.fits", primary(image(1), INSTRUME="LABOCA", BUNIT="Jy/beam"))
    save(tmp_path / "b.fits", primary(image(1), INSTRUME="SABOCA", BUNIT="Jy/beam"))
    words = r"differ in .*: LABOCA \(a.fits\); SABOCA \(b.fits\): state .*assume_band"
    with pytest.raises(ConfigError, match=words):
        jobs(tmp_path)
    assert jobs(tmp_path, bands=(ALL_BANDS,)) == [""]
    assert jobs(tmp_path, choice=ImageChoice(assume_band="submm")) == ["submm"]
    assert jobs(tmp_path, choice=ImageChoice(include=("a*",))) == [""]


def test_a_band_may_be_named_by_one_of_its_words(tmp_path: Path):
    save(tmp_path / "a.fits", primary(image(1), FILTER="Bessell V (broad)"))
    save(tmp_path / "b.fits", primary(image(1), FILTER="SDSS r"))
    assert jobs(tmp_path, bands=("V", "r")) == ["Bessell V (broad)", "SDSS r"]
    with pytest.raises(InputError, match="no image of band 'R'; available: 'Bessell V"):
        jobs(tmp_path, bands=("R",))


def test_capital_letters_of_other_filters_are_other_bands(tmp_path: Path):
    save(tmp_path / "a.fits", primary(image(1), FILTER="r"))
    save(tmp_path / "b.fits", primary(image(1), FILTER="J"))
    assert jobs(tmp_path, bands=("j",)) == ["J"]
    with pytest.raises(InputError, match="no image of band 'R'; available: 'r', 'J'"):
        jobs(tmp_path, bands=("R",))


BANDS: dict[str, tuple[dict[str, Any], str]] = {
    "NOAO": ({"FILTER": "VR DECam c0007 6300.0 2600.0"}, "VR"),
    "unknown": ({"FILTER": "_unknown_"}, ""),
    "none": ({"FILTER": "None", "BAND": "N/A"}, ""),
    "clear alone": ({"FILTER": "CLEAR"}, "CLEAR"),
    "JWST NIRISS": ({"FILTER": "CLEAR", "PUPIL": "F200W"}, "F200W"),
    "EXPBAND": ({"EXPBAND": "H"}, "H"),
    "WFPC2": ({"FILTNAM1": "F555W"}, "F555W"),
    "GALEX": ({"BAND": 2, "TELESCOP": "GALEX"}, "FUV"),
    "SPIRE": ({"WAVELNTH": 250.0}, "250"),
    "names of other letters": ({"FILTER": "nb_1190"}, "nb_1190"),
}


@pytest.mark.parametrize("name", BANDS)
def test_the_band_is_found_where_observatories_write_it(name: str, tmp_path: Path):
    cards, band = BANDS[name]
    save(tmp_path / "a.fits", primary(image(1), **cards))
    assert [ref.band for ref in FitsFolder([str(tmp_path)]).refs()] == [band]


def test_the_api_takes_one_hdu_or_several(tmp_path: Path):
    of_extensions(("SCI", "WHT"))(tmp_path)
    for hdu, count in (("WHT", 1), (2, 1), ([1, "WHT"], 2), (np.arange(1, 3), 2), ("", 1)):
        assert len(hipsgen.find_coadds(tmp_path, hdu=hdu)) == count, hdu
    with pytest.raises(ConfigError, match=r"hdu 1\.5 must be an integer"):
        hipsgen.find_coadds(tmp_path, hdu=[1.5])


def test_the_option_hdu_is_repeated_or_separated_by_commas(tmp_path: Path):
    of_extensions(("SCI", "WHT"))(tmp_path)
    for options in (["--hdu", "SCI", "--hdu", "WHT"], ["--hdu", "1,2"]):
        found = CliRunner().invoke(cli, ["plan", str(tmp_path), *options])
        assert ": 2 coadds" in found.output, found.output
