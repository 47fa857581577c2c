"""The figures that the tests of the page's scripts read are those of today's libraries."""

import json

import pytest

from tests.web.figures import FIGURES, figures, unpacked


def test_the_figures_are_what_the_libraries_give():
    assert_same(json.loads(FIGURES.read_text()), json.loads(json.dumps(figures())))


def assert_same(kept, made, place="figures"):
    """Alike but for the last digit of a float, and for how a file is packed."""
    if isinstance(made, float):
        assert kept == pytest.approx(made, rel=1e-12, abs=1e-12), place
    elif isinstance(made, dict) and "gzip" in made:
        assert unpacked(kept) == unpacked(made), place
    elif isinstance(made, dict | list):
        assert len(kept) == len(made), place
        for key, value in made.items() if isinstance(made, dict) else enumerate(made):
            assert_same(kept[key], value, f"{place}, {key}")
    else:
        assert kept == made, place
