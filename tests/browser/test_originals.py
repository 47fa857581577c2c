"""Coadds that the server may not open: a click lists them, and why they are not opened."""

from tests.browser.conftest import running
from tests.viewer.conftest import COADD
from tests.viewer.small_hips import DEC, RA


def test_a_click_shows_why_a_coadd_is_not_opened(watched, surveys):
    with running(surveys) as url:
        watched.open(f"{url}#survey=band_g&ra={RA}&dec={DEC}&fov=1")
        page = watched.page
        page.mouse.click(*page.evaluate(f"viewer.app.sky.pixel({RA}, {DEC})"))
        item = page.locator(f"#coadds li[data-coadd='{COADD.ref.dataset_id}']")
        assert "not allowed, serve with --originals" in item.locator(".problem").inner_text()
        assert item.get_by_role("button", name="Copy butler.get").is_visible()
        assert item.get_by_text("FITS cutout").count() == 0
        assert [address for address in watched.refused if "/api/pixel" not in address] == []
        watched.leave()
    # the browser itself reports the status
    watched.refused.clear()
    watched.complaints[:] = [text for text in watched.complaints if "403" not in text]
