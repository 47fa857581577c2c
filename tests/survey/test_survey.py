"""A survey in a store: opened, asked for its words, its tiles and its coverage."""

from pathlib import Path

import numpy as np
import pytest

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import measure_tile, moc_bytes, moc_of, moc_order, to_ranges
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.properties import format_properties
from hipsgen.survey.store import LocalStore
from hipsgen.survey.summary import summarize
from hipsgen.survey.survey import Survey

WORDS = {
    "obs_title": "Größe",
    "hips_order": 4,
    "hips_tile_width": 64,
    "hips_frame": "galactic",
    "hips_tile_format": "fits png",
}
LEAVES = (Tile(4, 7), Tile(4, 8), Tile(4, 3000))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Three leaf tiles, the last of them with one pixel."""
    store = LocalStore(tmp_path)
    store.write("properties", format_properties(WORDS).encode())
    ranges = []
    for tile in LEAVES:
        values = np.full((64, 64), np.nan, np.float32)
        values[0, 0] = tile.npix
        if tile is not LEAVES[2]:
            values[:] = tile.npix
        store.write(tile.path("fits"), FitsTile().encode(values, tile))
        ranges.append(to_ranges(measure_tile(tile, values)[0]))
    store.write("Moc.fits", moc_bytes(moc_of(ranges, moc_order(4)), "galactic"))
    return store


def test_a_survey_has_the_values_of_its_properties(store: LocalStore):
    survey = Survey.open(store)
    assert (survey.order, survey.tile_width, survey.frame) == (4, 64, "galactic")
    assert survey.formats == ("fits", "png")
    assert survey.title == "Größe"


def test_what_the_properties_leave_out_has_its_default(store: LocalStore):
    store.write("properties", b"hips_order = 3\n")
    survey = Survey.open(store)
    assert (survey.tile_width, survey.frame, survey.formats) == (512, "equatorial", ())
    assert survey.title == str(store)


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        ("hips_tile_format = PNG Fits", "formats", ("png", "fits")),
        ("obs_filter = r", "band", "r"),
        ("obs_filter = r\nobs_band = i", "band", "i"),
        ("hips_bunit = nJy", "unit", "nJy"),
        ("dataproduct_subtype = color", "is_color", True),
        ("hips_order = 3", "is_color", False),
        ("hips_order = 3", "plane", "image"),
        ("hipsgen_plane = variance", "plane", "variance"),
        ("hipsgen_planes = SAT:0 a:b:12 CR: :3 BAD:x", "planes", {"SAT": 0, "a:b": 12}),
        ("hips_order = 3", "planes", {}),
    ],
)
def test_properties_are_parsed_in_one_place(
    store: LocalStore, words: str, name: str, expected: object
):
    store.write("properties", words.encode())
    assert getattr(Survey.open(store), name) == expected


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1 2.5e3", [1.0, 2500.0]), ("-3", [-3.0]), ("1 nan", []), ("inf", []), ("x", []), ("", [])],
)
def test_numbers_are_finite_or_not_there(store: LocalStore, text: str, numbers: list[float]):
    store.write("properties", f"hips_pixel_cut = {text}".encode())
    survey = Survey.open(store)
    assert survey.numbers("hips_pixel_cut") == numbers
    assert survey.number("hips_pixel_cut") == (numbers[0] if len(numbers) == 1 else None)


def test_a_folder_without_properties_is_no_finished_survey(store: LocalStore):
    store.delete("properties")
    with pytest.raises(SurveyError, match="is not a finished HiPS: it has no properties") as raised:
        Survey.open(store)
    assert str(store) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"), [(b"\xff\xfe", "not UTF-8"), (b"nonsense\n", "line 1 is not 'key = value'")]
)
def test_properties_that_cannot_be_read_are_a_survey_error(
    store: LocalStore, text: bytes, reason: str
):
    store.write("properties", text)
    with pytest.raises(SurveyError, match=reason):
        Survey.open(store)


@pytest.mark.parametrize("text", [b"hips_order = three\n", b"a = b\n"])
def test_an_order_that_is_no_number_is_a_survey_error(store: LocalStore, text: bytes):
    store.write("properties", text)
    with pytest.raises(SurveyError, match=r"hips_order of .* not an integer"):
        _ = Survey.open(store).order


def test_values_of_a_tile_come_back_and_a_missing_tile_is_none(store: LocalStore):
    survey = Survey.open(store)
    values = survey.values(Tile(4, 8))
    assert values is not None
    assert values.dtype == np.float32
    assert (values == 8).all()
    assert survey.values(Tile(4, 9)) is None


def test_a_damaged_tile_is_a_survey_error(store: LocalStore):
    store.write(Tile(4, 8).path("fits"), b"nonsense")
    with pytest.raises(SurveyError, match="not a FITS tile"):
        Survey.open(store).values(Tile(4, 8))


def test_tiles_of_every_order_are_those_the_moc_covers(store: LocalStore):
    survey = Survey.open(store)
    assert list(survey.tiles_of(4)) == list(LEAVES)
    for order in range(4):
        expected = sorted({t.ancestor(order) for t in LEAVES})
        assert list(survey.tiles_of(order)) == expected
    assert sum(t.ancestor(4) == LEAVES[0] for t in survey.tiles_of(5)) == 4


def test_a_survey_with_a_coarse_moc_has_all_tiles_below_its_cells(store: LocalStore):
    store.write("Moc.fits", moc_bytes(moc_of([np.array([[5, 6]], np.uint64)], 2), "equatorial"))
    assert list(Survey.open(store).tiles_of(4)) == [Tile(4, k) for k in range(80, 96)]


def test_a_survey_without_a_moc_says_so(store: LocalStore):
    store.delete("Moc.fits")
    with pytest.raises(SurveyError, match=r"has no Moc\.fits"):
        _ = Survey.open(store).moc


def test_a_summary_leaves_out_what_a_survey_of_another_program_does_not_state(store: LocalStore):
    words = "hips_order = 3\nhips_tile_format = png\nhips_initial_ra = 1\nhips_estsize = large\n"
    store.write("properties", words.encode())
    rows = dict(line.split(maxsplit=1) for line in summarize(str(store)).splitlines())
    # tiles of order 3 have pixels of 51.5 arcsec (HiPS 1.0)
    assert rows.pop("order") == "3, 51.53 arcsec pixels"
    assert rows == {
        "survey": f"{store} ({store})",
        "tiles": "512 x 512 pixels",
        "frame": "equatorial",
        "formats": "png",
    }
    store.write("properties", f"{words}hips_initial_dec = -2\nmoc_sky_fraction = 1\n".encode())
    rows = dict(line.split(maxsplit=1) for line in summarize(str(store)).splitlines())
    assert (rows["center"], rows["sky"]) == ("1 -2 deg (ICRS)", "4.125e+04 deg2")


def test_the_first_order_that_must_have_tiles(store: LocalStore):
    for words, order in (
        ("hips_order = 9", 3),
        ("hips_order = 1", 1),
        ("hips_order = 9\nhips_order_min = 0", 0),
        ("hips_order = 9\nhips_order_min = 5", 5),
    ):
        store.write("properties", words.encode())
        assert Survey.open(store).first_certain_order == order
