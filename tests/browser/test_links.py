"""Copied and invalid links: what they show, without requests for missing files."""

import pytest

LIVE = "survey=live-colour&colour=band_i,band_r,band_g,{q},900,0,0,0,1,1,1"
URLS = "[viewer.app.sky.baseLayer().url, viewer.app.find('live-colour').url]"


@pytest.fixture
def sky(watched):
    """The page; it is closed before its server stops."""
    yield watched
    watched.leave()


def test_a_link_to_a_live_color_shows_it(sky, demo_site):
    sky.open(f"{demo_site}#{LIVE.format(q=20)}")
    sky.settled()
    sky.drawn()
    assert sky.page.evaluate("viewer.app.liveColor.q") == 20
    base, told = sky.page.evaluate(URLS)
    assert base == told


def test_tiles_of_a_previous_live_color_are_not_requested(sky, demo_site):
    """A layer may still request its tiles while the next survey is loaded."""
    sky.open(f"{demo_site}#{LIVE.format(q=20)}")
    before = sky.page.evaluate("viewer.app.find('live-colour').url")
    sky.page.evaluate("viewer.app.mix({q: 3})")
    sky.settled()
    asked = f"fetch('{before}/Norder0/Dir0/Npix5.png').then((answer) => answer.status)"
    assert sky.page.evaluate(asked) == 404
    assert not [url for url in sky.asked if "~live" in url]


def test_back_undoes_a_live_color(sky, demo_site):
    sky.open(f"{demo_site}#{LIVE.format(q=20)}")
    for q in (3, 40):
        sky.page.evaluate(f"viewer.app.mix({{q: {q}}})")
        sky.until(f"location.hash.includes('band_g%2C{q}%2C')")
    sky.page.evaluate("history.back()")
    sky.until("viewer.app.liveColor.q === 3")
    sky.settled()
    base, told = sky.page.evaluate(URLS)
    assert base == told
    # a mixture with which another blinks, too
    sky.page.evaluate(
        "viewer.app.select('band_g').then(() => viewer.app.comparison.choose('blink'))"
    )
    sky.page.evaluate("viewer.app.comparison.setOther(0, 'live-colour')")
    sky.page.evaluate("viewer.app.mix({q: 7})")
    layer = "viewer.app.sky.overlay(viewer.app.find('live-colour'), 'blink').url"
    assert sky.page.evaluate(layer) == sky.page.evaluate(URLS)[1]
    sky.settled()


@pytest.mark.parametrize(
    "words",
    [
        "survey=live-colour&colour=live-colour,band_g,color_gri,0,0,0,0,0,0,0,0",
        "survey=band_g&look.band_g=xyz,foo,0,1,nocolormap,1",
        "survey=band_g&look.band_g=jpeg,asinh,0,1,grayscale,0",
        "survey=band_g&region=line,55.7,-31.42,55.7,-31.42",
        "survey=band_g&ra=1e-7&dec=-1e-7&fov=1",
        "survey=band_g&ra=1e300&dec=0&fov=1e300",
    ],
)
def test_invalid_parts_of_an_address_are_ignored(sky, demo_site, words):
    sky.open(f"{demo_site}#{words}")
    sky.settled()
    sky.page.wait_for_timeout(300)
    assert sky.page.evaluate("document.getElementById('notice').hidden")
    look = sky.page.evaluate("viewer.settings('band_g')")
    assert (look["format"], look["stretch"]) != ("xyz", "foo")
    assert look["format"] in ("fits", "png")


def test_space_while_the_other_of_two_still_loads(sky, demo_site):
    sky.open(f"{demo_site}#survey=band_g")
    flipped = sky.page.evaluate(
        """(async () => {
            const { comparison } = viewer.app, work = comparison.choose("blink");
            while (comparison.mode !== "blink") await new Promise((done) => setTimeout(done));
            comparison.flip();
            await work;
            return comparison.turned;
        })()"""
    )
    assert flipped is False
    sky.page.keyboard.press("Space")
    sky.until("viewer.app.comparison.turned && document.getElementById('badge').textContent")


def test_steps_back_one_after_the_other_end_at_the_last(sky, demo_site):
    sky.open(f"{demo_site}#survey=band_g")
    for name in ("band_r", "band_i", "color_gri"):
        sky.page.evaluate(f"viewer.app.select('{name}')")
        sky.until(f"location.hash.includes('survey={name}')")
    for _ in range(3):
        sky.page.evaluate("history.back()")
        sky.page.wait_for_timeout(20)
    sky.until("location.hash.includes('survey=band_g')")
    sky.settled()
    assert sky.page.evaluate("viewer.current") == "band_g"
    assert sky.page.evaluate("viewer.app.sky.baseLayer().url").endswith("/band_g")


def test_patches_are_requested_again_after_an_error(sky, demo_site):
    sky.open(f"{demo_site}#survey=band_g")
    sky.page.route("**/api/patches*", lambda route: route.fulfill(status=200, body="busy"))
    assert sky.page.evaluate("viewer.app.patch(1)") is None
    sky.page.unroute("**/api/patches*")
    assert sky.page.evaluate("viewer.app.patch(1)")["tract"] is not None
