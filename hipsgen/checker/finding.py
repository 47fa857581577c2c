"""Findings of a check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A problem of a survey.

    Attributes
    ----------
    level : str
        ``error``, ``warning`` or ``note``.
    where : str
        File or property concerned.
    message : str
        What is wrong with it, and how to repair it where that is known.
    """

    level: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.message}"
