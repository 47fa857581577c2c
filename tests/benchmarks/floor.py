"""The floor: each part of the work measured alone, one thread, by the best library for it.

Nothing that turns these coadds into these tiles can cost less than the sum; what is above it is
ours: planning, bookkeeping, edges, overlaps, the interpreter between the parts.
"""

import mmap
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS
from isal import isal_zlib

from hipsgen.sky import kernels
from hipsgen.sky.grid import pixel_map
from hipsgen.sky.resample import resample
from hipsgen.sky.stretch import Asinh
from hipsgen.sky.tiles import Tile
from tests.benchmarks.measure import cpu_of, run

ROOT = Path(__file__).parents[2]
WIDTH = 512
_START = """
import numpy, astropy.io.fits, astropy.wcs
from hipsgen.sky import kernels
import numpy as np
kernels.measure(np.zeros((8, 8), np.int32), np.zeros((2, 2), np.bool_))
"""


@dataclass(frozen=True)
class Work:
    """leaves, tiles: written, of the deepest order and of all. samples: tiles' worth of pixels."""

    leaves: int
    tiles: int
    samples: float
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Part:
    """What it is, by what, milliseconds each, how many, and CPU seconds for all."""

    name: str
    by: str
    each: float
    count: float

    @property
    def cpu(self) -> float:
        """CPU seconds."""
        return self.each * self.count / 1000


def floor_parts(work: Work, interpolation: str, scratch: Path) -> list[Part]:
    """All parts; previews and FITS tiles are written and flushed to the disk under `scratch`."""
    pixels = _decoded(work.files[0])
    tile, at, wcs = _middle_tile(work.files[0], pixels.shape)
    values = resample(pixels, at, interpolation)
    stretch = Asinh(-15.0, 1000.0, 0.0, 10.0)
    levels = stretch(values)
    half, share = np.empty((2, WIDTH // 2, WIDTH // 2), np.float32)
    rows = np.zeros((WIDTH, WIDTH + 1), np.uint8)
    rows[:, 1:] = levels
    picture = isal_zlib.compress(rows, 1)
    nodes = np.moveaxis(np.stack(np.meshgrid(*[np.linspace(-0.5, 511.5, 17)] * 2)), 0, -1)
    sky = wcs.wcs_pix2world(nodes.reshape(-1, 2), 0)
    start = min(run([sys.executable, "-c", _START], scratch).cpu for _ in range(5))
    scratch.mkdir(parents=True, exist_ok=True)
    program = os.environ.get("HIPSGEN", sys.executable)
    python = str(Path(program).with_name("python"))
    start = min(run([python, "-c", _START], ROOT).cpu for _ in range(5))
    by, decode = _fastest_decoder(work.files[0])
    tile_file = values.tobytes() + bytes(2 * 2880)

    def positions() -> object:
        return _positions(tile, wcs, sky)

    def sample() -> object:
        return resample(pixels, at, interpolation)

    def halve() -> None:
        kernels.halve_leaf(values, 0, 0, half, share)

    return [
        Part("start: numpy, astropy, numba", "", 1000 * start, 1),
        Part("decode a coadd", by, 1000 * decode, len(work.files)),
        _part("positions, 17x17 of a tile", "wcslib", positions, work.samples),
        _part(f"{interpolation}, a whole tile", "numba", sample, work.samples),
        _part("FITS bytes and checksum", "numpy", lambda: _fits_bytes(values), work.tiles),
        _part("stretch", "numba", lambda: stretch(values), work.tiles),
        _part("PNG", "ISA-L", lambda: _png_bytes(rows), work.tiles),
        _part("mean of 2x2 pixels of a tile", "numba", halve, 4 * (work.tiles - work.leaves)),
        _part("write a FITS tile", "O_DIRECT, fsync", _writer(scratch, tile_file), work.tiles),
        _part("write a preview", "fsync", _writer(scratch, picture), work.tiles),
    ]


def _part(name: str, by: str, work: Callable[[], object], count: float) -> Part:
    return Part(name, by, 1000 * cpu_of(work, 15), count)


def _decoded(path: Path) -> npt.NDArray[np.float32]:
    with fits.open(path) as hdus:
        return np.ascontiguousarray(hdus[-1].data, np.float32)


def _middle_tile(path: Path, shape: tuple[int, ...]) -> tuple[Tile, object, WCS]:
    import healpy

    from hipsgen.images.wcs import ImageWcs

    header = fits.getheader(path, -1)
    wcs = WCS(header)
    lon, lat = wcs.wcs_pix2world([[shape[1] / 2, shape[0] / 2]], 0)[0]
    tile = Tile(11, int(healpy.ang2pix(1 << 11, lon, lat, lonlat=True, nest=True)))
    size = (shape[0], shape[1])
    at = pixel_map(tile, WIDTH, "equatorial", ImageWcs(header, size), size)
    assert at is not None
    return tile, at, wcs


def _positions(tile: Tile, wcs: WCS, sky: npt.NDArray[np.float64]) -> object:
    edges = np.arange(0, WIDTH + 1, 32) - 0.5
    tile.vectors(edges[:, None], edges, WIDTH)
    return wcs.wcs_world2pix(sky, 0)


def _fits_bytes(values: npt.NDArray[np.float32]) -> object:
    return values.astype(">f4").tobytes(), values.view(np.uint32).sum(dtype=np.uint64)


def _png_bytes(rows: npt.NDArray[np.uint8]) -> int:
    return zlib.crc32(isal_zlib.compress(rows, 1))


def _writer(folder: Path, data: bytes) -> Callable[[], None]:
    """Writes new files, large ones past the page cache, each flushed and renamed."""
    names = iter(range(1_000_000))
    room = mmap.mmap(-1, -(-len(data) // mmap.PAGESIZE) * mmap.PAGESIZE)
    room[: len(data)] = data
    direct = os.O_DIRECT if len(data) > 1 << 19 else 0

    def write() -> None:
        aside = folder / "aside.part"
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | direct, 0o666)
        os.write(handle, room if direct else data)
        if direct:
            os.ftruncate(handle, len(data))
        os.fsync(handle)
        os.close(handle)
        os.replace(aside, folder / f"{len(data)}_{next(names)}")

    return write


def _fastest_decoder(path: Path) -> tuple[str, float]:
    """Who decodes a whole coadd with the least CPU, and that."""

    def by_astropy() -> object:
        return _decoded(path)

    def by_us() -> object:
        from hipsgen.images.coadd_fits import FitsReader
        from hipsgen.images.files import uri_of
        from hipsgen.images.source import CoaddRef

        ref = CoaddRef(uri_of(path), "")
        shape = FitsReader().info(ref).shape
        return FitsReader().read(ref, (slice(0, shape[0]), slice(0, shape[1])))

    found = {"astropy": cpu_of(by_astropy, 5), "hipsgen": cpu_of(by_us, 5)}
    try:
        import fitsio
    except ImportError:
        pass
    else:

        def by_fitsio() -> object:
            with fitsio.FITS(str(path)) as file:
                hdu = next(h for h in file if h.get_info()["ndims"] == 2)
                return np.ascontiguousarray(hdu.read(), np.float32)

        found["fitsio"] = cpu_of(by_fitsio, 5)
    best = min(found, key=lambda name: found[name])
    return best, found[best]
