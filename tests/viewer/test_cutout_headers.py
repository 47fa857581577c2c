"""Texts of data IDs and files in the headers of cutouts: FITS and HTTP."""

import io

import pytest
from astropy.io import fits

from hipsgen.survey.provenance import Provenance
from tests.viewer.conftest import client_for, other_coadd
from tests.viewer.small_hips import DEC, RA, make_survey
from tests.viewer.test_originals import VALUE, write_coadd

WORD = "Z\N{LATIN SMALL LETTER U WITH DIAERESIS}rich"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headers")
    make_survey(folder / "hips" / "band_g")
    write_coadd(folder / "coadd.fits")
    return folder


def answer_for(folder, **words):
    coadd = other_coadd(uri=(folder / "coadd.fits").as_uri(), **words)
    (folder / "hips/band_g/provenance.fits").write_bytes(Provenance([coadd]).to_bytes())
    client = client_for(folder / "hips", originals=[str(folder)])
    return client.get("/api/cutout", params={"survey": "band_g", "ra": RA, "dec": DEC, "size": 100})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (WORD, "Z\\xfcrich"),
        ("a\nb\r\nX-Injected: 1", "a\\nb\\r\\nX-Injected: 1"),
        ("a=b 'c' \"d\"", "a=b 'c' \"d\""),
        ("\0\x1b\x7f", "\\x00\\x1b\\x7f"),
        ("\u202etfel", "\\u202etfel"),
        ("x" * 300, "x" * 300),
        (10**15, 10**15),
        (True, True),
        (0.25, 0.25),
    ],
)
def test_any_value_of_a_data_id_can_be_written(folder, value, written):
    answer = answer_for(folder, data_id=(("patch", value),), run=f"u/{value}")
    assert answer.status_code == 200
    name = answer.headers["content-disposition"]
    assert name.isascii()
    assert name.isprintable()
    assert "x-injected" not in answer.headers
    assert len(name) < 250
    with fits.open(io.BytesIO(answer.content), checksum=True) as cut:
        cut.verify("exception")
        assert cut[0].header["DATA ID PATCH"] == written
        assert cut["IMAGE"].data[0, 0] == VALUE


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (WORD, "Z-RICH"),
        ("a=b", "A-B"),
        ("a\nb", "A-B"),
        ("a b/c.d", "A B/C.D"),
        ("k" * 200, "K" * 51),
        ("", ""),
    ],
)
def test_any_key_of_a_data_id_can_be_written(folder, key, written):
    answer = answer_for(folder, data_id=((key, "value"),))
    assert answer.status_code == 200
    with fits.open(io.BytesIO(answer.content), checksum=True) as cut:
        cut.verify("exception")
        found = [k for k, v in cut[0].header.items() if v == "value"]
        assert len(found) == 1
        assert found[0].startswith(f"DATA ID {written}"[:40].strip())


def test_a_data_id_with_an_infinite_number_is_refused(folder):
    answer = answer_for(folder, data_id=(("patch", 7),))
    assert answer.status_code == 200
    table = folder / "hips/band_g/provenance.fits"
    table.write_bytes(table.read_bytes().replace(b'{"patch": 7}', b'{"p":1e999 }'))
    client = client_for(folder / "hips", originals=[str(folder)])
    asked = client.get("/api/coadds", params={"survey": "band_g", "ra": RA, "dec": DEC})
    assert asked.status_code == 404
    assert "not a provenance table" in asked.json()["error"]
