"""The result of a check of several surveys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipsgen.checker.finding import Finding
from hipsgen.checker.survey import Depth, check_survey
from hipsgen.run.progress import Reporter

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes
    ----------
    surveys : mapping of str to sequence of Finding
        Findings by folder or URL of each survey that was checked.
    """

    surveys: Mapping[str, Sequence[Finding]]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings of all surveys."""
        return tuple(finding for found in self.surveys.values() for finding in found)

    @property
    def ok(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(finding.level == "note" for finding in self.findings)

    def to_table(self) -> "Table":
        """Return an astropy.table.Table with columns survey, level, where, what."""
        from astropy.table import Table

        rows = [
            (survey, finding.level, finding.where, finding.what)
            for survey, found in self.surveys.items()
            for finding in found
        ]
        return Table(rows=rows or None, names=("survey", "level", "where", "what"), dtype=[str] * 4)


def check_surveys(
    places: Sequence[str], deep: bool, against_inputs: int, workers: int, reporter: Reporter
) -> CheckReport:
    """Check each survey; one that cannot be read is a finding."""
    depth = Depth(deep, against_inputs, workers)
    return CheckReport({place: check_survey(place, depth, reporter) for place in places})
