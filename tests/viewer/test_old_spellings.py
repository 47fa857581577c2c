"""Spellings of version 0.1.0 keep working: options, URLs, links, arguments."""

import inspect
from pathlib import Path

import pytest
from click.testing import CliRunner

import viewer
from hipsgen.cli import cli
from hipsgen.errors import ConfigError, InputError
from tests.viewer.conftest import Client
from viewer.app import ViewerConfig, create_app
from viewer.catalogs.catalog import open_file
from viewer.server import check_view, serve

CONE = {"ra": "10", "dec": "20", "radius": "1"}
LINK = (
    "https://host/sky/#survey={survey}&ra=180.000000&dec=1.000000&fov=2.000&over=band_r%3A0.5"
    "&look.band_g=fits%2Clog%2C-5%2C300%2Cviridis%2C1&mode=swipe&with=band_r&at=0.400&show=grid"
    "&mask.mask_r=SAT%2CCR&colour=band_i%2Cband_r%2Cband_g%2C8%2C500%2C0%2C0%2C0%2C1%2C1%2C1"
    "&here=150.1%2C2.2&here.of=band_g&region=circle%2C150.1%2C2.2%2C10&objects.stars=&lock=1"
)


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of two rows."""
    path = tmp_path_factory.mktemp("catalog") / "stars.csv"
    path.write_text("ra,dec,flux\n10,20,1.5\n10.1,20.1,2.5\n")
    return path


@pytest.fixture(scope="module")
def client(stars: Path) -> Client:
    return Client(create_app(ViewerConfig((), catalogs=(open_file(str(stars)),))))


@pytest.mark.parametrize("option", ["--catalog", "--catalogue"])
def test_the_option_for_catalogs(root: Path, stars: Path, option: str):
    """Catalogs are opened first; the port is checked after them."""
    known = CliRunner().invoke(cli, ["serve", str(root), option, str(stars), "--port", "70000"])
    assert isinstance(known.exception, ConfigError)
    assert "--port 70000" in str(known.exception)
    gone = CliRunner().invoke(cli, ["serve", str(root), option, "gone.csv", "--port", "70000"])
    assert isinstance(gone.exception, InputError)
    assert "gone.csv" in str(gone.exception)


def test_help_shows_only_the_current_spelling():
    told = CliRunner().invoke(cli, ["serve", "--help"]).output
    assert "--catalog " in told
    assert "--catalogue" not in told


def test_the_address_of_the_catalogs(client: Client):
    now, then = (client.get(f"/api/{word}").json() for word in ("catalogs", "catalogues"))
    assert [one["name"] for one in now["catalogs"]] == ["stars"]
    assert then == {"catalogues": now["catalogs"]}


def test_the_address_of_a_catalog(client: Client):
    now, then = (
        client.get(f"/api/{word}/stars", params=CONE).json() for word in ("catalogs", "catalogues")
    )
    assert now.pop("catalog") == then.pop("catalogue") == "stars"
    assert now == then
    assert len(now["rows"]) == 2


def test_an_unknown_catalog_is_reported_at_both_urls(client: Client):
    for word in ("catalogs", "catalogues"):
        assert client.get(f"/api/{word}/gone", params=CONE).status_code == 404


@pytest.mark.parametrize("survey", ["band_g", "live-colour", "sn-band_g"])
def test_links_that_were_copied_from_the_page(survey: str):
    link = LINK.format(survey=survey)
    check_view(link.rpartition("#")[2], ["band_g", "band_r"])


@pytest.mark.parametrize("survey", ["band_x", "sn-band_x", "live-color"])
def test_links_to_surveys_that_are_not_here(survey: str):
    link = LINK.format(survey=survey)
    with pytest.raises(ConfigError, match=rf"no survey '{survey}'; available: band_g, band_r"):
        check_view(link.rpartition("#")[2], ["band_g", "band_r"])


def test_arguments_of_show(root: Path):
    frame = viewer.show(
        root,
        target="10:00:24 +02:12:00",
        fov=0.5,
        survey="live-colour",
        height=400,
        width="50%",
        read_only=True,
        proxy="/proxy/{port}/",
    )
    try:
        assert "width: 50%; height: 400px" in frame._repr_html_()
    finally:
        frame.close()


def test_arguments_of_serve():
    words = ("host", "port", "open_browser", "read_only", "token", "root_path", "trusted_proxies")
    more = ("workers", "access_log", "view")
    assert inspect.signature(serve).bind(roots=[], **dict.fromkeys((*words, *more)))
