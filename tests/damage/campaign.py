"""Build surveys from damaged and hostile FITS files, under a limit of memory and time.

Each round puts FILES damaged files and one good one into a folder. Whatever the others are, the
build must end with exit code 0 or 1 and without a traceback, and the survey must have the pixels of
the good file.
"""

import resource
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.images.making import tan_header

FILES = 40  # damaged files of a round
MEMORY = 3 << 30  # bytes of address space of a build
TIMEOUT = 180  # seconds for a build
ORDER, WIDTH = 3, 64  # pixels of 0.11 degrees, so that a claim to cover the sky costs little
PIXEL = 0.1  # degrees
GOOD, GOOD_AT = 321.0, (40.0, -30.0)
_SHAPE = 60, 70
_CARDS = (
    *("NAXIS", "NAXIS1", "NAXIS2", "BITPIX", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK"),
    *("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CUNIT1"),
    *("CD1_1", "PC1_1", "PV2_1", "LONPOLE", "LATPOLE", "RADESYS", "EQUINOX", "A_ORDER", "A_0_2"),
    *("ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZBITPIX", "ZCMPTYPE", "TFIELDS", "THEAP", "TFORM1"),
    # not BUNIT and FLUXMAG0: units that contradict each other are refused as a whole
    *("FILTER", "EXTNAME", "DATE-OBS", "MJD-OBS", "AR_HDU", "XTENSION"),
)
_VALUES = (
    *("0", "-1", "1", "2", "60000", "2147483647", "9223372036854775807", "1E400", "-1E-300"),
    *("NaN", "'text'", "''", "T", "'" + 60 * "x" + "'", "1.5", "'RA---XYZ'", "'\x00'"),
)


@dataclass
class Outcome:
    """Result of a campaign: rounds, and what was wrong, with the seed that repeats it."""

    rounds: int = 0
    files: int = 0
    used: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.rounds} builds of {self.files} damaged files, {self.used} of which could be "
            f"used all the same: {len(self.wrong)} faults"
        )


def campaign(rounds: int, seed: int, scratch: Path) -> Outcome:
    """Run some rounds; the damage of each follows from its seed: `seed`, `seed` + 1 ..."""
    outcome = Outcome()
    for k in range(rounds):
        folder = scratch / f"round_{seed + k}"
        folder.mkdir()
        _fill(folder, np.random.default_rng(seed + k))
        found = _build(folder, scratch / f"survey_{seed + k}", outcome)
        outcome.wrong += [f"seed {seed + k}: {words}" for words in found]
        outcome.rounds += 1
        outcome.files += FILES
    return outcome


def _fill(folder: Path, rng: np.random.Generator) -> None:
    sound = _sound_files(folder / "sound")
    for k in range(FILES):
        name, data = sound[rng.integers(len(sound))]
        (folder / f"{k:02}_{name}").write_bytes(_damaged(data, rng))
    write(folder / "good.fits", np.full(_SHAPE, GOOD, np.float32), GOOD_AT)


def _sound_files(folder: Path) -> list[tuple[str, bytes]]:
    """Return name and content of an image in several forms."""
    folder.mkdir()
    pixels = np.random.default_rng(0).normal(5, 1, _SHAPE).astype(np.float32)
    write(folder / "float.fits", pixels)
    write(folder / "short.fits", pixels.astype(np.int16), BLANK=-32768)
    write(folder / "packed.fits.gz", pixels)
    write(folder / "packed.fits.bz2", pixels)
    for coding in ("RICE_1", "GZIP_2", "HCOMPRESS_1"):
        write(folder / f"{coding}.fits.fz", pixels, coding=coding)
    write(folder / "car.fits", pixels, CTYPE1="RA---CAR", CTYPE2="DEC--CAR")
    write(folder / "sip.fits", pixels, CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2)
    found = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return found


def write(
    path: Path,
    pixels: np.ndarray,
    at: tuple[float, float] = (150.0, 2.0),
    coding: str = "",
    **cards: object,
) -> None:
    """Write an image with pixels of 0.1 degrees."""
    header = tan_header(pixels.shape, CRVAL1=at[0], CRVAL2=at[1], BUNIT="adu")
    header.update({"CDELT1": -PIXEL, "CDELT2": PIXEL, **cards})
    hdus = fits.HDUList([fits.PrimaryHDU(pixels, header)])
    if coding:
        hdus = fits.HDUList(
            [fits.PrimaryHDU(), fits.CompImageHDU(pixels, header, compression_type=coding)]
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus.writeto(path)


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.integers(5)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        changed = bytearray(data)
        for at in rng.integers(len(data), size=rng.integers(1, 20)):
            changed[at] = rng.integers(256)
        return bytes(changed)
    if kind == 2:
        at = int(rng.integers(len(data)))
        return data[:at] + rng.bytes(int(rng.integers(1, 5000))) + data[at:]
    return _with_hostile_cards(data, rng)


def _with_hostile_cards(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace the values of one to three cards, or of cards that are not there: any blank card."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        keyword = _CARDS[rng.integers(len(_CARDS))]
        card = f"{keyword:8}= {_VALUES[rng.integers(len(_VALUES))]:>20}".ljust(80)[:80].encode()
        at = changed.find(f"{keyword:8}=".encode())
        if at < 0 or at % 80:
            at = changed.find(b"END".ljust(80))
            if at < 0 or at % 80:  # compressed as a whole
                return bytes(changed)
            changed[at + 80 : at + 160] = changed[at : at + 80]
        changed[at : at + 80] = card
    return bytes(changed)


def _build(folder: Path, out: Path, outcome: Outcome) -> list[str]:
    """Build a survey of a folder; return what was wrong."""
    options = ["--order", str(ORDER), "--tile-width", str(WIDTH), "--interp", "nearest"]
    command = [sys.executable, "-m", "hipsgen", "build", str(folder), "-o", str(out), *options]
    command += ["--skip-bad", "--band", "*", "--format", "fits"]
    try:
        ended = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT, text=True, preexec_fn=_limit_memory
        )
    except subprocess.TimeoutExpired:
        return [f"the build took more than {TIMEOUT} s"]
    found = []
    if ended.returncode not in (0, 1) or "Traceback" in ended.stderr:
        found.append(f"exit code {ended.returncode}: {ended.stderr.strip()[-1500:]}")
    values = _values_near_good(out)
    if not (values == GOOD).any():
        found.append(f"the good image is lost: {ended.stderr.strip()[-1500:]}")
    refused = sum(line.startswith(("cannot", "skipped")) for line in ended.stderr.splitlines())
    outcome.used += max(0, FILES - refused)
    return found


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _values_near_good(out: Path) -> np.ndarray:
    """Return the values of the tile at the center of the good image."""
    import healpy

    npix = healpy.ang2pix(1 << ORDER, *GOOD_AT, nest=True, lonlat=True)
    path = out / f"Norder{ORDER}" / f"Dir{npix // 10000 * 10000}" / f"Npix{npix}.fits"
    return fits.getdata(path) if path.is_file() else np.empty(0)
