"""ImageWcs against astropy's own high-level transformation, which is the oracle."""

import warnings
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.units import deg
from astropy.wcs import WCS, FITSFixedWarning

from hipsgen.errors import CoaddError
from hipsgen.images.wcs import ImageWcs
from hipsgen.sky.polygon import to_lonlat, to_vectors
from tests.images.making import ARCSEC, tan_header, winds_round

SHAPE = (300, 400)
TURN = np.radians(31.0)
PIXELS = 2e-6  # a difference of so many pixels is none


def header(**cards: Any) -> fits.Header:
    return tan_header(SHAPE, **cards)


def frame(kind: str, projection: str = "TAN") -> dict[str, str]:
    lon, lat = {"galactic": ("GLON", "GLAT"), "equatorial": ("RA--", "DEC-")}[kind]
    return {"CTYPE1": f"{lon}-{projection}", "CTYPE2": f"{lat}-{projection}"}


SIP = {
    **{"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
    **{"A_ORDER": 3, "A_2_0": 2e-5, "A_1_1": -1e-5, "A_0_3": 3e-8, "A_3_0": 1e-8},
    **{"B_ORDER": 3, "B_0_2": -2e-5, "B_1_1": 1.5e-5, "B_2_1": 2e-8},
}
TPV = {
    **{"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CDELT1": None, "CDELT2": None},
    **{"CD1_1": -ARCSEC, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": ARCSEC},
    **{"PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 0.01, "PV1_5": -0.02},
    **{"PV2_0": 0.0, "PV2_1": 1.0, "PV2_4": -0.015, "PV2_7": 0.3},
}
ZPN = {
    **{"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN"},
    **{"PV2_0": 0.0, "PV2_1": 1.0, "PV2_2": 0.0, "PV2_3": -50.0},
}
CD = {"CDELT1": None, "CDELT2": None}
CASES = {
    "TAN": {},
    "SIN": {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    "ZPN": ZPN,
    "TPV": TPV,
    "SIP": SIP,
    "galactic": frame("galactic"),
    "galactic SIN": frame("galactic", "SIN"),
    "ICRS by default": {"RADESYS": None},
    "FK5": {"RADESYS": "FK5", "EQUINOX": 2000.0},
    "FK5 of 1975": {"RADESYS": "FK5", "EQUINOX": 1975.0},
    "FK5 by EQUINOX alone": {"RADESYS": None, "EQUINOX": 2000.0},
    "FK4": {"RADESYS": "FK4", "EQUINOX": 1950.0},
    "B1950 by EQUINOX alone": {"RADESYS": None, "EQUINOX": 1950.0},
    "FK4-NO-E": {"RADESYS": "FK4-NO-E", "EQUINOX": 1950.0},
    "CD": {
        **CD,
        "CD1_1": -ARCSEC * np.cos(TURN),
        "CD1_2": ARCSEC * np.sin(TURN),
        "CD2_1": ARCSEC * np.sin(TURN),
        "CD2_2": ARCSEC * np.cos(TURN),
    },
    "CD with skew": {**CD, "CD1_1": -1e-4, "CD1_2": 3e-5, "CD2_1": 1e-5, "CD2_2": 2e-4},
    "CDELT and CROTA": {"CROTA2": 31.0},
    "PC": {"PC1_1": np.cos(TURN), "PC1_2": -np.sin(TURN), "PC2_1": np.sin(TURN), "PC2_2": 0.8},
    "flipped parity": {"CDELT1": ARCSEC},
    "upside down": {"CDELT2": -ARCSEC},
    "oblong pixels": {"CDELT2": 3 * ARCSEC},
    "swapped axes": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.0, "CRVAL2": 150.0},
    "swapped axes, CD": {
        **{"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.0, "CRVAL2": 150.0, **CD},
        **{"CD1_1": 2e-4, "CD1_2": 1e-5, "CD2_1": 3e-5, "CD2_2": -2e-4},
    },
    "north pole": {"CRVAL2": 90.0},
    "beside the north pole": {"CRVAL2": 89.98},
    "south pole": {"CRVAL2": -90.0},
    "across RA 0": {"CRVAL1": 0.01},
    "RA below 0": {"CRVAL1": -0.01},
    "CAR": {"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR"},
    "CAR far from its equator": {
        **{"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRVAL2": 0.0, "CRPIX2": -200000.0},
    },
    "CAR, wide, with sides that bulge": {
        **{"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRVAL2": 0.0, "CRPIX2": -3600.0},
        **{"CDELT1": -1 / 60, "CDELT2": 1 / 60},
    },
    "ARC": {"CTYPE1": "RA---ARC", "CTYPE2": "DEC--ARC"},
    "STG": {"CTYPE1": "RA---STG", "CTYPE2": "DEC--STG"},
    "ZEA of ten degrees": {
        **{"CTYPE1": "RA---ZEA", "CTYPE2": "DEC--ZEA", "CDELT1": -0.03, "CDELT2": 0.03},
    },
    "degenerate third axis": {
        **{"NAXIS": 3, "CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0},
        **{"CUNIT3": "Hz"},
    },
    "degenerate third and fourth axes": {
        **{"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"},
        **{"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0},
    },
}


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> fits.Header:
    return header(**CASES[request.param])


def oracle(card: fits.Header) -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # it dates FK4 frames
        return WCS(card).celestial if "CTYPE3" in card else WCS(card)


def through_astropy(card: fits.Header, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = to_lonlat(vectors)
    x, y = oracle(card).world_to_pixel(SkyCoord(lon * deg, lat * deg, frame=ICRS()))
    return np.asarray(x), np.asarray(y)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Positions all over the image, its corners too."""
    rows, cols = SHAPE
    x, y = np.meshgrid(np.linspace(-0.5, cols - 0.5, 9), np.linspace(-0.5, rows - 0.5, 7))
    return x.ravel(), y.ravel()


def test_sky_to_pixel_is_that_of_astropy(case: fits.Header):
    wcs = ImageWcs(case, SHAPE)
    vectors = wcs.to_sky(*grid())
    expected = through_astropy(case, vectors)
    found = wcs(vectors)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=PIXELS)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=PIXELS)


def test_pixel_to_sky_is_that_of_astropy(case: fits.Header):
    vectors = ImageWcs(case, SHAPE).to_sky(*grid())
    sky = oracle(case).pixel_to_world(*grid()).transform_to(ICRS())
    expected = to_vectors(sky.ra.deg, sky.dec.deg)
    assert np.degrees(np.abs(vectors - expected).max()) < 1e-10


def test_there_and_back_is_the_same_pixel(case: fits.Header):
    wcs = ImageWcs(case, SHAPE)
    x, y = wcs(wcs.to_sky(*grid()))
    np.testing.assert_allclose(x, grid()[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(y, grid()[1], rtol=0, atol=1e-5)


def test_shapes_of_arrays_are_kept(case: fits.Header):
    wcs = ImageWcs(case, SHAPE)
    vectors = wcs.to_sky(*grid())
    x, y = wcs(vectors.reshape(7, 9, 3))
    assert x.shape == y.shape == (7, 9)
    np.testing.assert_array_equal(x.ravel(), wcs(vectors)[0])


def test_outline_encloses_the_pixel_centers_and_little_more(case: fits.Header):
    wcs = ImageWcs(case, SHAPE)
    polygon = to_vectors(*zip(*wcs.outline(), strict=True))
    rows, cols = SHAPE
    along_x, along_y = np.arange(float(cols)), np.arange(float(rows))

    def frame_at(away: float) -> np.ndarray:
        """Pixels on the outermost rows and columns, or so many pixels further out."""
        left, right = np.full(rows, -away), np.full(rows, cols - 1 + away)
        low, high = np.full(cols, -away), np.full(cols, rows - 1 + away)
        x = np.concatenate([left, right, along_x, along_x])
        y = np.concatenate([along_y, along_y, low, high])
        return wcs.to_sky(x, y)

    assert winds_round(polygon, frame_at(0.0)).all()
    assert not winds_round(polygon, frame_at(1.5)).any()


def test_pixel_scale_is_the_side_of_a_square_of_the_pixels_area(case: fits.Header):
    wcs = ImageWcs(case, SHAPE)
    rows, cols = SHAPE
    x, y = np.array([0.0, 1.0, 0.0]) + cols / 2, np.array([0.0, 0.0, 1.0]) + rows / 2
    a, b, c = wcs.to_sky(x, y)
    side = np.degrees(np.sqrt(np.linalg.norm(np.cross(b - a, c - a))))
    if case["CRPIX2"] < 0:  # far from the equator of a CAR map pixels are narrow
        side = case["CDELT2"]
    assert wcs.pixel_scale() == pytest.approx(side, rel=2e-3)


def all_sky_header(projection: str, kind: str = "equatorial", **cards: Any) -> fits.Header:
    """One degree per pixel, the whole sky."""
    center = {"CRPIX1": 180.5, "CRPIX2": 90.5, "CRVAL1": 0.0, "CRVAL2": 0.0}
    step = {"CDELT1": -1.0, "CDELT2": 1.0}
    return header(**{**frame(kind, projection), **center, **step, **cards})


def all_sky(projection: str, kind: str = "equatorial", **cards: Any) -> ImageWcs:
    return ImageWcs(all_sky_header(projection, kind, **cards), (180, 360))


def everywhere(count: int = 2000) -> np.ndarray:
    vectors = np.random.default_rng(3).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("projection", ["CAR", "CEA", "MER"])
@pytest.mark.parametrize("kind", ["equatorial", "galactic"])
@pytest.mark.parametrize("crval", [0.0, 123.25, 359.5])
def test_a_map_round_the_sky_has_every_longitude_once(projection: str, kind: str, crval: float):
    wcs = all_sky(projection, kind, CRVAL1=crval)
    vectors = everywhere()
    x, _ = wcs(vectors)
    assert ((x >= -0.5) & (x < 359.5)).all()
    sky = SkyCoord(*to_lonlat(vectors) * deg, frame="icrs")
    lon = sky.galactic.l.deg if kind == "galactic" else sky.ra.deg
    expected = 179.5 - (lon - crval)
    off = (x - expected + 180) % 360 - 180
    assert np.abs(off).max() < 1e-6


def test_a_map_round_the_sky_may_begin_anywhere():
    wcs = all_sky("CAR", CRPIX1=1.0, CRVAL1=300.0)
    x, _ = wcs(everywhere())
    assert ((x >= -0.5) & (x < 359.5)).all()


def test_maps_of_the_whole_sky_have_no_outline():
    for projection in ("CAR", "AIT", "MOL"):
        assert all_sky(projection).outline() == ()


@pytest.mark.parametrize("projection", ["AIT", "MOL", "SFL"])
def test_an_oval_map_is_that_of_astropy_and_nothing_outside(projection: str):
    wcs = all_sky(projection)
    vectors = everywhere()
    expected = through_astropy(all_sky_header(projection), vectors)
    for found, wanted in zip(wcs(vectors), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=PIXELS)
    corners = wcs.to_sky(np.array([0.0, 359.0]), np.array([0.0, 179.0]))
    assert np.isnan(corners).all()


@pytest.mark.parametrize("cards", [{}, {"RADESYS": None}, {"RADESYS": "FK5", "EQUINOX": 2000.0}])
def test_ecliptic_images_are_turned_by_the_obliquity(cards: dict[str, Any]):
    """astropy itself takes them for equatorial ones."""
    axes = {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}
    wcs = ImageWcs(header(**axes, **cards), SHAPE)
    lon, lat = oracle(header(**axes, **cards)).wcs_pix2world(*grid(), 0)
    x, y, z = to_vectors(lon, lat).T
    tilt = np.radians(84381.406 / 3600)  # IAU 2006
    expected = np.stack(
        [x, y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)], axis=-1
    )
    found = wcs.to_sky(*grid())
    assert np.degrees(np.abs(found - expected).max()) * 3600 < 0.05  # the bias of J2000 to ICRS
    np.testing.assert_allclose(wcs(found), grid(), rtol=0, atol=1e-5)


def test_the_other_side_of_the_sky_has_no_pixel_in_a_tangential_projection():
    wcs = ImageWcs(header(), SHAPE)
    behind = -wcs.to_sky(np.array([200.0]), np.array([150.0]))
    x, y = wcs(behind)
    assert not (np.isfinite(x) & np.isfinite(y)).any()


@pytest.mark.parametrize("kind", ["SIP", "TPV"])
def test_a_distortion_brings_nothing_far_away_into_the_image(kind: str):
    """Polynomials turn back far from the image for which they were made."""
    wcs = ImageWcs(header(**CASES[kind]), SHAPE)
    x, y = wcs(everywhere(20_000))
    rows, cols = SHAPE
    inside = (x > -1) & (x < cols) & (y > -1) & (y < rows)
    there = wcs.to_sky(x[inside], y[inside])
    assert (np.linalg.norm(there - everywhere(20_000)[inside], axis=1) < 1e-6).all()


REFUSED = {
    "no WCS": (
        dict.fromkeys(["CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2"]),
        "no celestial WCS",
    ),
    "spectral axes": ({"CTYPE1": "WAVE", "CTYPE2": "LINEAR", "RADESYS": None}, "no celestial WCS"),
    "one celestial axis": ({"CTYPE2": "WAVE"}, "celestial"),
    "celestial axes that are not the first": (
        {"CTYPE1": "FREQ", "CTYPE2": "STOKES", "CTYPE3": "RA---TAN", "CTYPE4": "DEC--TAN"},
        "no celestial WCS",
    ),
    "garbage in CTYPE": ({"CTYPE1": "!!", "CTYPE2": "??"}, "no celestial WCS"),
    "unknown projection": ({"CTYPE1": "RA---QQQ", "CTYPE2": "DEC--QQQ"}, "WCS|celestial"),
    "two projections": ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--SIN"}, "WCS|celestial"),
    "singular CD": (
        {**CD, "CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4},
        "WCS",
    ),
    "pixels of no size": ({"CDELT1": 0.0}, "WCS"),
    "unknown frame": ({"RADESYS": "XYZ"}, "frame"),
    "ecliptic of 1950": (
        {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN", "RADESYS": None, "EQUINOX": 1950.0},
        "ecliptic of FK4",
    ),
    "helioprojective": ({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}, "frame"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_wcs_is_refused_in_one_line_with_the_reason(name: str):
    cards, reason = REFUSED[name]
    with pytest.raises(CoaddError, match=reason) as raised:
        ImageWcs(header(**cards), SHAPE).outline()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


NUMBERS = ["CRVAL1", "CRPIX2", "CDELT1", "CROTA2", "PC1_2", "CD2_1", "PV2_3", "LONPOLE", "LATPOLE"]


@pytest.mark.parametrize("value", ["'150.1'", "", "1E999"], ids=["text", "nothing", "infinity"])
@pytest.mark.parametrize("keyword", NUMBERS)
def test_wcs_keywords_that_are_not_numbers_are_refused_by_name(keyword: str, value: str):
    """wcslib would take its default: right ascension 0 for a CRVAL1 that is text."""
    made = header()
    made.remove(keyword, ignore_missing=True)
    made.append(fits.Card.fromstring(f"{keyword:8}= {value}"))
    with pytest.raises(CoaddError, match=f"its {keyword} .*not a number"):
        ImageWcs(made, SHAPE)


def test_an_equinox_that_is_text_is_refused_unless_it_is_the_default():
    made = {"RADESYS": None, "EQUINOX": "J2000.0"}
    assert header(**made)["EQUINOX"] == "J2000.0"
    pole = to_vectors(150.0, 2.0)
    x, y = ImageWcs(header(**made), SHAPE)(pole)
    assert float(np.hypot(x - 199.5, y - 149.5)) < 0.2  # FK5 is not quite ICRS
    with pytest.raises(CoaddError, match="its EQUINOX = 'B1950' is not a number"):
        ImageWcs(header(RADESYS=None, EQUINOX="B1950"), SHAPE)


def test_wcs_keywords_of_unused_axes_are_ignored():
    assert ImageWcs(header(CRVAL3="unknown"), SHAPE).outline()


@pytest.mark.parametrize("name", ["TAN", "TPV", "SIP", "FK4"])
def test_threads_do_not_disturb_one_another(name: str):
    from concurrent.futures import ThreadPoolExecutor

    wcs = ImageWcs(header(**CASES[name]), SHAPE)
    vectors = np.tile(wcs.to_sky(*grid()), (20, 1))
    expected = wcs(vectors)
    with ThreadPoolExecutor(4) as pool:
        for x, y in pool.map(lambda _: wcs(vectors), range(40)):
            np.testing.assert_array_equal(x, expected[0])
            np.testing.assert_array_equal(y, expected[1])


@pytest.mark.parametrize("unit", ["DEG", "degree", "Degrees", "Deg", "deg     "])
@pytest.mark.parametrize("more", [{}, {"NAXIS3": 1, "CTYPE3": "FREQ", "CUNIT3": "HERTZ"}])
def test_units_of_axes_in_any_spelling_are_degrees(unit: str, more: dict[str, Any]):
    """astropy corrects them, but not when it selects two axes."""
    plain = header()
    spelled = header(CUNIT1=unit, CUNIT2=unit, **more)
    x, y = grid()
    np.testing.assert_array_equal(
        ImageWcs(spelled, SHAPE).to_sky(x, y), ImageWcs(plain, SHAPE).to_sky(x, y)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        lon, lat = WCS(header(CUNIT1=unit, CUNIT2=unit)).wcs_pix2world(x, y, 0)
    found = ImageWcs(spelled, SHAPE).to_sky(x, y)
    np.testing.assert_allclose(found, to_vectors(lon, lat), atol=1e-14)


@pytest.mark.parametrize("unit", ["arcsec", "ARCSEC", "arcseconds"])
def test_steps_may_be_in_arcseconds(unit: str):
    cards = {"CUNIT1": unit, "CUNIT2": unit, "CDELT1": -1.0, "CDELT2": 1.0}
    cards |= {f"CRVAL{k}": 3600 * header()[f"CRVAL{k}"] for k in (1, 2)}
    x, y = grid()
    np.testing.assert_allclose(
        ImageWcs(header(**cards), SHAPE).to_sky(x, y),
        ImageWcs(header(), SHAPE).to_sky(x, y),
        atol=1e-14,
    )


def test_a_unit_that_is_no_angle_is_refused():
    with pytest.raises(CoaddError, match="WCS cannot be"):
        ImageWcs(header(CUNIT1="furlong", CUNIT2="furlong"), SHAPE)
