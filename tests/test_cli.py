"""The command line as users see it: exit codes, one-line errors, output.

Most commands run in this process, which saves half a second of imports each; a few run in a process
of their own.
"""

import contextlib
import gc
import io
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hipsgen.cli import cli, main
from tests.conftest import StarField, needs


@dataclass(frozen=True)
class Ran:
    """The exit code of a command, and the text that it printed."""

    returncode: int
    stdout: str
    stderr: str


def hipsgen(*arguments: object, cwd: Path | None = None) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        unchanged_process(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["hipsgen", *map(str, arguments)])
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
        except SystemExit as end:
            code = end.code
    return Ran(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore settings that the command line changes in its process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    thresholds = gc.get_threshold()
    try:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(gc, "freeze", lambda: None)  # it would keep the garbage of other tests
            yield
    finally:
        gc.set_threshold(*thresholds)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def hipsgen_process(*arguments: object, cwd: Path | None = None) -> Ran:
    """Run a command in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "hipsgen", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, cwd=cwd,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="module")
def repo(sample_repository: Path) -> Path:
    return sample_repository


@pytest.fixture(scope="module")
def surveys(sample_surveys: Path) -> Path:
    return sample_surveys


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, hipsgen, hipsgen.cli; from click.testing import CliRunner;"
        "assert CliRunner().invoke(hipsgen.cli.cli, ['build', '--help']).exit_code == 0;"
        "bad = {'numba', 'lsst', 'astropy', 'numpy', 'healpy'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_butler_collection_becomes_three_bands_and_a_color(surveys: Path) -> None:
    names = sorted(path.name for path in surveys.iterdir())
    assert names == ["band_g", "band_i", "band_r", "color_gri"]
    for name in names:
        found = {p.name for p in (surveys / name).iterdir()}
        assert {"properties", "Moc.fits", "preview.jpg", "Norder0", "Norder11"} <= found
    said = hipsgen("check", surveys)
    assert said.returncode == 0, said.stdout
    assert said.stdout.count("conforms to HiPS 1.0") == 4
    told = hipsgen("info", surveys).stdout
    assert told.count("order") == 4
    assert "nJy" in told


def test_the_superseding_run_is_the_one_that_is_used(surveys: Path) -> None:
    from hipsgen.survey.provenance import FILE_NAME, Provenance

    provenance = Provenance.from_bytes((surveys / "band_r" / FILE_NAME).read_bytes())
    runs = {
        (dict(c.ref.data_id)["tract"], dict(c.ref.data_id)["patch"]): c.ref.run
        for c in provenance.coadds
    }
    assert len(runs) == len(provenance.coadds) == 8
    assert sum("20260202" in run for run in runs.values()) == 1
    assert {c.calibration for c in provenance.coadds} == {"BUNIT", "PhotoCalib"}
    assert all(len(c.ref.dataset_id) == 36 and len(c.ref.polygon) == 4 for c in provenance.coadds)


def test_color_from_three_finished_surveys_is_the_same(surveys: Path, tmp_path: Path) -> None:
    bands = [surveys / f"band_{b}" for b in "irg"]
    ran = hipsgen("color", *bands, "-o", tmp_path / "c", "-q")
    assert ran.returncode == 0, ran.stderr
    for path in (surveys / "color_gri").glob("Norder*/**/*.png"):
        again = tmp_path / "c" / path.relative_to(surveys / "color_gri")
        assert again.read_bytes() == path.read_bytes()


def test_plan_writes_nothing_and_its_manifest_builds_the_same(repo: Path, surveys: Path, tmp_path):
    saved = tmp_path / "refs.jsonl"
    ran = hipsgen(
        "plan", repo, "-c", "sample/coadds", "-d", "deepCoadd_calexp", "-b", "i",
        "--manifest", saved, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "8 coadds, order 11" in ran.stdout
    assert list(tmp_path.iterdir()) == [saved]
    built = hipsgen("build", saved, "-o", tmp_path / "out", "-q")
    assert built.returncode == 0, built.stderr
    assert built.stdout == ""
    for path in (surveys / "band_i").glob("Norder*/**/*.fits"):
        again = tmp_path / "out" / path.relative_to(surveys / "band_i")
        assert again.read_bytes() == path.read_bytes()


def test_a_plan_needs_no_pixel(tmp_path: Path) -> None:
    from hipsgen.coadd import CoaddRef
    from hipsgen.images.manifest import write_manifest

    corners = ((10.0, 20.0), (10.2, 20.0), (10.2, 20.2), (10.0, 20.2))
    gone = CoaddRef("file:///nowhere/a.fits", "1", polygon=corners)
    for name, scale in (("said", 0.2 / 3600), ("unsaid", 0.0)):
        write_manifest(tmp_path / name, [replace(gone, pixel_scale=scale)], "gone")
    for words in (["said"], ["said", "--order", "11"], ["unsaid", "--order", "11"]):
        ran = hipsgen("plan", tmp_path / words[0], *words[1:])
        assert ran.returncode == 0, ran.stderr
        assert "1 coadd, order 11, at most 6" in ran.stdout
        assert ran.stdout.count("\n") == 1
        assert "cuts unknown: none of the coadds can be read" in ran.stdout
    ran = hipsgen("plan", tmp_path / "unsaid")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "the file does not exist" in ran.stderr


WRONG = {
    "no such input": (["nowhere"], 1, "nowhere does not exist"),
    "no collection given": (["REPO"], 2, "sample/coadds"),
    "no dataset type given": (["REPO", "-c", "sample/coadds"], 2, "deepCoadd_calexp"),
    "no such collection": (["REPO", "-c", "x", "-d", "deepCoadd_calexp"], 1, "sample/coadds"),
    "no such dataset type": (["REPO", "-c", "sample/coadds", "-d", "x"], 1, "deepCoadd_calexp"),
    "no such band": (
        ["REPO", "-c", "sample/coadds", "-d", "deepCoadd_calexp", "-b", "q"], 1, "bands: g, r, i"),
    "no such skymap": (
        ["REPO", "-c", "sample/coadds", "-d", "deepCoadd_calexp", "--skymap", "x"], 1,
        "sample_rings"),
    "a where that is no query": (
        ["REPO", "-c", "sample/coadds", "-d", "deepCoadd_calexp", "--where", "a b"], 1, "'a b'"),
    "a where that nothing meets": (
        ["REPO", "-c", "sample/coadds", "-d", "deepCoadd_calexp", "--where", "tract = 1"], 1,
        "where tract = 1"),
    "a collection of plain FITS": (["STARS", "-c", "x"], 1, "butler.yaml"),
    "no WCS": (["NOWCS"], 1, "no usable image"),
    "an unknown interpolation": (["STARS", "--interp", "cubic"], 2, "bilinear"),
    "an unknown format": (["STARS", "--format", "fits,gif"], 2, "webp"),
    "cuts that decrease": (["STARS", "--cuts", "5,1"], 2, "do not increase"),
    "an order out of range": (["STARS", "--order", "25"], 2, "20"),
    "a size that is none": (["STARS", "--memory", "much"], 2, "2G"),
    "too little memory": (["STARS", "--memory", "5"], 2, "--memory 5 bytes must be at least 64 MB"),
    "a color of images without a band": (["STARS", "--color", "gri"], 1, "omit --band and --color"),
    "a color of two bands": (["STARS", "--color", "gr"], 2, "three bands"),
    "a color of bands that are not built": (
        ["REPO", "-c", "sample/coadds", "-d", "deepCoadd_calexp", "-b", "g", "--color", "gri"], 2,
        "name its three bands with --band, or none"),
    "a patch that is not there": (
        ["REPO", "-c", "sample/coadds", "-d", "deepCoadd_calexp", "--patch", "99"], 1,
        "available patches: 0, 1"),
    "a number that is none": (["STARS", "--order", "abc"], 2, "see hipsgen build --help"),
    "no such option": (["STARS", "--ordr", "9"], 2, "--order"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_is_one_line_that_names_the_next_step(
    case: str, repo: Path, tmp_path: Path
) -> None:
    arguments, code, expected = WRONG[case]
    places = places_of(repo, tmp_path)
    given = [places.get(word, word) for word in arguments]
    ran = hipsgen("build", *given, "-o", tmp_path / "out", cwd=tmp_path)
    assert_one_line(ran, code, expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["no such input", "an order out of range", "no WCS"])
def test_a_process_ends_with_the_same_line(case: str, repo: Path, tmp_path: Path) -> None:
    arguments, code, expected = WRONG[case]
    places = places_of(repo, tmp_path)
    given = [places.get(word, word) for word in arguments]
    ran = hipsgen_process("build", *given, "-o", tmp_path / "out", cwd=tmp_path)
    assert_one_line(ran, code, expected)
    assert "Traceback" not in ran.stderr


def places_of(repo: Path, folder: Path) -> dict[str, Path]:
    """Return the inputs that `WRONG` refers to."""
    from astropy.io import fits

    stars = StarField(10.0, 20.0, size=64, background=1.0).write(folder / "stars.fits")
    fits.PrimaryHDU([[1.0, 2.0], [3.0, 4.0]]).writeto(folder / "nowcs.fits")
    return {"REPO": repo, "STARS": stars, "NOWCS": folder / "nowcs.fits"}


def assert_one_line(ran: Ran, code: int, expected: str) -> None:
    """Assert the exit code, and one line on stderr besides those about inputs and compiling."""
    assert ran.returncode == code, ran.stderr
    told = ("cannot be used: ", "skipped: ", "compiling ")
    lines = [line for line in ran.stderr.splitlines() if not line.startswith(told)]
    assert len(lines) == 1, ran.stderr
    assert expected in lines[0]


def test_a_file_without_wcs_is_named_and_the_rest_is_built(tmp_path: Path) -> None:
    from astropy.io import fits

    folder = tmp_path / "in"
    folder.mkdir()
    StarField(10.0, 20.0, size=64, background=1.0).write(folder / "stars.fits")
    fits.PrimaryHDU([[1.0, 2.0], [3.0, 4.0]]).writeto(folder / "nowcs.fits")
    ran = hipsgen("build", folder, "-o", tmp_path / "out")
    assert ran.returncode == 0
    assert ran.stderr.count("nowcs.fits: no celestial WCS") == 1
    assert "1 file skipped" in ran.stdout


def test_a_survey_within_a_survey_is_refused(tmp_path: Path) -> None:
    stars = StarField(10.0, 20.0, size=64, background=1.0).write(tmp_path / "stars.fits")
    assert hipsgen("build", stars, "-o", "out", "--order", "9", cwd=tmp_path).returncode == 0
    ran = hipsgen("build", stars, "-o", "out/more/of it", cwd=tmp_path)
    assert ran.returncode == 2
    assert f"inside the survey {tmp_path / 'out'}; choose a folder next to it" in ran.stderr
    assert not (tmp_path / "out" / "more").exists()


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    stars = StarField(10.0, 20.0, size=64, background=1.0).write(tmp_path / "stars.fits")
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("x")
    ran = hipsgen("build", stars, "-o", out, "--fresh")
    assert ran.returncode == 2
    assert "letter.txt" in ran.stderr
    assert [p.name for p in out.iterdir()] == ["letter.txt"]


def test_a_folder_of_surveys_is_neither_an_output_nor_an_input(tmp_path: Path) -> None:
    stars = StarField(10.0, 20.0, size=64, background=1.0).write(tmp_path / "stars.fits")
    built = hipsgen("build", stars, "-o", "hips/band_r", "--order", "9", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    ran = hipsgen("build", stars, "-o", "hips", cwd=tmp_path)
    assert_one_line(ran, 2, "hips contains other surveys (such as band_r); choose an empty")
    ran = hipsgen("build", "hips", "-o", "out", cwd=tmp_path)
    assert_one_line(
        ran, 1, "hips contains no FITS file (.fits, .fit, .fts, .fz, .gz, .bz2) outside"
    )


def test_an_output_inside_a_file_is_refused(tmp_path: Path) -> None:
    stars = StarField(10.0, 20.0, size=64, background=1.0).write(tmp_path / "stars.fits")
    ran = hipsgen("build", stars, "-o", "stars.fits/out", cwd=tmp_path)
    assert_one_line(ran, 2, f"stars.fits/out is inside the file {stars}; choose a folder with")


@pytest.mark.parametrize("command", ["info", "check"])
def test_a_survey_that_does_not_exist_is_named(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ran = hipsgen(command, "nowhere", cwd=tmp_path)
    assert_one_line(ran, 1, "nowhere does not exist: name a survey, or a folder of surveys")
    ran = hipsgen(command, "file", cwd=tmp_path)
    assert_one_line(ran, 1, "file is not a folder: name a survey, or a folder of surveys")


def test_a_url_that_does_not_answer_is_a_failure_of_info() -> None:
    ran = hipsgen("info", "http://127.0.0.1:9/hips")
    assert_one_line(ran, 1, "http://127.0.0.1:9/hips/properties cannot be fetched")
    assert ran.stdout == ""


def test_a_check_counts_the_tiles_that_it_compared(surveys: Path) -> None:
    """It may be asked for more than there are; a color survey has no coadds to compare with."""
    ran = hipsgen("check", surveys, "--against-inputs", "1000")
    assert ran.returncode == 0, ran.stderr
    for survey in surveys.iterdir():
        tiles = len(list(survey.glob("Norder11/*/*.fits")))
        counted = f"; {tiles} leaf tiles rendered again without a difference" if tiles else ""
        assert f"{survey}: conforms to HiPS 1.0{counted}\n" in ran.stdout


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    unshare = needs("unshare", "util-linux")
    disk = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path / "disk")]
    (tmp_path / "disk").mkdir()
    if subprocess.run([unshare, "-rm", *disk], capture_output=True).returncode:
        pytest.skip("this system does not allow users to mount a small disk")
    stars = StarField(10.0, 20.0, size=64, background=1.0).write(tmp_path / "stars.fits")
    build = f"{sys.executable} -m hipsgen build {stars} -o {tmp_path}/disk/out"
    left = f"find {tmp_path}/disk -name '*.part'"
    ran = subprocess.run(
        [unshare, "-rm", "sh", "-c", f"{' '.join(disk)} && {build}; code=$?; {left}; exit $code"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.count("no space left") == 1
    assert "Traceback" not in ran.stderr
    assert ran.stdout == "", "no unfinished file is left"


def test_surveys_in_folders_of_folders_are_found_as_the_viewer_finds_them(
    surveys: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    shutil.copytree(surveys / "band_g", tmp_path / "runs" / "first" / "band_g")
    shutil.copytree(surveys / "band_r", tmp_path / "band_r")
    (tmp_path / "band_r" / "properties").unlink()
    told = hipsgen("info", tmp_path)
    assert told.stdout.count("order") >= 1
    assert str(tmp_path / "runs" / "first" / "band_g") in told.stdout
    said = hipsgen("check", tmp_path)
    assert f"{tmp_path / 'runs' / 'first' / 'band_g'}: conforms" in said.stdout
    # an unfinished survey is listed, too
    assert str(tmp_path / "band_r") in said.stdout
    assert said.returncode == 1


def test_a_band_is_asked_for_of_files_that_name_none(tmp_path: Path) -> None:
    StarField(40.0, -10.0).write(tmp_path / "a.fits")
    ran = hipsgen("plan", tmp_path, "-b", "i")
    assert ran.returncode == 1
    assert "no image of band 'i': the images have no band; omit --band" in ran.stderr
    assert hipsgen("plan", tmp_path).returncode == 0


def test_tract_and_patch_narrow_a_build(repo: Path, tmp_path: Path) -> None:
    words = ["-c", "sample/coadds", "-d", "deepCoadd_calexp", "-b", "i"]
    whole = hipsgen("plan", repo, *words, cwd=tmp_path)
    some = hipsgen("plan", repo, *words, "--tract", "4848", "--patch", "0,1", cwd=tmp_path)
    assert whole.returncode == some.returncode == 0, some.stderr
    assert some.stdout != whole.stdout
    wrong = hipsgen("plan", repo, *words, "--tract", "x", cwd=tmp_path)
    assert (wrong.returncode, "--tract 'x' is not a number" in wrong.stderr) == (2, True)


def test_a_survey_that_is_not_finished_is_a_finding(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gr":
        path = StarField(10.0, 20.0, size=64, background=1.0).write(
            folder / f"{band}.fits", FILTER=band
        )
    ran = hipsgen("build", folder, "-b", "g,r", "-o", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert hipsgen("check", tmp_path / "out").returncode == 0
    path.write_bytes(path.read_bytes()[:6000])
    ran = hipsgen("plan", folder, "-b", "g", "-o", tmp_path / "out")
    assert "1 input cannot be used: the build needs --skip-bad to finish" in ran.stdout
    (tmp_path / "out" / "band_r" / "properties").unlink()
    checked = hipsgen("check", tmp_path / "out")
    assert checked.returncode == 1
    assert "band_r: error: properties" in checked.stdout
    assert "band_r is not a finished HiPS" in hipsgen("info", tmp_path / "out").stdout
    assert hipsgen("check", tmp_path / "out" / "band_r").returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "", "-o", "out"),
        ("build", "in", "-o", ""),
        ("plan", "in", "-o", ""),
        ("check", ""),
        ("info", ""),
        ("serve", ""),
        ("color", "a", "", "c", "-o", "out"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(arguments: tuple[str, ...]) -> None:
    """As of a variable that is not set."""
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code
    assert "empty" in f"{done.output}{done.exception}"
