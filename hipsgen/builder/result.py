"""Results of a build."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hipsgen.coadd import Problem
from hipsgen.errors import HipsgenError


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A finished survey and the work done in this run.

    Attributes
    ----------
    name : str
        Name of the survey's folder.
    path : str
        Folder or URI of the survey.
    order : int
        Deepest HiPS order.
    n_inputs : int
        Number of coadds that it was made from; for a color survey, number of surveys.
    n_tiles : int
        Number of tiles of all orders; a tile in several formats counts once.
    size : dict of str to int
        Size of all tiles in bytes, by format.
    n_blocks, n_blocks_rendered : int
        Number of blocks of the survey, and of blocks rendered in this run.
    n_tiles_made, n_tiles_removed : int
        Number of tiles written and deleted in this run.
    is_update : bool
        Whether the survey existed, at least in part, before this run.
    is_color : bool
        Whether it is a color survey.
    seconds : float
        Wall time.
    skipped : tuple of Problem
        Inputs that were left out, with reasons.
    """

    name: str
    path: str
    order: int
    n_inputs: int
    n_tiles: int
    size: Mapping[str, int]
    n_blocks: int
    n_blocks_rendered: int
    n_tiles_made: int
    n_tiles_removed: int
    is_update: bool
    is_color: bool
    seconds: float
    skipped: tuple[Problem, ...] = field(default=())


class IncompleteBuildError(HipsgenError, RuntimeError):
    """Inputs cannot be used; everything that does not need them is built.

    Attributes
    ----------
    results : tuple of BuildResult
        The surveys that were finished before this was raised.
    problems : tuple of Problem
        The inputs that cannot be used.
    """

    def __init__(
        self,
        message: str,
        results: Iterable[BuildResult] = (),
        problems: Iterable[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.results, self.problems = tuple(results), tuple(problems)


def total_size(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up sizes in bytes by format."""
    total: dict[str, int] = {}
    for size in sizes:
        for name, count in size.items():
            total[name] = total.get(name, 0) + count
    return total
