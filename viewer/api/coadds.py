"""/api/coadds, pixel, cutout and patches: the coadds of a survey, and what their files hold."""

from typing import Any

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
from viewer.coadds.provenance import ProvenanceTables
from viewer.http.limits import ReadPool
from viewer.surveys import ServedSurvey, Surveys

MAX_CUTOUT = 3600.0  # arcsec


class CoaddFinder:
    """Finds the coadds of surveys; of a color survey, those of the bands that it is made of."""

    def __init__(self, surveys: Surveys) -> None:
        self._surveys = surveys
        self._tables = ProvenanceTables(surveys.roots)

    async def at(self, survey: ServedSurvey, ra: float, dec: float) -> list[UsedCoadd]:
        """The coadds at an ICRS position (degrees). Raises RefusedError when none are known."""
        sources = await run_in_threadpool(self._surveys.with_provenance, survey)
        if not sources:
            raise RefusedError(404, f"survey {survey.name!r} has no provenance.fits")
        try:
            return [c for one in sources for c in await self._tables.at(one.folder, ra, dec)]
        except SurveyError as error:
            # the survey itself is in order: the page shows the reason where the coadds would be
            raise RefusedError(404, f"survey {survey.name!r}: {error}") from error

    async def all(self, survey: ServedSurvey) -> list[UsedCoadd]:
        """Every coadd. Raises SurveyError for a table that cannot be read."""
        sources = await run_in_threadpool(self._surveys.with_provenance, survey)
        return [coadd for one in sources for coadd in await self._tables.all(one.folder)]


class CoaddEndpoints:
    """Endpoints that tell of coadds. reads: where their files are read."""

    def __init__(self, surveys: Surveys, finder: CoaddFinder, reads: ReadPool) -> None:
        self._surveys = surveys
        self._finder = finder
        self._reads = reads

    def routes(self) -> list[Route]:
        """Routes of these endpoints."""
        return [
            Route("/api/coadds", guarded(self._coadds)),
            Route("/api/pixel", guarded(self._pixel)),
            Route("/api/cutout", guarded(self._cutout)),
            Route("/api/patches", guarded(self._patches)),
        ]

    async def _coadds(self, request: Request) -> Response:
        """The coadds that gave pixels at a position."""
        survey, ra, dec = await self._place(request)
        found = [describe_coadd(one) for one in await self._finder.at(survey, ra, dec)]
        return json_response({"survey": survey.name, "ra": ra, "dec": dec, "coadds": found})

    async def _pixel(self, request: Request) -> Response:
        """The same, with the pixel of each in its own file."""
        survey, ra, dec = await self._place(request)
        coadds = await self._finder.at(survey, ra, dec)
        asked = [(one, ra, dec) for one in coadds]
        found = await self._reads.run_all(describe_with_pixel, asked)
        return json_response({"survey": survey.name, "ra": ra, "dec": dec, "coadds": found})

    async def _cutout(self, request: Request) -> Response:
        """A FITS file of a coadd around a position."""
        survey, ra, dec = await self._place(request)
        size = number_parameter(request.query_params, "size", 1e-3, MAX_CUTOUT)
        wanted = request.query_params.get("coadd", "")
        coadds = await self._finder.at(survey, ra, dec)
        chosen = [one for one in coadds if wanted in ("", pixels.name_of(one))]
        if not chosen:
            raise RefusedError(404, f"no coadd {wanted[:80]!r} of {survey.name} at this position")
        response = await self._reads.run_response(pixels.cutout_of, chosen[0], ra, dec, size)
        name = _cutout_name(chosen[0].ref, ra, dec)
        response.headers["content-type"] = "application/fits"
        response.headers["content-disposition"] = f'attachment; filename="{name}"'
        return response

    async def _patches(self, request: Request) -> Response:
        """Outlines of the coadds of a survey, each once, whatever its band."""
        survey = await find_survey(self._surveys, request.query_params.get("survey", ""))
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for coadd in await self._finder.all(survey):
            label, polygon = _patch_label(coadd.ref), coadd.ref.polygon
            if polygon:
                corners = [[round(a, 7) for a in corner] for corner in polygon]
                found.setdefault((*label.values(), polygon), {**label, "polygon": corners})
        return json_response({"survey": survey.name, "patches": list(found.values())})

    async def _place(self, request: Request) -> tuple[ServedSurvey, float, float]:
        """The survey and the ICRS position (degrees) that a request asks about."""
        survey = await find_survey(self._surveys, request.query_params.get("survey", ""))
        return survey, *position_parameters(request.query_params)


def _cutout_name(ref: CoaddRef, ra: float, dec: float) -> str:
    """Name of the file that a browser saves."""
    words = [f"{value}" for _, value in ref.data_id] or [ref.band]
    name = "_".join([*words, f"{ra:.5f}", f"{dec:+.5f}"])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in name)
    return f"cutout_{safe}.fits"


def _patch_label(ref: CoaddRef) -> dict[str, Any]:
    """What a coadd is called on the sky, whatever its band."""
    data_id = dict(ref.data_id)
    if "tract" in data_id:
        return {key: data_id.get(key) for key in ("skymap", "tract", "patch")}
    name = ref.uri.rsplit("/", 1)[-1]
    return {"skymap": None, "tract": None, "patch": None, "name": name[:80]}
