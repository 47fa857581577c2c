"""Check several surveys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hipsgen.checker.finding import Finding
from hipsgen.checker.survey import CheckOptions, check_and_count
from hipsgen.run.progress import Reporter

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class CheckReport:
    """Findings of a check.

    Attributes
    ----------
    surveys : mapping of str to sequence of Finding
        Findings of each survey, by its folder or URL.
    compared : mapping of str to int
        Number of leaf tiles of each survey that were rendered again from its coadds and compared.
    """

    surveys: Mapping[str, Sequence[Finding]]
    compared: Mapping[str, int] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings."""
        return tuple(finding for found in self.surveys.values() for finding in found)

    @property
    def ok(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(finding.level == "note" for finding in self.findings)

    def to_table(self) -> "Table":
        """Return an astropy.table.Table with columns survey, level, where, message."""
        from astropy.table import Table

        rows = [
            (survey, finding.level, finding.where, finding.message)
            for survey, found in self.surveys.items()
            for finding in found
        ]
        names = ("survey", "level", "where", "message")
        return Table(rows=rows or None, names=names, dtype=[str] * 4)


def check_surveys(
    places: Sequence[str], deep: bool, against_inputs: int, workers: int, reporter: Reporter
) -> CheckReport:
    """Check each survey; one that cannot be read is a finding."""
    options = CheckOptions(deep, against_inputs, workers)
    checked = {place: check_and_count(place, options, reporter) for place in places}
    return CheckReport(
        {place: findings for place, (findings, _) in checked.items()},
        {place: compared for place, (_, compared) in checked.items()},
    )
