"""The coadds of one or several surveys, listed once without reading pixels."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from hipsgen.coadd import CoaddRef, Problem, reasons_of
from hipsgen.errors import ConfigError, InputError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.manifest import write_manifest
from hipsgen.images.source import ImageSource, RefList
from hipsgen.images.uris import local_path
from hipsgen.planner.jobs import CoaddQuery, SurveyJob, find_jobs
from hipsgen.run.progress import Reporter

if TYPE_CHECKING:
    from astropy.table import QTable


@dataclass(frozen=True)
class CoaddList(Sequence[CoaddRef]):
    """Coadds, grouped into the surveys that they become: one for each band.

    Made by `hipsgen.find_coadds`. Its length is the number of coadds, and iteration yields their
    references, survey by survey.

    Attributes
    ----------
    jobs : tuple of SurveyJob
        Band, title and source of each survey.
    """

    jobs: tuple[SurveyJob, ...]

    @property
    def bands(self) -> tuple[str, ...]:
        """Band of each survey; empty where the coadds have none."""
        return tuple(job.band for job in self.jobs)

    @property
    def source(self) -> str:
        """Origin of the coadds, in one line."""
        return self.jobs[0].source.describe()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Inputs that cannot be used, and the reasons."""
        found = (problem for job in self.jobs for problem in job.source.problems)
        return tuple(dict.fromkeys(found))

    def __len__(self) -> int:
        return sum(len(refs_of(job.source)) for job in self.jobs)

    def __iter__(self) -> Iterator[CoaddRef]:
        return (ref for job in self.jobs for ref in refs_of(job.source))

    @overload
    def __getitem__(self, index: int) -> CoaddRef: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CoaddRef]: ...
    def __getitem__(self, index: int | slice) -> CoaddRef | Sequence[CoaddRef]:
        return list(self)[index]

    def __repr__(self) -> str:
        return f"<CoaddList of {len(self)} coadds, bands {', '.join(map(repr, self.bands))}>"

    def to_table(self) -> "QTable":
        """Return a table with a row for each coadd.

        Returns
        -------
        astropy.table.QTable
            Columns: band, dataset_type, run, dataset_id, tract, patch (masked where there is none),
            uri, hdu, identity, ra and dec (deg, ICRS, mean of the corners; NaN where the outline is
            unknown), pixel_scale (arcsec; NaN where it is not known before the file is opened).
        """
        from hipsgen.planner.coadd_table import coadd_table

        return coadd_table(list(self))

    def save(self, path: str | os.PathLike[str]) -> int:
        """Save the references to a manifest, from which a build needs no registry.

        Parameters
        ----------
        path : path-like
            File to write; it is replaced as a whole.

        Returns
        -------
        int
            Number of references written.

        Raises
        ------
        ConfigError
            When the folder of the file does not exist, or the path is a URI of another machine.
        """
        place = local_path(path)
        if not place.absolute().parent.is_dir():
            raise ConfigError(
                f"{{manifest}} {place}: there is no folder {place.parent}",
                parameter="manifest",
                value=str(place),
                hint="create the folder first",
            )
        return write_manifest(place, self, self.source)


def list_coadds(inputs: Sequence[str], query: CoaddQuery, reporter: Reporter) -> CoaddList:
    """List the coadds of some inputs; a registry is queried only once.

    Parameters
    ----------
    inputs : sequence of str
        A Butler repository, a manifest, or FITS files and folders.
    query : CoaddQuery
        Which coadds to list.
    reporter : Reporter
        Receives notes and problems.

    Raises
    ------
    InputError
        When an input cannot be read or has no coadd.
    ConfigError
        When the query does not fit the inputs.
    """
    reader = FitsReader()
    return CoaddList(
        tuple(
            SurveyJob(job.band, job.title, _list_source(job.source, reporter))
            for job in find_jobs(inputs, query, reader, reporter)
        )
    )


def _list_source(source: ImageSource, reporter: Reporter) -> RefList:
    refs = tuple(list_refs(source, reporter))
    return RefList(refs, source.reader(), source.describe(), list(source.problems))


def list_refs(source: ImageSource, reporter: Reporter) -> list[CoaddRef]:
    """List the coadds of a source and report its problems.

    Raises InputError when there is no coadd.
    """
    refs = list(source.refs())
    for problem in source.problems:
        reporter.problem(problem)
    if not refs:
        reasons = ""
        if source.problems:
            reasons = f" ({len(source.problems)} left out: {reasons_of(source.problems)})"
        raise InputError(f"no usable coadd in {source.describe()}{reasons}")
    return refs


def refs_of(source: ImageSource) -> Sequence[CoaddRef]:
    """Return the references of a source, without another query if they are already listed."""
    return source.items if isinstance(source, RefList) else list(source.refs())
