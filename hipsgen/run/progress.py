"""Progress reports: a bar on a terminal, plain lines elsewhere, a callback for scripts."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from hipsgen.coadd import Problem
from hipsgen.text import as_option, name_parameters

logger = logging.getLogger(__name__)
_INTERVAL = 10.0  # seconds between plain lines


class Reporter(Protocol):
    """Receives the events of a build."""

    def note(self, text: str) -> None:
        """Report something that every user should see."""

    def detail(self, text: str) -> None:
        """Report something for verbose output."""

    def problem(self, problem: Problem) -> None:
        """Report an input that cannot be used."""

    def start(self, name: str, total: int) -> None:
        """Report that work of `total` units begins; name: of the survey."""

    def advance(self, units: int) -> None:
        """Report that `units` more are done."""

    def stop(self) -> None:
        """Report that the work is done or has failed."""


@dataclass
class QuietReporter:
    """Prints only inputs that cannot be used."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _reported: set[Problem] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Ignore the event."""

    def detail(self, text: str) -> None:
        """Ignore the event."""

    def problem(self, problem: Problem) -> None:
        """Print one line, once for all surveys."""
        if self._is_new(problem):
            print(_describe(problem), file=self.stream, flush=True)

    def _is_new(self, problem: Problem) -> bool:
        is_new = problem not in self._reported
        self._reported.add(problem)
        return is_new

    def start(self, name: str, total: int) -> None:
        """Ignore the event."""

    def advance(self, units: int) -> None:
        """Ignore the event."""

    def stop(self) -> None:
        """Ignore the event."""


@dataclass
class LineReporter(QuietReporter):
    """Prints plain lines, for logs and other output that is not a terminal."""

    verbose: bool = False
    _name: str = ""
    _total: int = 0
    _done: int = 0
    _started: float = 0.0
    _last_line: float = 0.0

    def note(self, text: str) -> None:
        """Print one line."""
        print(name_parameters(text, as_option), file=self.stream, flush=True)

    def detail(self, text: str) -> None:
        """Print one line if `verbose` is set."""
        if self.verbose:
            self.note(text)

    def start(self, name: str, total: int) -> None:
        """Start to measure the rate."""
        self._name, self._total, self._done = name, total, 0
        self._started = self._last_line = time.monotonic()

    def advance(self, units: int) -> None:
        """Print a line every few seconds."""
        self._done += units
        now = time.monotonic()
        if now - self._last_line >= _INTERVAL:
            self._last_line = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else 0.0
            self.note(
                f"{self._name}: {self._done}/{self._total} tiles, {rate:.1f} tiles/s, "
                f"{_clock(left)} left"
            )


class BarReporter(LineReporter):
    """Shows a progress bar on a terminal."""

    def __init__(self, stream: TextIO, verbose: bool = False) -> None:
        from rich.console import Console

        super().__init__(stream=stream, verbose=verbose)
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._progress: Any = None
        self._task: Any = None

    def note(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(name_parameters(text, as_option), markup=False)

    def problem(self, problem: Problem) -> None:
        """Print one line above the bar, once for all surveys."""
        if self._is_new(problem):
            self._console.print(_describe(problem), markup=False, style="yellow")

    def start(self, name: str, total: int) -> None:
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
        self._done, self._started = 0, time.monotonic()
        self._task = self._progress.add_task(name, total=total, rate="")
        self._progress.start()

    def advance(self, units: int) -> None:
        """Move the bar."""
        self._done += units
        rate = self._done / max(time.monotonic() - self._started, 1e-3)
        self._progress.update(self._task, advance=units, rate=f"{rate:.1f}/s")

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class CallbackReporter:
    """Calls a function with the progress, and logs all other events; for scripts.

    Parameters
    ----------
    progress : callable, optional
        Called as ``progress(done, total)``, in the thread that builds.
    """

    def __init__(self, progress: Callable[[int, int], object] | None = None) -> None:
        self._progress = progress
        self._done = self._total = 0

    def note(self, text: str) -> None:
        """Log a note at level INFO."""
        logger.info(name_parameters(text))

    def detail(self, text: str) -> None:
        """Log a detail at level DEBUG."""
        logger.debug(text)

    def problem(self, problem: Problem) -> None:
        """Log a problem at level INFO; results and errors have it as well."""
        logger.info(_describe(problem))

    def start(self, name: str, total: int) -> None:
        """Report that nothing is done yet."""
        self._done, self._total = 0, total
        self._report()

    def advance(self, units: int) -> None:
        """Report the units done."""
        self._done += units
        self._report()

    def stop(self) -> None:
        """Do nothing: the function that was called returns or raises."""

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)


def _describe(problem: Problem) -> str:
    return f"{'cannot be used' if problem.is_fault else 'skipped'}: {problem}"


def reporter(quiet: bool, verbose: bool) -> Reporter:
    """Return the reporter for the command line, which depends on whether stderr is a terminal."""
    if quiet:
        return QuietReporter()
    if sys.stderr.isatty():
        return BarReporter(sys.stderr, verbose)
    return LineReporter(verbose=verbose)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
