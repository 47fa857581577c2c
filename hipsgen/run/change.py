"""What a plan asks for, beyond what a place already has."""

from collections.abc import Iterator
from dataclasses import dataclass

from hipsgen.run.block import fingerprint
from hipsgen.run.config import Recipe
from hipsgen.run.earlier import Earlier
from hipsgen.run.journal import BlockRecord, Journal
from hipsgen.run.plan import Plan
from hipsgen.sky.tiles import Tile
from hipsgen.survey.store import Store


@dataclass(frozen=True)
class Change:
    """done: finished blocks that stay as they are. todo: numbers of the plan's other blocks.

    departed: blocks that the plan does not have. old: those and the ones that are to be done
    again.
    """

    done: dict[Tile, BlockRecord]
    todo: list[int]
    departed: list[BlockRecord]
    old: list[BlockRecord]

    @classmethod
    def between(cls, journal: Journal, recipe: Recipe, plan: Plan) -> "Change":
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
            done=done,
            todo=[k for root, k in number.items() if root not in done],
            departed=[record for record in earlier if record.root not in number],
            old=[record for record in earlier if record.root not in done],
        )

    @property
    def is_one(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.todo or self.old)

    def tiles(self, store: Store, recipe: Recipe, plan: Plan) -> Iterator[tuple[int, int]]:
        """Of each block that is not done: how many tiles are to be made at most, and removed."""
        for k in self.todo:
            refs = {i: plan.refs[i] for i in plan.ref_indices(k)}
            yield Earlier.of(store, recipe, plan.block(k), refs).made_and_removed()
        yield from ((0, record.tiles) for record in self.departed)
