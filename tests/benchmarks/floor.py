"""The floor: each part of the work measured alone, one thread, by the best library for it.

Nothing that turns these coadds into these tiles can cost less than the sum; what is above it is
ours: planning, bookkeeping, edges, overlaps, the interpreter between the parts.
"""

import io
import itertools
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import healpy
import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS
from isal import isal_zlib
from mocpy import MOC

from hipsgen.images.wcs import ImageWcs
from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.resample import resample
from hipsgen.sky.stretch import Asinh
from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import zlib_stream
from tests.benchmarks.measure import cpu_of, run
from tests.pixel_maps import pixel_map

ROOT = Path(__file__).parents[2]
WIDTH = 512
_ALLSKYS = 4, 12 * (1 + 4 + 16 + 64) * 64**2 / WIDTH**2  # files, and tiles' worth of pixels
_START = """
import numpy, astropy.io.fits, astropy.wcs, mocpy, PIL.Image
from hipsgen.sky import tile_kernels as kernels
import numpy as np
kernels.measure_cells(np.zeros((8, 8), np.int32), np.zeros((2, 2), np.bool_))
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
    wcs = WCS(fits.getheader(work.files[0], -1))
    maps = _tiles_of(work.files[0], pixels.shape)
    stretch = Asinh(-15.0, 1000.0, 0.0, 10.0)
    tiles = [resample(pixels, at, interpolation) for _, at in maps]
    lines = [np.pad(stretch(values), ((0, 0), (1, 0))) for values in tiles]
    pictures = [b"".join(zlib_stream(rows)) for rows in lines]
    nodes = np.moveaxis(np.stack(np.meshgrid(*[np.linspace(-0.5, 511.5, 17)] * 2)), 0, -1)
    sky = wcs.wcs_pix2world(nodes.reshape(-1, 2), 0)
    half, share = np.empty((2, WIDTH // 2, WIDTH // 2), np.float32)
    files, encoded = work.tiles + _ALLSKYS[0], work.tiles + _ALLSKYS[1]
    scratch.mkdir(parents=True, exist_ok=True)
    program = os.environ.get("HIPSGEN", sys.executable)
    python = str(Path(program).with_name("python"))
    start = min(run([python, "-c", _START], ROOT).cpu for _ in range(5))
    by, decode = _fastest_decoder(work.files[0])
    write = _writer(scratch)
    return [
        Part("start: numpy, astropy, numba, mocpy, Pillow", "", 1000 * start, 1),
        _part("headers and WCS of a coadd", "astropy", len(work.files), _headers, work.files),
        Part("decode a coadd", by, 1000 * decode, len(work.files)),
        _part(
            "positions, 17x17 of a tile", "wcslib", work.samples,
            lambda at: _positions(at[0], wcs, sky), maps,
        ),
        _part(
            f"{interpolation}, a whole tile", "numba", work.samples,
            lambda at: resample(pixels, at[1], interpolation), maps,
        ),
        _part("range and coverage of a leaf", "numba", work.leaves, _seen, tiles),
        _part("FITS bytes and checksum", "numba", encoded, _fits_bytes, tiles),
        _part("stretch", "numba", encoded, stretch, tiles),
        _part("PNG", "ISA-L", encoded, _png_bytes, lines),
        _part(
            "mean of 2x2 pixels of a tile", "numba", 4 * (work.tiles - work.leaves),
            lambda values: kernels.halve_leaf(values, 0, 0, half, share), tiles,
        ),
        _part(
            "write a FITS tile", "O_DIRECT, fsync", files,
            write, [_in_pages(values.tobytes() + bytes(2 * 2880)) for values in tiles],
        ),
        _part("write a preview", "fsync", files, write, pictures),
        _part("Moc.fits", "mocpy", 1, _moc, [work.leaves]),
    ]  # fmt: skip


def _part(
    name: str, by: str, count: float, work: Callable[[Any], object], things: Sequence[Any]
) -> Part:
    """Each of many things in turn, as a survey comes to them: none is in the cache already."""
    turns = itertools.cycle(things)
    return Part(name, by, 1000 * cpu_of(lambda: work(next(turns)), 4 * len(things)), count)


def _decoded(path: Path) -> npt.NDArray[np.float32]:
    with fits.open(path) as hdus:
        return np.ascontiguousarray(hdus[-1].data, np.float32)


def _tiles_of(path: Path, shape: tuple[int, ...]) -> list[tuple[Tile, PixelMap]]:
    """Some tiles that lie wholly on an image."""
    header, size = fits.getheader(path, -1), (shape[0], shape[1])
    wcs = ImageWcs(header, size)
    y, x = (a.ravel() for a in np.mgrid[900:3400:500, 900:3400:500])
    numbers = np.unique(healpy.vec2pix(1 << 11, *wcs.to_sky(1.0 * x, 1.0 * y).T, nest=True))
    found = [
        (Tile(11, int(n)), pixel_map(Tile(11, int(n)), WIDTH, "equatorial", wcs, size))
        for n in numbers
    ]
    return [(tile, at) for tile, at in found if at is not None]


def _positions(tile: Tile, wcs: WCS, sky: npt.NDArray[np.float64]) -> object:
    edges = np.arange(0, WIDTH + 1, 32) - 0.5
    tile.vectors(edges[:, None], edges, WIDTH)
    return wcs.wcs_world2pix(sky, 0)


def _headers(path: Path) -> object:
    with fits.open(path) as hdus:
        return WCS(hdus[-1].header, hdus)


def _seen(values: npt.NDArray[np.float32]) -> object:
    return kernels.measure_cells(values.view(np.int32), np.empty((8, 8), np.bool_))


def _moc(leaves: int) -> object:
    """Of as many cells as the leaves have, three orders below them, in a file."""
    cells = np.arange(64 * leaves, dtype=np.uint64)
    hdus = MOC.from_healpix_cells(cells, 14, 14).serialize("fits", v1_compatible=True)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer


def _fits_bytes(values: npt.NDArray[np.float32]) -> object:
    out = np.empty(values.size, np.uint32)
    return kernels.to_big_endian(values.view(np.uint32).reshape(-1), out), out


def _png_bytes(rows: npt.NDArray[np.uint8]) -> int:
    return isal_zlib.crc32(b"".join(zlib_stream(rows)))


def _in_pages(data: bytes) -> mmap.mmap:
    room = mmap.mmap(-1, -(-len(data) // mmap.PAGESIZE) * mmap.PAGESIZE)
    room[: len(data)] = data
    return room


def _writer(folder: Path) -> Callable[[bytes | mmap.mmap], None]:
    """Writes new files, each flushed and renamed; those in pages past the page cache."""
    names = itertools.count()

    def write(data: bytes | mmap.mmap) -> None:
        aside = folder / "aside.part"
        direct = 0 if isinstance(data, bytes) else os.O_DIRECT
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | direct, 0o666)
        os.write(handle, data)
        if direct:
            os.ftruncate(handle, len(data) - 1)
        os.fsync(handle)
        os.close(handle)
        os.replace(aside, folder / str(next(names)))

    return write


def _fastest_decoder(path: Path) -> tuple[str, float]:
    """Who decodes a whole coadd with the least CPU, and that."""

    def by_astropy() -> object:
        return _decoded(path)

    def by_us() -> object:
        from hipsgen.coadd import CoaddRef
        from hipsgen.images.coadd_fits import FitsReader
        from hipsgen.images.uris import uri_of

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
