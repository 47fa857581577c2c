import logging
import os

import pytest

from tests.viewer.small_hips import make_survey
from viewer import surveys as module
from viewer.surveys import Surveys, describe, hips_list, is_made_by_the_page


def plain(folder, **properties):
    """A folder that is a survey by its properties alone."""
    folder.mkdir(parents=True)
    lines = {"creator_did": f"ivo://test/{folder.name}", "hips_order": "2", **properties}
    (folder / "properties").write_text("\n".join(f"{k} = {v}" for k, v in lines.items()))
    return folder


def names(*roots):
    return [survey.name for survey in Surveys(roots, 0.0).all()]


def test_a_root_may_be_a_survey_or_contain_some(tmp_path):
    plain(tmp_path / "out" / "band_g")
    plain(tmp_path / "deep" / "a" / "b" / "survey")
    assert names(tmp_path / "out" / "band_g") == ["band_g"]
    assert names(tmp_path / "out") == ["band_g"]
    assert names(tmp_path) == ["survey", "band_g"]


def test_too_deep_hidden_or_tile_folders_are_not_searched(tmp_path):
    plain(tmp_path / "1" / "2" / "3" / "4" / "5")
    plain(tmp_path / ".hidden")
    plain(tmp_path / "Norder3" / "inside")
    plain(tmp_path / "out")
    plain(tmp_path / "out" / "beneath_a_survey")
    assert names(tmp_path) == ["out"]


def test_the_same_name_twice(tmp_path):
    for run in ("run1", "run2"):
        plain(tmp_path / run / "band_g")
    plain(tmp_path / "x" / "run2" / "band_g")
    roots = (tmp_path / "run1", tmp_path / "run2", tmp_path / "x")
    assert names(*roots) == ["band_g", "run2-band_g", "band_g-2"]


def test_the_same_folder_twice_is_one_survey(tmp_path):
    plain(tmp_path / "out")
    assert names(tmp_path, tmp_path / "out") == ["out"]


def test_names_are_fit_for_urls(tmp_path):
    plain(tmp_path / "a b%2F#ü")
    plain(tmp_path / "list")
    assert sorted(names(tmp_path)) == ["a-b-2F", f"{tmp_path.name}-list"]


def test_a_new_survey_shows_up_and_names_stay(tmp_path):
    second = plain(tmp_path / "z" / "band_g")
    surveys = Surveys([tmp_path], 0.0)
    assert [s.name for s in surveys.all()] == ["band_g"]
    plain(tmp_path / "a" / "band_g")
    found = {s.folder: s.name for s in surveys.all()}
    assert found == {second: "band_g", tmp_path / "a" / "band_g": "a-band_g"}


def test_the_disk_is_not_read_while_a_scan_is_fresh(tmp_path, monkeypatch):
    plain(tmp_path / "one")
    surveys = Surveys([tmp_path], 3600.0)
    assert surveys.get("one")
    monkeypatch.setattr(module, "survey_folders", lambda root: pytest.fail("looked again"))
    (tmp_path / "one" / "properties").unlink()
    assert surveys.get("one")
    assert surveys.get("two") is None


def test_changed_properties_are_read_again(tmp_path):
    folder = plain(tmp_path / "one", obs_title="Old")
    surveys = Surveys([tmp_path], 0.0)
    assert surveys.all()[0].title == "Old"
    (folder / "properties").write_text("obs_title = New\n")
    os.utime(folder / "properties", (1, 1))
    assert surveys.all()[0].title == "New"


def test_broken_properties_are_left_out_and_logged_once(tmp_path, caplog):
    plain(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "properties").write_bytes(b"no equals sign\n")
    (tmp_path / "worse").mkdir()
    (tmp_path / "worse" / "properties").write_bytes(b"\xff = 1\n")
    surveys = Surveys([tmp_path], 0.0)
    with caplog.at_level(logging.WARNING):
        assert [s.name for s in surveys.all()] == ["good"]
        surveys.all()
    assert len(caplog.records) == 2
    assert "no equals sign" in caplog.text


def test_links_out_of_the_root_are_not_followed(tmp_path):
    plain(tmp_path / "elsewhere" / "secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "root") == []


def test_color_comes_first_then_wavelength(tmp_path):
    plain(tmp_path / "band_z", em_min="8e-7")
    plain(tmp_path / "band_g", em_min="4e-7")
    plain(tmp_path / "color", dataproduct_subtype="color")
    plain(tmp_path / "a_mask")
    assert names(tmp_path) == ["color", "band_g", "band_z", "a_mask"]


def test_description_for_the_page(tmp_path):
    make_survey(tmp_path / "band_g")
    (survey,) = Surveys([tmp_path]).all()
    found = describe(survey)
    assert found["url"] == "hips/band_g"
    assert found["band"] == "g"
    assert found["formats"] == ["fits", "png"]
    assert found["cuts"] == [40.0, 180.0]
    assert (found["order"], found["tile_width"], found["bitpix"]) == (3, 128, -32)
    assert (found["unit"], found["color"], found["preview"]) == ("nJy", False, True)
    assert found["initial"] == {"ra": 180.0, "dec": 1.0, "fov": 30.0}
    assert found["provenance"] is False


def test_invalid_numbers_become_none(tmp_path):
    plain(tmp_path / "a", hips_pixel_cut="1 nan", hips_initial_ra="x", hips_data_range="inf 2 3")
    found = describe(Surveys([tmp_path]).all()[0])
    assert found["cuts"] is None
    assert found["data_range"] is None
    assert found["initial"]["ra"] is None


def test_a_survey_without_valid_orders_is_described(tmp_path):
    plain(tmp_path / "a", hips_order="1e300", hips_tile_width="x")
    found = describe(Surveys([tmp_path]).all()[0])
    assert (found["order"], found["order_min"], found["tile_width"]) == (0, 0, 512)


def test_planes_are_described_for_masks_only(tmp_path):
    plain(tmp_path / "image", hipsgen_planes="SAT:0")
    plain(tmp_path / "mask", hipsgen_plane="mask", hipsgen_planes="SAT:0 CR:1")
    found = {one.name: describe(one) for one in Surveys([tmp_path]).all()}
    assert (found["image"]["plane"], found["image"]["planes"]) == ("", None)
    assert (found["mask"]["plane"], found["mask"]["planes"]) == ("mask", {"SAT": 0, "CR": 1})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("live-colour", True),
        ("sn-band_g", True),
        ("sn-band_x", False),
        ("band_g", False),
        ("live-colours", False),
        ("", False),
    ],
)
def test_names_of_surveys_that_the_page_computes(name, expected):
    assert is_made_by_the_page(name, ["band_g"]) is expected


def test_list_fills_in_required_properties(tmp_path):
    plain(tmp_path / "bare")
    text = hips_list(Surveys([tmp_path]).all(), "http://host/")
    assert "creator_did" in text
    assert "hips_service_url  = http://host/hips/bare" in text
    assert "hips_status       = private master unclonable" in text
    assert "hips_release_date = 20" in text
