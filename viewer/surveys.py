"""Finds the surveys under some folders and describes them, as a HiPS list and for the page."""

import logging
import os
import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from hipsgen.errors import SurveyError
from hipsgen.files import read_whole
from hipsgen.survey import provenance
from hipsgen.survey.bands import white_balance
from hipsgen.survey.folders import survey_folders
from hipsgen.survey.properties import FILE_NAME, format_properties
from hipsgen.survey.store import SMALL, LocalStore
from hipsgen.survey.survey import Survey
from viewer.http.files import modified, open_inside, stamp

FRESH_SECONDS = 2.0

# names, in the page's address, of surveys that it computes from served ones (viewer/web/live.js)
LIVE_COLOR = "live-colour"
SIGNAL_TO_NOISE = "sn-"  # prefix of the name of an image survey

# a survey with this name would hide /hips/list
_RESERVED = {"list"}

_LISTED = (
    "obs_title", "obs_description", "dataproduct_type", "dataproduct_subtype", "hips_version",
    "hips_frame", "hips_order", "hips_order_min", "hips_tile_width", "hips_tile_format",
    "hips_pixel_bitpix", "hips_pixel_cut", "hips_pixel_scale", "hips_bunit", "hips_initial_ra",
    "hips_initial_dec", "hips_initial_fov", "hips_creator", "hips_creation_date", "hips_estsize",
    "moc_sky_fraction", "obs_regime", "em_min", "em_max", "t_min", "t_max",
)  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedSurvey:
    """A survey that is served.

    Parameters
    ----------
    name
        Its name in URLs.
    folder
        Its folder, with symbolic links resolved.
    survey
        The survey itself.
    written
        When its properties file was written.
    stamp
        Changes whenever the properties file changes.
    """

    name: str
    folder: Path
    survey: Survey
    written: datetime
    stamp: tuple[int, int, int]

    @property
    def properties(self) -> Mapping[str, str]:
        """Properties of the survey."""
        return self.survey.properties

    def is_band_of(self, color: "ServedSurvey") -> bool:
        """Whether a color survey in the same folder was made from this one, by its properties."""
        identifier = f"[{self.properties.get('creator_did')}]"
        channels = (color.properties.get(f"hips_rgb_{c}", "") for c in ("red", "green", "blue"))
        return self.folder.parent == color.folder.parent and any(identifier in c for c in channels)

    @property
    def title(self) -> str:
        """Title, or the name if the properties have none."""
        return self.properties.get("obs_title") or self.name

    @property
    def band(self) -> str:
        """Band from the properties or the folder's name (band_g), "" if unknown."""
        match = re.search(r"band[_-]([A-Za-z0-9]+)", self.name)
        return self.survey.band or (match.group(1) if match else "")


class Surveys:
    """The finished surveys under some folders, at most `fresh_seconds` (2 s) out of date.

    A folder is a survey while it has properties: a build removes them first and writes them last.
    The cache is shared: a change that one request finds is visible to all requests.
    """

    def __init__(self, roots: Sequence[Path], fresh_seconds: float = FRESH_SECONDS) -> None:
        self.roots = tuple(Path(root).resolve() for root in roots)
        self._fresh_seconds = fresh_seconds
        self._scanned = float("-inf")
        self._checked: dict[str, float] = {}
        self._names: dict[Path, str] = {}
        self._surveys: dict[str, ServedSurvey] = {}
        self._broken: dict[Path, str] = {}
        self._lock = threading.Lock()

    def all(self) -> list[ServedSurvey]:
        """Return all surveys, by root, kind (color, image, other planes), wavelength and name."""
        # during a scan other threads use the previous result; they wait for the first one
        never_scanned = self._scanned == float("-inf")
        if self._is_due(self._scanned) and self._lock.acquire(blocking=never_scanned):
            try:
                if self._is_due(self._scanned):
                    self._scan()
            finally:
                self._lock.release()
        return list(self._surveys.values())

    def get(self, name: str) -> ServedSurvey | None:
        """Return the survey of this name, or None; this may read the disk."""
        return self.get_cached(name) or self.get_checked(name)

    def get_cached(self, name: str) -> ServedSurvey | None:
        """Return the survey of this name from the cache, or None if `get_checked` is needed.

        Once the entry is out of date, only the first caller gets None, so that one request checks
        the disk while the others use the cache.
        """
        cached = self._surveys.get(name)
        last = max(self._scanned, self._checked.get(name, self._scanned))
        if cached is None or not self._is_due(last):
            return cached
        self._checked[name] = time.monotonic()
        return None

    def get_checked(self, name: str) -> ServedSurvey | None:
        """Return the survey of this name, or None, after checking its folder for changes."""
        cached = self._surveys.get(name)
        if cached is None:
            self.all()
        elif self._is_changed(cached):
            with self._lock:
                # another thread may have scanned while this one waited
                if self._surveys.get(name) is cached:
                    self._scan()
        return self._surveys.get(name)

    def with_provenance(self, survey: ServedSurvey) -> list[ServedSurvey]:
        """Return the surveys whose provenance lists its coadds: itself, or the bands of a color."""
        bands = [s for s in self.all() if s.is_band_of(survey)] if survey.survey.is_color else []
        return [s for s in (survey, *bands) if os.path.isfile(s.folder / provenance.FILE_NAME)]

    def _is_due(self, last: float) -> bool:
        return time.monotonic() - last >= self._fresh_seconds

    def _is_changed(self, cached: ServedSurvey) -> bool:
        try:
            return stamp((cached.folder / FILE_NAME).stat()) != cached.stamp
        except OSError:
            return True

    def _scan(self) -> None:
        surveys: list[ServedSurvey] = []
        seen: set[Path] = set()
        for root in self.roots:
            folders = [folder for folder in survey_folders(root) if folder not in seen]
            seen.update(folders)
            here = [survey for folder in folders if (survey := self._read(folder))]
            surveys += sorted(here, key=_order)
        self._surveys = {survey.name: survey for survey in surveys}
        self._scanned = time.monotonic()

    def _read(self, folder: Path) -> ServedSurvey | None:
        name = self._names.get(folder) or self._new_name(folder)
        path = folder / FILE_NAME
        try:
            with open_inside(self.roots, path) as file:
                status = os.fstat(file.fileno())
                cached = self._surveys.get(name)
                if cached and cached.stamp == stamp(status):
                    return cached
                survey = Survey.parse(LocalStore(folder), read_whole(file, SMALL))
        except (OSError, SurveyError) as error:
            self._warn_once(path, str(error))
            return None
        self._names[folder] = name
        written = datetime.fromtimestamp(modified(status), UTC)
        return ServedSurvey(name, folder, survey, written, stamp(status))

    def _warn_once(self, path: Path, reason: str) -> None:
        # not at every scan
        if self._broken.get(path) != reason:
            logger.warning("%s is left out: %s", path, reason)
            self._broken[path] = reason

    def _new_name(self, folder: Path) -> str:
        """Return a unique name for URLs; a survey keeps its name once assigned."""
        taken = {*self._names.values(), *_RESERVED}
        plain = _url_safe(folder.name)
        candidates = [plain, f"{_url_safe(folder.parent.name)}-{plain}"]
        numbered = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
        return next(name for name in (*candidates, *numbered) if name not in taken)


def is_made_by_the_page(name: str, served: Collection[str]) -> bool:
    """Whether the page computes a survey of this name, which the server does not have.

    served: names of the surveys that it can be computed from.
    """
    image = name.removeprefix(SIGNAL_TO_NOISE)
    return name == LIVE_COLOR or (image != name and image in served)


def hips_list(surveys: Sequence[ServedSurvey], base_url: str) -> str:
    """Format the HiPS list of a node (HiPS 1.0, 5.2): records separated by blank lines."""
    return "\n".join(format_properties(_record(survey, base_url)) for survey in surveys)


class InitialView(TypedDict):
    """The initial view, degrees (ICRS); None if not in the properties."""

    ra: float | None
    dec: float | None
    fov: float | None


class SurveyDescription(TypedDict):
    """A survey as described to the page.

    url: relative to the page. collection: name of the parent folder. plane: "" for an image.
    planes: bits of the mask planes by name, None unless it is a mask. white: factor that makes the
    Sun white. pixel_scale: of the coadds, arcsec. bitpix, cuts, data_range: None if unknown.
    offset: a value near those of a float64 survey, 0 for others.
    """

    name: str
    url: str
    title: str
    description: str
    collection: str
    band: str
    plane: str
    planes: dict[str, int] | None
    white: float
    pixel_scale: float
    color: bool
    unit: str
    formats: list[str]
    order: int
    order_min: int
    tile_width: int
    frame: str
    bitpix: float | None
    offset: float
    cuts: list[float] | None
    data_range: list[float] | None
    initial: InitialView
    release_date: str
    preview: bool
    provenance: bool


def describe(served: ServedSurvey, has_provenance: bool = False) -> SurveyDescription:
    """Describe a survey for the page; has_provenance: whether its coadds are known."""
    survey, properties = served.survey, served.properties
    cuts, data_range = survey.numbers("hips_pixel_cut"), survey.numbers("hips_data_range")
    ra, dec, fov = (survey.number(f"hips_initial_{key}") for key in ("ra", "dec", "fov"))
    order, order_min, tile_width = _tiling(survey)
    return {
        "name": served.name,
        "url": f"hips/{served.name}",
        "title": served.title,
        "description": properties.get("obs_description", ""),
        "collection": served.folder.parent.name,
        "band": served.band,
        "plane": "" if survey.plane == "image" else survey.plane,
        "planes": survey.planes if survey.plane == "mask" else None,
        "white": white_balance(served.band),
        "pixel_scale": 3600 * (survey.number("s_pixel_scale") or 0.0),
        "color": survey.is_color,
        "unit": survey.unit,
        "formats": list(survey.formats),
        "order": order,
        "order_min": order_min,
        "tile_width": tile_width,
        "frame": survey.frame,
        "bitpix": survey.number("hips_pixel_bitpix"),
        "offset": survey.offset,
        "cuts": cuts if len(cuts) == 2 else None,
        "data_range": data_range if len(data_range) == 2 else None,
        "initial": {"ra": ra, "dec": dec, "fov": fov},
        "release_date": properties.get("hips_release_date", ""),
        "preview": os.path.isfile(served.folder / "preview.jpg"),
        "provenance": has_provenance,
    }


def _tiling(survey: Survey) -> tuple[int, int, int]:
    """Return the deepest and lowest order and the tile width; defaults if invalid."""
    try:
        return survey.order, survey.order_min, survey.tile_width
    except SurveyError:
        return 0, 0, 512


def _order(served: ServedSurvey) -> tuple[str, int, float, str]:
    survey = served.survey
    wavelength = survey.number("em_min")
    wavelength_key = float("inf") if wavelength is None else wavelength
    planes = ("color", "image", "variance", "mask")
    plane = "color" if survey.is_color else survey.plane
    rank = planes.index(plane) if plane in planes else len(planes)
    return str(served.folder.parent), rank, wavelength_key, served.name


def _record(survey: ServedSurvey, base_url: str) -> dict[str, str]:
    properties = survey.properties
    written = survey.written.strftime("%Y-%m-%dT%H:%MZ")
    return {
        "creator_did": properties.get("creator_did") or f"ivo://local/P/{survey.name}",
        "hips_release_date": properties.get("hips_release_date") or written,
        "hips_service_url": f"{base_url.rstrip('/')}/hips/{survey.name}",
        "hips_status": properties.get("hips_status") or "private master unclonable",
        **{key: properties[key] for key in _LISTED if properties.get(key)},
    }


def _url_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "survey"
