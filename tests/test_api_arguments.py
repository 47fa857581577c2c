"""Arguments of the API: what is converted, and what is an error that names parameter and value."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hipsgen
from tests.finished.make import write_coadd

SMALL = hipsgen.BuildOptions(order=5, tile_width=64)


@pytest.fixture(scope="module")
def coadds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coadds")
    for number, band in enumerate("gr"):
        for k, lon in enumerate((40.0, 60.0)):
            write_coadd(folder / f"{band}{k}.fits", band, lon, 10 * number + k)
    return folder


@pytest.fixture(scope="module")
def surveys(coadds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Surveys of two bands."""
    out = tmp_path_factory.mktemp("api") / "hips"
    hipsgen.build(hipsgen.find_coadds(coadds, bands=["g", "r"]), out, options=SMALL)
    return out


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"order": np.int64(3)}, {"order": 3}),
        ({"tile_width": np.int64(64)}, {"tile_width": 64}),
        ({"formats": ["fits", "png", "fits"]}, {"formats": ("fits", "png")}),
        ({"formats": "fits"}, {"formats": ("fits",)}),
        ({"formats": (name for name in ("fits", "png"))}, {"formats": ("fits", "png")}),
        ({"cuts": np.array([0, 10])}, {"cuts": (0.0, 10.0)}),
        ({"excluded": "SAT"}, {"excluded": ("SAT",)}),
        ({"blank": np.float32(3)}, {"blank": 3.0}),
        ({"properties": [["obs_title", "x"]]}, {"properties": (("obs_title", "x"),)}),
    ],
)
def test_options_of_equal_meaning_are_equal(given: dict[str, Any], known: dict[str, Any]) -> None:
    options = hipsgen.BuildOptions(**given)
    assert options == hipsgen.BuildOptions(**known)
    assert {name: type(getattr(options, name)) for name in known} == {
        name: type(value) for name, value in known.items()
    }
    assert hash(options) == hash(hipsgen.BuildOptions(**known))


@pytest.mark.parametrize(
    ("kind", "parameter", "value"),
    [
        (hipsgen.BuildOptions, "order", "3"),
        (hipsgen.BuildOptions, "order", 3.5),
        (hipsgen.BuildOptions, "order", True),
        (hipsgen.BuildOptions, "order", 40),
        (hipsgen.BuildOptions, "tile_width", 512.0),
        (hipsgen.BuildOptions, "tile_width", 500),
        (hipsgen.BuildOptions, "formats", None),
        (hipsgen.BuildOptions, "formats", "fits,png"),
        (hipsgen.BuildOptions, "cuts", 3),
        (hipsgen.BuildOptions, "cuts", (1, 2, 3)),
        (hipsgen.BuildOptions, "cuts", "1,2"),
        (hipsgen.BuildOptions, "cuts", (2.0, 1.0)),
        (hipsgen.BuildOptions, "excluded", None),
        (hipsgen.BuildOptions, "blank", "x"),
        (hipsgen.BuildOptions, "properties", {"obs_title": "x"}),
        (hipsgen.BuildOptions, "frame", []),
        (hipsgen.Runtime, "workers", "2"),
        (hipsgen.Runtime, "workers", 1.5),
        (hipsgen.Runtime, "memory", "2G"),
        (hipsgen.Runtime, "engine", None),
        (hipsgen.Runtime, "fresh", "no"),
    ],
)
def test_an_invalid_option_is_in_the_error(kind: Any, parameter: str, value: object) -> None:
    with pytest.raises(hipsgen.ConfigError) as raised:
        kind(**{parameter: value})
    assert (raised.value.parameter, raised.value.value) == (parameter, value)
    assert str(raised.value).startswith(f"{parameter} ")
    assert "\n" not in str(raised.value)


def test_arguments_of_wrong_kinds(coadds: Path, tmp_path: Path) -> None:
    found, out = hipsgen.find_coadds(coadds, bands="g"), tmp_path / "hips"
    calls: list[tuple[str, Callable[[], object]]] = [
        ("the result of hipsgen.find_coadds, not 'in'", lambda: hipsgen.build("in", out)),  # type: ignore[arg-type]
        ("the result of hipsgen.find_coadds", lambda: hipsgen.plan(list(found))),  # type: ignore[arg-type]
        ("a hipsgen.BuildOptions", lambda: hipsgen.build(found, out, options={})),  # type: ignore[arg-type]
        ("a hipsgen.Runtime", lambda: hipsgen.build(found, out, runtime={})),  # type: ignore[arg-type]
        ("progress must be a function", lambda: hipsgen.build(found, out, progress=3)),  # type: ignore[arg-type]
        ("planes is empty", lambda: hipsgen.build(found, out, planes=())),
        ("planes 'x' is not one of", lambda: hipsgen.build(found, out, planes="x")),
        ("color 3 must be a text", lambda: hipsgen.build(found, out, color=3)),  # type: ignore[arg-type]
        ("path is empty", lambda: hipsgen.build(found, "")),
        ("source must be a path", lambda: hipsgen.find_coadds(3)),  # type: ignore[arg-type]
        ("source must be a path", lambda: hipsgen.find_coadds([b"in"])),  # type: ignore[list-item]
        ("bands 3 must be", lambda: hipsgen.find_coadds(coadds, bands=3)),  # type: ignore[arg-type]
        ("tracts 'a' must be", lambda: hipsgen.find_coadds(coadds, tracts=["a"])),  # type: ignore[list-item]
        ("workers 0", lambda: hipsgen.check(coadds, workers=0)),
        ("against_inputs -1", lambda: hipsgen.check(coadds, against_inputs=-1)),
    ]
    for message, call in calls:
        with pytest.raises(hipsgen.ConfigError, match=re.escape(message)):
            call()
    assert not out.exists()


@pytest.mark.parametrize("source", ["", [], ["", "in"]])
def test_no_input_is_not_the_current_folder(source: str | list[str]) -> None:
    with pytest.raises(hipsgen.InputError, match=r"^(no input|an input is empty)"):
        hipsgen.find_coadds(source)


def test_surveys_without_a_name_are_not_those_of_the_current_folder(
    surveys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(surveys)
    for call in (hipsgen.check, hipsgen.open_survey):
        with pytest.raises(hipsgen.ConfigError, match="path is empty"):
            call("")
    assert list(hipsgen.check(Path("band_g").absolute().as_uri()).surveys) == [
        str(surveys / "band_g")
    ]


def test_a_band_or_plane_named_twice_is_built_once(coadds: Path, tmp_path: Path) -> None:
    found = hipsgen.find_coadds(coadds, bands=["g", "g", "G"])
    assert (found.bands, len(found)) == (("g",), 2)
    results = hipsgen.build(found, tmp_path / "hips", options=SMALL, planes=("image", "image"))
    assert [Path(result.path) for result in results] == [tmp_path / "hips"]


def test_bands_whose_folders_have_the_same_name(tmp_path: Path) -> None:
    for k, band in enumerate(("g/1", "g_1")):
        write_coadd(tmp_path / f"{k}.fits", band, 40.0, k)
    found = hipsgen.find_coadds(tmp_path, bands=["g/1", "g_1"])
    with pytest.raises(
        hipsgen.ConfigError, match="'g/1' and 'g_1' would both be built in band_g_1"
    ):
        hipsgen.build(found, tmp_path / "hips", options=SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": "jpeg"}, "formats 'jpeg' is not one of: png, webp"),
        ({"formats": ("fits",)}, "formats 'fits' is not one of: png, webp"),
        ({"properties": [("hips_order", "3")]}, "hips_order: this property is computed"),
        ({"properties": [("obs_title", "x\nhips_order = 3")]}, "expected a keyword and one line"),
    ],
)
def test_options_of_a_color_survey(
    surveys: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    bands = [surveys / f"band_{band}" for band in "grg"]
    with pytest.raises(hipsgen.ConfigError, match=re.escape(message)):
        hipsgen.build_color(*bands, tmp_path / "color", **arguments)
    assert not (tmp_path / "color").exists()
    color = hipsgen.build_color(*bands, tmp_path / "color", formats="webp")
    assert list(color.size) == ["webp"]


def test_any_error_of_a_build_has_the_finished_surveys(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gr":
        write_coadd(folder / f"{band}.fits", band, 40.0, 0)
    found = hipsgen.find_coadds(folder, bands=["g", "r"])
    (tmp_path / "hips/band_r").mkdir(parents=True)
    (tmp_path / "hips/band_r/mine.txt").touch()
    with pytest.raises(hipsgen.ConfigError, match=r"band_r contains files") as raised:
        hipsgen.build(found, tmp_path / "hips", options=SMALL)
    assert [result.name for result in raised.value.results] == ["band_g"]
