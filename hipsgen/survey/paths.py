"""Paths of the files of a survey, relative to its root."""

import re

from hipsgen.sky.tiles import Tile

# the state of a build, kept next to the tiles; it need not be published
FOLDER = ".hipsgen"
BUILD = f"{FOLDER}/build.json"  # the recipe; written first
BLOCKS = f"{FOLDER}/blocks"  # a record for each block
ROOTS = f"{FOLDER}/roots"  # the data of each block that the top orders need
TOP = f"{FOLDER}/top.npz"  # the record of the top orders
CREATED = f"{FOLDER}/created"
INPUTS = f"{FOLDER}/inputs.json"  # the lease
RUNS = f"{FOLDER}/runs"
WIPING = f"{FOLDER}/wiping"
ANNOTATIONS = f"{FOLDER}/flags"  # written by the viewer; never removed by a build
POSITIONS = f"{FOLDER}/positions"  # of the coadds in a large provenance.fits; made by the viewer

_SURVEY_FILE = re.compile(
    r"""Norder\d+/(Dir\d+/Npix\d+|Allsky)\.(fits|png|jpg|webp)
    |properties|Moc\.fits|provenance\.fits|preview\.jpg|index\.html
    |page/.*|\.hipsgen/.*""",
    re.VERBOSE,
)


def is_survey_file(path: str) -> bool:
    """Whether a build writes the file with this path, relative to a survey's root."""
    return _SURVEY_FILE.fullmatch(path) is not None


def record(root: Tile, folder: str = BLOCKS) -> str:
    """Return the path of a block's file in BLOCKS or ROOTS.

    A block without a file in BLOCKS is rendered again.
    """
    return f"{folder}/Norder{root.order}/Npix{root.npix}.npz"
