"""Real images of 2MASS: eight of M17 that overlap, and the Galactic Center in three bands."""

from pathlib import Path

import numpy as np
import pytest

from hipsgen.checker.survey import check_survey
from hipsgen.planner.jobs import CoaddQuery
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.run.progress import QuietReporter
from hipsgen.survey.store import open_store
from hipsgen.survey.survey import Survey
from tests.building import build_all


def serious(place: Path) -> list[object]:
    return [f for f in check_survey(place) if f.level != "note"]


def test_m17_becomes_one_map_without_seams(shared_data: Path, tmp_path: Path) -> None:
    folder = str(shared_data / "m17_2mass_ks")
    summaries = build_all(
        [folder],
        CoaddQuery(),
        BuildOptions(),
        Runtime(workers=2),
        tmp_path / "m17",
        "",
        QuietReporter(),
    )
    assert summaries[0].n_inputs == 8
    assert not summaries[0].skipped
    assert serious(tmp_path / "m17") == []
    survey = Survey.open(open_store(tmp_path / "m17"))
    values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(survey.order)])
    known = values[~np.isnan(values)]
    assert 640 < np.median(known) < 660
    assert survey.properties["obs_regime"] == "Infrared"


@pytest.mark.slow
@pytest.mark.parametrize("frame", ["equatorial", "galactic"])
def test_the_galactic_centre_becomes_a_color_survey(frame, shared_data, tmp_path) -> None:
    folder = str(shared_data / "galactic_centre_2mass_jhk")
    out = tmp_path / "gc"
    summaries = build_all(
        [folder],
        CoaddQuery(),
        BuildOptions(frame=frame),
        Runtime(workers=2),
        out,
        "J,H,K",
        QuietReporter(),
    )
    assert [s.name for s in summaries] == ["band_J", "band_H", "band_K", "color_JHK"]
    for place in out.iterdir():
        assert serious(place) == [], place
    color = Survey.open(open_store(out / "color_JHK"))
    assert color.properties["dataproduct_subtype"] == "color"
    assert "band_K" in color.properties["hips_rgb_red"]
    assert "band_J" in color.properties["hips_rgb_blue"]
    # the image is complete: 721 x 720 pixels of 5 arcsec
    fraction = 721 * 720 * (5 / 3600) ** 2 / 41252.96
    assert float(color.properties["moc_sky_fraction"]) == pytest.approx(fraction, rel=0.15)
