"""The output folder of a build: claiming it, wiping it, and removing obsolete tiles."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hipsgen.coadd import CoaddRef
from hipsgen.errors import ConfigError
from hipsgen.journal.journal import Journal
from hipsgen.journal.previous import load_block
from hipsgen.journal.records import BlockRecord
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.folders import survey_folders
from hipsgen.survey.paths import is_survey_file
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import LocalStore, Store
from hipsgen.text import human_size

_KINDS = {"bands": "a survey of coadds", "color": "a color survey"}


def claim(store: Store, color: bool = False) -> None:
    """Check that a build may write to a store: it is empty, or has a survey of the same kind.

    Parameters
    ----------
    store : Store
        The output.
    color : bool
        Whether a color survey is built, rather than a survey of coadds.

    Raises
    ------
    ConfigError
        When it contains anything else, or is inside another survey.
    """
    if isinstance(store, LocalStore):
        _refuse_inside(store.root)
    kind = Journal(store).kind()
    wanted = "color" if color else "bands"
    if kind and kind != wanted:
        raise ConfigError(
            f"{store} contains {_KINDS[kind]}, not {_KINDS[wanted]}; choose another {{output}}"
        )
    if Journal(store).exists() or is_half_wiped(store):
        return
    others = (path for path in store.list() if not path.startswith(f"{paths.FOLDER}/"))
    found = next(others, None)
    if found is not None:
        raise ConfigError(
            f"{store} contains {_foreign(store, found)}; choose an empty or a new folder with "
            "{output}"
        )


def _foreign(store: Store, found: str) -> str:
    """Describe what an output contains that is no survey at its root. found: a file in it."""
    if isinstance(store, LocalStore):
        survey = next(survey_folders(store.root, marker=paths.BUILD), store.root)
        if survey != store.root:
            return f"other surveys (such as {survey.relative_to(store.root)})"
    return f"files that are not from a survey of hipsgen (such as {found})"


def _refuse_inside(root: Path) -> None:
    """Raise ConfigError for a file, and for a folder inside a survey, where no survey is found."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file; choose a folder with {{output}}")
    for above in root.absolute().parents:
        if above.is_file():
            raise ConfigError(f"{root} is inside the file {above}; choose a folder with {{output}}")
        if Journal(LocalStore(above)).exists():
            raise ConfigError(f"{root} is inside the survey {above}; choose a folder next to it")


def check_free_space(store: Store, size: int, replaced: Sequence[BlockRecord]) -> None:
    """Raise ConfigError if the new tiles certainly do not fit on the disk.

    Parameters
    ----------
    store : Store
        The output.
    size : int
        Upper bound of the bytes of the new tiles, from the outlines of the coadds; at least half
        of it is needed.
    replaced : sequence of BlockRecord
        Blocks whose tiles are replaced or removed.
    """
    free = store.free_space()
    need = size - sum(sum(record.size.values()) for record in replaced)
    if free is not None and need // 2 > free:
        raise ConfigError(
            f"the survey takes about {human_size(need)} more, and {store} has {human_size(free)} "
            "free; choose another {output}, a lower {order} or fewer {formats}",
            parameter="output",
            value=str(store),
        )


def wipe(store: Store) -> None:
    """Delete all files of a survey, but no other file and no annotation.

    The file that identifies the folder as an output of hipsgen is deleted last. Until then a mark
    shows the next build that the survey is half deleted, so that it continues here.
    """
    store.write(paths.WIPING, b"")
    store.delete(PROPERTIES)
    kept = f"{paths.RUNS}/", f"{paths.ANNOTATIONS}/"
    marks = paths.BUILD, paths.WIPING
    for path in [path for path in store.list() if is_survey_file(path)]:
        if path not in (*marks, paths.INPUTS) and not path.startswith(kept):
            store.delete(path)
    store.remove_partial_files()
    for path in marks:
        store.delete(path)


def is_half_wiped(store: Store) -> bool:
    """Whether a `wipe` was interrupted."""
    return store.stat(paths.WIPING) is not None


def missing_coadds(old: Sequence[BlockRecord], refs: Sequence[CoaddRef]) -> set[str]:
    """Return the keys of coadds that blocks used and that are not among `refs` any more."""
    missing = {use.coadd for record in old for use in record.input_uses}
    if missing:
        missing.difference_update(ref.key for ref in refs)
    return missing


def remove_blocks(roots: Iterable[Tile], order: int, formats: Sequence[str], store: Store) -> int:
    """Remove obsolete blocks: first their tiles, then their records.

    Parameters
    ----------
    roots : iterable of Tile
        Roots of the blocks.
    order : int
        Order of the leaf tiles.
    formats : sequence of str
        Formats of the tiles.
    store : Store
        The survey.

    Returns
    -------
    int
        Number of tiles removed.
    """
    removed = 0
    for root in roots:
        record, tiles = load_block(store, root, order, formats)
        for path, _ in tiles.inventory.files():
            store.delete(path)
        removed += record.n_tiles if record else 0
        Journal(store).remove(root)
    return removed


def remove_stale_top_tiles(store: Store, below: int, tiles: Iterable[Tile]) -> int:
    """Remove all tiles of orders lower than `below` except `tiles`; return their number."""
    kept, removed = {tile.path("") for tile in tiles}, set()
    for order in range(below):
        for path in list(store.list(f"Norder{order}")):
            name = path.rpartition(".")[0]
            if "/Npix" in path and f"{name}." not in kept:
                store.delete(path)
                removed.add(name)
    return len(removed)
