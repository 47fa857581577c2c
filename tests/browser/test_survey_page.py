import shutil

import pytest

from tests.browser.conftest import add_page, running
from tests.viewer.small_hips import value_at


def test_a_survey_s_own_page_on_any_server_at_any_path(watched, plain_site, surveys):
    watched.page.goto(plain_site)
    watched.until("viewer.sky && viewer.readout")
    assert watched.page.title() == "Small survey band_g"
    assert watched.page.get_by_role("heading", name="Small survey band_g").is_visible()
    watched.page.evaluate("viewer.sky.center({ra: 183, dec: 2, fov: 6})")
    watched.page.mouse.move(560, 300)
    told = watched.until(
        "viewer.readout.at === 'pointer' && viewer.readout.values[0].state === 'value'"
        " && Math.abs(viewer.readout.ra - 183) < 6 && viewer.readout"
    )
    (value,) = told["values"]
    truth = value_at(surveys / "band_g", told["ra"], told["dec"], value["order"])
    assert value["value"] == pytest.approx(truth, rel=1e-6)
    assert "nJy" in watched.page.locator("#readout").inner_text()
    watched.drawn()


def test_the_same_page_under_the_viewer(watched, surveys, static, tmp_path):
    shutil.copytree(surveys / "band_g", tmp_path / "band_g")
    add_page(tmp_path / "band_g")
    with running(tmp_path) as url:
        watched.page.goto(f"{url}hips/band_g/")
        watched.until("viewer.sky && viewer.readout?.values[0].state === 'value'")
        watched.leave()
