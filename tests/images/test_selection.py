"""Which coadds a tract, a patch and a region choose; what is no region."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.coadd import CoaddRef, Polygon
from hipsgen.errors import ConfigError, InputError
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.selection import Region, Selection
from hipsgen.planner.jobs import CoaddQuery, SurveyJob, find_jobs
from hipsgen.run.progress import QuietReporter
from hipsgen.sky.polygon import from_tangent_plane, to_lonlat, to_vectors
from hipsgen.survey.coverage import moc_bytes
from samples.repository import CHAIN, DATASET_TYPE
from tests.images.making import noise, tan_header, write
from tests.profiles import examples

CLOSE = 40 / 3600  # degrees: two diagonals of a cell


def square(lon: float, lat: float, side: float) -> tuple[Polygon, np.ndarray]:
    """A square on the tangent plane, and points of it."""
    half = np.tan(np.radians(side / 2))
    corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    grid = np.linspace(-half, half, 41)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    outline = to_lonlat(from_tangent_plane(corners, to_vectors(lon, lat)))
    return Polygon(zip(*(a.tolist() for a in outline), strict=True)), from_tangent_plane(
        points, to_vectors(lon, lat)
    )


@examples(2)
@given(
    lon=st.floats(0, 360),
    lat=st.floats(-89, 89),
    away=st.floats(0, 2),
    angle=st.floats(0, 6.28),
    radius=st.floats(0.01, 1.5),
    side=st.floats(0.05, 1.0),
)
def test_a_circle_chooses_the_outlines_that_it_touches(
    lon: float, lat: float, away: float, angle: float, radius: float, side: float
):
    plane = np.tan(np.radians(away)) * np.array([[np.cos(angle), np.sin(angle)]])
    center = from_tangent_plane(plane, to_vectors(lon, lat))
    ra, dec = (a.item() for a in to_lonlat(center))
    outline, points = square(lon, lat, side)
    region = Region(f"circle:{ra!r},{dec!r},{radius!r}")
    nearest = np.degrees(2 * np.arcsin(np.linalg.norm(points - center, axis=1).min() / 2))
    spacing = side / 40
    if nearest <= radius:
        assert region.touches(outline)
    elif nearest - spacing > radius + CLOSE:
        assert not region.touches(outline)


@pytest.mark.parametrize(("width", "height"), [(2.0, 0.4), (0.4, 2.0)])
@pytest.mark.parametrize("dec", [2.0, 60.0])
def test_a_box_is_as_wide_and_as_high_as_asked(width: float, height: float, dec: float):
    region = Region(f"box:150,{dec},{width},{height}")
    for sign in (-1, 1):
        east = square(150.0 + sign * 0.8 / np.cos(np.radians(dec)), dec, 0.1)[0]
        north = square(150.0, dec + sign * 0.8, 0.1)[0]
        assert region.touches(east) == (width > height)
        assert region.touches(north) == (height > width)


def test_shapes_in_both_ways_of_writing_and_moc_files_mean_the_same(tmp_path: Path):
    inside, outside = square(150.0, 2.0, 0.2)[0], square(151.2, 2.0, 0.2)[0]
    shapes = [
        "circle:150.2,2,0.3",
        "CIRCLE 150.2 2 0.3",
        "box:150.2,2,0.6,0.6",
        "Box 150.2 2 0.6 0.6",
        "polygon:149.9,1.7,150.5,1.7,150.5,2.3,149.9,2.3",
        "POLYGON 149.9 1.7 150.5 1.7 150.5 2.3 149.9 2.3",
    ]
    moc = Region(shapes[0])._moc
    for form in ("fits", "json"):
        moc.save(tmp_path / f"moc.{form}", format=form)
        shapes.append(str(tmp_path / f"moc.{form}"))
    for text in shapes:
        assert Region(text).touches(inside), text
        assert not Region(text).touches(outside), text
        assert Region(text).touches(Polygon()), text  # of all the sky, for all that is known


WRONG = {
    "circle:1,2": "circle:RA,DEC,RADIUS",
    "circle:1,2,x": "circle:RA,DEC,RADIUS",
    "circle:1,2,nan": "circle:RA,DEC,RADIUS",
    "circle:1,2,0": "above 0",
    "circle:1,95,1": "declination beyond 90",
    "box:1,2,3": "box:RA,DEC,WIDTH,HEIGHT",
    "box:1,2,3,-1": "above 0",
    "polygon:1,2,3,4": "polygon:RA,DEC,RA,DEC",
    "polygon:1,2,3,4,5": "polygon:RA,DEC,RA,DEC",
    "polygon:1,2,3,99,5,6": "declination beyond 90",
    "nowhere.fits": "neither circle:RA,DEC,RADIUS, box:.*nor a file",
}


@pytest.mark.parametrize("text", WRONG)
def test_an_error_for_an_invalid_region_shows_it_and_the_valid_forms(text: str):
    with pytest.raises(ConfigError, match=WRONG[text]) as raised:
        Region(text)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_moc_is_named(tmp_path: Path):
    (tmp_path / "x.fits").write_text("no MOC")
    with pytest.raises(InputError, match="not a MOC file"):
        Region(str(tmp_path / "x.fits"))


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="no such file")
def test_a_file_without_size_that_does_not_end_is_no_region():
    with pytest.raises(InputError, match="not a MOC file"):
        Region("/proc/self/pagemap")


@pytest.mark.parametrize("frame", ["galactic", "ecliptic"])
def test_the_coverage_of_a_survey_in_another_frame_is_no_region(frame: str, tmp_path: Path):
    area = Region("circle:30,40,1")._moc
    (tmp_path / "Moc.fits").write_bytes(moc_bytes(area, frame))
    with pytest.raises(InputError, match=f"COORDSYS '{frame[0].upper()}'.*give one in ICRS"):
        Region(str(tmp_path / "Moc.fits"))


def test_tracts_and_patches_choose_by_data_id():
    refs = [
        CoaddRef("a", "1", data_id=(("tract", t), ("patch", p))) for t in (1, 2) for p in (1, 2)
    ]
    assert len(Selection().of(refs)) == 4
    assert len(Selection(frozenset({1})).of(refs)) == 2
    assert len(Selection(frozenset({1, 2}), frozenset({2})).of(refs)) == 2
    with pytest.raises(InputError, match="none of 4 coadds is in tract 3; patch 7"):
        Selection(frozenset({3}), frozenset({7})).of(refs)


@pytest.mark.parametrize("by_sql", [False, True])
def test_a_repository_is_narrowed_before_its_pages_are_asked_for(
    by_sql: bool, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    from hipsgen.images import butler_source
    from hipsgen.images.registry_butler import ButlerRegistry
    from hipsgen.images.registry_sql import SqlRegistry

    kind = SqlRegistry if by_sql else ButlerRegistry
    asked: list[list[int]] = []

    class Watched(kind):  # type: ignore[misc,valid-type]
        def page(self, search, tracts):
            asked.append(list(tracts))
            return super().page(search, tracts)

    monkeypatch.setattr(butler_source, "open_registry", lambda root: (Watched(root), ""))

    def found(**chosen) -> list[tuple[int, int]]:
        selection = Selection(**chosen)
        refs = ButlerSource(
            str(repository), DATASET_TYPE, (CHAIN,), "r", selection=selection
        ).refs()
        return [(dict(r.data_id)["tract"], dict(r.data_id)["patch"]) for r in refs]

    assert found(tracts=frozenset({4849})) == [(4849, p) for p in range(4)]
    assert asked == [[4849]]
    assert found(patches=frozenset({2, 3})) == [(t, p) for t in (4848, 4849) for p in (2, 3)]
    everything = {
        (dict(r.data_id)["tract"], dict(r.data_id)["patch"]): r.polygon
        for r in ButlerSource(str(repository), DATASET_TYPE, (CHAIN,), "r").refs()
    }
    asked.clear()
    ra, dec = everything[4849, 3][2]
    region = Region(f"circle:{ra},{dec},0.0005")
    wanted = [place for place, outline in everything.items() if region.touches(outline)]
    assert found(region=region) == wanted
    assert (4849, 3) in wanted
    assert len(wanted) < 8
    with pytest.raises(InputError, match=r"no deep.* in band 'r' in circle:1,1,1; .*4848"):
        found(region=Region("circle:1,1,1"))


def test_fits_files_are_narrowed_by_region_only(tmp_path: Path):
    for k, ra in enumerate((150.0, 160.0)):
        write(tmp_path / f"{k}.fits", fits.PrimaryHDU(noise(), tan_header(CRVAL1=ra)))

    def jobs(**chosen: Any) -> list[SurveyJob]:
        query = CoaddQuery(selection=Selection(**chosen))
        return find_jobs([str(tmp_path)], query, FitsReader(), QuietReporter())

    (near,) = jobs(region=Region("circle:150,2,1"))
    assert [Path(ref.uri).name for ref in near.source.refs()] == ["0.fits"]
    with pytest.raises(ConfigError, match="plain FITS files have no tract"):
        jobs(tracts=frozenset({1}))
