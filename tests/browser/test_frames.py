"""Surveys in every frame: those that Aladin Lite cannot draw only show their values."""

import re
import shutil

import pytest
from astropy.coordinates import SkyCoord

from tests.browser.conftest import add_page, plainly_served, running
from tests.conftest import linked_copy
from tests.viewer.small_hips import DEC, RA, make_survey, value_at

REASON = "is not drawn: its hips_frame, {}, is neither equatorial nor galactic."


@pytest.fixture(scope="module")
def root(tmp_path_factory, static):
    """A sky in three frames and an unknown one, and a mask; only the first two are drawn."""
    folder = tmp_path_factory.mktemp("frames")
    make_survey(folder / "plain", em_min="4e-7")
    view = {"hips_initial_ra": "", "hips_initial_dec": ""}
    make_survey(folder / "turned", 200.0, em_min="5e-7", hips_frame="Galactic", **view)
    make_survey(folder / "tilted", 300.0, em_min="6e-7", hips_frame="ecliptic", **view)
    mask = {"hipsgen_plane": "mask", "hipsgen_planes": "SAT:1", "hips_frame": "ecliptic"}
    make_survey(folder / "mask", **mask)
    make_survey(folder / "strange", 400.0, em_min="7e-7", hips_frame="horizontal", **view)
    return folder


@pytest.fixture(scope="module")
def site(root):
    with running(root) as url:
        yield url


def row_of(watched, survey: str) -> dict:
    found = watched.until(
        "viewer.readout?.at === 'pointer' && viewer.readout.bands.length === 4 && viewer.readout"
    )
    (row,) = (band for band in found["bands"] if band["name"] == survey)
    return {**row, "ra": found["ra"], "dec": found["dec"]}


@pytest.mark.parametrize(
    ("survey", "frame"), [("turned", "galactic"), ("tilted", "barycentricmeanecliptic")]
)
def test_values_in_each_frame_agree_with_tiles_at_positions_of_astropy(
    watched, site, root, survey, frame
):
    watched.open(f"{site}#survey=plain")
    place = SkyCoord(RA + 3, DEC, unit="deg", frame=frame).icrs
    watched.look(place.ra.deg, place.dec.deg, 6)
    watched.readout_at(560, 340)
    row = row_of(watched, survey)
    there = SkyCoord(row["ra"], row["dec"], unit="deg").transform_to(frame).spherical
    truth = value_at(root / survey, there.lon.deg, there.lat.deg, row["order"])
    assert row["value"] == pytest.approx(truth, rel=1e-6)
    values = watched.page.get_by_role("region", name="Values in every band")
    shown = values.get_by_role("row", name=f"Small survey {survey}")
    assert f"{truth:.6g}" in shown.inner_text()


def test_selecting_a_survey_that_cannot_be_drawn_shows_why(watched, site):
    watched.fold_values()
    watched.open(f"{site}#survey=tilted")
    notice = watched.page.get_by_role("alert").filter(has_text="could not be shown")
    said = f"Small survey tilted {REASON.format('ecliptic')}"
    assert notice.get_by_text(said, exact=True).is_visible()
    assert watched.until("viewer.current") == "plain"
    notice.get_by_role("button", name="Close").click()
    stack = watched.page.get_by_role("checkbox", name="Stack Small survey strange")
    stack.click()
    watched.settled()
    assert REASON.format("horizontal") in notice.inner_text()
    assert not stack.is_checked()
    watched.page.get_by_role("button", name=re.compile("^Small survey tilted")).click()
    watched.settled()
    assert said in notice.inner_text()
    assert watched.page.evaluate("[viewer.current, viewer.stacked]") == ["plain", {}]
    watched.page.get_by_role("complementary", name="Layers").get_by_text("mask").first.click()
    plane = watched.page.get_by_role("checkbox", name="SAT")
    plane.click()
    watched.settled()
    assert "Small survey mask is not drawn" in notice.inner_text()
    assert not plane.is_checked()
    # with the other one that is drawn, and with no third
    compare = watched.page.get_by_role("group", name="Compare")
    compare.get_by_role("button", name="4").click()
    watched.settled()
    assert watched.page.get_by_text("Number of surveys: 2; needed: four.").is_visible()
    assert not [url for url in watched.tiles() if "/tilted/" in url or "/strange/" in url]


def test_no_values_are_shown_for_an_unknown_frame(watched, site):
    watched.open(f"{site}#survey=plain")
    watched.readout_at(560, 340)
    assert row_of(watched, "strange")["state"] == "no-frame"
    values = watched.page.get_by_role("region", name="Values in every band")
    row = values.get_by_role("row", name="Small survey strange")
    assert "unknown frame" in row.inner_text()


def test_the_page_opens_if_no_survey_can_be_drawn(watched, root, tmp_path):
    shutil.copytree(root / "tilted", tmp_path / "www" / "tilted")
    with running(tmp_path / "www") as url:
        watched.page.goto(url)
        watched.page.get_by_role("alert").get_by_text(REASON.format("ecliptic")).wait_for()
        watched.leave()
    add_page(tmp_path / "www" / "tilted")
    with plainly_served(tmp_path / "www") as url:
        watched.page.goto(f"{url}tilted/")
        watched.page.get_by_text(REASON.format("ecliptic")).wait_for()
        watched.leave()
    assert watched.tiles() == []
    assert all("is not drawn" in one for one in watched.complaints)
    watched.complaints.clear()


def test_a_live_color_has_one_frame(watched, root, tmp_path):
    watched.fold_values()
    for name in ("band_g", "band_i", "band_r"):
        linked_copy(root / "plain", tmp_path / name)
    linked_copy(root / "turned", tmp_path / "turned")
    with running(tmp_path) as url:
        colors = "turned,band_r,band_g,8,500,0,0,0,1,1,1"
        watched.open(f"{url}#survey=live-colour&colour={colors}")
        red = watched.page.get_by_role("combobox", name="Red band")
        assert red.get_by_role("option").all_inner_texts() == ["g", "i", "r"]
        assert sorted(watched.page.evaluate("viewer.app.liveColor.parts")) == [
            "band_g", "band_i", "band_r",
        ]  # fmt: skip
        watched.leave()


@pytest.mark.parametrize("survey", ["plain", "turned"])
def test_the_outline_of_the_coverage_lies_where_the_data_end(watched, site, root, survey):
    """The survey covers three quarters of a base face: a corner is in the middle, at (RA, 0)."""
    frame = {"plain": "icrs", "turned": "galactic"}[survey]
    watched.open(f"{site}#survey={survey}")
    corner = SkyCoord(RA, 0.0, unit="deg", frame=frame).icrs
    watched.look(corner.ra.deg, corner.dec.deg, 8)
    watched.drawn()
    watched.page.get_by_role("button", name="Coverage").click()
    watched.settled()

    def is_outlined() -> bool:
        """Whether the color of outlines is at the corner."""
        x, y = watched.page.evaluate(f"viewer.app.sky.pixel({corner.ra.deg}, {corner.dec.deg})")
        colors = watched.pixels(x - 6, y - 6, 12, 12)
        return any(green - red > 60 and green > 120 for red, green, _ in colors)

    watched.once(is_outlined)
