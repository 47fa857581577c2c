"""Units of coadds: spellings of one unit, factors between units, and units that do not agree."""

import astropy.units as u
import pytest

from hipsgen.errors import CoaddError, InputError
from hipsgen.images.units import common_unit, conversion, is_logarithmic, is_per_pixel, parse

ONE_UNIT = [
    ("JY/BEAM", "Jy/beam", "Jy beam-1", "JY BEAM-1", "Jy.beam**-1"),
    ("MJY/SR", "MJy/sr", "MJy sr-1", "MJY SR^-1", "MJy/steradian"),
    ("counts/s", "count/s", "cps", "ct / s", "COUNTS/S", "counts per second", "count s-1"),
    ("ELECTRONS/S", "electron/s", "e-/s", "electrons/sec", "ELECTRONS S**-1"),
    ("adu", "ADU", "DN", "dn", "ADU/pixel"),
    ("nJy", "NJY", "nanoJansky", "nJy/pix"),
    ("uJy", "UJY", "\N{MICRO SIGN}Jy", "microjansky"),
    ("nanomaggy", "nanomaggies", "NANOMAGGIES", "nmgy"),
    ("erg/s/cm2/Angstrom", "ERG/S/CM2/A", "erg / (s cm2 Angstrom)", "erg s-1 cm-2 A-1"),
    ("nJy**2", "NJY**2"),
    ("mag", "MAG"),
]


@pytest.mark.parametrize("spellings", ONE_UNIT, ids=lambda s: s[0])
def test_spellings_of_one_unit_are_equal(spellings: tuple[str, ...]) -> None:
    for one in spellings:
        for other in spellings:
            assert conversion(one, other) == 1.0
    unit, notes = common_unit([(f"{k}.fits", text) for k, text in enumerate(spellings)])
    assert unit == spellings[0]
    assert not [note for note in notes if "converted" in note]


CONVERTED = [
    ("uJy", "nJy", 1e3),
    ("MJY/SR", "mJy/sr", 1e9),
    ("Jy", "NJY", 1e9),
    ("MJy/sr", "nJy/arcsec2", (1 * u.MJy / u.sr).to_value(u.nJy / u.arcsec**2)),
    # m = 22.5 - 2.5 log10(nanomaggies) = 31.4 - 2.5 log10(nJy)
    ("nanomaggy", "nJy", 10 ** (0.4 * (31.4 - 22.5))),
    ("nJy", "nanomaggies", 10 ** (0.4 * (22.5 - 31.4))),
    ("nmgy/arcsec2", "nJy/arcsec2", 10 ** (0.4 * (31.4 - 22.5))),
    ("nanomaggy**2", "nJy**2", 10 ** (0.8 * (31.4 - 22.5))),
    ("1e-17 erg/s/cm2/A", "erg/s/cm2/Angstrom", 1e-17),
    ("10**-20 ERG/S/CM2/A", "erg/s/cm2/Angstrom", 1e-20),
    ("electron/s", "electron/h", 3600.0),
]


@pytest.mark.parametrize(("unit_in", "unit", "factor"), CONVERTED)
def test_convertible_units_are_converted_with_a_note(
    unit_in: str, unit: str, factor: float
) -> None:
    assert conversion(unit_in, unit) == pytest.approx(factor, rel=1e-9)
    found, notes = common_unit([("a.fits", unit), ("b.fits", unit_in), ("c.fits", unit_in)])
    assert found == unit
    assert notes == [
        f"values in {unit_in} are converted to {unit}, the unit of the survey, by the factor "
        f"{factor:.6g}"
    ]


OTHERS = [
    ("count", "electron"),
    ("adu", "electron"),
    ("K", "nJy"),
    ("Jy/beam", "Jy"),
    ("Jy/beam", "MJy/sr"),
    ("count", "count/s"),
    ("mag", "nJy"),
    ("mag(AB)", "nJy"),
    ("mag", "dex"),
    ("furlong per fortnight", "nJy"),
    ("nJy", "nJy**2"),
]


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_inconvertible_units_are_listed_in_one_error(one: str, other: str) -> None:
    for unit_in, unit in ((one, other), (other, one)):
        with pytest.raises(CoaddError, match="cannot be converted"):
            conversion(unit_in, unit)
    units = [("a.fits", one), ("b.fits", one), ("c.fits", other)]
    with pytest.raises(InputError) as raised:
        common_unit(units)
    text = str(raised.value)
    assert f"{one} (2 coadds, first a.fits)" in text
    assert f"{other} (1 coadd, first c.fits)" in text
    assert "unit" in text
    assert "\n" not in text


def test_a_coadd_without_a_unit_gets_that_of_the_others_with_a_note() -> None:
    unit, (note,) = common_unit([("a.fits", ""), ("b.fits", "nJy"), ("c.fits", "")])
    assert unit == "nJy"
    assert note.startswith("2 of 3 sampled coadds have no unit (first a.fits)")
    assert common_unit([("a.fits", "")]) == ("", [])
    assert common_unit([("a.fits", "nJy")]) == ("nJy", [])


@pytest.mark.parametrize(
    "unit", ["mag", "MAG/ARCSEC^2", "mag(AB)", "log10(Jy)", "LOG(CM-2)", "dex"]
)
def test_logarithms_are_named_in_a_note(unit: str) -> None:
    assert is_logarithmic(unit)
    assert not is_per_pixel(unit)
    _, (note,) = common_unit([("a.fits", unit)])
    assert note.startswith(f"{unit} is a logarithmic unit")


@pytest.mark.parametrize("unit", ["nJy", "maggy", "nanomaggies", "MJy/sr", "beam", "K"])
def test_units_that_are_not_logarithmic(unit: str) -> None:
    assert not is_logarithmic(unit)


def test_only_amounts_per_pixel_depend_on_the_pixel_area() -> None:
    for unit in ("nJy", "JY", "counts/s", "cps", "ELECTRONS/S", "e-", "DN", "nanomaggies", "nmgy"):
        assert is_per_pixel(unit), unit
    for unit in ("1e3 counts", "10 e-/s", "(electrons)/s", "kct", "10**-2 ADU/pix"):
        assert is_per_pixel(unit), unit
    for unit in (
        "MJY/SR",
        "JY/BEAM",
        "mag",
        "K",
        "",
        "counts/arcsec2",
        "nmgy/arcsec2",
        "s-1",
        "ct2",
    ):
        assert not is_per_pixel(unit), unit
    assert not is_per_pixel("s-1")


def test_an_unknown_unit_is_parsed_as_none() -> None:
    for unit in ("furlong per fortnight", "((", "Jy//", "jyx", "\N{GREEK SMALL LETTER PI}"):
        assert parse(unit) is None
