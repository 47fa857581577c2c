"""The page in a notebook: `viewer.show` puts it into a frame and gives a handle to it.

The kernel serves the surveys itself, from a thread, at 127.0.0.1. All who have an account on the
machine can reach that; so all is beneath a path that cannot be guessed, and nothing else answers.
"""

import atexit
import html
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from hipsgen.errors import ConfigError
from viewer.annotations import Annotations
from viewer.api.frames import FrameChannel, Frames
from viewer.app import ViewerConfig, create_app
from viewer.coadds.description import CoaddDescription
from viewer.server import check_root, find_surveys, make_server, take_port
from viewer.surveys import Surveys, is_made_by_the_page

SkyPosition: TypeAlias = SkyCoord | str | tuple[float, float] | Sequence[float]
Angle: TypeAlias = units.Quantity | float | str

_HUB = "JUPYTERHUB_SERVICE_PREFIX"
_FLAG = ("survey", "ra", "dec", "note", "author", "created", "changed", "view", "id")
# seconds that a server has to end
_PARTING = 3.0


def show(
    *roots: Path | str,
    target: SkyPosition | None = None,
    fov: Angle | None = None,
    survey: str | None = None,
    height: int | str = 640,
    width: int | str = "100%",
    read_only: bool = False,
    proxy: str | None = None,
) -> "Frame":
    """A frame with the surveys under these folders, as the last line of a cell shows it.

    target, fov: where to look at first, see `Frame.goto`. survey: which (`band_i`).
    height, width: pixels, or as CSS has them.
    read_only: flags are kept in the page and not beside the surveys, where one may not write.
    proxy: how the browser reaches a port of this machine when it runs on another, with {port} in
    it: `/proxy/{port}/` where jupyter-server-proxy is installed. On a JupyterHub that is found out.
    Calls for the same folders share one server, which ends with the kernel.

    Raises InputError and SurveyError for folders without surveys, ConfigError for the rest.
    """
    place = _place(proxy)
    # before anything is started
    position = None if target is None else position_of(target)
    width_of_view = None if fov is None else _fov(fov)
    style = f"width: {_css(width)}; height: {_css(height)}"
    frame = Frame(_server(roots, read_only), place, style)
    try:
        if survey is not None:
            frame.survey = survey
    except ConfigError:
        frame.close()
        raise
    frame._look(position, width_of_view)
    return frame


@dataclass(frozen=True)
class View:
    """What a page shows: the middle (ICRS degrees), the width (degrees), the survey, a link."""

    ra: float
    dec: float
    fov: float
    survey: str
    url: str


@dataclass(frozen=True)
class SelectedPosition:
    """A place that was clicked (ICRS degrees), and the coadds there.

    survey: whose coadds. coadds: for each its `data_id`, `dataset_type`, `run`, `uuid`, `band`,
    `uri` and `pixel`, with `value`, `unit`, `variance` (None where the file has no data), names of
    the `mask` planes, and x, y from 0; or `error`. problem: why there are none, if so.
    """

    ra: float
    dec: float
    survey: str
    coadds: list[CoaddDescription] = field(default_factory=list)
    problem: str = ""


class Frame:
    """A page in a notebook. Angles are degrees.

    What changes it returns at once, and is done when the page is there. What reads it waits for
    that, so the page has to be on a screen; raises FrameError when none answers, or cannot do it.
    """

    def __init__(self, server: "_Server", place: str, style: str) -> None:
        self._server = server
        self._style = style
        self._name, self._channel = server.open()
        self._url = f"{place.replace('{port}', str(server.port))}{server.root_path}/"

    def __repr__(self) -> str:
        return f"<Frame {self._url}>"

    def _repr_html_(self) -> str:
        # the address is none for others: whoever knows it sees the surveys while the kernel runs
        url, style = html.escape(f"{self._url}?frame={self._name}"), html.escape(self._style)
        return (
            f'<iframe src="{url}" style="border: 0; {style}" title="hipsgen" '
            'allow="clipboard-write; fullscreen"></iframe>'
        )

    def goto(self, target: SkyPosition, fov: Angle | None = None) -> None:
        """Have the page look there.

        target: a SkyCoord or what it is made of; (ra, dec) in degrees; or a text,
        `150.1 2.2` or `10:00:24 +02:12:00`. fov: width of the view, in degrees or with a unit.
        Raises ConfigError.
        """
        self._look(position_of(target), None if fov is None else _fov(fov))

    @property
    def survey(self) -> str:
        """The survey that is shown. To show another: frame.survey = "band_i"."""
        return self.view.survey

    @survey.setter
    def survey(self, name: str) -> None:
        known = [one.name for one in self._server.surveys.all() if one.survey.plane != "mask"]
        if name not in known and not is_made_by_the_page(name, known):
            raise ConfigError(f"no survey {name!r}: there are {', '.join(known)}")
        self._channel.command(survey=name)

    @property
    def view(self) -> View:
        """What the page shows now."""
        told = self._channel.ask()
        ra, dec, fov = (float(told[key]) for key in ("ra", "dec", "fov"))
        return View(ra % 360, dec, fov, str(told["survey"]), str(told["url"]))

    @property
    def selection(self) -> SelectedPosition | None:
        """The place that was clicked, and what the coadds there hold; None without."""
        found = self._channel.ask()["selection"]
        return found and SelectedPosition(**{**found, "ra": found["ra"] % 360})

    @property
    def region(self) -> dict[str, Any] | None:
        """The region that was drawn, and what was measured in it; None without.

        kind: `circle` (ra, dec; radius in arcsec), `box` (with width, height) or `line` (to ra2,
        dec2). statistics: for each survey its count, mean, median, sigma, robust_sigma, ...; or
        profiles.
        """
        found: dict[str, Any] | None = self._channel.ask()["region"]
        return found

    def flags(self) -> Table:
        """The flags of all surveys, as they are on disk: the page need not be there.

        With read_only they are those that the page keeps, and it is asked.
        Columns: survey, ra, dec (ICRS degrees), note, author, created, changed (UTC), view (what
        the page has behind # in its address), id.
        """
        if self._server.read_only:
            return _table_of(self._channel.ask()["flags"])
        return _table_of(
            {"survey": survey.name, **asdict(flag)}
            for survey in self._server.surveys.all()
            for flag in Annotations(survey.folder).all()
        )

    def close(self) -> None:
        """Let go of the page; with the last frame of its folders the server ends."""
        self._server.close(self._name)

    def _look(self, position: tuple[float, float] | None, fov: float | None) -> None:
        words = {} if position is None else {"ra": position[0], "dec": position[1]}
        words |= {} if fov is None else {"fov": fov}
        if words:
            self._channel.command(**words)


class _Server:
    """A thread of this process that serves some folders, beneath a path that cannot be guessed."""

    def __init__(self, roots: tuple[Path, ...], read_only: bool) -> None:
        self.read_only = read_only
        self.root_path = f"/{secrets.token_urlsafe(24)}"
        self.surveys = Surveys(roots)
        self._frames = Frames()
        config = ViewerConfig(
            roots,
            read_only=read_only,
            root_path=self.root_path,
            only_beneath=True,
            frames=self._frames,
        )
        find_surveys(config)
        self._running = make_server(create_app(config), sets_logging=False)
        self._listening = take_port("127.0.0.1", 0)
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(
            target=self._running.run,
            kwargs={"sockets": [self._listening]},
            name="hipsgen-viewer",
            daemon=True,
        )
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def open(self) -> tuple[str, FrameChannel]:
        return self._frames.open()

    def close(self, name: str) -> None:
        """One frame less."""
        if self._frames.close(name):
            self.stop()

    def stop(self) -> None:
        with _LOCK:
            for key in [key for key, server in _SERVERS.items() if server is self]:
                del _SERVERS[key]
        self._frames.close_all()
        self._running.should_exit = True
        self._thread.join(_PARTING)
        self._listening.close()


_SERVERS: dict[tuple[tuple[Path, ...], bool], _Server] = {}
_LOCK = threading.Lock()


@atexit.register
def _stop_all() -> None:
    for server in list(_SERVERS.values()):
        server.stop()


def _server(roots: tuple[Path | str, ...], read_only: bool) -> _Server:
    """The one for these folders; started if there is none."""
    if not roots:
        raise ConfigError("viewer.show needs a folder: name the one that 'hipsgen build' wrote")
    folders = tuple(check_root(Path(root)).resolve() for root in roots)
    with _LOCK:
        found = _SERVERS.get((folders, read_only))
        if found is None or not found.is_alive:
            found = _SERVERS[folders, read_only] = _Server(folders, read_only)
        return found


def _place(proxy: str | None) -> str:
    """Where the browser finds a port, with {port} in it, without a slash at the end."""
    if proxy is None and os.environ.get(_HUB):
        proxy = f"{os.environ[_HUB].rstrip('/')}/proxy/{{port}}/"
    if proxy is None:
        return "http://127.0.0.1:{port}"
    if "{port}" not in proxy or not proxy.startswith(("/", "http://", "https://")):
        raise ConfigError(f"proxy {proxy!r}: give a path or an address with {{port}} in it")
    return proxy.rstrip("/")


def _table_of(flags: Iterable[Mapping[str, Any]]) -> Table:
    rows = list(flags)
    made = Table({name: np.array([row.get(name, "") for row in rows], str) for name in _FLAG})
    for name in ("ra", "dec"):
        made[name] = np.array([row[name] for row in rows], float) * units.deg
    return made


def position_of(target: SkyPosition) -> tuple[float, float]:
    """ICRS degrees of what `Frame.goto` takes. Raises ConfigError."""
    try:
        found = _coordinates(target).icrs
        ra, dec = float(found.ra.deg), float(found.dec.deg)
    except (ValueError, TypeError, AttributeError, units.UnitsError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"target {str(target)[:60]!r}: {reason[:120]}; give a SkyCoord, (ra, dec) in degrees, "
            "'150.1 2.2' or '10:00:24 +02:12:00'"
        ) from None
    if not (np.isfinite(ra) and np.isfinite(dec)):
        raise ConfigError(f"target {str(target)[:60]!r} is no place: ra={ra}, dec={dec}")
    return ra, dec


def _coordinates(target: SkyPosition) -> SkyCoord:
    if isinstance(target, str):
        is_decimal = len(target.split()) == 2 and not any(c in target for c in ":hdms")
        return SkyCoord(target, unit=(units.deg if is_decimal else units.hourangle, units.deg))
    if isinstance(target, tuple | list | np.ndarray):
        return SkyCoord(*target, unit="deg")
    return SkyCoord(target)


def _css(length: int | str) -> str:
    return f"{length}px" if isinstance(length, int) else length


def _fov(fov: Angle) -> float:
    """Degrees. Raises ConfigError."""
    try:
        width = float(units.Quantity(fov, units.deg).value)
    except (ValueError, TypeError, units.UnitsError) as error:
        raise ConfigError(f"fov {str(fov)[:60]!r}: {error}; give degrees, like 0.1") from None
    if not 0 < width <= 180:
        raise ConfigError(f"fov {width:g}: the width of a view is more than 0, and up to 180 deg")
    return width
