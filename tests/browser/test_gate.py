"""The page requests no files that a survey does not have: see viewer/web/gate.js."""

import re
import shutil

import pytest

from tests.browser.conftest import running
from tests.viewer.small_hips import DEC, FACE, RA, make_survey

# ICRS of the place whose galactic coordinates are RA, DEC
GALACTIC = (87.3852, 29.4537)
TILE = re.compile(r"/Norder\d+/Dir\d+/Npix\d+\.(fits|png)$")


class Held:
    """Holds back the responses to Moc.fits until they are released."""

    def __init__(self, watched) -> None:
        self.routes = []
        self.is_open = False
        watched.page.route("**/Moc.fits", self._hold)

    def _hold(self, route) -> None:
        if self.is_open:
            route.continue_()
        else:
            self.routes.append(route)

    def release(self) -> None:
        self.is_open = True
        for route in self.routes:
            route.continue_()


@pytest.mark.parametrize("shown", ["pictures", "turned"])
def test_tiles_wait_for_a_late_moc(watched, site, shown):
    watched.fold_values()
    held = Held(watched)
    watched.open(f"{site}#survey={shown}")
    watched.once(lambda: held.routes)
    watched.page.wait_for_timeout(1500)
    assert watched.tiles() == []
    held.release()
    look_around(watched, *(GALACTIC if shown == "turned" else (RA, DEC)))


def test_a_survey_s_own_page_waits_as_well(watched, plain_site):
    held = Held(watched)
    watched.page.goto(plain_site)
    watched.until("viewer.sky")
    watched.once(lambda: held.routes)
    watched.page.wait_for_timeout(1500)
    assert watched.tiles() == []
    held.release()
    watched.until("viewer.readout")
    for ra, fov in ((RA + 70, 10), (RA, 150), (RA, 8)):
        watched.page.evaluate(f"viewer.sky.center({{ra: {ra}, dec: {DEC}, fov: {fov}}})")
        watched.page.wait_for_timeout(300)
    watched.drawn()


def test_switching_and_stacking_wait_as_well(watched, site):
    watched.fold_values()
    watched.open(f"{site}#survey=band_g")
    watched.look(RA, DEC, 8)
    watched.drawn()
    held = Held(watched)
    watched.page.get_by_label("Stack Small survey band_r").check()
    watched.settled()
    watched.once(lambda: held.routes)
    watched.page.wait_for_timeout(700)
    assert not [url for url in watched.tiles() if "/band_r/" in url]
    held.release()
    watched.page.locator("li[data-survey=pictures] .pick").click()
    watched.settled()
    watched.until("viewer.current === 'pictures'")
    look_around(watched)


def look_around(watched, ra=RA, dec=DEC):
    """Tiles are drawn where they exist; the strict page fixture fails on 404 responses."""
    watched.look(ra, dec, 8)
    watched.drawn()
    for there in ((ra + 70, -dec, 10), (ra, dec, 150)):
        watched.look(*there)
        watched.page.wait_for_timeout(300)
    watched.once(watched.tiles)


@pytest.mark.parametrize("shown", ["band_g", "pictures"])
def test_the_allsky_is_not_requested(watched, site, shown):
    watched.fold_values()
    watched.open(f"{site}#survey={shown}")
    look_around(watched)
    base = {one.rpartition("/")[2] for one in watched.tiles() if "/Norder0/" in one}
    assert base == {f"Npix{FACE}.{'png' if shown == 'pictures' else 'fits'}"}
    assert not [one for one in watched.asked if "Allsky" in one]


def test_orders_that_a_survey_lacks_are_not_requested(watched, tmp_path, surveys, static):
    shutil.copytree(surveys / "band_g", tmp_path / "late")
    properties = tmp_path / "late" / "properties"
    properties.write_text(properties.read_text() + "hips_order_min = 3\n")
    with running(tmp_path) as url:
        watched.open(url)
        look_around(watched)
        watched.leave()
    assert all("/Norder3/" in one for one in watched.tiles())


def test_without_a_readable_moc_tiles_are_requested(watched, tmp_path, static):
    for name in ("none", "junk"):
        (make_survey(tmp_path / name) / "Moc.fits").unlink()
    (tmp_path / "junk" / "Moc.fits").write_bytes(b"junk")

    def refuse_tiles() -> bool:
        tiles = [url for url in watched.refused if "/Npix" in url]
        return all(any(f"/{name}/" in url for url in tiles) for name in ("none", "junk"))

    with running(tmp_path) as url:
        watched.open(f"{url}#survey=none")
        look_around(watched)
        watched.page.locator("li[data-survey=junk] .pick").click()
        watched.settled()
        look_around(watched)
        watched.once(refuse_tiles)
        watched.leave()
    assert all(TILE.search(one) or one.endswith("none/Moc.fits") for one in watched.refused)
    assert all("404" in complaint for complaint in watched.complaints)
    watched.refused.clear()
    watched.complaints.clear()
