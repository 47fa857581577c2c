"""What a plan asks for, beyond what a place already has."""

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
    """What has to be done for a plan, given what the journal has.

    leaves: upper bound of the leaf tiles of each block of the plan. done: records of the blocks
    that stay as they are. pending: numbers of the other blocks of the plan. obsolete_roots: of
    blocks that the plan does not have. stale_records: of the obsolete and the pending blocks.
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
        """What there is against what is wanted: by the coadds' identities, and nothing is read."""
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
        """Whether anything is to be done."""
        return bool(self.pending or self.stale_records or self.obsolete_roots)

    def tiles(self, store: Store) -> Iterator[tuple[int, int]]:
        """Of each block that is not done: how many tiles are to be made at most, and removed."""
        for k in self.pending:
            refs = {i: self.plan.refs[i] for i in self.plan.ref_indices(k)}
            yield PreviousBlock.of(store, self.recipe, self.plan.block(k), refs).estimate()
        gone = set(self.obsolete_roots)
        yield from ((0, record.tiles) for record in self.stale_records if record.root in gone)
