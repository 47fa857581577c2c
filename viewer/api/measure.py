"""/api/statistics and /api/profile: statistics of a region and values along a line."""

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
from viewer.http.limits import ReadPool, TimedOutError
from viewer.surveys import ServedSurvey, Surveys

MAX_SURVEYS = 12  # per request
MAX_LINE = 90.0  # degrees
_CACHED_TILES = 64
Result = dict[str, object]  # statistics, a profile, or an error; as JSON
_WIDTHS = {1 << k for k in range(6, 13)}
_TILING = ("hips_order", "hips_order_min", "hips_tile_width", "hips_frame")


class MeasurementEndpoints:
    """Endpoints that measure coadds, or tiles if no coadd covers the whole region or line."""

    def __init__(self, surveys: Surveys, finder: CoaddFinder, reads: ReadPool) -> None:
        self._surveys = surveys
        self._finder = finder
        self._reads = reads

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        return [
            Route("/api/statistics", guarded(self._statistics)),
            Route("/api/profile", guarded(self._profile)),
        ]

    async def _statistics(self, request: Request) -> Response:
        """Return the statistics of a region for each requested survey."""
        query = request.query_params
        region = _region(query)
        center = region.ra, region.dec
        results = await self._for_each_survey(query, center, self._region_statistics, region)
        return json_response({"region": asdict(region), "statistics": results})

    async def _profile(self, request: Request) -> Response:
        """Return the values along a line for each requested survey."""
        query = request.query_params
        start = position_parameters(query)
        line = statistics.Line(start, position_parameters(query, "ra2", "dec2"))
        if line.length > MAX_LINE:
            raise RefusedError(
                400, f"the line is {line.length:.3g} degrees long; the limit is {MAX_LINE:g}"
            )
        results = await self._for_each_survey(query, start, self._line_profile, line)
        return json_response({"length": 3600 * line.length, "profiles": results})

    async def _for_each_survey(
        self,
        query: QueryParams,
        position: tuple[float, float],
        measure: Callable[..., Result],
        shape: Any,
    ) -> list[Result]:
        """Measure each requested survey; if there are several, errors are part of the results.

        Parameters
        ----------
        query
            Parameters of the request, which name the surveys.
        position
            ICRS position (degrees) of the coadds to measure.
        measure
            Called with a survey, its coadds and the shape.
        shape
            The region or the line.
        """
        results = []
        names = query.getlist("survey")[:MAX_SURVEYS]
        for name in names:
            try:
                survey = await find_survey(self._surveys, name)
                coadds = await self._coadds_at(survey, *position)
                work = self._finder.limited(survey, measure)
                result = await self._reads.run(work, survey, coadds, shape)
            except (RefusedError, TimedOutError) as error:
                if len(names) == 1:
                    raise
                result = {"error": str(error)}
            results.append({"survey": name} | result)
        return results

    async def _coadds_at(self, survey: ServedSurvey, ra: float, dec: float) -> list[UsedCoadd]:
        """Return the coadds whose images the survey shows at a position, [] if unknown."""
        if survey.survey.is_color or survey.survey.plane != "image":
            return []
        try:
            return await self._finder.at(survey, ra, dec)
        except RefusedError:
            return []

    def _region_statistics(
        self, survey: ServedSurvey, coadds: list[UsedCoadd], region: statistics.MeasuredRegion
    ) -> Result:
        problem: Result = {}
        try:
            if result := statistics.coadd_statistics(coadds, region):
                return {**result}
        except CoaddError as error:
            problem = {"error": str(error)}
        tiles = self._tile_survey(survey)
        try:
            return {**statistics.tile_statistics(tiles, region), **problem}
        except CoaddError as error:
            return {"error": str(error)}

    def _line_profile(
        self, survey: ServedSurvey, coadds: list[UsedCoadd], line: statistics.Line
    ) -> Result:
        tiles = self._tile_survey(survey)
        try:
            return {**statistics.profile(coadds, tiles, line)}
        except CoaddError as error:
            # the tiles can be measured even if the coadd cannot be read
            return {**statistics.profile([], tiles, line), "error": str(error)}

    def _tile_survey(self, served: ServedSurvey) -> statistics.TileSurvey:
        """Return the tiles to measure. Raises RefusedError if they have no pixel values."""
        survey = served.survey
        if "fits" not in survey.formats:
            raise RefusedError(
                404, f"survey {served.name!r} has no FITS tiles: PNG and JPEG tiles have no values"
            )
        if survey.plane == "mask":
            raise RefusedError(
                404, f"survey {served.name!r} has mask planes, which cannot be measured"
            )
        width = _measurable_width(served)

        @lru_cache(_CACHED_TILES)
        def read_tile(tile: Tile) -> npt.NDArray[np.floating[Any]] | None:
            try:
                with open_inside(self._surveys.roots, served.folder / tile.path("fits")) as file:
                    values = FitsTile().decode(file.read())
            except (OSError, SurveyError):
                return None
            return values if values.shape == (width, width) else None

        return statistics.TileSurvey(
            read_tile=read_tile,
            order=survey.order,
            order_min=survey.first_certain_order,
            width=width,
            frame=survey.frame,
            unit=survey.unit,
            pixel_scale=survey.number("s_pixel_scale") or 0.0,
        )


def _measurable_width(served: ServedSurvey) -> int:
    """Return the tile width of a survey. Raises RefusedError if its tiling is not supported."""
    survey = served.survey
    with suppress(SurveyError):
        width = survey.tile_width
        is_valid = survey.order_min <= survey.order and width << survey.order <= 1 << MAX_ORDER
        if is_valid and width in _WIDTHS and survey.frame in FRAMES:
            return width
    tiling = ", ".join(f"{key} = {survey.properties.get(key, '')[:20]}" for key in _TILING)
    raise RefusedError(404, f"survey {served.name!r}: tiles with {tiling} cannot be measured")


def _region(query: QueryParams) -> statistics.MeasuredRegion:
    """Parse a circle or a box; sizes are in arcsec. Raises RefusedError."""
    ra, dec = position_parameters(query)
    if query.get("radius"):
        width = 2 * number_parameter(query, "radius", 1e-3, 36_000) / 3600
        return statistics.MeasuredRegion(ra, dec, width, width, True)
    width, height = (
        number_parameter(query, name, 1e-3, 72_000) / 3600 for name in ("width", "height")
    )
    return statistics.MeasuredRegion(ra, dec, width, height, False)
