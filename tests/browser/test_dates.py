"""Surveys of float64 values near a large number: what float32 cannot resolve is drawn and shown."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.browser.conftest import add_page, plainly_served, running
from tests.viewer.small_hips import make_survey, value_at

DAY = 60623.0  # where float32 has a step of 0.004
UNIT = 1e-5  # so that all values are within less than that


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory, static: Path) -> Path:
    folder = make_survey(
        tmp_path_factory.mktemp("root") / "dates",
        hips_pixel_bitpix="-64",
        hipsgen_offset=repr(DAY),
        hips_pixel_cut=f"{DAY + 40 * UNIT!r} {DAY + 180 * UNIT!r}",
    )
    for path in folder.glob("Norder*/Dir*/*.fits"):
        values, header = fits.getdata(path, header=True)
        fits.writeto(path, DAY + UNIT * values.astype(np.float64), header, overwrite=True)
    add_page(folder)
    return folder


def test_the_survey_page_draws_differences_and_shows_all_digits(watched, dates: Path) -> None:
    with plainly_served(dates.parent) as url:
        watched.page.goto(f"{url}dates/")
        watched.until("viewer.sky && viewer.readout")
        watched.page.evaluate("viewer.sky.center({ra: 183, dec: 2, fov: 6})")
        watched.page.mouse.move(430, 260)
        told = watched.until(
            "viewer.readout.at === 'pointer' && viewer.readout.values[0].state === 'value'"
            " && Math.abs(viewer.readout.ra - 183) < 6 && viewer.readout"
        )
        (value,) = told["values"]
        truth = value_at(dates, told["ra"], told["dec"], value["order"])
        assert value["value"] == pytest.approx(truth, abs=1e-10, rel=0)
        assert f"{truth:.7f}"[:12] in watched.page.locator("#readout").inner_text()
        assert len(watched.drawn()) > 10
        watched.leave()


def test_the_viewer_keeps_cuts_as_dates(watched, dates: Path) -> None:
    with running(dates.parent) as url:
        watched.open(url)
        watched.look(183, 2, 6)
        assert len(watched.drawn()) > 10
        name = "dates"
        cuts = watched.page.evaluate(f"viewer.app.settings.get('{name}')")
        assert (cuts["low"], cuts["high"]) == pytest.approx(
            (DAY + 40 * UNIT, DAY + 180 * UNIT), abs=1e-10, rel=0
        )
        layer = watched.page.evaluate("viewer.app.sky.baseLayer().getCuts()")
        assert layer == pytest.approx([40 * UNIT, 180 * UNIT], abs=1e-8)
        watched.page.evaluate(f"viewer.app.change('{name}', {{low: {DAY}, high: {DAY + 0.01}}})")
        watched.settled()
        layer = watched.page.evaluate("viewer.app.sky.baseLayer().getCuts()")
        assert layer == pytest.approx([0.0, 0.01], abs=1e-8)
        watched.until("location.hash.includes('60623.01')")
        watched.leave()


def test_live_color_of_dates_combines_their_differences(watched, dates: Path, tmp_path) -> None:
    for band in ("band_g", "band_r", "band_i"):
        shutil.copytree(dates, tmp_path / band)
    with running(tmp_path) as url:
        watched.open(f"{url}#survey=live-colour&ra=183&dec=2&fov=6")
        assert len(watched.drawn()) > 10
        made = watched.page.evaluate("viewer.app.liveColor")
        assert made["low"] == [DAY] * 3
        assert 0 < made["span"] < 1
        watched.leave()
