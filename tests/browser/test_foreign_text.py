"""Text of files and users is shown as it is, and nothing in it runs."""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pyarrow
import pytest
from pyarrow import parquet

from hipsgen.survey.provenance import Provenance
from tests.browser.conftest import add_page, plainly_served, running
from tests.viewer.conftest import other_coadd
from tests.viewer.small_hips import DEC, RA, default_properties, make_survey
from viewer.annotations import Annotations
from viewer.catalogs.catalog import open_file

RUN = "window.ran=1"
PAYLOADS = {
    "a script": f"<script>{RUN}</script>",
    "an event handler": f'<img src=x onerror="{RUN}">',
    "quotes": f"\"'`> autofocus onfocus={RUN} x=\"'",
    "a link": f"javascript:{RUN}//<a href=javascript:{RUN}>here</a>",
    "a template": f"${{{RUN}}}, {{{{{RUN}}}}}, <%= {RUN} %>",
    "directions": "one \u202e two \u2066 three \u200f four",
    "entities": f"&lt;b&gt; &amp;amp; &#60;script&#62;{RUN}",
    "a style": "</style><style>*{display:none}</style>;background:url(//example.org/x)",
    "a long text": "long" * 450,
    "a null byte": "before\x00after",
    "a drawing": f"<svg onload={RUN}><script>{RUN}</script></svg>",
    "two lines": "line 1\nline 2",
}
TEXTS = list(PAYLOADS.values())
# in a file of one line per property, only another separator of lines can be part of a value
IN_LINES = [text.replace("\n", "\u2028") for text in TEXTS]
# notes lose characters that are not seen
NOTES = [re.sub("[\x00\u200f\u202e\u2066]", "", text) for text in TEXTS]
# names of planes are separated by white space there, and by commas in the address
PLANES = ["".join(text.replace(",", "").split()) for text in TEXTS]


@pytest.fixture(scope="module")
def root(tmp_path_factory, static) -> Path:
    """Twelve surveys and a mask, each text in another one; their coadds and flags."""
    folder = tmp_path_factory.mktemp("foreign")
    made = make_survey(folder / "made")
    served = folder / "served"
    for k, text in enumerate(IN_LINES):
        # folders with names of that kind, too: they are headings
        place = served / IN_LINES[k // 11].replace("/", "|") / f"s{k:02}"
        named = {"obs_title": f"title {text}", "obs_band": f"band {text}", "hips_creator": text}
        linked = {"obs_copyright": text, "obs_copyright_url": f"javascript:{RUN}"}
        about = {"obs_description": f"about {text}", "hips_bunit": f"unit {text}"}
        copy(made, place, **named, **linked, **about, em_min=f"{k + 1}e-7")
    planes = " ".join(f"{name}:{bit}" for bit, name in enumerate(PLANES))
    copy(made, served / "mask", hipsgen_plane="mask", hipsgen_planes=planes, obs_title="Mask")
    first = next(served.rglob("s00"))
    coadds = [
        other_coadd(
            data_id=(("patch", text),), run=f"run {text}", dataset_type=f"type {text}",
            dataset_id=f"uuid {text}", uri=f"file:///nowhere/{k}/{text}", identity=str(k),
        )
        for k, text in enumerate(TEXTS)
    ]  # fmt: skip
    (first / "provenance.fits").write_bytes(Provenance(coadds).to_bytes())
    for text in TEXTS:
        flag = {"ra": RA, "dec": DEC, "note": text, "author": text[:100], "view": text}
        Annotations(first).add(flag)
    return served


def copy(made: Path, folder: Path, **properties: str) -> None:
    """Copy a survey as hard links, with other properties."""
    shutil.copytree(made, folder, copy_function=os.link)
    (folder / "properties").unlink()
    text = "".join(f"{k} = {v}\n" for k, v in (default_properties("x", 100.0) | properties).items())
    (folder / "properties").write_text(text, encoding="utf-8", newline="\n")


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    columns = {"ra": [RA + 3.0], "dec": [DEC]}
    columns |= {f"column {text}": [f"cell {text}"] for text in TEXTS}
    file = tmp_path_factory.mktemp("catalog") / "objects.parquet"
    parquet.write_table(pyarrow.table(columns), file)
    catalog = open_file(f"{file},name={TEXTS[0]}")
    with running(root, catalogs=(catalog,)) as url:
        yield url


@pytest.fixture
def page(watched):
    """A page in which nothing of these texts may become an element, or run."""
    dialogs: list[str] = []
    watched.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield watched
    assert dialogs == []


def assert_harmless(page) -> None:
    made = (
        "img[src=x], svg[onload], [onerror], [onfocus], [href^='javascript:'], body style ~ style"
    )
    assert page.page.evaluate("window.ran") is None
    assert page.page.locator(made).count() == 0
    assert page.page.get_by_role("link", name="here", exact=True).count() == 0


def assert_shown(page, texts: list[str], within=None) -> None:
    """Each text is on the screen, and does not turn its neighbors around."""
    for text in texts:
        place = (within or page.page).get_by_text(text, exact=True).first
        assert place.is_visible(), text[:80]
        style = place.evaluate(
            "(e) => [getComputedStyle(e).display, getComputedStyle(e).unicodeBidi]"
        )
        assert style[0] != "inline" or style[1] == "isolate", text[:80]


def test_markup_in_titles_bands_and_units_is_text(page, site):
    """Of the layers, of their folders, and in the table of values."""
    page.open(f"{site}#survey=s00&ra={RA + 3}&dec={DEC}&fov=6")
    layers = page.page.get_by_role("complementary", name="Layers")
    assert_shown(page, [f"title {text}" for text in IN_LINES], layers)
    assert_shown(page, [f"band {text}" for text in IN_LINES], layers)
    assert_shown(page, [IN_LINES[k].replace("/", "|") for k in (0, 1)], layers)
    for text in IN_LINES:
        name = f"Stack title {text}"
        assert layers.get_by_role("checkbox", name=name, exact=True).count() == 1
    page.readout_at(420, 310)
    values = page.page.get_by_role("region", name="Values in every band")
    values.get_by_role("cell", name=f"unit {IN_LINES[10]}", exact=True).wait_for()
    assert_shown(page, [f"unit {text}" for text in IN_LINES[:11]], values)
    assert page.page.title() == f"title {IN_LINES[0]} – hipsgen"
    assert_harmless(page)


def test_markup_in_surveys_and_positions_of_an_address_is_text(page, site):
    notice = page.page.get_by_role("alert")
    box = page.page.get_by_label("Go to RA Dec (ICRS)")
    page.open(f"{site}#survey=s00")
    for text in TEXTS:
        page.page.evaluate(
            "(text) => { location.hash = new URLSearchParams({survey: text}) }", text
        )
        shown = notice.get_by_text(f"No survey {text[:80]}: title {IN_LINES[0]} is shown.")
        shown.wait_for()
        box.fill(text)
        box.press("Enter")
        notice.get_by_text(f"“{box.input_value()[:40]}” is not a position").wait_for()
    assert_harmless(page)


def test_markup_in_data_ids_runs_and_files_is_text(page, site):
    page.open(f"{site}#survey=s00&here={RA + 0.3},{DEC}")
    card = page.page.get_by_role("region", name="Coadds at the clicked position")
    card.get_by_text(f"patch {TEXTS[0]}", exact=True).wait_for()
    for key in ("patch", "run", "type", "uuid"):
        assert_shown(page, [f"{key} {text}" for text in TEXTS], card)
    assert_shown(page, [f"file:///nowhere/{k}/{text}" for k, text in enumerate(TEXTS)], card)
    assert card.get_by_role("button", name="Copy butler.get").count() == len(TEXTS)
    page.page.get_by_role("button", name="Tracts and patches").click()
    page.page.get_by_role("button", name="Next patch").click()
    page.settled()
    assert_harmless(page)


def test_markup_in_names_of_mask_planes_is_text(page, site):
    page.open(f"{site}#survey=s00&mask.mask={encoded(','.join(PLANES))}")
    layers = page.page.get_by_role("complementary", name="Layers")
    card = layers.get_by_role("group").filter(has_text="mask")
    card.get_by_text("mask", exact=True).click()
    for name in PLANES:
        assert card.get_by_role("checkbox", name=name, exact=True).is_checked()
    assert_shown(page, PLANES, card)
    legend = page.page.get_by_text(PLANES[0]).locator("visible=true")
    assert legend.count() >= 2
    assert_harmless(page)


def test_markup_in_columns_of_catalogs_is_text(page, site):
    address = f"objects.{encoded(TEXTS[0])}="
    page.open(f"{site}#survey=s00&ra={RA + 3}&dec={DEC}&fov=6&{address}")
    layers = page.page.get_by_role("complementary", name="Layers")
    layers.get_by_text("1 in view").wait_for()
    assert layers.get_by_role("checkbox", name=TEXTS[0], exact=True).is_checked()
    page.page.mouse.click(*page.page.evaluate(f"viewer.app.sky.pixel({RA + 3}, {DEC})"))
    card = page.page.get_by_role("region", name="Object")
    assert_shown(page, [TEXTS[0]], card)
    card.get_by_role("button", name="more columns").click()
    card.get_by_role("rowheader", name=f"column {TEXTS[-1]}", exact=True).wait_for()
    for kind in ("column", "cell"):
        assert_shown(page, [f"{kind} {text}" for text in TEXTS], card)
    assert_harmless(page)


def test_markup_in_notes_is_text(page, site):
    page.open(f"{site}#survey=s00&show=flags&ra={RA}&dec={DEC}&fov=6")
    flags = page.page.get_by_role("region", name="Flags")
    notes = flags.get_by_label("Note", exact=True)
    assert [notes.nth(k).input_value() for k in range(notes.count())] == NOTES
    assert notes.first.is_visible()
    with page.page.expect_download() as waiting:
        flags.get_by_role("button", name="Export CSV").click()
    said = waiting.value.path().read_text(encoding="utf-8")
    assert all(text.replace('"', '""') in said for text in NOTES)
    # a view that is none leads to the place of the flag
    flags.get_by_label("Go to this flag").nth(1).click()
    page.settled()
    assert_harmless(page)


def test_markup_in_properties_is_text_on_the_survey_page(page, root, tmp_path):
    """On a server without a Content-Security-Policy."""
    text = " | ".join(IN_LINES)
    first = next(root.rglob("s00"))
    words = {"obs_title": f"title {text}", "obs_description": f"about {text}", "hips_bunit": text}
    copy(first, tmp_path / "s", **words)
    add_page(tmp_path / "s")
    with plainly_served(tmp_path) as url:
        page.page.goto(f"{url}s/")
        page.until("viewer.sky && viewer.readout?.values[0].state === 'value'")
        assert page.page.get_by_role("heading", name=f"title {text}", exact=True).is_visible()
        assert_shown(page, [f"title {text}", f"about {text}", text])
        assert page.page.title().startswith(f"title {TEXTS[0]}")
        assert_harmless(page)
        page.leave()


def encoded(text: str) -> str:
    return quote(text, safe="")
