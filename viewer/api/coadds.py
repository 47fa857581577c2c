"""/api/coadds, pixel, cutout and patches: the coadds of a survey and the pixels of their files."""

import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from io import FileIO
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hipsgen.coadd import CoaddRef
from hipsgen.errors import SurveyError
from hipsgen.survey.provenance import UsedCoadd
from hipsgen.survey.provenance_rows import Rows
from viewer.api.responses import (
    JsonLines,
    RefusedError,
    guarded,
    json_response,
    number_parameter,
    position_parameters,
)
from viewer.api.surveys import find_survey
from viewer.coadds import pixels
from viewer.coadds.description import CoaddDescription, describe_coadd, describe_with_pixel
from viewer.coadds.originals import Originals
from viewer.coadds.patches import PatchOutlines
from viewer.coadds.provenance import ProvenanceTables
from viewer.http.limits import ReadPool
from viewer.http.survey_files import SurveyFile
from viewer.surveys import ServedSurvey, Surveys

MAX_CUTOUT = 3600.0  # arcsec
PIXEL_TIMEOUT = 10.0  # seconds to read the pixel of one coadd
_MAX_IN_MEMORY = 1 << 22  # bytes of a response
_MAX_NAME = 150  # characters of a file name that come from the data ID
Result = TypeVar("Result")


class CoaddFinder:
    """Finds the coadds of surveys; for a color survey, those of the bands it was made from.

    originals: which of their files may be opened. read_only: write nothing into their folders.
    """

    def __init__(self, surveys: Surveys, originals: Originals, read_only: bool = False) -> None:
        self._surveys = surveys
        self._originals = originals
        self._tables = ProvenanceTables(surveys.roots, read_only)

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

    async def pieces(self, survey: ServedSurvey) -> AsyncGenerator[Rows, None]:
        """Iterate over all rows, several thousand at a time. Raises SurveyError."""
        for one in await run_in_threadpool(self._surveys.with_provenance, survey):
            async for rows in self._tables.pieces(one.folder):
                yield rows

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
        coadds = await self._finder.at(survey, ra, dec)
        answer: dict[str, Any] = {"survey": survey.name, "ra": ra, "dec": dec}
        answer["coadds"] = [describe_coadd(one) for one in coadds]
        read = self._pixels(survey, coadds, ra, dec)
        if request.query_params.get("stream"):
            return JsonLines(_streamed(answer, read))
        async for number, description in read:
            answer["coadds"][number] = description
        if coadds and not any(one.get("allowed", True) for one in answer["coadds"]):
            return json_response({"error": answer["coadds"][0]["error"], **answer}, 403)
        return json_response(answer)

    async def _pixels(
        self, survey: ServedSurvey, coadds: Sequence[UsedCoadd], ra: float, dec: float
    ) -> AsyncIterator[tuple[int, CoaddDescription]]:
        """Iterate over the coadds with their pixels as they are read; numbers count from 0."""
        calls = [(coadd, ra, dec) for coadd in coadds]
        names = list(map(pixels.coadd_id, coadds))
        describe = self._finder.limited(survey, describe_with_pixel)
        outcomes = self._reads.run_each(describe, calls, names, PIXEL_TIMEOUT)
        async for one in outcomes:
            if one.result is not None:
                yield one.number, one.result
            else:
                yield one.number, {**describe_coadd(coadds[one.number]), "error": one.error}

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
        try:
            return await self._outlines(survey)
        except OSError as error:
            reason = f"the outlines need a temporary file ({error.strerror or error}): set TMPDIR"
            raise RefusedError(507, reason) from error

    async def _outlines(self, survey: ServedSurvey) -> Response:
        """Write the outlines into a temporary file, and return it. Raises OSError."""
        outlines, separator = PatchOutlines(), b""
        head = json_response({"survey": survey.name, "patches": []}).body
        with tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY) as body:
            body.write(head[:-2])
            async with aclosing(self._finder.pieces(survey)) as pieces:
                async for rows in pieces:
                    if found := await run_in_threadpool(outlines.encode, rows):
                        await run_in_threadpool(body.write, separator + found)
                        separator = b","
            body.write(head[-2:])
            return await run_in_threadpool(_response_of, body)

    async def _survey_and_position(self, request: Request) -> tuple[ServedSurvey, float, float]:
        """Return the survey and the ICRS position (degrees) of a request."""
        survey = await find_survey(self._surveys, request.query_params.get("survey", ""))
        return survey, *position_parameters(request.query_params)


async def _streamed(
    answer: Mapping[str, Any], read: AsyncIterator[tuple[int, CoaddDescription]]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the description of the coadds, then the pixel or the error of each as it is read."""
    yield answer
    async for number, description in read:
        found = {key: value for key, value in description.items() if key in ("pixel", "error")}
        yield {"number": number, "coadd": description["coadd"], **found}


def _cutout_name(ref: CoaddRef, ra: float, dec: float) -> str:
    """Return the file name under which a browser saves a cutout."""
    parts = [f"{value}" for _, value in ref.data_id] or [ref.band]
    name = "_".join([*parts, f"{ra:.5f}", f"{dec:+.5f}"])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in name)
    return f"cutout_{safe[-_MAX_NAME:]}.fits"


def _response_of(body: "tempfile.SpooledTemporaryFile[bytes]") -> Response:
    """Return a response with JSON; a large one is sent from its file."""
    if (size := body.tell()) <= _MAX_IN_MEMORY:
        body.seek(0)
        return Response(body.read(), media_type="application/json")
    headers = {"content-type": "application/json", "content-length": str(size)}
    body.flush()
    return SurveyFile(FileIO(os.dup(body.fileno())), range(size), headers, 200)
