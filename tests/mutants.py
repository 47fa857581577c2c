"""Mutation tests: does a test detect each planted fault? `python -m tests.mutants [WORD ...]`.

Each fault is planted in a copy of the checkout, in which the tests that should notice run until the
first one fails. WORD: only faults of modules that contain one of these. The exit code is that of
success when every fault was caught.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("hipsgen", "viewer", "samples", "tests", "pyproject.toml", "Makefile")
TIMEOUT = 600  # seconds for the tests of one fault
PASSED, FAILED = 0, 1  # exit codes of pytest; any other means that the tests did not run


@dataclass(frozen=True)
class Fault:
    """A fragment of a module, which is there once, and what to put in its place.

    tests: arguments of pytest that select the tests which should fail.
    """

    module: str
    fragment: str
    replacement: str
    tests: str


FAULTS = (
    # coordinates, pixels and weights
    Fault(
        "hipsgen/sky/tiles.py",
        "(width - 0.5 - np.asarray(rows, float))",
        "(0.5 + np.asarray(rows, float))",  # mirrored
        "tests/sky/test_tiles.py",
    ),
    Fault(
        "hipsgen/sky/frames.py",
        "vectors @ _known(frame).matrix.T",
        "vectors @ _known(frame).matrix",  # the inverse rotation
        "tests/sky/test_frames.py",
    ),
    Fault(
        "hipsgen/sky/polygon.py",
        "2 * np.arcsin(min(1.0, chord / 2))",
        "min(1.0, chord)",  # right for small circles only
        "tests/sky/test_polygon.py",
    ),
    Fault(
        "hipsgen/sky/grid_kernels.py",
        "x[c] = pixel_map.exact[0, j * step + r, i * step + c]",
        "x[c] = pixel_map.exact[0, j * step + r, i * step + c] + 0.5",  # half a pixel
        "tests/sky/test_resample.py",
    ),
    Fault(
        "hipsgen/sky/tile_kernels.py",
        "coverage[r, c] >= threshold",
        "coverage[r, c] > threshold",
        "tests/sky/test_pyramid.py tests/sky/test_kernels.py",
    ),
    Fault(
        "hipsgen/sky/mask_kernels.py",
        "i += px - i >= 0.5",
        "i += px - i > 0.5",  # the border between two pixels
        "tests/sky/test_mask_planes.py tests/sky/test_kernels.py",
    ),
    Fault(
        "hipsgen/sky/combine.py",
        "_RAMP * min(coadd.shape)",
        "_RAMP * max(coadd.shape)",  # weights of coadds that are not square
        "tests/sky/test_combine.py",
    ),
    Fault(
        "hipsgen/sky/pyramid.py",
        "missing_value = np.nan if parent.shares is not None",
        "missing_value = 0.0 if parent.shares is not None",  # no data becomes black sky
        "tests/sky/test_pyramid.py",
    ),
    Fault(
        "hipsgen/sky/mask_planes.py",
        "shift = table[name] - bit",
        "shift = table[name] - bit + (bit > 7)",  # wrong plane for high bits
        "tests/sky/test_mask_planes.py",
    ),
    Fault(
        "hipsgen/sky/stretch.py",
        "low, high = max(low, self.minimum), min(high, self.maximum)",
        "low, high = low, min(high, self.maximum)",  # cuts below all values
        "tests/sky/test_stretch.py",
    ),
    # inputs
    Fault(
        "hipsgen/images/uris.py",
        "{status.st_size}-{status.st_mtime_ns}",
        "{status.st_size}",  # a file that was changed in place
        "tests/images/test_fits_folder.py tests/builder/test_bad_input.py",
    ),
    Fault(
        "hipsgen/images/calibration.py",
        "(cols - first_x + 0.5)",
        "(cols - first_x)",
        "tests/images/test_calibration.py",
    ),
    Fault(
        "hipsgen/images/decode_kernels.py",
        "is_finite = pixels[i] != blank and abs(pixels[i]) < _INFINITE",
        "is_finite = abs(pixels[i]) < _INFINITE",  # missing pixels get a value
        "tests/images/test_ordinary_fits.py",
    ),
    Fault(
        "hipsgen/images/selection.py",
        "90 if half_width > half_height else 0",
        "0 if half_width > half_height else 90",  # wide boxes are high
        "tests/images/test_selection.py",
    ),
    Fault(
        "hipsgen/images/staging.py",
        "copy.readers -= 1",
        "copy.readers = 0",  # the other reader's copy may go
        "tests/images/test_staging.py",
    ),
    # what is built, and what is done again
    Fault(
        "hipsgen/planner/blocks.py",
        "index = refs[found.outline].tolist()",
        "index = found.outline.tolist()",  # of the part instead of the plan
        "tests/planner/test_blocks.py",
    ),
    Fault(
        "hipsgen/journal/lease.py",
        "return self.store.read(paths.INPUTS) != self.text.encode()",
        "return not self.store.read(paths.INPUTS)",  # another build's lease
        "-m '' tests/journal/test_lease.py",
    ),
    Fault(
        "hipsgen/journal/changes.py",
        "and not record.problems",
        "",  # a block that lacks a coadd is done
        "tests/builder/test_bad_input.py",
    ),
    Fault(
        "hipsgen/journal/fingerprints.py",
        "*(r.key for r in refs)",
        "*(r.uri for r in refs)",
        "tests/builder/test_bad_input.py tests/builder/test_survey.py",
    ),
    Fault(
        "hipsgen/render/tile_writer.py",
        "self._pool.shutdown(wait=True,",
        "self._pool.shutdown(wait=False,",  # the record is written before the tiles
        "tests/render/test_tile_writer.py",
    ),
    Fault(
        "hipsgen/render/coadd_cache.py",
        "if last < earliest",
        "if last <= earliest",  # dropped while a block needs it
        "tests/render/test_coadd_cache.py",
    ),
    Fault(
        "hipsgen/run/engine.py",
        "            if len(in_flight) >= _IN_FLIGHT * workers:\n                return",
        "            if len(in_flight) > _IN_FLIGHT * workers:\n                return",
        "tests/contracts/test_engine.py -k 'not dask'",
    ),
    # files of a survey
    Fault(
        "hipsgen/survey/coverage.py",
        "np.diff(cells) != 1",
        "np.diff(cells) > 2",  # gaps of one cell are filled
        "tests/survey/test_coverage.py",
    ),
    Fault(
        "hipsgen/survey/fits_tile.py",
        'header["NAXIS1"], header["NAXIS2"] = shape[1], shape[0]',
        'header["NAXIS1"], header["NAXIS2"] = shape',
        "tests/survey/test_fits_tile.py",
    ),
    Fault(
        "hipsgen/checker/tile.py",
        "elif FileChecksum.of(data) != self.checksums[path]:",
        "elif len(data) != self.checksums[path].size:",
        "-m '' tests/checker",
    ),
    # the viewer
    Fault(
        "viewer/http/survey_files.py",
        "{info.st_mtime_ns:x}-",
        "",  # an ETag of the size alone
        "tests/viewer/test_survey_files.py",
    ),
    Fault(
        "viewer/http/auth.py",
        "any(key == self._cookie and _same(value, self._pass)",
        "any(key == self._cookie or _same(value, self._pass)",
        "tests/viewer/test_auth.py",
    ),
    Fault(
        "viewer/annotations.py",
        'content.get("version") != current.version',
        'content.get("version") is None',  # the last one wins
        "tests/viewer/test_annotations.py",
    ),
    Fault(
        "viewer/catalogs/sky_index.py",
        "math.sin(math.radians(min(self.radius, 180.0)) / 2)",
        "math.radians(min(self.radius, 180.0)) / 2",  # right for small cones only
        "tests/viewer/test_catalog.py",
    ),
    Fault(
        "viewer/coadds/statistics.py",
        "math.sin(math.radians(self.width) / 4)",
        "math.sin(math.radians(self.width) / 2)",  # radius for diameter
        "tests/viewer/test_statistics.py",
    ),
)


def main(words: list[str]) -> int:
    """Plant the faults one after the other; how many were not caught."""
    chosen = [f for f in FAULTS if not words or any(word in f.module for word in words)]
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = copied(Path(folder) / "checkout")
        for fault in chosen:
            start = time.monotonic()
            told.append(outcome(fault, copy))
            seconds = time.monotonic() - start
            fragment = " ".join(fault.fragment.split())
            print(f"{told[-1]:12} {seconds:5.0f} s  {fault.module}: {fragment}", flush=True)
    print(f"{told.count('caught')} of {len(told)} faults caught")
    return len(told) - told.count("caught")


def copied(place: Path) -> Path:
    """A copy of the checkout, without what was compiled in it."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    place.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=ignored)
        else:
            shutil.copy2(source, place)
    return place


def outcome(fault: Fault, copy: Path) -> str:
    """Plant a fault, run its tests, and take it out: caught, NOT CAUGHT, or why that is unknown."""
    module = copy / fault.module
    text = module.read_text(encoding="utf-8")
    if text.count(fault.fragment) != 1:
        return f"{text.count(fault.fragment)} PLACES"
    module.write_text(text.replace(fault.fragment, fault.replacement), encoding="utf-8")
    try:
        code = run_tests(fault.tests, copy)
    except subprocess.TimeoutExpired:
        return "TOO SLOW"
    finally:
        module.write_text(text, encoding="utf-8")
    return {PASSED: "NOT CAUGHT", FAILED: "caught"}.get(code, f"EXIT {code}")


def run_tests(tests: str, copy: Path) -> int:
    """The exit code of pytest."""
    pytest = f"{sys.executable} -m pytest -n0 -x -q -p no:cacheprovider {tests}"
    # no bytecode: a module that is changed twice in a second would not be compiled again
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with open(copy / "log", "w", encoding="utf-8") as log:
        return subprocess.run(
            pytest, shell=True, cwd=copy, env=environment, stdout=log, stderr=log, timeout=TIMEOUT
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
