"""What the user sees while a survey is made: a bar on a terminal, plain lines elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from hipsgen.coadd import Problem
from hipsgen.text import as_option, name_parameters

logger = logging.getLogger(__name__)
_EVERY = 10.0  # seconds between plain lines


class Reporter(Protocol):
    """Told of events; prints or does not."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def detail(self, text: str) -> None:
        """Something for those who asked for more."""

    def problem(self, problem: Problem) -> None:
        """An input that cannot be used."""

    def start(self, what: str, total: int) -> None:
        """Work of `total` units begins."""

    def advance(self, units: int) -> None:
        """So much more is done."""

    def stop(self) -> None:
        """The work is done or has failed."""


@dataclass
class QuietReporter:
    """Says only what cannot be used."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _told: set[Problem] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def problem(self, problem: Problem) -> None:
        """One line, once for all surveys."""
        if self._is_new(problem):
            print(_words(problem), file=self.stream, flush=True)

    def _is_new(self, problem: Problem) -> bool:
        is_new = problem not in self._told
        self._told.add(problem)
        return is_new

    def start(self, what: str, total: int) -> None:
        """Nothing."""

    def advance(self, units: int) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


@dataclass
class LineReporter(QuietReporter):
    """Plain lines: for logs, and for whatever is no terminal."""

    verbose: bool = False
    _what: str = ""
    _total: int = 0
    _done: int = 0
    _begun: float = 0.0
    _said: float = 0.0

    def note(self, text: str) -> None:
        """One line."""
        print(name_parameters(text, as_option), file=self.stream, flush=True)

    def detail(self, text: str) -> None:
        """One line with --verbose."""
        if self.verbose:
            self.note(text)

    def start(self, what: str, total: int) -> None:
        """Remember."""
        self._what, self._total, self._done = what, total, 0
        self._begun = self._said = time.monotonic()

    def advance(self, units: int) -> None:
        """A line every few seconds."""
        self._done += units
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / rate if rate else 0.0
            self.note(
                f"{self._what}: {self._done}/{self._total} tiles, {rate:.1f} tiles/s, "
                f"{_clock(left)} left"
            )


class BarReporter(LineReporter):
    """A progress bar on a terminal."""

    def __init__(self, stream: TextIO, verbose: bool = False) -> None:
        from rich.console import Console

        super().__init__(stream=stream, verbose=verbose)
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._progress: Any = None
        self._task: Any = None

    def note(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(name_parameters(text, as_option), markup=False)

    def problem(self, problem: Problem) -> None:
        """One line above the bar, once for all surveys."""
        if self._is_new(problem):
            self._console.print(_words(problem), markup=False, style="yellow")

    def start(self, what: str, total: int) -> None:
        """Show the bar."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.stop()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tiles"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self._console,
        )
        self._done, self._begun = 0, time.monotonic()
        self._task = self._progress.add_task(what, total=total, rate="")
        self._progress.start()

    def advance(self, units: int) -> None:
        """Move the bar."""
        self._done += units
        rate = self._done / max(time.monotonic() - self._begun, 1e-3)
        self._progress.update(self._task, advance=units, rate=f"{rate:.1f}/s")

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class CallbackReporter:
    """For scripts: calls a function with the progress, and logs the rest.

    progress: called with the units done and their total, from the thread that builds.
    """

    def __init__(self, progress: Callable[[int, int], object] | None = None) -> None:
        self._progress = progress
        self._done = self._total = 0

    def note(self, text: str) -> None:
        """Log it at level INFO."""
        logger.info(name_parameters(text))

    def detail(self, text: str) -> None:
        """Log it at level DEBUG."""
        logger.debug(text)

    def problem(self, problem: Problem) -> None:
        """Log it at level INFO; results and errors have the problems, too."""
        logger.info(_words(problem))

    def start(self, what: str, total: int) -> None:
        """Report that nothing is done yet."""
        self._done, self._total = 0, total
        self._report()

    def advance(self, units: int) -> None:
        """Report what is done."""
        self._done += units
        self._report()

    def stop(self) -> None:
        """Report nothing: the caller learns the end from the function that it called."""

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)


def _words(problem: Problem) -> str:
    return f"{'cannot be used' if problem.is_fault else 'passed over'}: {problem}"


def reporter(quiet: bool, verbose: bool) -> Reporter:
    """The reporter for this standard error."""
    if quiet:
        return QuietReporter()
    if sys.stderr.isatty():
        return BarReporter(sys.stderr, verbose)
    return LineReporter(verbose=verbose)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
