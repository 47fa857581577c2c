"""What the page asks under /api: surveys, the coadds beneath a place, numbers, cutouts, flags."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hipsgen.errors import CoaddError, InputError, SurveyError
from hipsgen.sky.frames import FRAMES
from hipsgen.sky.tiles import MAX_ORDER, Tile
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.provenance import UsedCoadd
from viewer.annotations import AnnotationError, Annotations
from viewer.catalogs.catalog import Catalog, by_name
from viewer.catalogs.filters import FilterError
from viewer.catalogs.query import MAX_ROWS, CatalogQuery
from viewer.catalogs.sky_index import Cone
from viewer.coadds import pixels, statistics
from viewer.coadds.provenance import Inspector, describe_coadd, parse_position
from viewer.http.files import open_inside
from viewer.http.limits import BusyError, ReadPool
from viewer.surveys import ServedSurvey, Surveys, describe

MAX_CUTOUT = 3600.0  # arcsec
_MAX_BODY = 32 * 1024
_KEPT_TILES = 64
_WIDTHS = {1 << k for k in range(6, 13)}
_TILING = ("hips_order", "hips_order_min", "hips_tile_width", "hips_frame")

Endpoint = Callable[[Request], Awaitable[Response]]


class RefusedError(Exception):
    """What was asked cannot be answered; status: as HTTP has it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Api:
    """The answers. read_only: no flag is kept here. view: where the page opens."""

    def __init__(
        self,
        surveys: Surveys,
        read_only: bool = False,
        catalogs: Sequence[Catalog] = (),
        view: str = "",
    ) -> None:
        self._surveys = surveys
        self._inspector = Inspector(surveys.roots)
        # one whose files hang does not keep those waiting who want the other
        self._coadd_reads = ReadPool("coadd")
        self._catalog_reads = ReadPool("catalog")
        self._read_only = read_only
        self._catalogs = by_name(catalogs)
        self._view = view

    def routes(self) -> list[Route]:
        """All under /api."""
        return [
            Route("/api/surveys", guarded(self._list)),
            Route("/api/view", guarded(self._first_view)),
            Route("/api/coadds", guarded(self._coadds)),
            Route("/api/pixel", guarded(self._pixel)),
            Route("/api/cutout", guarded(self._cutout)),
            Route("/api/statistics", guarded(self._statistics)),
            Route("/api/profile", guarded(self._profile)),
            Route("/api/patches", guarded(self._patches)),
            Route("/api/flags", guarded(self._flags), methods=["GET", "POST"]),
            Route(
                "/api/flags/{survey:str}/{flag:str}",
                guarded(self._flag),
                methods=["PUT", "DELETE"],
            ),
            Route("/api/catalogs", guarded(self._all_catalogs)),
            Route("/api/catalogs/{name:str}", guarded(self._catalog)),
            # their addresses in 0.1.0
            Route("/api/catalogues", guarded(self._all_catalogs)),
            Route("/api/catalogues/{name:str}", guarded(self._catalog)),
        ]

    async def _list(self, request: Request) -> Response:
        """Every survey, as the page needs it."""

        def look() -> list[dict[str, Any]]:
            known = self._surveys
            return [describe(one, bool(known.with_provenance(one))) for one in known.all()]

        return answer(await run_in_threadpool(look))

    async def _first_view(self, request: Request) -> Response:
        """Where the page opens: the part of its address after #, "" for where it likes."""
        return answer({"view": self._view})

    async def _coadds(self, request: Request) -> Response:
        """The coadds that gave pixels at a position."""
        survey, (ra, dec) = await self._survey(request), _position(request.query_params)
        found = [describe_coadd(one) for one in await self._beneath(survey, ra, dec)]
        return answer({"survey": survey.name, "ra": ra, "dec": dec, "coadds": found})

    async def _pixel(self, request: Request) -> Response:
        """The same, with the pixel of each in its own file."""
        survey, (ra, dec) = await self._survey(request), _position(request.query_params)
        coadds = await self._beneath(survey, ra, dec)

        def look() -> list[dict[str, Any]]:
            return [_with_pixel(one, ra, dec) for one in coadds]

        found = await self._coadd_reads.run(look)
        return answer({"survey": survey.name, "ra": ra, "dec": dec, "coadds": found})

    async def _cutout(self, request: Request) -> Response:
        """A FITS file of a coadd round a position."""
        survey, (ra, dec) = await self._survey(request), _position(request.query_params)
        size = _number(request.query_params, "size", 1e-3, MAX_CUTOUT)
        wanted = request.query_params.get("coadd", "")
        coadds = await self._beneath(survey, ra, dec)
        chosen = [one for one in coadds if wanted in ("", pixels.name_of(one))]
        if not chosen:
            raise RefusedError(404, f"no coadd {wanted[:80]!r} of {survey.name} at this position")
        parcel = await self._coadd_reads.run_response(pixels.cutout_of, chosen[0], ra, dec, size)
        words = [f"{value}" for _, value in chosen[0].ref.data_id] or [chosen[0].ref.band]
        name = "_".join([*words, f"{ra:.5f}", f"{dec:+.5f}"])
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in name)
        parcel.headers["content-type"] = "application/fits"
        parcel.headers["content-disposition"] = f'attachment; filename="cutout_{safe}.fits"'
        return parcel

    async def _statistics(self, request: Request) -> Response:
        """Of a region, for each survey that is named."""
        asked = request.query_params
        region = _region(asked)
        found = await self._each(asked, (region.ra, region.dec), self._measure, region)
        return answer({"region": asdict(region), "statistics": found})

    async def _each(
        self, asked: QueryParams, near: tuple[float, float], work: Callable[..., Any], *words: Any
    ) -> list[dict[str, Any]]:
        """What there is to tell of each survey that is named; of one among several, why nothing."""
        found = []
        names = asked.getlist("survey")[:12]
        for name in names:
            try:
                survey = await self._named(name)
                coadds = await self._near(survey, *near)
                told = await self._coadd_reads.run(work, survey, coadds, *words)
            except RefusedError as error:
                if len(names) == 1:
                    raise
                told = {"error": str(error)}
            found.append({"survey": name} | told)
        return found

    def _measure(
        self, survey: ServedSurvey, coadds: list[UsedCoadd], region: statistics.MeasuredRegion
    ) -> dict[str, Any]:
        try:
            found = statistics.of_coadds(coadds, region)
        except CoaddError as error:
            found = {"error": str(error)}
        if found is not None and "error" not in found:
            return found
        tiles = self._tiles_of(survey)
        try:
            return statistics.of_tiles(tiles, region) | (found or {})
        except CoaddError as error:
            return {"error": str(error)}

    async def _profile(self, request: Request) -> Response:
        """Along a line, for each survey that is named."""
        asked = request.query_params
        start = parse_pair(asked, "ra", "dec")
        line = statistics.Line(start, parse_pair(asked, "ra2", "dec2"))
        if line.length > 90:
            raise RefusedError(400, f"a line of {line.length:.3g} degrees: 90 are the most")
        found = await self._each(asked, start, self._along, line)
        return answer({"length": 3600 * line.length, "profiles": found})

    def _along(
        self, survey: ServedSurvey, coadds: list[UsedCoadd], line: statistics.Line
    ) -> dict[str, Any]:
        tiles = self._tiles_of(survey)
        try:
            return statistics.profile(coadds, tiles, line)
        except CoaddError as error:
            # tiles are there, whatever became of the coadd
            return statistics.profile([], tiles, line) | {"error": str(error)}

    async def _patches(self, request: Request) -> Response:
        """Outlines of the coadds of a survey, each once, whatever its band."""
        survey = await self._survey(request)
        tables = await run_in_threadpool(self._surveys.with_provenance, survey)
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for table in tables:
            for coadd in await self._inspector.all(table.folder):
                label = _label(coadd)
                if coadd.ref.polygon:
                    polygon = [[round(a, 7) for a in corner] for corner in coadd.ref.polygon]
                    found.setdefault(
                        (*label.values(), coadd.ref.polygon), {**label, "polygon": polygon}
                    )
        return answer({"survey": survey.name, "patches": list(found.values())})

    async def _flags(self, request: Request) -> Response:
        """All flags of all surveys; or a new one."""
        if request.method == "GET":

            def look() -> list[dict[str, Any]]:
                return [
                    {"survey": survey.name, **asdict(flag)}
                    for survey in self._surveys.all()
                    for flag in Annotations(survey.folder).all()
                ]

            return answer({"flags": await run_in_threadpool(look), "read_only": self._read_only})
        words = await self._words(request)
        survey = await self._named(str(words.get("survey", "")))
        flag = await run_in_threadpool(Annotations(survey.folder).add, words)
        return answer({"survey": survey.name, **asdict(flag)}, 201)

    async def _flag(self, request: Request) -> Response:
        """Another version of a flag, or its end."""
        words = await self._words(request)
        survey = await self._named(request.path_params["survey"])
        flags, name = Annotations(survey.folder), request.path_params["flag"]
        if request.method == "DELETE":
            await run_in_threadpool(flags.delete, name, words)
            return answer({})
        flag = await run_in_threadpool(flags.change, name, words)
        return answer({"survey": survey.name, **asdict(flag)})

    async def _all_catalogs(self, request: Request) -> Response:
        """What may be laid over the images."""
        found = [catalog.describe() for catalog in self._catalogs.values()]
        return answer({request.url.path.rpartition("/")[2]: found})

    async def _catalog(self, request: Request) -> Response:
        """Rows of a catalog within a cone."""
        name, asked = request.path_params["name"], request.query_params
        if name not in self._catalogs:
            raise RefusedError(404, f"no catalog {name[:80]!r}; /api/catalogs lists them")
        radius = _number(asked, "radius", 1e-7, 180)
        question = CatalogQuery(
            cone=Cone(*_position(asked), radius),
            filter=asked.get("filter", ""),
            columns=tuple(c for text in asked.getlist("columns") for c in text.split(",") if c),
            sort=asked.get("sort", ""),
            limit=int(_number(asked, "limit", 1, MAX_ROWS))
            if "limit" in asked
            else CatalogQuery.limit,
        )
        # a million values are not to be written while others wait
        return await self._catalog_reads.run(lambda: answer(self._catalogs[name].ask(question)))

    async def _words(self, request: Request) -> dict[str, Any]:
        if self._read_only:
            raise RefusedError(403, "this server is read-only: flags stay in the browser")
        return await json_object(request, _MAX_BODY)

    async def _survey(self, request: Request) -> ServedSurvey:
        return await self._named(request.query_params.get("survey", ""))

    async def _named(self, name: str) -> ServedSurvey:
        survey = await run_in_threadpool(self._surveys.get, name)
        if survey is None:
            raise RefusedError(404, f"no survey {name[:80]!r}; /api/surveys lists them")
        return survey

    async def _beneath(self, survey: ServedSurvey, ra: float, dec: float) -> list[UsedCoadd]:
        tables = await run_in_threadpool(self._surveys.with_provenance, survey)
        if not tables:
            raise RefusedError(404, f"survey {survey.name!r} has no provenance.fits")
        try:
            return [c for t in tables for c in await self._inspector.at(t.folder, ra, dec)]
        except SurveyError as error:
            # the survey itself is in order: the page shows the reason where the coadds would be
            raise RefusedError(404, f"survey {survey.name!r}: {error}") from error

    async def _near(self, survey: ServedSurvey, ra: float, dec: float) -> list[UsedCoadd]:
        """The coadds of whose images a survey is, at a position; none where nobody knows."""
        try:
            is_image = survey.survey.plane == "image" and not survey.survey.is_color
            return await self._beneath(survey, ra, dec) if is_image else []
        except RefusedError:
            return []

    def _tiles_of(self, served: ServedSurvey) -> statistics.TileSurvey:
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
                    pixels = FitsTile().decode(file.read())
            except (OSError, SurveyError):
                return None
            return pixels if pixels.shape == (width, width) else None

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
        is_deep = 0 <= survey.order_min <= survey.order and width << survey.order <= 1 << MAX_ORDER
        if is_deep and width in _WIDTHS and survey.frame in FRAMES:
            return width
    told = ", ".join(f"{key} = {survey.properties.get(key, '')[:20]}" for key in _TILING)
    raise RefusedError(404, f"survey {served.name!r}: tiles of {told} are not measured")


def answer(words: Any, status: int = 200) -> Response:
    """JSON, all in ASCII: names of files need not be text, which UTF-8 would refuse."""
    text = json.dumps(words, allow_nan=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


async def json_object(request: Request, most: int) -> dict[str, Any]:
    """The JSON object that came, of `most` bytes; other sites' forms cannot send one.

    Raises RefusedError.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RefusedError(415, "send application/json")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise RefusedError(413, f"more than {most} bytes")
    try:
        words = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "that is not JSON") from None
    if not isinstance(words, dict):
        raise RefusedError(400, "send a JSON object")
    return words


def parse_pair(asked: QueryParams, ra: str, dec: str) -> tuple[float, float]:
    """An ICRS position, degrees. Raises RefusedError."""
    try:
        return parse_position(asked.get(ra), asked.get(dec))
    except ValueError as error:
        raise RefusedError(400, str(error)) from error


def guarded(call: Endpoint) -> Endpoint:
    """The same, with what is refused as an answer that says why."""

    async def guarded(request: Request) -> Response:
        try:
            return await call(request)
        except RefusedError as error:
            return answer({"error": str(error)}, error.status)
        except AnnotationError as error:
            return answer({"error": str(error)}, error.status)
        except FilterError as error:
            return answer({"error": str(error)}, 400)
        except BusyError as error:
            return answer({"error": str(error)}, 503)
        except (InputError, SurveyError) as error:
            return answer({"error": str(error)}, 404)

    return guarded


def _position(asked: QueryParams) -> tuple[float, float]:
    return parse_pair(asked, "ra", "dec")


def _number(asked: QueryParams, name: str, least: float, most: float) -> float:
    try:
        value = float(asked.get(name, ""))
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise RefusedError(
            400, f"{name}={asked.get(name, '')[:40]}: a number from {least:g} to {most:g}"
        )
    return value


def _region(asked: QueryParams) -> statistics.MeasuredRegion:
    ra, dec = _position(asked)
    if asked.get("radius"):
        width = 2 * _number(asked, "radius", 1e-3, 36_000) / 3600
        return statistics.MeasuredRegion(ra, dec, width, width, True)
    width, height = (_number(asked, name, 1e-3, 72_000) / 3600 for name in ("width", "height"))
    return statistics.MeasuredRegion(ra, dec, width, height, False)


def _with_pixel(coadd: UsedCoadd, ra: float, dec: float) -> dict[str, Any]:
    try:
        pixel = pixels.pixel_at(coadd, ra, dec)
    except CoaddError as error:
        return {**describe_coadd(coadd), "error": str(error)}
    return {**describe_coadd(coadd), "pixel": pixel}


def _label(coadd: UsedCoadd) -> dict[str, Any]:
    """What a coadd is called on the sky, whatever its band."""
    data_id = dict(coadd.ref.data_id)
    if "tract" in data_id:
        return {key: data_id.get(key) for key in ("skymap", "tract", "patch")}
    name = coadd.ref.uri.rsplit("/", 1)[-1]
    return {"skymap": None, "tract": None, "patch": None, "name": name[:80]}
