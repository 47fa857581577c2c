"""What a build gives back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hipsgen.coadd import Problem
from hipsgen.errors import HipsgenError


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """One finished survey.

    Attributes
    ----------
    name : str
        Name of the survey's folder.
    path : str
        Folder or URI of the survey.
    order : int
        Deepest HiPS order.
    n_inputs : int
        Coadds, or for a color survey surveys, that it was made of.
    n_tiles : int
        Tiles of all orders; a tile in several formats counts once.
    size : dict of str to int
        Bytes of all tiles by format.
    n_blocks, n_blocks_rendered : int
        Blocks of the survey, and those worked on in this run.
    n_tiles_made, n_tiles_removed : int
        Tiles written and tiles deleted in this run.
    is_update : bool
        Whether there was a survey, or a part of it, before this run.
    is_color : bool
        Whether it is a color survey.
    seconds : float
        Wall time.
    skipped : tuple of Problem
        Inputs that were left out, and why.
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
    """Some inputs cannot be used; everything that does not need them is built.

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
    """Sum of bytes by format."""
    total: dict[str, int] = {}
    for size in sizes:
        for name, count in size.items():
            total[name] = total.get(name, 0) + count
    return total
