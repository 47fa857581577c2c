"""Inputs that cannot be used: told once, and left out of the survey or in its way."""

from collections.abc import Iterable, Sequence

from hipsgen.coadd import CoaddRef, Problem
from hipsgen.errors import InputError
from hipsgen.journal.records import BlockRecord
from hipsgen.run.progress import Reporter
from hipsgen.survey.provenance import LeftOut
from hipsgen.survey.store import Store


class ProblemLog:
    """What went wrong in a build. all: every problem. coadds: reasons by `CoaddRef.key`."""

    def __init__(
        self, listed: Sequence[Problem], refs: Sequence[CoaddRef], reporter: Reporter
    ) -> None:
        self.all = dict.fromkeys(listed)
        self.coadds: dict[str, str] = {}
        self._listed, self._refs, self._reporter = tuple(listed), refs, reporter
        self._by_key: dict[str, CoaddRef] = {}

    @property
    def faults(self) -> int:
        """How many inputs are damaged or missing, not merely of another kind."""
        return sum(problem.is_fault for problem in self._listed) + len(self.coadds)

    def tell(self, problem: Problem) -> None:
        """Report a problem; the reporter says each once."""
        self.all[problem] = None
        self._reporter.problem(problem)

    def tell_sampled(self, problems: Sequence[Problem], strict: bool) -> None:
        """Report coadds that could not be sampled. Raises InputError for the first when strict."""
        for problem in problems:
            if strict:
                raise InputError(str(problem))
            self.tell(problem)
        if problems:
            self._reporter.note(
                f"cuts are chosen without {len(problems)} of the coadds; when they can be read, "
                "{recut} chooses them anew"
            )

    def tell_coadd(self, key: str, reason: str) -> None:
        """Report a coadd that could not be read; it may fail in several blocks."""
        self.coadds.setdefault(key, reason)
        self.tell(Problem(str(self._ref(key)), reason))

    def advice(self, store: Store, records: Iterable[BlockRecord], is_changed: bool) -> str:
        """One line on what is missing and how to get on."""
        count = sum(bool(record.problems) for record in records)
        waiting = (
            f", for which {count} block{'s wait' if count != 1 else ' waits'}" if count else ""
        )
        state = "is not finished" if is_changed else "stays as it was"
        return (
            f"{store} {state}: {self._named()}{waiting}. Repair and run the same command again, or "
            "finish without: {skip_bad}"
        )

    def warning(self, store: Store, gone: int) -> str:
        """One line on why nothing is done to a survey that would lose something by it."""
        some = f"{gone} coadd{'s' if gone != 1 else ''} of the survey in {store}"
        return (
            f"{self._named()}, perhaps what was {some}: nothing is changed, lest it lose them. "
            "Repair and run the same command again, or go on without what they gave: {skip_bad}"
        )

    def _named(self) -> str:
        return f"{self.faults} input{'s' if self.faults != 1 else ''}, named above, cannot be used"

    def left_out(self) -> list[LeftOut]:
        """What provenance says of the inputs that were left out."""
        listed = [LeftOut(CoaddRef(p.source, ""), p.reason) for p in self._listed if p.is_fault]
        coadds = [ref for ref in self._refs if ref.key in self.coadds]  # in the plan's order
        return listed + [LeftOut(ref, self.coadds[ref.key]) for ref in coadds]

    def _ref(self, key: str) -> CoaddRef:
        if not self._by_key:
            self._by_key = {ref.key: ref for ref in self._refs}
        return self._by_key[key]
