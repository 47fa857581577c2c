"""Windows: a tile gets bit for bit the same pixels as from the whole coadd."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import healpy
import numpy as np
import pytest

from hipsgen.coadd import CoaddRef
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.source import CoaddInfo, Section, Values
from hipsgen.images.uris import uri_of
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.render.window import ScratchBuffer, Window, scratch_buffer, window_root
from hipsgen.sky.resample import INTERPOLATIONS, margin, resample
from hipsgen.sky.tiles import Tile
from tests.conftest import StarField
from tests.pixel_maps import pixel_map

pytestmark = pytest.mark.slow

WIDTH = 64
SIZE = 700
ORDER = 14  # pixels of 0.2 arcsec, as those of the image
GARBAGE = np.float32(-1e30)


@dataclass(eq=False)
class Watched:
    """A reader that records what it reads, with a given value of `in_parts`."""

    in_parts: bool = True
    inner: FitsReader = field(default_factory=FitsReader)
    reads: list[Sequence[Section]] = field(default_factory=list)

    def info(self, ref: CoaddRef) -> CoaddInfo:
        return replace(self.inner.info(ref), in_parts=self.in_parts)

    def read(
        self,
        ref: CoaddRef,
        section: Section,
        parts: Sequence[Section] = (),
        out: Values | None = None,
    ) -> Values:
        self.reads.append(parts)
        if out is not None:
            out[:] = GARBAGE
        return self.inner.read(ref, section, parts, out)


@pytest.fixture(scope="module", params=[(30.0, -10.0), (45.0, 41.8103), (0.0, 89.9995)])
def sky(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Return an image with holes, and tiles on it and across its edges in NESTED order."""
    lon, lat = request.param
    folder = tmp_path_factory.mktemp("window")
    holes = [(slice(300, 340), slice(200, 500)), (slice(10, 11), slice(20, 21))]
    rng = np.random.default_rng(4)
    stars = np.stack([*rng.uniform(0, SIZE, (2, 900)), 10 ** rng.uniform(0, 4, 900)], axis=1)
    StarField(lon, lat, size=SIZE, stars=stars.tolist(), holes=holes).write(folder / "image.fits")
    ref = CoaddRef(uri_of(folder / "image.fits"), "x")
    wcs = FitsReader().info(ref).wcs
    along = np.linspace(-20.0, SIZE + 20.0, 40)
    x, y = (a.ravel() for a in np.meshgrid(along, along))
    numbers = healpy.vec2pix(1 << ORDER, *wcs.to_sky(x, y).T, nest=True)
    return ref, [Tile(ORDER, int(n)) for n in np.unique(numbers)]


def windowed(
    tiles: list[Tile], ref: CoaddRef, reader: Watched, interpolation: str, buffer: ScratchBuffer
) -> dict[Tile, np.ndarray]:
    cache, found, window = CoaddCache(reader, 1 << 30), {}, None
    for tile in tiles:
        if window is None or window.root != window_root(tile, 512):
            buffer.clear()
            reach = margin(interpolation)
            info = reader.info(ref)
            window = Window.of_tile(tile, WIDTH, "equatorial", reach, ref, info, None)
        at = window.map(tile)
        got = None if at is None else window.read(at, reader, cache, buffer)
        if at is not None and got is not None:
            found[tile] = resample(got[0], at, interpolation, got[1])
    return found


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_tiles_do_not_depend_on_how_their_pixels_are_read(sky, interpolation: str) -> None:
    ref, tiles = sky
    ample, tight = ScratchBuffer(1 << 28), ScratchBuffer(4096)
    reader = Watched()
    parts = windowed(tiles, ref, reader, interpolation, ample)
    whole = windowed(tiles, ref, Watched(in_parts=False), interpolation, ample)
    alone = windowed(tiles, ref, Watched(), interpolation, tight)
    assert len(parts) > 20
    assert {t: v.tobytes() for t, v in parts.items()} == {t: v.tobytes() for t, v in whole.items()}
    assert {t: v.tobytes() for t, v in alone.items()} == {t: v.tobytes() for t, v in whole.items()}
    assert np.isfinite(np.concatenate([v.ravel() for v in parts.values()])).any()
    assert min(np.nanmin(v) for v in parts.values() if np.isfinite(v).any()) > GARBAGE / 2


def test_positions_are_those_of_a_grid_of_the_tile(sky) -> None:
    ref, tiles = sky
    info = FitsReader().info(ref)
    for tile in tiles[::7]:
        window = Window.of_tile(tile, WIDTH, "equatorial", 3, ref, info, None)
        got = window.map(tile)
        wanted = pixel_map(tile, WIDTH, "equatorial", info.wcs, info.shape)
        assert (got is None) == (wanted is None) or np.isnan(got.positions()).all()
        if got is not None and wanted is not None:
            here, there = np.stack(got.positions()), np.stack(wanted.positions())
            both = np.isfinite(here + there)
            assert np.abs(here - there)[both].max(initial=0.0) < 2e-6


def test_pixels_are_read_once_and_few_are_superfluous(tmp_path: Path) -> None:
    size = 3000
    StarField(30.0, -10.0, size=size).write(tmp_path / "image.fits")
    ref = CoaddRef(uri_of(tmp_path / "image.fits"), "x")
    reader = Watched()
    wcs = reader.info(ref).wcs
    x, y = (a.ravel() for a in np.meshgrid(*[np.arange(0.0, size, 8.0)] * 2))
    order = ORDER - 3  # windows of 4 x 4 tiles of 512 pixels
    numbers = np.unique(healpy.vec2pix(1 << order, *wcs.to_sky(x, y).T, nest=True))
    buffer, cache, tops = ScratchBuffer(1 << 28), CoaddCache(reader, 1 << 30), set()
    for tile in (Tile(order, int(n)) for n in numbers):
        if window_root(tile, 512) not in tops:
            tops.add(window_root(tile, 512))
            buffer.clear()
            info = reader.info(ref)
            window = Window.of_tile(tile, 512, "equatorial", 3, ref, info, None)
        at = window.map(tile)
        if at is not None:
            window.read(at, reader, cache, buffer)
    assert len(reader.reads) == len(tops)
    pixels = sum(
        (r.stop - r.start) * (c.stop - c.start) for parts in reader.reads for r, c in parts
    )
    assert size**2 < pixels < 1.15 * size**2


def test_a_buffer_is_reused_after_it_was_cleared() -> None:
    buffer = ScratchBuffer(4000)
    first, second = buffer.allocate(10, 50), buffer.allocate(5, 100)
    assert first is not None
    assert second is not None
    first[:], second[:] = 1, 2
    assert (first == 1).all()
    assert buffer.allocate(1, 1) is None
    buffer.clear()
    again = buffer.allocate(10, 50)
    assert again is not None
    assert np.shares_memory(again, first)
    assert buffer.allocate(100, 100) is None
    assert buffer.allocate(5, 100) is not None


def test_a_thread_keeps_its_buffer() -> None:
    mine = scratch_buffer(1 << 20)
    assert mine.allocate(10, 10) is not None
    assert scratch_buffer(1 << 20) is mine
    assert mine.allocate(1 << 9, 1 << 9) is not None  # all of it, as it was cleared
    assert scratch_buffer(1 << 21) is not mine


def test_the_window_of_a_tile_depends_only_on_the_tile() -> None:
    assert window_root(Tile(11, 12345), 512) == Tile(9, 12345 >> 4)
    assert window_root(Tile(1, 7), 512) == Tile(0, 1)
    assert window_root(Tile(0, 3), 512) == Tile(0, 3)
