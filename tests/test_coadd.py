"""References: small, compared by what they say, and ready for a journey to a worker."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from hipsgen.coadd import CoaddRef, Polygon, corners_of

CORNERS = ((10.0, -1.0), (10.5, -1.0), (10.5, -0.5))


def test_a_polygon_is_the_sequence_of_its_corners() -> None:
    polygon = Polygon(CORNERS)
    assert polygon == CORNERS == polygon
    assert polygon == Polygon(list(map(list, CORNERS)))
    assert polygon != CORNERS[:2]
    assert hash(polygon) == hash(CORNERS)
    assert tuple(polygon) == CORNERS
    assert (len(polygon), polygon[1], polygon[-1:]) == (3, CORNERS[1], CORNERS[-1:])
    assert CORNERS[0] in polygon
    assert repr(polygon) == repr(CORNERS)
    assert not Polygon()


@pytest.mark.parametrize("corners", [[1, 2], [(1, 2, 3)], ["ab"], [(1, None)], [(1, np.inf)]])
def test_what_is_no_polygon_is_refused(corners: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Polygon(corners)  # type: ignore[arg-type]


def test_a_reference_travels_and_changes_as_a_whole() -> None:
    ref = CoaddRef("file:///a", "1", polygon=CORNERS, data_id=(("tract", 3),))
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert replace(ref, uri="file:///b").polygon == CORNERS
    assert len({ref, replace(ref), replace(ref, hdu="1")}) == 2
    assert str(ref) == "{tract=3} (file:///a)"


def test_corners_of_many() -> None:
    refs = [
        CoaddRef("a", "1", polygon=CORNERS),
        CoaddRef("b", "1"),
        CoaddRef("c", "1", polygon=CORNERS),
    ]
    corners, counts = corners_of(refs)
    assert counts.tolist() == [3, 0, 3]
    np.testing.assert_array_equal(corners, [*CORNERS, *CORNERS])
    assert corners_of([])[0].shape == (0, 2)
