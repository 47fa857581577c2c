"""The difference between a plan and what is already built."""

from collections.abc import Iterator
from dataclasses import dataclass

from hipsgen.journal.fingerprints import fingerprint
from hipsgen.journal.journal import Journal
from hipsgen.journal.previous import PreviousBlock
from hipsgen.journal.records import BlockRecord
from hipsgen.planner.blocks import Plan
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.tiles import Tile
from hipsgen.survey.store import Store


@dataclass(frozen=True)
class ChangeSet:
    """What has to be rendered and removed so that the survey agrees with a plan.

    Attributes
    ----------
    recipe : Recipe
        Recipe of the survey.
    plan : Plan
        The blocks of the survey.
    leaves : list of int
        Upper bound of the number of leaf tiles in each block of the plan.
    done : dict of Tile to BlockRecord
        Records of the blocks that stay as they are, by root.
    pending : list of int
        Numbers of the other blocks of the plan.
    obsolete_roots : list of Tile
        Roots of blocks that are not in the plan.
    stale_records : list of BlockRecord
        Records of the pending and of the obsolete blocks.
    """

    recipe: Recipe
    plan: Plan
    leaves: list[int]
    done: dict[Tile, BlockRecord]
    pending: list[int]
    obsolete_roots: list[Tile]
    stale_records: list[BlockRecord]

    @classmethod
    def between(cls, journal: Journal, recipe: Recipe, plan: Plan) -> "ChangeSet":
        """Compare a plan with the journal, by the identities of the coadds; no coadd is opened."""
        earlier = list(journal.records())
        number = {root: k for k, root in enumerate(plan.roots())}
        done = {
            record.root: record
            for record in earlier
            if record.root in number
            and not record.problems
            and record.fingerprint
            == fingerprint(recipe, [plan.refs[i] for i in plan.ref_indices(number[record.root])])
        }
        return cls(
            recipe=recipe,
            plan=plan,
            leaves=plan.leaf_counts().tolist(),
            done=done,
            pending=[k for root, k in number.items() if root not in done],
            obsolete_roots=sorted(journal.roots() - number.keys()),
            stale_records=[record for record in earlier if record.root not in done],
        )

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.pending or self.stale_records or self.obsolete_roots)

    def tiles(self, store: Store) -> Iterator[tuple[int, int]]:
        """Yield, for each changed block, upper bounds of the tiles to be written and removed."""
        for k in self.pending:
            refs = {i: self.plan.refs[i] for i in self.plan.ref_indices(k)}
            yield PreviousBlock.of(store, self.recipe, self.plan.block(k), refs).estimate()
        obsolete = set(self.obsolete_roots)
        yield from ((0, record.n_tiles) for record in self.stale_records if record.root in obsolete)
