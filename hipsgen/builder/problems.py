"""Inputs that cannot be used: reported once each, then skipped or blocking the build."""

from collections.abc import Iterable, Sequence

from hipsgen.coadd import CoaddRef, Problem
from hipsgen.errors import InputError
from hipsgen.journal.records import BlockRecord
from hipsgen.run.progress import Reporter
from hipsgen.survey.provenance import LeftOut
from hipsgen.survey.store import Store
from hipsgen.text import counted


class ProblemLog:
    """Collects and reports the problems of a build.

    Attributes
    ----------
    all
        Every problem, in order of occurrence.
    coadds
        Reasons why coadds could not be read, by `CoaddRef.key`.
    """

    def __init__(
        self, listed: Sequence[Problem], refs: Sequence[CoaddRef], reporter: Reporter
    ) -> None:
        self.all = dict.fromkeys(listed)
        self.coadds: dict[str, str] = {}
        self._listed, self._refs, self._reporter = tuple(listed), refs, reporter
        self._by_key: dict[str, CoaddRef] = {}

    @property
    def faults(self) -> int:
        """Number of inputs that are damaged or missing, rather than not coadds."""
        return sum(problem.is_fault for problem in self._listed) + len(self.coadds)

    def report(self, problem: Problem) -> None:
        """Report a problem; the reporter prints each only once."""
        self.all[problem] = None
        self._reporter.problem(problem)

    def report_sampled(self, problems: Sequence[Problem], strict: bool) -> None:
        """Report coadds that could not be sampled; when strict, raise InputError for the first."""
        for problem in problems:
            if strict:
                raise InputError(str(problem))
            self.report(problem)
        if problems:
            coadds = counted(len(problems), "unreadable coadd")
            self._reporter.note(
                f"the cuts are computed without {coadds}; after repairing the input, {{recut}} "
                "computes new ones"
            )

    def report_coadd(self, key: str, reason: str) -> None:
        """Report a coadd that could not be read; several blocks may need it."""
        self.coadds.setdefault(key, reason)
        self.report(Problem(str(self._ref(key)), reason))

    def advice(self, store: Store, records: Iterable[BlockRecord], is_changed: bool) -> str:
        """Return a line that says why the survey is not finished and what to do."""
        count = sum(bool(record.problems) for record in records)
        needed = f"; needed by {counted(count, 'block')}" if count else ""
        state = "is not finished" if is_changed else "is unchanged"
        return (
            f"{store} {state}: {self._summary()}{needed}. Repair the input and rerun the same "
            "command, or finish without it: {skip_bad}"
        )

    def warning(self, store: Store, gone: int) -> str:
        """Return a line that says why a survey that would lose coadds is left unchanged."""
        return (
            f"{store} is left unchanged: the build would remove {counted(gone, 'coadd')} of the "
            f"survey while {self._summary()}, possibly the same. Repair the input and rerun the "
            "same command, or continue without it: {skip_bad}"
        )

    def _summary(self) -> str:
        return f"{counted(self.faults, 'input')} cannot be used"

    def left_out(self) -> list[LeftOut]:
        """Return the entries of the provenance table for the inputs that were left out."""
        listed = [LeftOut(CoaddRef(p.source, ""), p.reason) for p in self._listed if p.is_fault]
        coadds = [ref for ref in self._refs if ref.key in self.coadds]  # in the order of the plan
        return listed + [LeftOut(ref, self.coadds[ref.key]) for ref in coadds]

    def _ref(self, key: str) -> CoaddRef:
        if not self._by_key:
            self._by_key = {ref.key: ref for ref in self._refs}
        return self._by_key[key]
