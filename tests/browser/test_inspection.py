"""Inspecting coadds: what the page shows and stores agrees with astropy and the files."""

import base64
import contextlib
import csv
import json
import math
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.visualization import ZScaleInterval
from astropy.wcs import WCS

from hipsgen.images.masks import plane_bits
from hipsgen.images.uris import path_of
from hipsgen.survey.provenance import Provenance, UsedCoadd
from tests.browser.conftest import Watched, calm_context, running

MIDDLE = (433, 300)


@pytest.fixture
def page(watched, demo_site):
    """Band r, with room to look."""
    watched.page.set_viewport_size({"width": 1280, "height": 720})
    watched.open(f"{demo_site}#survey=band_r")
    return watched


@pytest.fixture(scope="module")
def coadds(demo) -> list[UsedCoadd]:
    return list(Provenance.from_bytes((demo / "band_r" / "provenance.fits").read_bytes()).coadds)


def planes(coadd: UsedCoadd) -> dict[str, tuple[np.ndarray, fits.Header]]:
    path = path_of(coadd.ref.uri)
    assert path is not None
    with fits.open(path) as hdus:
        named = ((hdu.header.get("EXTTYPE") or hdu.name, hdu) for hdu in hdus)
        return {name: (np.array(hdu.data), hdu.header) for name, hdu in named}


def sky_of(page, x: float, y: float) -> tuple[float, float]:
    ra, dec = page.page.evaluate(f"viewer.app.sky.position([{x}, {y}])")
    return ra, dec


def pixel_of(page, ra: float, dec: float) -> tuple[float, float]:
    x, y = page.page.evaluate(f"viewer.app.sky.pixel({ra}, {dec})")
    return x, y


def click(page, ra: float, dec: float):
    """Click on a position; return the card once it has the pixels."""
    page.page.mouse.click(*pixel_of(page, ra, dec))
    page.until("document.querySelector('#coadds').dataset.state === 'told'")
    return page.page.locator("#coadds")


# 1: layers


def test_cuts_by_percentiles_and_zscale_are_those_of_the_values_on_the_screen(page):
    card = page.page.locator("li[data-survey=band_r]")
    card.get_by_role("button", name="99%", exact=True).click()
    page.settled()
    sample = np.array(
        page.page.evaluate(
            "import('/static/histogram.js').then((h) =>"
            " h.sampleScreen(viewer.app.sky, viewer.app.find('band_r'))).then((v) => [...v])"
        )
    )
    assert sample.size > 800
    told = page.page.evaluate("viewer.settings('band_r')")
    assert (told["low"], told["high"]) == pytest.approx(np.quantile(sample, [0.005, 0.995]))
    card.get_by_role("button", name="zscale").click()
    page.settled()
    told = page.page.evaluate("viewer.settings('band_r')")
    truth = ZScaleInterval(n_samples=sample.size).get_limits(sample)
    span = truth[1] - truth[0]
    assert (told["low"], told["high"]) == pytest.approx(truth, abs=0.02 * span)
    assert page.page.evaluate("viewer.app.sky.baseLayer().getCuts()") == pytest.approx(
        [told["low"], told["high"]], rel=1e-5
    )


def test_the_histogram_counts_what_is_on_the_screen(page):
    page.until(
        "Number(document.querySelector('[data-survey=band_r] .histogram').dataset.count) > 800"
    )
    shades = page.page.evaluate(
        """(() => { const c = document.querySelector("[data-survey=band_r] .histogram");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            return new Set(d.filter((_, i) => i % 4 === 3)).size })()"""
    )
    assert shades > 1


def test_the_same_cuts_for_all_bands(page):
    page.page.get_by_label("Same cuts for all bands").check()
    page.settled()
    high = page.page.locator("li[data-survey=band_r]").get_by_label("Upper cut")
    high.fill("321")
    high.press("Enter")
    page.settled()
    for name in ("band_g", "band_r", "band_i"):
        assert page.page.evaluate(f"viewer.settings('{name}').high") == 321
    low = page.page.evaluate("viewer.settings('band_r').low")
    assert page.page.evaluate("viewer.settings('band_g').low") == low


def test_live_color_is_that_of_its_formula(page, demo):
    page.page.locator("li[data-survey=live-colour] .pick").click()
    page.settled()
    q = page.page.locator("li[data-survey=live-colour]").get_by_label("Q", exact=True)
    q.fill("40")
    q.press("Enter")
    page.settled()
    mix = page.page.evaluate("viewer.app.liveColor")
    assert mix["q"] == 40
    assert mix["parts"] == ["band_i", "band_r", "band_g"]
    tiles = list((demo / "band_r" / "Norder11").rglob("*.fits"))
    tile = max(tiles, key=lambda path: np.isfinite(fits.getdata(path)).sum())
    npix = int(tile.stem.removeprefix("Npix"))
    encoded = page.page.evaluate(
        f"""(async () => {{
                const answer = await viewer.app.find("live-colour").maker.tile(11, {npix});
                const bitmap = await createImageBitmap(await answer.blob());
                const canvas = new OffscreenCanvas(512, 512), context = canvas.getContext("2d");
                context.drawImage(bitmap, 0, 0);
                const levels = context.getImageData(0, 0, 512, 512).data;
                let bytes = "";
                for (let i = 0; i < levels.length; i += 4096)
                    bytes += String.fromCharCode(...levels.subarray(i, i + 4096));
                return btoa(bytes);
            }})()"""
    )
    found = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(512, 512, 4)[::-1]
    bands = []
    for name in mix["parts"]:
        path = demo / name / tile.relative_to(demo / "band_r")
        bands.append(fits.getdata(path).astype(float))
    values = (np.array(bands) - np.array(mix["low"])[:, None, None]) * np.array(mix["gain"])[
        :, None, None
    ]
    known = np.isfinite(values).all(axis=0)
    mean = values.mean(axis=0)
    with np.errstate(all="ignore"):
        shown = values * np.arcsinh(mix["q"] * mean / mix["span"]) / np.arcsinh(mix["q"]) / mean
    shown = np.where(mean > 0, np.maximum(shown, 0), 0)
    truth = np.round(255 * shown / np.maximum(shown.max(axis=0), 1))
    difference = np.abs(np.moveaxis(found[..., :3], -1, 0) - truth)[:, known]
    assert known.sum() > 1000
    assert difference.max() <= 1
    assert (found[..., 3] == 255)[known].all()


# 2: inspect


def test_the_readout_shows_every_band_with_brightness(page):
    page.page.mouse.move(*MIDDLE)
    told = page.readout_at(*MIDDLE)
    assert [band["band"] for band in told["bands"]] == ["g", "r", "i"]
    rows = page.page.locator("#bands tbody tr")
    assert rows.count() == 3
    for band in told["bands"]:
        value = band["value"]
        if value > 0:
            truth = -2.5 * math.log10(1e-9 * value / 0.2**2 / 3631)
            assert band["brightness"] == pytest.approx(truth, abs=2e-3)
        else:
            assert band["brightness"] is None
    there = SkyCoord(told["ra"], told["dec"], unit="deg").galactic
    assert told["galactic"] == pytest.approx([there.l.deg, there.b.deg], abs=1e-4)
    page.look(*sky_of(page, *MIDDLE), 3)
    page.readout_at(MIDDLE[0] + 1, MIDDLE[1])
    assert "averaged at order" in page.page.locator("#readout").inner_text()


def test_a_click_shows_the_pixel_of_the_original_file(page, coadds):
    """Value, variance, mask and position agree with astropy."""
    coadd = next(c for c in coadds if c.unit_in == "count")
    found = planes(coadd)
    image, header = found["IMAGE"]
    wcs = WCS(header)
    mask, bits = found["MASK"][0], plane_bits(found["MASK"][1])
    flagged = np.argwhere((mask & (1 << bits["SAT"])) != 0)
    places = [(120, 130), tuple(flagged[len(flagged) // 2])] if len(flagged) else [(120, 130)]
    for row, col in places:
        ra, dec = (float(axis) for axis in wcs.all_pix2world(col, row, 0))
        page.look(ra, dec, 0.01)
        card = click(page, ra, dec)
        item = card.locator(f"li[data-coadd='{coadd.ref.dataset_id}']")
        text = item.inner_text()
        assert (
            f"tract {dict(coadd.ref.data_id)['tract']} · patch {dict(coadd.ref.data_id)['patch']}"
            in text
        )
        assert coadd.ref.run in text
        x, y = map(int, re.search(r"(\d+), (\d+) in the patch", text).groups())
        assert (x, y) == (col, row)
        value = float(image[row, col]) * coadd.scale
        shown = item.locator("[data-name=value]").inner_text().replace("−", "-").split()
        if math.isfinite(value):
            assert float(shown[0]) == pytest.approx(value, rel=1e-5)
            assert shown[1] == "nJy"
            sigma = math.sqrt(float(found["VARIANCE"][0][row, col])) * coadd.scale
            told = item.locator("[data-name=sigma]").inner_text()
            assert float(told.split()[1]) == pytest.approx(sigma, rel=1e-5)
        flags = {name for name, bit in bits.items() if mask[row, col] >> bit & 1}
        assert set(item.locator(".plane").all_inner_texts()) == flags
        assert "butler.get(" in item.get_by_role("button", name="Copy butler.get").get_attribute(
            "title"
        )


def test_the_cutout_is_downloaded_with_its_sky(page, coadds, tmp_path):
    coadd = coadds[0]
    image, header = planes(coadd)["IMAGE"]
    ra, dec = (float(a) for a in WCS(header).all_pix2world(image.shape[1] / 2, 60, 0))
    page.look(ra, dec, 0.02)
    card = click(page, ra, dec)
    item = card.locator(f"li[data-coadd='{coadd.ref.dataset_id}']")
    item.get_by_label("Side of the cutout, arcsec").fill("7")
    with page.page.expect_download() as waiting:
        item.get_by_role("link", name="FITS cutout").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    with fits.open(path) as cut:
        x, y = WCS(cut["IMAGE"].header).world_to_pixel(SkyCoord(ra, dec, unit="deg"))
        assert (x, y) == (pytest.approx(17, abs=1.1), pytest.approx(17, abs=1.1))
        assert cut["IMAGE"].data.shape == (35, 35)
        assert {"MASK", "VARIANCE"} <= {hdu.name for hdu in cut}


@pytest.mark.parametrize("scale", [1.0])
def test_the_view_is_saved_as_a_picture(page, tmp_path):
    import io

    from PIL import Image

    page.drawn()
    with page.page.expect_download() as waiting:
        page.page.get_by_role("button", name="Save this view as PNG").click()
    waiting.value.save_as(tmp_path / "view.png")
    picture = Image.open(tmp_path / "view.png").convert("L")
    assert picture.size == (1280, 720)
    screen = Image.open(io.BytesIO(page.page.screenshot())).convert("L")
    # where nothing lies over the sky
    area = (400, 250, 850, 600)
    mine, theirs = (np.asarray(one.crop(area), float) for one in (picture, screen))
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.95


# 3: compare


def test_blink_changes_between_two_surveys(page):
    page.page.keyboard.press("Space")
    page.until("!document.querySelector('#badge').hidden")
    page.settled()
    other = page.until("viewer.state.mode === 'blink' && viewer.state.others[0]")
    over = f"viewer.app.sky.overlay(viewer.app.find('{other}'), 'blink').getOpacity()"
    page.until(f"{over} === 1")
    assert page.page.evaluate("viewer.app.visible()[0].survey.name") == other
    page.page.keyboard.press("Space")
    page.until(f"{over} === 0")
    assert page.page.evaluate("viewer.app.visible()[0].survey.name") == "band_r"


def test_linked_views_show_the_same_position(page):
    page.page.locator("#modes button", has_text="4").click()
    page.settled()
    assert page.page.locator(".pane").count() == 4
    names = page.page.evaluate("viewer.app.panes.panes.slice(1).map((pane) => pane.survey.name)")
    assert len({"band_r", *names}) == 4
    views = "viewer.app.panes.all.map((sky) => Object.values(sky.view()))"
    page.look(*sky_of(page, 300, 200), 0.03)
    page.until(f"new Set({views}.map((one) => one[0].toFixed(6))).size === 1")
    at = f"JSON.stringify({views}[0])"
    apart = f"{views}.flatMap((view, k, all) => view.map((angle, j) => angle - all[0][j]))"
    # another view leads when it is dragged, over others too, and when it is zoomed
    for act in ("drag", "wheel", "key"):
        before = page.page.evaluate(at)
        page.page.mouse.move(900, 250)
        if act == "drag":
            page.page.mouse.down()
            page.page.mouse.move(400, 280, steps=4)
            page.page.mouse.up()
        elif act == "wheel":
            page.page.mouse.wheel(0, 300)
        else:
            page.page.keyboard.press("+")
        page.until(f"{at} !== '{before}'")
        page.until(f"{apart}.every((angle) => Math.abs(angle) < 1e-6)")
    # the pointer is marked in the others
    page.page.mouse.move(960, 200)
    page.until("viewer.app.overlayItems(viewer.app.sky).some((item) => item.kind === 'cross')")


def test_the_swipe_bar_shows_one_survey_beside_the_other(page):
    page.page.keyboard.press("w")
    page.settled()
    bar = page.page.get_by_role("slider", name="Swipe")
    box = bar.bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, 500)
    page.page.mouse.down()
    page.page.mouse.move(800, 500, steps=3)
    page.page.mouse.up()
    assert page.page.evaluate("viewer.state.swipe") == pytest.approx(800 / 1280, abs=0.01)
    clip = page.page.locator(".pane[data-pane]").evaluate("e => getComputedStyle(e).clipPath")
    assert "62.5" in clip
    bar.press("ArrowLeft")
    assert page.page.evaluate("viewer.state.swipe") == pytest.approx(0.605, abs=0.01)
    page.until("location.hash.includes('mode=swipe')")


# 4: overlays


def test_patches_are_outlined_where_the_registry_has_them(page, coadds):
    page.page.keyboard.press("t")
    page.until("viewer.app.outlines.length > 0")
    drawn = page.page.evaluate(
        "viewer.app.overlayItems(viewer.app.sky).filter((i) => i.kind === 'outline')"
    )
    labels = {f"{dict(c.ref.data_id)['tract']}, {dict(c.ref.data_id)['patch']}" for c in coadds}
    assert {item["label"] for item in drawn} == labels
    corners = {tuple(np.round(c, 6)) for item in drawn for c in item["corners"]}
    truth = {tuple(np.round(corner, 6)) for c in coadds for corner in c.ref.polygon}
    assert corners == truth
    page.until(
        """(() => { const c = document.querySelector(".overlay");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            return d.filter((v, i) => i % 4 === 3 && v > 0).length > 500 })()"""
    )


def test_grid_and_coverage_are_switched(page):
    page.page.keyboard.press("g")
    page.page.keyboard.press("c")
    assert (
        page.page.get_by_role("button", name="Coordinate grid").get_attribute("aria-pressed")
        == "true"
    )
    page.until("location.hash.includes('show=grid%2Ccoverage')")
    page.page.wait_for_timeout(500)
    page.page.keyboard.press("c")
    page.until("location.hash.includes('show=grid') && !location.hash.includes('coverage')")


# 5: go to


def test_go_to_a_patch(page, coadds):
    coadd = coadds[3]
    ra, dec, radius = coadd.circle()
    box = page.page.get_by_label("Go to RA Dec (ICRS)")
    view = "viewer.app.sky.view()"
    for text in (
        "{tract},{patch}",
        "tract {tract} patch {patch}",
        "tract={tract}, patch={patch}, band='i'",
    ):
        page.look(ra + 0.1, dec, 1)
        box.fill(text.format(**dict(coadd.ref.data_id)))
        box.press("Enter")
        page.until(f"Math.abs({view}.ra - {ra}) < 1e-4 && Math.abs({view}.dec - {dec}) < 1e-4")
        assert page.page.evaluate(f"{view}.fov") == pytest.approx(2.1 * radius, rel=0.1)
        page.settled()
        assert page.page.evaluate("viewer.current") == ("band_i" if "band" in text else "band_r")


def test_a_missing_patch_is_shown(page):
    box = page.page.get_by_label("Go to RA Dec (ICRS)")
    box.fill("tract=1 patch=99")
    box.press("Enter")
    page.page.locator("#goto-error").get_by_text("“tract=1 patch=99” is not a position").wait_for()
    assert box.get_attribute("aria-invalid") == "true"


def test_a_position_without_data_is_shown_and_keys_move_the_sky_again(page):
    box = page.page.get_by_label("Go to RA Dec (ICRS)")
    box.fill("180 45")
    box.press("Enter")
    page.page.locator("#goto-error").get_by_text(
        "has no data at 12:00:00.000 +45:00:00.00"
    ).wait_for()
    assert box.get_attribute("aria-invalid") == "false"
    page.page.keyboard.press("h")
    page.until("Math.abs(viewer.app.sky.view().dec - 45) > 1")
    box.fill("4848")
    box.press("Enter")
    page.page.locator("#goto-error").wait_for(state="hidden")


def test_next_and_previous_patch(page, coadds):
    ids = {(dict(c.ref.data_id)["tract"], dict(c.ref.data_id)["patch"]) for c in coadds}
    seen = []
    for _ in range(len(ids) + 1):
        before = page.page.evaluate("Object.values(viewer.app.sky.view()).join()")
        page.page.keyboard.press("n")
        page.until(f"Object.values(viewer.app.sky.view()).join() !== '{before}'")
        seen.append(tuple(page.page.evaluate("Object.values(viewer.app.sky.view())")))
    assert len(set(seen)) == len(ids)
    page.page.keyboard.press("p")
    page.until(f"Math.abs(viewer.app.sky.view().ra - {seen[-2][0]}) < 1e-6")


def test_bookmarks(page):
    page.look(*sky_of(page, 500, 250), 0.013)
    there = page.page.evaluate("viewer.app.sky.view()")
    page.page.keyboard.press("b")
    page.page.get_by_label("Name of this view").fill("my star")
    page.page.keyboard.press("Enter")
    page.until("!document.querySelector('#keep').open")
    page.page.keyboard.press("h")
    page.until("viewer.app.sky.view().fov > 0.02")
    box = page.page.get_by_label("Go to RA Dec (ICRS)")
    box.fill("my star")
    box.press("Enter")
    page.until(f"Math.abs(viewer.app.sky.view().ra - {there['ra']}) < 1e-5")
    assert page.page.evaluate("viewer.app.sky.view().fov") == pytest.approx(there["fov"], rel=1e-3)
    # the list of them, and one less
    page.page.keyboard.press("Escape")
    page.page.locator("#bookmark").click()
    page.page.get_by_role("link", name="my star").click()
    page.until("!document.querySelector('#keep').open")
    page.page.locator("#bookmark").click()
    page.page.get_by_label("Forget my star").click()
    assert page.page.locator("#keep li").count() == 0
    assert page.page.evaluate("document.querySelector('#bookmarks').children.length") == 0


# 6: flags


def test_flags_are_added_edited_visited_exported_and_imported(page, demo, tmp_path):
    page.page.mouse.move(*MIDDLE)
    told = page.readout_at(*MIDDLE)
    page.page.keyboard.press("f")
    note = page.page.locator("#flags textarea")
    note.wait_for()
    note.fill('=a "trail", bright')
    note.press("Enter")
    page.until("viewer.app.flags.store.flags[0]?.note === '=a \"trail\", bright'")
    (flag,) = page.page.evaluate("fetch('api/flags').then((a) => a.json())")["flags"]
    assert (flag["survey"], flag["note"]) == ("band_r", '=a "trail", bright')
    assert (flag["ra"], flag["dec"]) == pytest.approx((told["ra"], told["dec"]), abs=1e-7)
    assert len(list((demo / "band_r" / ".hipsgen" / "flags").iterdir())) == 1
    with page.page.expect_download() as waiting:
        page.page.get_by_role("button", name="Export CSV").click()
    waiting.value.save_as(tmp_path / "flags.csv")
    # a spreadsheet is not to run it
    (row,) = csv.DictReader((tmp_path / "flags.csv").read_text(encoding="utf-8").splitlines())
    assert row["note"] == "'" + flag["note"]
    page.page.keyboard.press("h")
    page.page.get_by_role("button", name="Go to this flag").click()
    page.until(f"Math.abs(viewer.app.sky.view().ra - {flag['ra']}) < 1e-5")
    page.settled()
    page.page.get_by_role("button", name="Delete this flag").click()
    page.until("viewer.app.flags.store.flags.length === 0")
    assert page.page.evaluate("fetch('api/flags').then((a) => a.json())")["flags"] == []
    page.page.get_by_label("CSV file of flags").set_input_files(tmp_path / "flags.csv")
    page.until("viewer.app.flags.store.flags.length === 1")
    again = page.page.evaluate("viewer.app.flags.store.flags[0]")
    assert {k: again[k] for k in ("note", "ra", "dec", "view")} == {
        k: flag[k] for k in ("note", "ra", "dec", "view")
    }
    page.page.get_by_role("button", name="Delete this flag").click()
    page.until("viewer.app.flags.store.flags.length === 0")


def test_a_flag_is_for_what_was_clicked_when_the_pointer_is_elsewhere(page):
    click(page, *sky_of(page, 560, 360))
    ra, dec = page.page.evaluate("viewer.app.here")
    page.page.mouse.move(640, 25)
    page.until("viewer.readout.at === 'center'")
    page.page.keyboard.press("f")
    page.until("viewer.app.flags.store.flags.length === 1")
    flag = page.page.evaluate("viewer.app.flags.store.flags[0]")
    assert (flag["ra"], flag["dec"]) == pytest.approx((ra, dec), abs=1e-7)
    page.page.get_by_role("button", name="Delete this flag").click()
    page.until("viewer.app.flags.store.flags.length === 0")


def test_loading_tiles_are_counted(page):
    held = []
    page.page.route("**/Npix*.fits", lambda route: held.append(route))
    page.page.locator("li[data-survey=band_i] .pick").click()
    told = page.page.locator("#readout .loading")
    told.get_by_text("to load").wait_for()
    page.page.unroute("**/Npix*.fits")
    for route in held:
        route.continue_()
    told.wait_for(state="hidden")


def test_flags_of_a_read_only_server_stay_in_the_browser(watched, demo):
    with running(demo, read_only=True) as url:
        watched.open(f"{url}#survey=band_g")
        watched.page.keyboard.press("f")
        watched.page.locator("#flags textarea").fill("mine")
        watched.page.locator("#flags textarea").press("Enter")
        watched.until("viewer.app.flags.store.flags[0]?.note === 'mine'")
        assert "stored in this browser" in watched.page.locator("#flags").inner_text()
        watched.page.reload()
        watched.page.wait_for_selector("body[data-state=ready]")
        watched.until("viewer.app.flags.store.flags[0]?.note === 'mine'")
        watched.leave()
    assert not (demo / "band_g" / ".hipsgen" / "flags").exists()


# 7: regions


def drag(page, start, end):
    page.page.mouse.move(*start)
    page.page.mouse.down()
    page.page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.page.mouse.move(*end)
    page.page.mouse.up()
    page.until("document.querySelector('#results').dataset.state === 'told'")


def test_statistics_of_a_circle_are_those_of_the_coadd(page, coadds):
    page.page.get_by_role("button", name="Statistics in a circle").click()
    coadd = coadds[0]
    ra, dec, _ = coadd.circle()
    page.look(ra, dec, 0.02)
    x, y = pixel_of(page, ra, dec)
    drag(page, (x, y), (x + 60, y))
    region = page.page.evaluate("viewer.state.region")
    found = page.page.evaluate("viewer.app.measuring.found")["statistics"]
    mine = next(one for one in found if one["survey"] == "band_r")
    assert mine["source"] == "coadd"
    coadd = next(c for c in coadds if c.ref.dataset_id == mine["coadd"])
    image, header = planes(coadd)["IMAGE"]
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]]
    center = SkyCoord(region["ra"], region["dec"], unit="deg")
    inside = WCS(header).pixel_to_world(cols, rows).separation(center).arcsec <= region["radius"]
    values = image[inside & np.isfinite(image)].astype(float) * coadd.scale
    assert mine["count"] == values.size > 300
    assert mine["median"] == pytest.approx(np.median(values), rel=1e-5, abs=1e-5)
    assert mine["sigma"] == pytest.approx(values.std(ddof=1), rel=1e-5)
    table = page.page.locator("#results tbody tr")
    assert table.count() == 3
    assert "nJy" in table.first.inner_text()
    assert "coadd" in table.first.inner_text()


def test_large_regions_are_measured_in_tiles_and_the_page_says_so(page):
    page.page.keyboard.press("h")
    page.page.get_by_role("button", name="Statistics in a box").click()
    drag(page, (380, 120), (900, 600))
    assert "tiles, order" in page.page.locator("#results").inner_text()


def test_a_profile_is_drawn_for_every_band(page, coadds):
    ra, dec, _ = coadds[0].circle()
    page.look(ra, dec, 0.02)
    page.page.get_by_role("button", name="Profile along a line").click()
    x, y = pixel_of(page, ra, dec)
    drag(page, (x - 80, y - 20), (x + 80, y + 30))
    found = page.page.evaluate("viewer.app.measuring.found")
    region = page.page.evaluate("viewer.state.region")
    ends = SkyCoord([region["ra"], region["ra2"]], [region["dec"], region["dec2"]], unit="deg")
    assert found["length"] == pytest.approx(ends[0].separation(ends[1]).arcsec, rel=1e-6)
    mine = next(one for one in found["profiles"] if one["survey"] == "band_r")
    assert mine["source"] == "coadd"
    coadd = next(c for c in coadds if c.ref.dataset_id == mine["coadd"])
    image, header = planes(coadd)["IMAGE"]
    angle = ends[0].position_angle(ends[1])
    steps = ends[0].directional_offset_by(angle, np.array(mine["distance"]) / 3600 * u_deg())
    px, py = WCS(header).world_to_pixel(steps)
    truth = image[np.round(py).astype(int), np.round(px).astype(int)] * coadd.scale
    values = np.array([np.nan if v is None else v for v in mine["value"]])
    same = np.isclose(values, truth, rtol=1e-5, equal_nan=True)
    # a point on the border of two pixels may go either way
    assert same.mean() > 0.98
    assert page.page.locator("#results path").count() == 3


def u_deg():
    from astropy import units

    return units.deg


# 8: the address


def test_a_copied_link_shows_the_same_picture(page, chromium):
    page.page.keyboard.press("t")
    page.page.get_by_label("Stack deepCoadd_calexp g").check()
    page.settled()
    card = page.page.locator("li[data-survey=band_r]")
    card.get_by_label("Colors").select_option("magma")
    page.page.keyboard.press("w")
    page.settled()
    page.look(*sky_of(page, 700, 300), 0.02)
    click(page, *sky_of(page, 500, 400))
    page.page.wait_for_timeout(500)
    state = page.page.evaluate("viewer.state")
    link = page.page.evaluate("viewer.app.link()")
    with calm_context(chromium, viewport={"width": 1280, "height": 720}) as context:
        other = Watched(context.new_page())
        other.open(link)
        other.settled()
        other.until("document.querySelector('#coadds').dataset.state === 'told'")
        again = other.page.evaluate("viewer.state")
    for key in ("ra", "dec", "fov"):
        assert again["view"].pop(key) == pytest.approx(state["view"].pop(key), rel=1e-4)
    assert again["here"] == pytest.approx(state["here"], abs=1e-6)
    state["here"] = again["here"]
    assert json.dumps(again) == json.dumps(state)


def test_back_and_forward(page):
    page.page.locator("li[data-survey=band_g] .pick").click()
    page.settled()
    page.until("location.hash.includes('survey=band_g')")
    page.page.keyboard.press("g")
    page.until("location.hash.includes('show=grid')")
    page.page.go_back()
    page.until("viewer.state.shown.length === 0")
    assert page.page.evaluate("viewer.current") == "band_g"
    page.page.go_back()
    page.until("viewer.current === 'band_r'")
    page.page.go_forward()
    page.until("viewer.current === 'band_g'")
    page.page.go_forward()
    page.until("viewer.state.shown.includes('grid')")


# 9: for real people


@pytest.fixture
def tablet(chromium, demo_site):
    """Band r on a touch screen."""
    size = {"width": 1024, "height": 768}
    touched = {"viewport": size, "has_touch": True, "is_mobile": True}
    context = chromium.new_context(**touched)  # gestures need frames
    with contextlib.closing(context):
        watched = Watched(context.new_page())
        watched.open(f"{demo_site}#survey=band_r")
        watched.settled()
        yield watched
    assert (watched.outside, watched.refused, watched.complaints) == ([], [], [])


def test_fingers_tap_drag_and_pinch(tablet, coadds):
    ra, dec, _ = coadds[0].circle()
    tablet.look(ra, dec, 0.03)
    tablet.page.wait_for_timeout(500)
    ra, dec = sky_of(tablet, 600, 420)
    tablet.page.touchscreen.tap(600, 420)
    tablet.until("document.querySelector('#coadds').dataset.state === 'told'")
    told = tablet.until("viewer.readout?.at === 'pointer' && viewer.readout")
    assert (told["ra"], told["dec"]) == pytest.approx((ra, dec), abs=1e-9)
    assert tablet.page.evaluate("viewer.app.here") == pytest.approx([ra, dec], abs=1e-6)
    send = tablet.page.context.new_cdp_session(tablet.page).send

    def move(*paths: tuple[tuple[float, float], tuple[float, float]]) -> None:
        """Move touches from one position to another."""
        for kind, share in (("touchStart", 0.0), *(("touchMove", k / 8) for k in range(1, 9))):
            points = [
                {"id": i, "x": x + share * (u - x), "y": y + share * (v - y)}
                for i, ((x, y), (u, v)) in enumerate(paths)
            ]
            send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            tablet.page.wait_for_timeout(40)
        send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def gesture(*paths: tuple[tuple[float, float], tuple[float, float]], done: Callable) -> None:
        """Repeat a gesture until it works: a busy page may lose one whose touches came too late."""
        for _ in range(4):
            is_done = done()
            move(*paths)
            end = time.monotonic() + 10
            while time.monotonic() < end:
                if is_done():
                    return
                tablet.page.wait_for_timeout(100)
        raise AssertionError(f"no gesture of four worked: {paths}")

    def dragged() -> Callable[[], bool]:
        fov, start = tablet.page.evaluate("viewer.app.sky.fov()"), sky_of(tablet, 600, 400)
        return lambda: sky_of(tablet, 680, 460) == pytest.approx(start, abs=fov / 100)

    def pinched() -> Callable[[], bool]:
        fov = tablet.page.evaluate("viewer.app.sky.fov()")
        return lambda: abs(tablet.page.evaluate("viewer.app.sky.fov()") / fov - 0.5) < 0.05

    gesture(((600, 400), (680, 460)), done=dragged)
    gesture(((560, 400), (520, 400)), ((640, 400), (680, 400)), done=pinched)
    # the sky is zoomed, not the page
    assert tablet.page.evaluate("visualViewport.scale") == 1


def test_help_opens_and_closes_by_key(page):
    page.page.keyboard.press("?")
    assert page.page.get_by_role("dialog", name="Keys and help").is_visible()
    page.page.keyboard.press("Escape")
    assert not page.page.get_by_role("dialog", name="Keys and help").is_visible()


def test_no_element_overflows_or_overlaps(page):
    parts = ("#panel", "#tools", "#readout", "#coadds", "#inspect")
    for width, height in ((1280, 720), (1024, 768), (768, 1024)):
        page.page.set_viewport_size({"width": width, "height": height})
        # no place in the sky: that moves until the view has its new size
        page.page.mouse.click(width / 2, height / 2)
        page.until("document.querySelector('#coadds').dataset.state === 'told'")
        boxes = {part: page.page.locator(part).bounding_box() for part in parts}
        for part, box in boxes.items():
            assert min(box["x"], box["y"]) >= 0, part
            assert box["x"] + box["width"] <= width + 0.5, part
            assert box["y"] + box["height"] <= height + 0.5, part
        for one in parts:
            for other in parts:
                if one < other:
                    assert not overlap(boxes[one], boxes[other]), (one, other)
        page.page.keyboard.press("Escape")
        page.page.locator("#coadds").wait_for(state="hidden")


def overlap(a, b) -> bool:
    across = min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"])
    down = min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"])
    return across > 1 and down > 1


def test_a_server_error_is_shown(page):
    page.page.route(
        "**/api/pixel*", lambda route: route.fulfill(status=503, json={"error": "busy"})
    )
    page.page.mouse.click(*MIDDLE)
    page.page.locator("#coadds").get_by_text("busy").wait_for()
    page.refused.clear()
    page.complaints.clear()
