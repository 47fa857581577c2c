"""Wavelengths of bands by their many names, and the words of HiPS for them."""

import pytest

from hipsgen.survey.bands import regime, wavelengths, white_balance


@pytest.mark.parametrize(
    ("names", "inside"),
    [
        (("g", "g_00", "HSC-G", "g.MP9402", " g ", "g_6", "g DECam"), 480e-9),
        (("r", "r_57", "HSC-R", "r.MP9602"), 620e-9),
        (("i", "HSC-I"), 755e-9),
        (("J", "j"), 1235e-9),
        (("H", "h"), 1662e-9),
        (("K", "Ks", "k", "ks"), 2159e-9),
        (("V",), 550e-9),
    ],
)
def test_a_band_is_known_by_its_usual_names(names: tuple[str, ...], inside: float):
    ranges = {wavelengths(name) for name in names}
    assert len(ranges) == 1
    (found,) = ranges
    assert found is not None
    assert found[0] < inside < found[1]


@pytest.mark.parametrize("name", ["", "F814W", "clear", "_", "HSC-", "W1"])
def test_an_unknown_band_has_no_wavelength(name: str):
    assert wavelengths(name) is None


def test_rubin_bands_go_from_short_to_long():
    ranges = [wavelengths(band) for band in "ugrizy"]
    assert all(ranges)
    assert ranges == sorted(ranges)  # type: ignore[type-var]


def test_every_known_range_is_a_band_of_light():
    for name in "ugrizyUBVRIYJHK":
        low, high = wavelengths(name) or (0.0, 0.0)
        assert 3e-7 < low < high < 2.5e-6


@pytest.mark.parametrize(
    ("metres", "word"),
    [
        (1e-13, "Gamma-ray"),
        (1e-9, "X-ray"),
        (2e-7, "UV"),
        (5.5e-7, "Optical"),
        (2.2e-6, "Infrared"),
        (0.21, "Radio"),
    ],
)
def test_a_regime_is_the_word_of_the_standard(metres: float, word: str):
    assert regime(0.9 * metres, 1.1 * metres) == word


def test_the_sun_is_white():
    """Willmer 2018: redder bands hold more of the Sun's flux per frequency, u and g less."""
    assert white_balance("r") == white_balance("HSC-R") == 1.0
    assert white_balance("g") == pytest.approx(10 ** (0.4 * (5.11 - 4.65)))
    assert white_balance("u") > white_balance("g") > 1.0 > white_balance("i") > 0.8
    assert white_balance("Ks") == white_balance("") == 1.0
