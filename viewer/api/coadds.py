"""/api/coadds, pixel, cutout and patches: the coadds of a survey and the pixels of their files."""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hipsgen.coadd import CoaddRef
from hipsgen.errors import SurveyError
from hipsgen.survey.provenance import UsedCoadd
from viewer.api.responses import (
    RefusedError,
    guarded,
    json_response,
    number_parameter,
    position_parameters,
)
from viewer.api.surveys import find_survey
from viewer.coadds import pixels
from viewer.coadds.description import describe_coadd, describe_with_pixel
from viewer.coadds.originals import Originals
from viewer.coadds.provenance import ProvenanceTables
from viewer.http.limits import ReadPool
from viewer.surveys import ServedSurvey, Surveys

MAX_CUTOUT = 3600.0  # arcsec
_MAX_NAME = 150  # characters of a file's name that come from the data ID
Result = TypeVar("Result")


class CoaddFinder:
    """Finds the coadds of surveys; for a color survey, those of the bands it was made from.

    originals: which of their files may be opened.
    """

    def __init__(self, surveys: Surveys, originals: Originals) -> None:
        self._surveys = surveys
        self._originals = originals
        self._tables = ProvenanceTables(surveys.roots)

    async def at(self, survey: ServedSurvey, ra: float, dec: float) -> list[UsedCoadd]:
        """Return the coadds at an ICRS position (degrees). Raises RefusedError if unknown."""
        sources = await run_in_threadpool(self._surveys.with_provenance, survey)
        if not sources:
            raise RefusedError(404, f"survey {survey.name!r} has no provenance.fits")
        try:
            return [c for one in sources for c in await self._tables.at(one.folder, ra, dec)]
        except SurveyError as error:
            # the survey itself is valid: the page shows this reason in place of the coadds
            raise RefusedError(404, f"survey {survey.name!r}: {error}") from error

    async def all(self, survey: ServedSurvey) -> list[UsedCoadd]:
        """Return every coadd. Raises SurveyError if a table cannot be read."""
        sources = await run_in_threadpool(self._surveys.with_provenance, survey)
        return [coadd for one in sources for coadd in await self._tables.all(one.folder)]

    def limited(self, survey: ServedSurvey, work: Callable[..., Result]) -> Callable[..., Result]:
        """Return a blocking function that may open only files that are allowed for a survey."""
        return self._originals.limited(
            lambda: [one.folder for one in self._surveys.with_provenance(survey)], work
        )


class CoaddEndpoints:
    """Endpoints for coadds. reads: the pool in which their files are read."""

    def __init__(self, surveys: Surveys, finder: CoaddFinder, reads: ReadPool) -> None:
        self._surveys = surveys
        self._finder = finder
        self._reads = reads

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        return [
            Route("/api/coadds", guarded(self._coadds)),
            Route("/api/pixel", guarded(self._pixel)),
            Route("/api/cutout", guarded(self._cutout)),
            Route("/api/patches", guarded(self._patches)),
        ]

    async def _coadds(self, request: Request) -> Response:
        """Return the coadds that contributed pixels at a position."""
        survey, ra, dec = await self._survey_and_position(request)
        coadds = [describe_coadd(one) for one in await self._finder.at(survey, ra, dec)]
        return json_response({"survey": survey.name, "ra": ra, "dec": dec, "coadds": coadds})

    async def _pixel(self, request: Request) -> Response:
        """Return the coadds at a position, each with the pixel of its own file."""
        survey, ra, dec = await self._survey_and_position(request)
        arguments = [(coadd, ra, dec) for coadd in await self._finder.at(survey, ra, dec)]
        describe = self._finder.limited(survey, describe_with_pixel)
        coadds = await self._reads.run_all(describe, arguments)
        content = {"survey": survey.name, "ra": ra, "dec": dec, "coadds": coadds}
        if coadds and not any(one.get("allowed", True) for one in coadds):
            return json_response({"error": coadds[0]["error"], **content}, 403)
        return json_response(content)

    async def _cutout(self, request: Request) -> Response:
        """Return a FITS cutout of a coadd around a position."""
        survey, ra, dec = await self._survey_and_position(request)
        size = number_parameter(request.query_params, "size", 1e-3, MAX_CUTOUT)
        coadd_id = request.query_params.get("coadd", "")
        coadds = await self._finder.at(survey, ra, dec)
        matches = [one for one in coadds if coadd_id in ("", pixels.coadd_id(one))]
        if not matches:
            raise RefusedError(404, f"no coadd {coadd_id[:80]!r} of {survey.name} at this position")
        cut = self._finder.limited(survey, pixels.fits_cutout)
        response = await self._reads.run_response(cut, matches[0], ra, dec, size)
        name = _cutout_name(matches[0].ref, ra, dec)
        response.headers["content-type"] = "application/fits"
        response.headers["content-disposition"] = f'attachment; filename="{name}"'
        return response

    async def _patches(self, request: Request) -> Response:
        """Return the outlines of a survey's coadds, each once for all bands."""
        survey = await find_survey(self._surveys, request.query_params.get("survey", ""))
        patches: dict[tuple[Any, ...], dict[str, Any]] = {}
        for coadd in await self._finder.all(survey):
            label, polygon = _patch_label(coadd.ref), coadd.ref.polygon
            if polygon:
                corners = [[round(a, 7) for a in corner] for corner in polygon]
                patches.setdefault((*label.values(), polygon), {**label, "polygon": corners})
        return json_response({"survey": survey.name, "patches": list(patches.values())})

    async def _survey_and_position(self, request: Request) -> tuple[ServedSurvey, float, float]:
        """Return the survey and the ICRS position (degrees) of a request."""
        survey = await find_survey(self._surveys, request.query_params.get("survey", ""))
        return survey, *position_parameters(request.query_params)


def _cutout_name(ref: CoaddRef, ra: float, dec: float) -> str:
    """Return the file name under which a browser saves a cutout."""
    parts = [f"{value}" for _, value in ref.data_id] or [ref.band]
    name = "_".join([*parts, f"{ra:.5f}", f"{dec:+.5f}"])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in name)
    return f"cutout_{safe[-_MAX_NAME:]}.fits"


def _patch_label(ref: CoaddRef) -> dict[str, Any]:
    """Return what identifies the patch of a coadd, for all bands."""
    data_id = dict(ref.data_id)
    if "tract" in data_id:
        return {key: data_id.get(key) for key in ("skymap", "tract", "patch")}
    name = ref.uri.rsplit("/", 1)[-1]
    return {"skymap": None, "tract": None, "patch": None, "name": name[:80]}
