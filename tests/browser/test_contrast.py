"""Every text of the page can be read: WCAG 2.2 AA, contrast of 4.5 (of 3 where it is large)."""

import pytest

# Text over what lies behind it: half transparent panels are mixed with the sky, which may be
# as bright as a star or as dark as a hole (WCAG 2.2, 1.4.3; relative luminance as there).
CONTRASTS = """(sky) => {
    const parse = (text) => {
        const n = text.match(/[\\d.]+/g).map(Number);
        const unit = text.startsWith("color(srgb") ? 255 : 1;
        return [unit * n[0], unit * n[1], unit * n[2], n[3] ?? 1];
    };
    const over = (top, under) => [0, 1, 2].map((k) => top[k] * top[3] + under[k] * (1 - top[3]));
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const withParents = (element) => {
        const found = [];
        for (let one = element; one && one !== document.body; one = one.parentElement)
            found.unshift(getComputedStyle(one));
        return found;
    };
    const isRead = (element) => element.checkVisibility({ visibilityProperty: true })
        && !element.closest("#panes, .sr, :disabled, option, script, style");
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement, text = node.textContent.trim();
        if (!text || !isRead(element)) continue;
        const styles = withParents(element), style = styles.at(-1);
        const under = styles.reduce(
            (below, one) => over(parse(one.backgroundColor), below), [sky, sky, sky]);
        const color = parse(style.color);
        for (const one of styles) color[3] *= Number(one.opacity);
        if (!color[3]) continue;
        const [a, b] = [light(over(color, under)), light(under)].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize);
        const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (isLarge ? 3 : 4.5))
            found.push([text.slice(0, 40), element.className, Number(ratio.toFixed(2))]);
    }
    return found;
}"""


@pytest.fixture
def page(watched, demo_site):
    """Everything open: card of a click, statistics, flags, controls of the live color."""
    watched.page.set_viewport_size({"width": 1280, "height": 720})
    watched.open(f"{demo_site}#survey=band_r")
    page = watched.page
    page.locator("#flags-toggle").click()
    page.mouse.click(600, 330)
    watched.until("document.querySelector('#coadds').dataset.state === 'told'")
    view = page.evaluate("viewer.app.sky.view()")
    page.evaluate(
        "([ra, dec]) => viewer.app.measuring.measure({kind: 'circle', ra, dec, radius: 5})",
        [view["ra"], view["dec"]],
    )
    return watched


def test_all_text_has_contrast(page):
    def assert_contrast() -> None:
        for sky in (0, 255):
            found = page.page.evaluate(CONTRASTS, sky)
            assert found == [], f"over a sky of {sky}: {found}"

    assert_contrast()
    page.page.locator("li[data-survey=live-colour] .pick").click()
    page.settled()
    page.page.keyboard.press("?")
    assert_contrast()


def test_every_control_has_a_name(page):
    """The accessible name, as for a screen reader (WCAG 2.2, 4.1.2)."""
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a")]
            .filter((one) => one.checkVisibility() && !one.closest("#panes"))
            .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim()
                || one.labels?.length || one.title || one.placeholder))
            .map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
