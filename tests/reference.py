"""Is a reference survey the same, byte for byte, as another revision makes it?

    python -m tests.reference REVISION [CHECKOUT]

Both revisions build image, mask, variance and color surveys of one FITS folder and of one Butler
repository, each with its own code. Tiles, Allskys, MOCs and previews must be equal; what else
differs is listed. REVISION is checked out into a temporary folder, unless CHECKOUT is one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.finished.make import BANDS, PLANES, write_coadd

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600", "PYTHONPATH": ""}
BUTLER = ("-c", "sample/coadds", "-d", "deepCoadd_calexp")
PIXELS = ("fits", "png", "jpg", "webp")


def build(checkout: Path, inputs: list[str], out: Path) -> None:
    """Build every survey of some inputs with the code of a checkout."""
    bands = [word for band in BANDS for word in ("-b", band)]
    subprocess.run(
        [
            *(sys.executable, "-m", "hipsgen", "build", *inputs, *bands, "-o", str(out)),
            *("--planes", ",".join(PLANES), "--color", "gri", "--quiet"),
        ],
        check=True,
        cwd=checkout,
        env=ENVIRONMENT,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file of some surveys but the page and the journal, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"page", ".hipsgen"} & set(path.relative_to(folder).parts)
    }


def compare(old: Path, new: Path) -> tuple[int, list[str], list[str]]:
    """Return how many files of pixels are equal, which are not, and which other files differ."""
    before, after = files(old), files(new)
    unequal = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    of_pixels = {p for p in before.keys() | after.keys() if p.endswith(PIXELS)}
    of_pixels -= {p for p in of_pixels if p.endswith("provenance.fits")}
    wrong = sorted(of_pixels & set(unequal))
    return len(of_pixels) - len(wrong), wrong, sorted(set(unequal) - of_pixels)


def changed_lines(old: Path, new: Path) -> list[str]:
    """Return the lines of a properties file that another one does not have."""
    before = old.read_text().splitlines() if old.exists() else []
    return [line for line in new.read_text().splitlines() if line not in before]


def main() -> int:
    """Build, compare, report."""
    revision = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="hipsgen-reference-") as name:
        place = Path(name)
        checkout = Path(sys.argv[2]) if len(sys.argv) > 2 else place / "checkout"
        if not checkout.exists():
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
            subprocess.run(["git", "checkout", "--quiet", revision], check=True, cwd=checkout)
        folder = place / "coadds"
        folder.mkdir()
        for number, band in enumerate(BANDS):
            for k, lon in enumerate((40.0, 41.0, 60.0)):
                write_coadd(folder / f"{band}{k}.fits", band, lon, 10 * number + k)
        repository = place / "repo"
        subprocess.run([sys.executable, "-m", "samples", str(repository)], check=True, cwd=checkout)
        is_same = True
        for kind, inputs in (
            ("FITS folder", [str(folder)]),
            ("Butler", [str(repository), *BUTLER]),
        ):
            old, new = place / f"{kind} old" / "hips", place / f"{kind} new" / "hips"
            build(checkout, inputs, old)
            build(ROOT, inputs, new)
            equal, wrong, others = compare(old, new)
            is_same = is_same and not wrong and equal > 0
            print(f"{kind}: {equal} files of pixels are equal, {len(wrong)} differ")
            for path in wrong:
                print(f"  {path}")
            for path in others:
                print(f"  differs: {path}")
                if path.endswith("properties"):
                    for line in changed_lines(old / path, new / path):
                        print(f"      {line}")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
