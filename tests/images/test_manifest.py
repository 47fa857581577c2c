"""A saved manifest gives the references back, or says which line is damaged."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.coadd import CoaddRef
from hipsgen.errors import InputError
from hipsgen.images.manifest import is_manifest, read_manifest, write_manifest
from tests.profiles import examples

texts = st.text(max_size=20)
angles = st.floats(-360, 360, allow_nan=False)
references = st.builds(
    CoaddRef,
    uri=texts,
    identity=texts,
    hdu=texts,
    band=texts,
    polygon=st.lists(st.tuples(angles, angles), max_size=5).map(tuple),
    pixel_scale=st.floats(0, 1),
    data_id=st.lists(st.tuples(texts, st.integers(-5, 1 << 40) | texts), max_size=4).map(tuple),
    dataset_type=texts,
    run=texts,
    dataset_id=texts,
    storage_class=texts,
)


@examples(0.6)
@given(refs=st.lists(references, max_size=4), text=texts)
def test_a_manifest_is_read_as_written(refs: list[CoaddRef], text: str, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "refs.jsonl"
    assert write_manifest(path, refs, text) == len(refs)
    assert is_manifest(path)
    assert read_manifest(path) == (refs, text)


def test_references_of_one_survey_share_what_they_have_in_common(tmp_path: Path):
    path = tmp_path / "refs.jsonl"
    write_manifest(path, (ref_of(k) for k in range(3000)), "x")
    tracemalloc.start()
    refs, _ = read_manifest(path)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refs == [ref_of(k) for k in range(3000)]
    assert refs[0].run is refs[1].run
    assert refs[0].dataset_id is refs[0].identity
    # a URI of 120 letters, a UUID and four corners, and little else
    assert size / len(refs) < 750


def ref_of(k: int) -> CoaddRef:
    corners = ((k * 0.1, 1.0), (k * 0.1 + 0.2, 1.0), (k * 0.1 + 0.2, 1.2), (k * 0.1, 1.2))
    uuid = f"0d9d7a0c-95f5-4b0a-9c6c-{k:012}"
    return CoaddRef(
        uri="file:///" + "repo/main/" * 10 + f"{k:012}",
        identity=uuid,
        band="i",
        polygon=corners,
        data_id=(("skymap", "rings"), ("tract", k // 100), ("patch", k % 100), ("band", "i")),
        dataset_type="deep_coadd",
        run="LSSTCam/runs/DRP/20260101",
        dataset_id=uuid,
        storage_class="ExposureF",
    )


def test_a_file_of_something_else_is_no_manifest(tmp_path: Path):
    (tmp_path / "list.txt").write_text("a.fits\n")
    (tmp_path / "empty").touch()
    for name in ("list.txt", "empty", "missing"):
        assert not is_manifest(tmp_path / name)


DAMAGED = {
    "half a line": '{"hipsgen_manifest": 1, "from": "x"}\n{"uri": "a", "id',
    "not a reference": '{"hipsgen_manifest": 1, "from": "x"}\n{"name": "a"}\n',
    "a field of a later version": (
        '{"hipsgen_manifest": 1, "from": "x"}\n{"uri": "a", "identity": "1", "color": 3}\n'
    ),
    "a number for a line": '{"hipsgen_manifest": 1, "from": "x"}\n17\n',
    "a corner that is not finite": (
        '{"hipsgen_manifest": 1, "from": "x"}\n{"uri": "", "identity": "", "polygon": [[NaN, 2]]}\n'
    ),
    "a corner of words": (
        '{"hipsgen_manifest": 1, "from": "x"}\n{"uri": "a", "identity": "1", "polygon": ["ab"]}\n'
    ),
    "a line that is no text": '{"hipsgen_manifest": 1, "from": "x"}\n\udcff\n',
    "a polygon of numbers": (
        '{"hipsgen_manifest": 1, "from": "x"}\n{"uri": "a", "identity": "1", "polygon": [1, 2]}\n'
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_line_is_named(name: str, tmp_path: Path):
    path = tmp_path / "refs.jsonl"
    path.write_bytes(DAMAGED[name].encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="line 2 is not a reference") as raised:
        read_manifest(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("head", [b"", b"[1]\n", b'{"hipsgen_manifest": 1, "fr', b"\xff\xfe\n"])
def test_a_damaged_beginning_is_an_input_error(head: bytes, tmp_path: Path):
    path = tmp_path / "refs.jsonl"
    path.write_bytes(head)
    with pytest.raises(InputError, match="is not a manifest"):
        read_manifest(path)


def test_a_write_that_is_interrupted_leaves_the_old_manifest(tmp_path: Path):
    path = tmp_path / "refs.jsonl"
    old = [CoaddRef("file:///a", "1")]
    write_manifest(path, old, "old")

    def stops():
        yield CoaddRef("file:///b", "2")
        raise InputError("the registry went away")

    with pytest.raises(InputError):
        write_manifest(path, stops(), "new")
    assert read_manifest(path) == (old, "old")
    assert [p.name for p in tmp_path.iterdir()] == ["refs.jsonl"]
