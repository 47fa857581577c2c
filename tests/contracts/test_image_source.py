"""What every ImageSource and its CoaddReader promise: Butler, FITS folder, saved manifest."""

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, InputError
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.manifest import read_manifest, write_manifest
from hipsgen.images.source import CoaddReader, ImageSource, RefList
from hipsgen.images.uris import path_of, uri_of
from hipsgen.sky.polygon import to_vectors
from samples.repository import CHAIN, DATASET_TYPE
from samples.tractfiles import FIRST_RUN
from tests.images.making import noise, tan_header, winds_round, with_hole, write


@dataclass
class Case:
    """A source of at least three coadds, some with holes.

    changed: the same source after the first coadd was replaced. broken: makes a source whose
    collection itself cannot be read; it may fail when it is made or when it is asked.
    """

    source: ImageSource
    changed: Callable[[], ImageSource]
    broken: Callable[[], list[CoaddRef]]


def butler(repository: Path, tmp_path: Path) -> Case:
    def source(collection: str, root: Path = repository) -> ButlerSource:
        return ButlerSource(str(root), DATASET_TYPE, (collection,), "i")

    return Case(
        source(FIRST_RUN),
        lambda: source(CHAIN),  # its newer run holds the first patch anew
        lambda: list(source(CHAIN, tmp_path).refs()),
    )


def folder(repository: Path, tmp_path: Path) -> Case:
    place = tmp_path / "a folder"
    place.mkdir()
    plain = fits.PrimaryHDU(with_hole(noise()), tan_header(BUNIT="nJy"))
    write(place / "a plain.fits", plain)
    files = sorted(repository.rglob("*.fits"))
    for path in files[:: len(files) // 4]:
        shutil.copy(path, place)

    def changed() -> FitsFolder:
        data = fits.getdata(place / "a plain.fits") + np.float32(1)
        (place / "a plain.fits").unlink()
        write(place / "a plain.fits", fits.PrimaryHDU(data, plain.header))
        os.utime(place / "a plain.fits", ns=(0, 1))  # a second within the clock's step
        return FitsFolder([str(place)])

    missing = FitsFolder([str(tmp_path / "missing")])
    return Case(FitsFolder([str(place)]), changed, lambda: list(missing.refs()))


def manifest(repository: Path, tmp_path: Path) -> Case:
    def saved(source: ImageSource, name: str) -> RefList:
        path = tmp_path / name
        write_manifest(path, source.refs(), source.describe())
        refs, text = read_manifest(path)
        return RefList(tuple(refs), source.reader(), text)

    def broken() -> list[CoaddRef]:
        path = tmp_path / "broken"
        path.write_text('{"hipsgen_manifest": 1, "from": "x"}\n{"uri": "a", "ide\n')
        return read_manifest(path)[0]

    below = folder(repository, tmp_path)
    return Case(saved(below.source, "old"), lambda: saved(below.changed(), "new"), broken)


@pytest.fixture(params=[butler, folder, manifest], ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Case:
    return request.param(repository, tmp_path)


@pytest.fixture
def source(case: Case) -> ImageSource:
    return case.source


@pytest.fixture
def refs(source: ImageSource) -> list[CoaddRef]:
    return list(source.refs())


def everything(reader: CoaddReader, ref: CoaddRef) -> np.ndarray:
    rows, cols = reader.info(ref).shape
    return reader.read(ref, (slice(0, rows), slice(0, cols)))


def test_has_the_shape_of_the_protocols(source: ImageSource):
    assert isinstance(source, ImageSource)
    assert isinstance(source.reader(), CoaddReader)


def test_describes_itself_in_one_line(source: ImageSource):
    assert source.describe().strip()
    assert "\n" not in source.describe()


def test_references_are_the_same_each_time(source: ImageSource, refs: list[CoaddRef]):
    assert len(refs) >= 3
    assert list(source.refs()) == refs
    assert len(set(refs)) == len(refs)
    assert source.problems == []


def test_references_and_reader_survive_pickling(source: ImageSource, refs: list[CoaddRef]):
    again = pickle.loads(pickle.dumps(refs))
    assert again == refs
    assert hash(again[0]) == hash(refs[0])
    reader = pickle.loads(pickle.dumps(source.reader()))
    expected = everything(source.reader(), refs[0])
    np.testing.assert_array_equal(everything(reader, again[0]), expected)


def test_identity_changes_with_the_content_and_only_then(case: Case, refs: list[CoaddRef]):
    changed = list(case.changed().refs())
    assert len(changed) == len(refs)
    assert changed[0].identity != refs[0].identity
    assert [r.identity for r in changed[1:]] == [r.identity for r in refs[1:]]


def test_polygon_contains_the_centers_of_the_outermost_pixels(
    source: ImageSource, refs: list[CoaddRef]
):
    for ref in refs:
        info = source.reader().info(ref)
        rows, cols = info.shape
        x, y = (a.ravel() for a in np.meshgrid(np.arange(cols), np.arange(rows)))
        edge = (x == 0) | (y == 0) | (x == cols - 1) | (y == rows - 1)
        points = info.wcs.to_sky(x[edge].astype(float), y[edge].astype(float))
        assert len(ref.polygon) >= 3
        assert winds_round(to_vectors(*zip(*ref.polygon, strict=True)), points).all()


def test_info_tells_shape_scale_and_unit(source: ImageSource, refs: list[CoaddRef]):
    for ref in refs:
        info = source.reader().info(ref)
        assert everything(source.reader(), ref).shape == info.shape
        assert ref.pixel_scale in (0.0, info.pixel_scale)
        x, y = info.shape[1] / 2 + np.array([0.0, 1.0, 0.0]), info.shape[0] / 2 + np.eye(3)[2]
        a, b, c = info.wcs.to_sky(x, y)
        area = np.linalg.norm(np.cross(b - a, c - a))
        assert np.degrees(np.sqrt(area)) == pytest.approx(info.pixel_scale, rel=1e-3)
        assert info.unit == "nJy"


def test_a_section_is_the_crop_of_everything(source: ImageSource, refs: list[CoaddRef]):
    rng = np.random.default_rng(5)
    for ref in refs[:3]:
        full = everything(source.reader(), ref)
        rows, cols = full.shape
        corners = [(0, 1, 0, cols), (rows - 1, rows, 0, 1), (0, rows, cols - 1, cols)]
        for _ in range(3):
            y0, y1 = sorted(rng.choice(rows + 1, 2, replace=False).tolist())
            x0, x1 = sorted(rng.choice(cols + 1, 2, replace=False).tolist())
            corners.append((y0, y1, x0, x1))
        for y0, y1, x0, x1 in corners:
            section = slice(y0, y1), slice(x0, x1)
            np.testing.assert_array_equal(source.reader().read(ref, section), full[section])


def test_parts_of_a_section_go_where_they_are_asked_for(source: ImageSource, refs: list[CoaddRef]):
    for ref in refs[:3]:
        full = everything(source.reader(), ref)
        section = slice(3, full.shape[0] - 2), slice(1, full.shape[1] - 4)
        middle = (section[0].start + section[0].stop) // 2
        parts = [
            (slice(3, 9), slice(5, 7)),
            (slice(9, middle), slice(1, section[1].stop)),
            (slice(section[0].stop - 1, section[0].stop), slice(2, 30)),
        ]
        out = np.full([s.stop - s.start for s in section], 7.0, np.float32)
        assert source.reader().read(ref, section, parts, out) is out
        for rows, cols in parts:
            there = slice(rows.start - 3, rows.stop - 3), slice(cols.start - 1, cols.stop - 1)
            np.testing.assert_array_equal(out[there], full[rows, cols])


def test_pixels_are_float32_native_contiguous_and_ones_own(
    source: ImageSource, refs: list[CoaddRef]
):
    for ref in refs:
        pixels = source.reader().read(ref, (slice(2, 30), slice(5, 25)))
        assert pixels.dtype == np.float32
        assert pixels.dtype.isnative
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable
        assert pixels.flags.owndata


def test_missing_pixels_are_nan_and_nothing_is_infinite(source: ImageSource, refs: list[CoaddRef]):
    images = [everything(source.reader(), ref) for ref in refs]
    assert sum(np.isnan(image).any() for image in images) >= 1
    assert all(np.isfinite(image).mean() > 0.8 for image in images)
    assert not any(np.isinf(image).any() for image in images)


@pytest.mark.parametrize("damage", ["deleted", "text", "empty"])
def test_a_file_that_cannot_be_read_is_a_coadd_error_of_one_line(
    source: ImageSource, refs: list[CoaddRef], tmp_path: Path, damage: str
):
    from dataclasses import replace

    path = tmp_path / "damaged.fits"
    if damage != "deleted":
        path.write_text("not FITS\n" * (200 if damage == "text" else 0))
    ref = replace(refs[0], uri=uri_of(path))
    for ask in (
        lambda: source.reader().info(ref),
        lambda: source.reader().read(ref, (slice(0, 2), slice(0, 2))),
    ):
        with pytest.raises(CoaddError) as raised:
            ask()
        assert str(raised.value)
        assert "\n" not in str(raised.value)


def test_what_cannot_be_listed_is_an_input_error_of_one_line(case: Case):
    with pytest.raises(InputError) as raised:
        case.broken()
    assert "\n" not in str(raised.value)


def test_uris_name_the_files(refs: list[CoaddRef]):
    for ref in refs:
        path = path_of(ref.uri)
        assert path is not None
        assert path.is_file()
        assert ref.uri in str(ref)
        assert ref.uri.isascii()


def test_reader_of_a_list_is_the_one_given():
    reader = FitsReader(blank=3.0)
    source = RefList((), reader, "nothing")
    assert source.reader() is reader
    assert list(source.refs()) == []
