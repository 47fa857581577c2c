"""The whole way: the sample Butler repository, built, served, looked at."""

import re

import pytest

from tests.browser.conftest import plainly_served
from tests.viewer.small_hips import value_at

NAMES = ["color_gri", "band_g", "band_r", "band_i"]


@pytest.fixture
def page(watched, demo_site):
    watched.open(demo_site)
    return watched


def test_the_four_surveys_are_listed_and_color_is_shown(page):
    listed = page.page.eval_on_selector_all(
        "#layers .card", "all => all.map(c => c.dataset.survey)"
    )
    assert listed == [*NAMES, "live-colour"]
    assert page.until("viewer.current") == "color_gri"
    assert any(red != blue for red, _, blue in page.drawn())
    assert {"r", "g", "i"} == set(page.page.locator("#layers .chip").all_inner_texts()) - {"color"}


def test_the_readout_is_what_the_tile_says(page, demo):
    page.page.locator("li[data-survey=band_r] .pick").click()
    page.settled()
    page.drawn()
    # the range is wide: see defaultSettings in viewer/web/sky.js
    assert page.page.evaluate("viewer.settings('band_r').stretch") == "log"
    orders = set()
    for factor in (3, 0.05):
        page.page.evaluate(f"viewer.app.sky.zoom({factor})")
        # the middle of the view is the middle of the survey
        for x, y in ((433, 262), (427, 257)):
            told = page.readout_at(x, y)
            (value,) = told["values"]
            assert value["unit"] == "nJy"
            truth = value_at(demo / "band_r", told["ra"], told["dec"], value["order"], width=512)
            assert value["value"] == pytest.approx(truth, rel=1e-6)
            orders.add(value["order"])
    assert len(orders) == 2


def test_a_click_names_the_coadds(page):
    page.page.mouse.click(433, 262)
    card = page.page.locator("#coadds li")
    page.until("document.querySelector('#coadds').dataset.state === 'told'")
    heads = card.locator("strong").all_inner_texts()
    assert all(re.match(r"tract \d+ · patch \d+ · band [gri] · ", head) for head in heads)
    assert {head.split(" · ")[2] for head in heads} == {"band g", "band r", "band i"}
    assert card.locator("[data-name=run]").first.inner_text().startswith("sample/run/")


def test_each_survey_s_own_page_works_from_a_plain_server(watched, demo, tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "sky").symlink_to(demo)
    with plainly_served(tmp_path) as url:
        for name in ("color_gri", "band_i"):
            watched.page.goto(f"{url}public/sky/{name}/index.html")
            watched.until("viewer.sky && viewer.readout")
            watched.drawn()
        told = watched.until("viewer.readout.values[0].state === 'value' && viewer.readout")
        (value,) = told["values"]
        truth = value_at(demo / "band_i", told["ra"], told["dec"], value["order"], width=512)
        assert value["value"] == pytest.approx(truth, rel=1e-6)
        watched.leave()
