"""Surveys on a web server are checked like those in a folder."""

import shutil
from pathlib import Path

from hipsgen.checker.survey import CheckOptions, check_survey
from hipsgen.survey.summary import summarize
from tests.checker.test_check import _set, begin_at, leaf
from tests.viewer.serving import served

DEEP = CheckOptions(deep=True, workers=4)


def test_only_a_lost_tile_is_a_finding_over_http(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    place = Path(shutil.copytree(sound, root / "sky"))
    with served(root) as port:
        url = f"http://127.0.0.1:{port}"
        assert check_survey(f"{url}/hips/sky", DEEP) == []
        told = summarize(f"{url}/hips/sky")
        assert told == summarize(place).replace(str(place), f"{url}/hips/sky")
        assert check_survey(f"{url}/hips/sky") == []
        lost = leaf(place, "fits")
        lost.unlink()
        named = [str(f) for f in check_survey(f"{url}/hips/sky/", DEEP)]
        assert f"error: {lost.relative_to(place)}: is missing" in named
        other = leaf(place, "png")
        other.write_bytes(other.read_bytes()[:999])
        assert any(other.name in str(f) for f in check_survey(f"{url}/hips/sky", DEEP))
        (place / "Moc.fits").unlink()
        assert any("Moc.fits" in str(f) for f in check_survey(f"{url}/hips/sky", DEEP))


def test_a_server_that_does_not_respond_is_one_finding() -> None:
    (finding,) = check_survey("http://127.0.0.1:9/hips/sky")
    assert "cannot be fetched" in finding.message


def test_a_survey_without_orders_0_to_2_has_only_a_note(copy: Path) -> None:
    begin_at(copy, 3)
    _set(copy, "hips_order_min", None)
    with served(copy.parent) as port:
        (finding,) = check_survey(f"http://127.0.0.1:{port}/hips/copy")
    assert (finding.level, finding.where) == ("note", "hips_order_min")
