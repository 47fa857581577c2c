"""Build lifecycle, shared by coadd surveys and color surveys.

Claim the output folder, prepare, acquire the lease, begin the journal, plan the changes, check the
free space, render, publish.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hipsgen.builder.publish import creation_date
from hipsgen.builder.result import BuildResult, total_size
from hipsgen.coadd import Problem
from hipsgen.errors import HipsgenError
from hipsgen.journal.inventory import TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.output import check_free_space, claim, is_half_wiped, remove_blocks, wipe
from hipsgen.journal.records import BlockRecord
from hipsgen.planner.options import Runtime
from hipsgen.run.engine import check_engine, open_engine, run_bounded
from hipsgen.run.progress import Reporter
from hipsgen.sky.tiles import Tile
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import Store


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Difference between the survey to be built and the existing one, if any.

    Attributes
    ----------
    n_bytes
        Upper bound of the size of the files to be written.
    n_units
        Total units of progress.
    n_blocks
        Number of blocks of the whole survey.
    n_pending
        Number of tasks: blocks to be rendered, and the top orders of a color survey.
    kept
        Records of the finished blocks that remain as they are, by root.
    replaced
        Records of the blocks that are rendered again or removed.
    obsolete_roots
        Roots of the blocks that are removed.
    """

    n_bytes: int
    n_units: int
    n_blocks: int
    n_pending: int
    kept: Mapping[Tile, BlockRecord]
    replaced: Sequence[BlockRecord]
    obsolete_roots: Sequence[Tile]

    @property
    def is_needed(self) -> bool:
        """Whether the existing survey differs from the one to be built."""
        return bool(self.n_pending or self.replaced or self.obsolete_roots)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Result of publishing a survey.

    Attributes
    ----------
    records
        Records of all blocks that have tiles.
    top
        Tiles of the orders above the blocks.
    n_made, n_removed
        Number of tiles of `top` written, and of obsolete ones deleted, in this run.
    """

    records: Sequence[BlockRecord]
    top: TileInventory
    n_made: int
    n_removed: int


class Task(Protocol):
    """Unit of work for an engine: small and picklable."""

    def render(self) -> Any:
        """Write tiles and return the argument of `SurveyKind.add_result`."""


class SurveyKind(Protocol):
    """Steps of a build that differ between coadd surveys and color surveys, in calling order."""

    name: str
    store: Store
    is_color: bool

    def prepare(self, fresh: bool, recut: bool) -> Iterable[str]:
        """Determine what to build, without writing anything.

        Returns strings that identify the inputs. Raises ConfigError when the existing survey was
        started with different options, unless `fresh`.
        """

    def begin(self) -> None:
        """Begin a journal with a description of the survey to be built."""

    def plan_changes(self) -> Changes:
        """Compare the survey to be built with the existing one."""

    def announce(self, changes: Changes) -> None:
        """Report the planned work."""

    def update_journal(self, changes: Changes) -> None:
        """Update the journal before rendering; `properties` is already deleted."""

    def tasks(self, lease: BuildLease) -> Iterator[Task]:
        """Yield the pending tasks, in NESTED order of their blocks."""

    def add_result(self, result: Any) -> int:
        """Store the result of a task and return its units of progress."""

    def check_complete(self) -> None:
        """Raise IncompleteBuildError when the survey cannot be finished for lack of inputs."""

    def publish(self, created: str) -> Published:
        """Write the top orders and all other files, `properties` last."""

    def leaf_order(self) -> int:
        """Return the order of the leaf tiles."""

    @property
    def formats(self) -> Sequence[str]:
        """Names of the tile formats."""

    @property
    def n_inputs(self) -> int:
        """Number of inputs that were used."""

    @property
    def skipped(self) -> Sequence[Problem]:
        """Inputs that were left out."""

    def rendered(self) -> Sequence[BlockRecord]:
        """Return the records of the blocks rendered in this run."""


class SurveyBuild:
    """Build of one survey.

    It yields tasks and receives their results; the caller runs them, so that several surveys can
    share an engine.
    """

    def __init__(self, survey: SurveyKind, runtime: Runtime, reporter: Reporter) -> None:
        self._survey, self._runtime, self._reporter = survey, runtime, reporter
        self._store, self._journal = survey.store, Journal(survey.store)
        self._removed = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the build; the body of the `with` statement runs the tasks and calls `finish`."""
        self._started = time.monotonic()
        claim(self._store, self._survey.is_color)
        fresh = self._runtime.fresh or is_half_wiped(self._store)
        if fresh:
            check_engine(self._runtime.engine)
        with self._journal.running():
            self._begin(fresh)
            yield

    def _begin(self, fresh: bool) -> None:
        survey, store = self._survey, self._store
        inputs = survey.prepare(fresh, self._runtime.recut)
        self._lease = BuildLease.acquire(store, inputs)
        with self._lease.guard():
            if fresh:
                wipe(store)
            if not self._journal.exists():
                survey.begin()
        self._created = creation_date(store)
        self._changes = changes = survey.plan_changes()
        survey.announce(changes)
        with self._lease.guard():
            check_free_space(store, changes.n_bytes, changes.replaced)
            if changes.is_needed:
                store.delete(PROPERTIES)
            survey.update_journal(changes)
            order, roots = survey.leaf_order(), changes.obsolete_roots
            self._removed = remove_blocks(roots, order, survey.formats, store)

    def tasks(self) -> Iterator[Task]:
        """Yield the pending tasks."""
        if self._changes.n_pending:
            yield from self._survey.tasks(self._lease)

    @property
    def name(self) -> str:
        """Name of the survey."""
        return self._survey.name

    @property
    def n_units(self) -> int:
        """Total units of progress of all tasks."""
        return self._changes.n_units

    @property
    def n_pending(self) -> int:
        """Number of blocks to render, with those that have no leaf tile and no progress unit."""
        return self._changes.n_pending

    def add_result(self, result: Any) -> int:
        """Store the result of a task and return its units of progress."""
        return self._survey.add_result(result)

    def finish(self) -> BuildResult:
        """Publish the survey. Raises IncompleteBuildError when it lacks inputs."""
        survey, changes = self._survey, self._changes
        survey.check_complete()
        with self._lease.guard(on_conflict=self._journal.begin_top):
            published = survey.publish(self._created)
        rendered, records = survey.rendered(), published.records
        removed = self._removed + published.n_removed
        return BuildResult(
            name=survey.name,
            path=str(self._store),
            order=survey.leaf_order(),
            n_inputs=survey.n_inputs,
            n_tiles=sum(record.n_tiles for record in records) + len(published.top),
            size=total_size([published.top.size(), *(record.size for record in records)]),
            n_blocks=changes.n_blocks,
            n_blocks_rendered=len(rendered),
            n_tiles_made=sum(record.n_made for record in rendered) + published.n_made,
            n_tiles_removed=removed + sum(record.n_removed for record in rendered),
            is_update=bool(changes.kept or changes.replaced),
            is_color=survey.is_color,
            seconds=time.monotonic() - self._started,
            skipped=tuple(survey.skipped),
        )


def build_survey(survey: SurveyKind, runtime: Runtime, reporter: Reporter) -> BuildResult:
    """Build, resume or update one survey on an engine of its own.

    Raises
    ------
    ConfigError
        When the output contains something else, or was started with different options.
    IncompleteBuildError
        When inputs cannot be used; everything that does not need them is built.
    HipsgenError
        When a worker process is killed.
    """
    build = SurveyBuild(survey, runtime, reporter)
    with build.running():
        _render(build, runtime, reporter)
        return build.finish()


def _render(build: SurveyBuild, runtime: Runtime, reporter: Reporter) -> None:
    if not build.n_pending:
        return
    reporter.start(build.name, build.n_units)
    try:
        with open_engine(runtime.engine, runtime.workers) as executor:
            for result in run_bounded(executor, render_task, build.tasks(), runtime.workers):
                reporter.advance(build.add_result(result))
    except BrokenExecutor as error:
        raise HipsgenError(
            "a worker process was killed, possibly for lack of memory: rerun the same command to "
            "resume, with fewer {workers} or less {memory}"
        ) from error
    finally:
        reporter.stop()


def render_task(task: Task) -> Any:
    """Run a task; called by the engines."""
    return task.render()
