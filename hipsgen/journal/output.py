"""The place where a survey comes to lie: ours or not, and what in it is out of date."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hipsgen.coadd import CoaddRef
from hipsgen.errors import ConfigError
from hipsgen.journal.journal import Journal
from hipsgen.journal.previous import load_block
from hipsgen.journal.records import BlockRecord
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.paths import is_survey_file
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import LocalStore, Store
from hipsgen.text import human_size


def claim(store: Store, color: bool = False) -> None:
    """Make sure that a place is ours: empty, or begun by an earlier build of the same kind.

    Raises ConfigError when it holds something else, or lies within another survey.
    """
    if isinstance(store, LocalStore):
        _refuse_inside(store.root)
    kind = Journal(store).kind()
    if kind and kind != ("color" if color else "bands"):
        raise ConfigError(
            f"{store} holds a survey of another kind ({kind}): name another {{output}}"
        )
    if Journal(store).exists() or is_half_wiped(store):
        return
    others = (path for path in store.list() if not path.startswith(f"{paths.FOLDER}/"))
    something = next(others, None)
    if something is not None:
        raise ConfigError(
            f"{store} holds something that is not a survey of hipsgen ({something}); "
            "name an empty or a new folder with {output}"
        )


def _refuse_inside(root: Path) -> None:
    """Raise ConfigError for a file, and for what lies in a survey: nobody looks there."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file; name a folder with {{output}}")
    for above in root.absolute().parents:
        if Journal(LocalStore(above)).exists():
            raise ConfigError(f"{root} lies within the survey {above}: name a folder beside it")


def check_free_space(store: Store, size: int, replaced: Sequence[BlockRecord]) -> None:
    """Raise ConfigError when new tiles certainly do not fit.

    size: upper bound of their bytes, found from outlines; half of it is certain. replaced: records
    of blocks whose tiles make room.
    """
    free = store.free_space()
    need = size - sum(sum(record.size.values()) for record in replaced)
    if free is not None and need // 2 > free:
        raise ConfigError(
            f"the survey takes about {human_size(need)} more, and {store} has {human_size(free)} "
            "free: choose another {output}, a lower {order} or fewer {formats}",
            parameter="output",
            value=str(store),
        )


def wipe(store: Store) -> None:
    """Throw an earlier attempt away, and nothing else that lies there.

    What marks the place as ours goes last. Until then a mark says what is going on, so that nobody
    takes what is left for a survey: the next build goes on with it.
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
    """Whether a `wipe` came to no end."""
    return store.stat(paths.WIPING) is not None


def coadds_gone(old: Sequence[BlockRecord], refs: Sequence[CoaddRef]) -> set[str]:
    """Coadds, by key, that gave pixels to blocks and are not given any more."""
    gone = {use.coadd for record in old for use in record.uses}
    if gone:
        gone.difference_update(ref.key for ref in refs)
    return gone


def remove_blocks(roots: Iterable[Tile], order: int, formats: Sequence[str], store: Store) -> int:
    """Remove blocks that are of no use any more: tiles, then record. How many tiles that were.

    order: of the leaf tiles.
    """
    removed = 0
    for root in roots:
        record, files = load_block(store, root, order, formats)
        for path, _ in files.inventory.files():
            store.delete(path)
        removed += record.tiles if record else 0
        Journal(store).remove(root)
    return removed


def remove_stale_top_tiles(store: Store, below: int, tiles: Iterable[Tile]) -> int:
    """Remove tiles of lower orders than `below` but these; how many there were."""
    known, gone = {tile.path("") for tile in tiles}, set()
    for order in range(below):
        for path in list(store.list(f"Norder{order}")):
            name = path.rpartition(".")[0]
            if "/Npix" in path and f"{name}." not in known:
                store.delete(path)
                gone.add(name)
    return len(gone)
