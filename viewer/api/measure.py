"""/api/statistics and /api/profile: numbers of a region and along a line."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hipsgen.errors import CoaddError, SurveyError
from hipsgen.sky.frames import FRAMES
from hipsgen.sky.tiles import MAX_ORDER, Tile
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.provenance import UsedCoadd
from viewer.api.coadds import CoaddFinder
from viewer.api.responses import (
    RefusedError,
    guarded,
    json_response,
    number_parameter,
    position_parameters,
)
from viewer.api.surveys import find_survey
from viewer.coadds import statistics
from viewer.http.files import open_inside
from viewer.http.limits import ReadPool
from viewer.surveys import ServedSurvey, Surveys

MAX_SURVEYS = 12  # of a request
MAX_LINE = 90.0  # degrees
_KEPT_TILES = 64
Result = dict[str, object]  # statistics, a profile, or an error; as JSON
_WIDTHS = {1 << k for k in range(6, 13)}
_TILING = ("hips_order", "hips_order_min", "hips_tile_width", "hips_frame")


class MeasurementEndpoints:
    """Endpoints that measure coadds, or tiles where no coadd has all of what is asked."""

    def __init__(self, surveys: Surveys, finder: CoaddFinder, reads: ReadPool) -> None:
        self._surveys = surveys
        self._finder = finder
        self._reads = reads

    def routes(self) -> list[Route]:
        """Routes of these endpoints."""
        return [
            Route("/api/statistics", guarded(self._statistics)),
            Route("/api/profile", guarded(self._profile)),
        ]

    async def _statistics(self, request: Request) -> Response:
        """Of a region, for each survey that is named."""
        query = request.query_params
        region = _region(query)
        found = await self._each(query, (region.ra, region.dec), self._measure, region)
        return json_response({"region": asdict(region), "statistics": found})

    async def _profile(self, request: Request) -> Response:
        """Along a line, for each survey that is named."""
        query = request.query_params
        start = position_parameters(query)
        line = statistics.Line(start, position_parameters(query, "ra2", "dec2"))
        if line.length > MAX_LINE:
            raise RefusedError(
                400, f"a line of {line.length:.3g} degrees: {MAX_LINE:g} are the most"
            )
        found = await self._each(query, start, self._along, line)
        return json_response({"length": 3600 * line.length, "profiles": found})

    async def _each(
        self,
        query: QueryParams,
        near: tuple[float, float],
        work: Callable[..., Result],
        *shape: Any,
    ) -> list[Result]:
        """The result for each survey that is named; one without values among several has an error.

        near: an ICRS position (degrees) that the coadds hold. work: called with a survey, its
        coadds and the shape.
        """
        found = []
        names = query.getlist("survey")[:MAX_SURVEYS]
        for name in names:
            try:
                survey = await find_survey(self._surveys, name)
                coadds = await self._near(survey, *near)
                result = await self._reads.run(work, survey, coadds, *shape)
            except RefusedError as error:
                if len(names) == 1:
                    raise
                result = {"error": str(error)}
            found.append({"survey": name} | result)
        return found

    async def _near(self, survey: ServedSurvey, ra: float, dec: float) -> list[UsedCoadd]:
        """The coadds whose images the survey shows at a position; none where they are not known."""
        if survey.survey.is_color or survey.survey.plane != "image":
            return []
        try:
            return await self._finder.at(survey, ra, dec)
        except RefusedError:
            return []

    def _measure(
        self, survey: ServedSurvey, coadds: list[UsedCoadd], region: statistics.MeasuredRegion
    ) -> Result:
        problem: Result = {}
        try:
            if found := statistics.of_coadds(coadds, region):
                return {**found}
        except CoaddError as error:
            problem = {"error": str(error)}
        tiles = self._tiles_of(survey)
        try:
            return {**statistics.of_tiles(tiles, region), **problem}
        except CoaddError as error:
            return {"error": str(error)}

    def _along(
        self, survey: ServedSurvey, coadds: list[UsedCoadd], line: statistics.Line
    ) -> Result:
        tiles = self._tiles_of(survey)
        try:
            return {**statistics.profile(coadds, tiles, line)}
        except CoaddError as error:
            # tiles are there, whatever became of the coadd
            return {**statistics.profile([], tiles, line), "error": str(error)}

    def _tiles_of(self, served: ServedSurvey) -> statistics.TileSurvey:
        """The tiles of a survey, to be measured. Raises RefusedError for tiles without values."""
        survey = served.survey
        if "fits" not in survey.formats:
            raise RefusedError(
                404, f"survey {served.name!r} has no FITS tiles: pictures are no values"
            )
        if survey.plane == "mask":
            raise RefusedError(404, f"survey {served.name!r} holds flags, which are no values")
        width = _measured_width(served)

        @lru_cache(_KEPT_TILES)
        def tile(one: Tile) -> npt.NDArray[np.float32] | None:
            try:
                with open_inside(self._surveys.roots, served.folder / one.path("fits")) as file:
                    values = FitsTile().decode(file.read())
            except (OSError, SurveyError):
                return None
            return values if values.shape == (width, width) else None

        return statistics.TileSurvey(
            tiles=tile,
            order=survey.order,
            order_min=survey.order_min,
            width=width,
            frame=survey.frame,
            unit=survey.unit,
            pixel_scale=survey.number("s_pixel_scale") or 0.0,
        )


def _measured_width(served: ServedSurvey) -> int:
    """Width of the tiles of a survey that can be measured. Raises RefusedError for others."""
    survey = served.survey
    with suppress(SurveyError):
        width = survey.tile_width
        is_deep = survey.order_min <= survey.order and width << survey.order <= 1 << MAX_ORDER
        if is_deep and width in _WIDTHS and survey.frame in FRAMES:
            return width
    told = ", ".join(f"{key} = {survey.properties.get(key, '')[:20]}" for key in _TILING)
    raise RefusedError(404, f"survey {served.name!r}: tiles of {told} are not measured")


def _region(query: QueryParams) -> statistics.MeasuredRegion:
    """A circle or a box; sizes are asked for in arcsec."""
    ra, dec = position_parameters(query)
    if query.get("radius"):
        width = 2 * number_parameter(query, "radius", 1e-3, 36_000) / 3600
        return statistics.MeasuredRegion(ra, dec, width, width, True)
    width, height = (
        number_parameter(query, name, 1e-3, 72_000) / 3600 for name in ("width", "height")
    )
    return statistics.MeasuredRegion(ra, dec, width, height, False)
