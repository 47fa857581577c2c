import json

import numpy as np
import pytest

from tests.browser.conftest import running
from tests.viewer.small_hips import DEC, DEEPEST, RA, make_survey, value_at


@pytest.fixture(scope="module")
def modules(chromium, site):
    """Run scripts with one of the page's modules, on one empty page."""
    page = chromium.new_page()
    page.goto(f"{site}static/coords.js")

    def run(name, script, argument=None):
        loaded = f"await import('/static/{name}.js')"
        return page.evaluate(f"async (given) => ({script})({loaded}, given)", argument)

    yield run
    page.close()


@pytest.fixture
def page(watched, site):
    watched.open(site)
    return watched


def test_first_view_is_drawn(page):
    assert page.page.title() == "Small survey band_g – hipsgen"
    assert page.until("viewer.current") == "band_g"
    ra, dec = page.page.evaluate("viewer.app.sky.position(null)")
    assert (ra, dec) == pytest.approx((RA, DEC))
    page.look(RA, DEC, 8)
    page.until("viewer.readout?.values[0].state === 'value'")
    page.drawn()
    logo = page.page.locator(".aladin-logo-container a")
    assert logo.is_visible()


def test_readout_is_the_value_of_the_fits_tile(page, surveys):
    orders = set()
    for fov in (4, 40, 120):
        page.look(RA + 10, DEC + 9, fov)
        for x, y in ((520, 330), (511, 301), (543, 312)):
            told = page.readout_at(x, y)
            (value,) = told["values"]
            truth = value_at(surveys / "band_g", told["ra"], told["dec"], value["order"])
            assert np.isfinite(truth)
            assert value["value"] == pytest.approx(truth, rel=1e-6)
            assert value["native"] == (value["order"] == DEEPEST)
            orders.add(value["order"])
    assert len(orders) > 1
    bar = page.page.locator("#readout").inner_text()
    assert "nJy" in bar
    assert "averaged" in bar


def test_readout_has_the_order_that_is_drawn(page):
    for fov in (3, 40, 120):
        page.look(RA + 10, DEC + 9, fov)
        told = page.readout_at(520, 310)["values"][0]
        # Aladin Lite reads what it draws, once the tiles are in
        drawn = (
            "(() => { try { return viewer.app.sky.baseLayer().readPixel(520, 310) } catch {} })()"
        )
        page.until(f"Math.abs({drawn} - {told['value']}) < 1e-3 * {told['value']}")


def test_missing_data_is_shown(page):
    page.look(RA + 60, DEC, 5)
    assert page.readout_at(600, 310)["values"][0]["state"] == "none"
    assert "no data" in page.page.locator("#readout").inner_text()


def test_positions_agree_with_healpy(modules):
    import healpy

    rng = np.random.default_rng(7)
    lon = np.concatenate([rng.uniform(0, 360, 1500), [0, 90, 180, 270, 45, 359.9999999, 0, 10]])
    lat = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 1500))), [1e-6] * 6, [90, -90]])
    lat[:200] = np.copysign(90 - np.abs(rng.normal(0, 1e-3, 200)), rng.normal(size=200))
    index = """(healpix, [lon, lat, nside]) => lon.map((one, i) =>
        healpix.nestedIndex(healpix.pixelAt(one, lat[i], nside), nside))"""
    for order in (0, 3, 20):
        found = modules("healpix", index, [lon.tolist(), lat.tolist(), 2**order])
        assert np.array_equal(found, healpy.ang2pix(2**order, lon, lat, nest=True, lonlat=True))


def test_coverage_agrees_with_mocpy(modules, surveys, tmp_path):
    from astropy.coordinates import Latitude, Longitude
    from astropy.io import fits
    from mocpy import MOC

    moc = MOC.from_string("3/5-7 4/900 9/1500000")
    moc.save(tmp_path / "ranges.fits", format="fits")
    order, index = zip(*((3, 5), (3, 6), (3, 7), (4, 900), (9, 1500000)), strict=True)
    uniq = 4 * 4 ** np.array(order) + np.array(index)
    table = fits.BinTableHDU.from_columns([fits.Column("UNIQ", "1K", array=uniq)])
    table.header["ORDERING"] = "NUNIQ"
    table.writeto(tmp_path / "uniq.fits")
    rng = np.random.default_rng(8)
    lon, lat = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    truth = moc.contains_lonlat(Longitude(lon, "deg"), Latitude(lat, "deg"))
    assert 0 < truth.sum() < truth.size
    ask = """(moc, [bytes, lon, lat]) => {
        const coverage = new moc.Coverage(moc.readRanges(new Uint8Array(bytes).buffer));
        return lon.map((one, i) => coverage.holds(one, lat[i]));
    }"""
    for file in ("ranges.fits", "uniq.fits"):
        given = [list((tmp_path / file).read_bytes()), lon.tolist(), lat.tolist()]
        assert np.array_equal(modules("moc", ask, given), truth)


def test_tiles_that_exist_agree_with_mocpy(modules, tmp_path):
    from mocpy import MOC

    moc = MOC.from_string("3/5-7 4/900 9/1500000")
    moc.save(tmp_path / "moc.fits", format="fits")
    # all of low order, and those around the smallest cell
    tiles = [(order, npix) for order in range(4) for npix in range(12 << 2 * order)]
    tiles += [(o, (1500000 << 8 >> 26 - 2 * o) + d) for o in range(4, 14) for d in (-1, 0, 1)]
    tiles += [(o, (900 << 18 >> 26 - 2 * o) + d) for o in range(4, 14) for d in (-1, 0, 1)]
    truth = [
        not MOC.from_healpix_cells(np.array([n], np.uint64), np.uint8(o), 13)
        .intersection(moc)
        .empty()
        for o, n in tiles
    ]
    assert sum(truth) > 20
    ask = """(moc, [bytes, tiles]) => {
        const coverage = new moc.Coverage(moc.readRanges(new Uint8Array(bytes).buffer));
        return tiles.map(([order, npix]) => coverage.meets(order, BigInt(npix)));
    }"""
    given = [list((tmp_path / "moc.fits").read_bytes()), tiles]
    assert modules("moc", ask, given) == truth


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8", "f4", "f8"])
def test_tiles_of_every_number_kind(modules, kind):
    import io

    from astropy.io import fits

    stored = np.arange(1, 17).reshape(4, 4).astype(kind)
    header = fits.Header({"BSCALE": 0.5, "BZERO": 100.0})
    if kind[0] != "f":
        header["BLANK"] = 7
    buffer = io.BytesIO()
    hdu = fits.PrimaryHDU(stored)
    for key, value in header.items():
        hdu.header[key] = value
    hdu.writeto(buffer)
    ask = """(fits, bytes) => {
        const tile = new fits.FitsTile(new Uint8Array(bytes).buffer);
        return [0, 1, 2, 3].map((r) => [0, 1, 2, 3].map((c) => tile.at(r, c)));
    }"""
    found = np.array(modules("fits", ask, list(buffer.getvalue())), float)
    truth = stored * 0.5 + 100.0
    if kind[0] != "f":
        truth[stored == 7] = np.nan
    assert np.array_equal(found, truth, equal_nan=True)


def test_galactic_agrees_with_astropy(modules):
    from astropy.coordinates import SkyCoord

    for ra, dec in ((266.4, -28.9), (0.0, 90.0), (192.9, 27.1), (83.6, 22.0)):
        found = modules("coords", "(coords, p) => coords.toGalactic(...p)", [ra, dec])
        truth = SkyCoord(ra, dec, unit="deg").galactic
        there = SkyCoord(*found, unit="deg", frame="galactic")
        # astropy turns by way of FK5, whose axes are 23 mas from the ICRS'
        assert there.separation(truth).mas < 30


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("150.5 2.25", (150.5, 2.25)),
        ("150.5, +2.25", (150.5, 2.25)),
        ("10:02:00 -02:30:00", (150.5, -2.5)),
        ("10h02m00s −00d30m00s", (150.5, -0.5)),
        ("10 02 00 -00 30 00", (150.5, -0.5)),
        ("10:02 +02:30", (150.5, 2.5)),
        ("360 -90", (0, -90)),
        ("M31", None),
        ("150.5", None),
        ("10:62:00 +02:00:00", None),
        ("10:02:00 +95:00:00", None),
        ("400 2", None),
        ("", None),
    ],
)
def test_coordinates_as_people_write_them(modules, text, position):
    found = modules("coords", "(coords, text) => coords.parsePosition(text)", text)
    assert (found and (found["ra"], found["dec"])) == (position and pytest.approx(position))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("formatRa(150.5)", "10:02:00.000"),
        ("formatRa(359.9999999)", "00:00:00.000"),
        ("formatDec(-0.5)", "−00:30:00.00"),
        ("formatDec(89.9999999)", "+90:00:00.00"),
        ("formatValue(-0.1234567)", "−0.123457"),
        ("formatValue(1.5e-7)", "1.5e−7"),
        ("formatValue(0)", "0"),
        ("formatAngle(0.5)", "30′"),
    ],
)
def test_numbers_as_people_read_them(modules, call, text):
    assert modules("coords", f"(coords) => coords.{call}") == text


def test_go_to_takes_coordinates_and_resolves_no_names(page):
    box = page.page.get_by_label("Go to RA Dec (ICRS)")
    box.fill("12:04:00 +00:30:00")
    box.press("Enter")
    assert page.page.evaluate("viewer.app.sky.position(null)") == pytest.approx([181.0, 0.5])
    box.fill("M31")
    box.press("Enter")
    page.page.locator("#goto-error").wait_for()
    assert page.page.evaluate("viewer.app.sky.position(null)") == pytest.approx([181.0, 0.5])


def test_switching_surveys_keeps_the_view(page, surveys):
    page.look(RA + 3, DEC, 6)
    page.page.locator("li[data-survey=band_r] .pick").click()
    page.settled()
    assert page.until("viewer.current") == "band_r"
    told = page.readout_at(600, 310)
    truth = value_at(surveys / "band_r", told["ra"], told["dec"], told["values"][0]["order"])
    assert told["values"][0]["value"] == pytest.approx(truth, rel=1e-6)
    assert page.page.evaluate("viewer.app.sky.position(null)") == pytest.approx([RA + 3, DEC])
    page.page.keyboard.press("1")
    page.settled()
    assert page.until("viewer.current") == "band_g"
    pressed = page.page.locator("#layers .pick[aria-pressed=true]")
    assert pressed.count() == 1


def test_numbers_typed_into_a_field_switch_nothing(page):
    page.page.get_by_label("Go to RA Dec (ICRS)").press("2")
    page.settled()
    assert page.until("viewer.current") == "band_g"


def test_stacking_and_opacity(page):
    page.look(RA + 3, DEC, 6)
    page.page.get_by_label("Stack Small survey band_r").check()
    page.settled()
    assert page.page.evaluate("viewer.stacked") == {"band_r": 0.5}
    assert page.page.evaluate("viewer.app.sky.overlay(viewer.app.find('band_r')).added")
    values = page.readout_at(600, 310)["values"]
    assert [value["label"] for value in values] == ["g", "r"]
    assert values[1]["value"] - values[0]["value"] == pytest.approx(100, abs=1e-3)
    page.page.locator("li[data-survey=band_r]").get_by_label("Opacity").fill("0.25")
    page.settled()
    layer = "viewer.app.sky.overlay(viewer.app.find('band_r'))"
    assert page.page.evaluate(f"{layer}.getOpacity()") == 0.25
    page.page.get_by_label("Stack Small survey band_r").uncheck()
    page.settled()
    assert page.page.evaluate("viewer.stacked") == {}
    assert page.page.evaluate("viewer.app.sky.aladin.getStackLayers().length") == 1


def test_stacked_surveys_are_raised_and_lowered(page, site):
    """band_r is drawn all yellow: if it is on top, nothing else is visible."""
    yellow = "look.band_r=fits,linear,-2000000,-1000000,viridis,0"
    over = "over=band_r:1,pictures:1"
    page.open(f"{site}#survey=band_g&ra={RA + 3}&dec={DEC}&fov=3&{over}&{yellow}")

    def is_yellow() -> bool:
        return all(red > 200 and blue < 90 for red, _, blue in page.pixels())

    page.drawn()
    page.once(lambda: not is_yellow())
    card = page.page.locator("li[data-survey=pictures]")
    assert card.get_by_role("button", name="Raise").is_disabled()
    card.get_by_role("button", name="Lower").click()
    page.once(is_yellow)
    assert card.get_by_role("button", name="Lower").is_disabled()
    assert page.page.evaluate("viewer.state.over") == [["pictures", 1], ["band_r", 1]]
    page.until("location.hash.includes('over=pictures%3A1%2Cband_r%3A1')")
    page.page.evaluate("history.back()")
    page.once(lambda: not is_yellow())
    page.page.locator("li[data-survey=band_r]").get_by_role("button", name="Raise").click()
    page.once(is_yellow)
    # with one alone there is nothing to order
    page.page.get_by_label("Stack Small survey pictures").uncheck()
    page.settled()
    raising = page.page.locator("li[data-survey=band_r]").get_by_role("button", name="Raise")
    assert not raising.is_visible()


def test_display_controls_reach_the_layer_and_reset(page):
    page.look(RA + 3, DEC, 6)
    card = page.page.locator("li[data-survey=band_g]")
    layer = "viewer.app.sky.baseLayer()"
    low, high = card.get_by_label("Lower cut"), card.get_by_label("Upper cut")
    assert (low.input_value(), high.input_value()) == ("40", "180")
    assert page.page.evaluate(f"{layer}.getCuts()") == [40, 180]
    high.fill("120")
    high.press("Enter")
    card.get_by_label("Stretch").select_option("sqrt")
    card.get_by_label("Colors").select_option("viridis")
    card.get_by_label("Invert").check()
    page.settled()
    assert page.page.evaluate(f"{layer}.getCuts()") == [40, 120]
    shown = page.page.evaluate(f"[{layer}.stretch, {layer}.getColormap(), {layer}.getReversed()]")
    assert shown == ["sqrt", "viridis", True]
    low.fill("500")
    low.press("Enter")
    assert low.get_attribute("aria-invalid") == "true"
    assert page.page.evaluate(f"{layer}.getCuts()") == [40, 120]
    card.get_by_role("button", name="Reset").click()
    page.settled()
    assert page.page.evaluate(f"{layer}.getCuts()") == [40, 180]
    shown = page.page.evaluate(f"[{layer}.stretch, {layer}.getColormap(), {layer}.getReversed()]")
    assert shown == ["asinh", "grayscale", False]


def test_a_color_map_changes_the_picture(page):
    page.look(RA + 3, DEC, 6)
    assert all(r == g == b for r, g, b in page.drawn())
    page.page.locator("li[data-survey=band_g]").get_by_label("Colors").select_option("viridis")
    page.settled()
    page.once(lambda: any(r != g for r, g, b in page.pixels()))


def test_pictures_instead_of_fits(page):
    card = page.page.locator("li[data-survey=band_g]")
    card.get_by_role("button", name="PNG", exact=True).click()
    page.settled()
    assert page.page.evaluate("viewer.app.sky.baseLayer().imgFormat") == "png"
    assert not card.get_by_label("Stretch").is_visible()
    page.look(RA + 3, DEC, 6)
    # the value still comes from the FITS tiles
    assert page.readout_at(600, 310)["values"][0]["state"] == "value"
    page.page.locator("li[data-survey=pictures] .pick").click()
    page.settled()
    assert page.readout_at(600, 311)["values"][0]["state"] == "no-fits"
    assert "picture only" in page.page.locator("#readout").inner_text()


def test_a_click_shows_the_coadds(page):
    page.look(RA, DEC, 4)
    page.page.mouse.click(500, 320)
    card = page.page.locator("#coadds")
    card.get_by_text("tract 9813").wait_for()
    assert "u/someone/run1" in card.inner_text()
    assert "tract=9813" in card.get_by_role("button", name="Copy butler").get_attribute("title")
    card.get_by_role("button", name="Close").click()
    assert not card.is_visible()


def test_each_coadd_of_a_click_has_its_own_pixel_or_error(page):
    """The server streams them in the order in which they are read."""
    coadd = {"dataset_type": "", "run": "", "uuid": "", "data_id": {}}
    names = ("first", "second", "third")
    coadds = [{**coadd, "coadd": name, "uri": f"file:///{name}.fits"} for name in names]
    pixel = {
        **{"value": 7.5, "unit": "nJy", "variance": None, "sn": None, "surface_brightness": None},
        **{"x": 1, "y": 2, "tract_x": 3, "tract_y": 4, "mask": [], "has_mask": False},
    }
    lines = [
        {"survey": "band_g", "ra": RA, "dec": DEC, "coadds": coadds},
        {"number": 2, "coadd": "third", "pixel": pixel},
        {"number": 0, "coadd": "first", "error": "the coadd could not be read within 10 s"},
        {"error": "too many requests"},
    ]
    body = "".join(f"{json.dumps(line)}\n" for line in lines)
    page.page.route("**/api/pixel*", lambda route: route.fulfill(body=body))
    page.look(RA, DEC, 4)
    page.page.mouse.click(500, 320)
    page.until("document.querySelector('#coadds').dataset.state === 'told'")
    items = page.page.locator("#coadds li").all_inner_texts()
    words = ("could not be read within 10 s", "too many requests", "7.5 nJy")
    assert len(items) == len(words)
    for item, word in zip(items, words, strict=True):
        assert word in item


def test_the_address_brings_the_view_back(watched, site):
    watched.open(f"{site}#survey=band_r&ra=181.5&dec=0.25&fov=3")
    assert watched.until("viewer.current") == "band_r"
    assert watched.page.evaluate("viewer.app.sky.position(null)") == pytest.approx([181.5, 0.25])
    watched.look(RA, DEC, 5)
    watched.until("location.hash.includes('survey=band_r&ra=180.000000&dec=1.000000&fov=5')")


def test_a_galactic_survey(page, surveys):
    from astropy.coordinates import SkyCoord

    page.page.locator("li[data-survey=turned] .pick").click()
    page.settled()
    where = SkyCoord(l=RA + 3, b=DEC, unit="deg", frame="galactic").icrs
    page.look(where.ra.deg, where.dec.deg, 6)
    told = page.readout_at(560, 340)
    there = SkyCoord(told["ra"], told["dec"], unit="deg").galactic
    (value,) = told["values"]
    truth = value_at(surveys / "turned", there.l.deg, there.b.deg, value["order"])
    assert value["value"] == pytest.approx(truth, rel=1e-6)


def test_controls_have_names(page):
    unnamed = page.page.evaluate(
        """[...document.querySelectorAll("#panel, #tools, #coadds, #readout")].flatMap((part) =>
            [...part.querySelectorAll("button, input, select")].filter((control) =>
                !(control.ariaLabel || control.labels?.[0]?.textContent.trim()
                  || control.textContent.trim()))
            .map((control) => control.outerHTML))"""
    )
    assert unnamed == []


def test_a_server_without_surveys_is_explained(watched, tmp_path, static):
    with running(tmp_path) as url:
        watched.open(url)
        assert watched.page.get_by_text("No surveys yet").is_visible()
        assert not watched.page.locator("#panel").is_visible()
        watched.leave()


def test_a_survey_that_cannot_be_loaded_leads_nowhere_outside(watched, tmp_path, static):
    (tmp_path / "hollow").mkdir()
    # no hips_frame: Aladin Lite refuses it
    (tmp_path / "hollow" / "properties").write_text("hips_order = 3\nhips_tile_format = png\n")
    make_survey(tmp_path / "sound")
    with running(tmp_path) as url:
        watched.open(url)
        assert watched.page.get_by_text("A survey could not be shown").is_visible()
        assert watched.until("viewer.current") == "sound"
        watched.page.wait_for_timeout(500)
        watched.leave()
    assert len([one for one in watched.asked if "/hollow/" in one]) < 5
    assert all("hollow" in found for found in watched.complaints + watched.refused)
    watched.complaints.clear()
    watched.refused.clear()
