"""`python -m samples REPO`: make the sample Butler repository."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from samples.sky import BANDS
from samples.skymap import MIN_INNER, make_tracts


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, make the repository, report it; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.size < MIN_INNER:
        return _report_error(
            f"--size {options.size} is below {MIN_INNER} pixels, the smallest patch", 2
        )
    try:
        from samples.repository import CHAIN, DATASET_TYPE, folder_bytes, make_repository
    except ModuleNotFoundError as error:
        return _report_error(f"{error}: pip install 'hipsgen[butler]'", 1)
    started = time.monotonic()
    try:
        files = make_repository(options.repo, options.size, options.seed, options.workers)
    except (FileExistsError, NotADirectoryError) as error:
        return _report_error(str(error), 1)
    tracts = make_tracts(options.size)
    seconds, megabytes = time.monotonic() - started, folder_bytes(options.repo) / 1e6
    bands = " ".join(f"-b {band}" for band in BANDS)
    print(
        f"{options.repo}: {files} files, {megabytes:.0f} MB, {seconds:.1f} s\n"
        f"tracts {', '.join(str(t.id) for t in tracts)}"
        f" of {tracts[0].nx} x {tracts[0].ny} patches; bands {', '.join(BANDS)};"
        f" collection {CHAIN} of two runs; a table of objects per tract\n"
        f"next: hipsgen build {options.repo} -c {CHAIN} -d {DATASET_TYPE} {bands}"
        f" --color {''.join(BANDS)}"
        f" -o {options.repo.parent / 'hips'}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m samples", description=__doc__)
    parser.add_argument("repo", type=Path, help="a new or empty folder")
    parser.add_argument("--size", type=int, default=1000, help="pixels of a patch's inner side")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random sky")
    parser.add_argument("--workers", type=int, default=2, help="number of processes")
    return parser


def _report_error(message: str, code: int) -> int:
    print(f"samples: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
