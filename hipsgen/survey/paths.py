"""Where the files of a survey lie, relative to its root."""

import re

from hipsgen.sky.tiles import Tile

# what a build keeps beside the tiles; publishing a survey leaves this folder out
FOLDER = ".hipsgen"
BUILD = f"{FOLDER}/build.json"  # the recipe; written first
BLOCKS = f"{FOLDER}/blocks"  # a record for each block
ROOTS = f"{FOLDER}/roots"  # what the top orders need of each block
TOP = f"{FOLDER}/top.npz"  # the record of the top orders
CREATED = f"{FOLDER}/created"
INPUTS = f"{FOLDER}/inputs.json"  # the lease
RUNS = f"{FOLDER}/runs"
WIPING = f"{FOLDER}/wiping"
ANNOTATIONS = f"{FOLDER}/flags"  # written by the viewer; never removed by a build

_SURVEY_FILE = re.compile(
    r"""Norder\d+/(Dir\d+/Npix\d+|Allsky)\.(fits|png|jpg|webp)
    |properties|Moc\.fits|provenance\.fits|preview\.jpg|index\.html
    |page/.*|\.hipsgen/.*""",
    re.VERBOSE,
)


def is_survey_file(path: str) -> bool:
    """Whether a path, relative to a survey's root, is one that a build writes."""
    return _SURVEY_FILE.fullmatch(path) is not None


def record(root: Tile, folder: str = BLOCKS) -> str:
    """Path of what BLOCKS or ROOTS holds for a block; without its record a block is made again."""
    return f"{folder}/Norder{root.order}/Npix{root.npix}.npz"
