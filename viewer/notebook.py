"""The viewer in a notebook: `viewer.show` returns a frame that shows it and controls it.

The kernel serves the surveys itself, from a thread, at 127.0.0.1. Every account on the machine can
connect to that address, so all URLs start with a secret path; requests to other paths get 404.
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
from hipsgen.images.uris import local_path
from viewer.annotations import Annotations
from viewer.api.frames import FrameChannel, Frames
from viewer.app import ViewerConfig, create_app
from viewer.coadds.description import CoaddDescription
from viewer.server import bind_socket, check_root, find_surveys, make_server
from viewer.surveys import Surveys, is_made_by_the_page

SkyPosition: TypeAlias = SkyCoord | str | tuple[float, float] | Sequence[float]
Angle: TypeAlias = units.Quantity | float | str

_HUB = "JUPYTERHUB_SERVICE_PREFIX"
_FLAG_COLUMNS = ("survey", "ra", "dec", "note", "author", "created", "changed", "view", "id")
_STOP_SECONDS = 3.0


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
    """Show surveys in a notebook; the frame appears if it is the last line of a cell.

    Calls for the same folders share one server, which stops with its last frame or with the kernel.

    Parameters
    ----------
    *roots
        Folders that are surveys or contain some, such as the output of `hipsgen build`.
    target
        Position of the first view, see `Frame.goto`; by default, the page chooses it.
    fov
        Width of the first view, in degrees or with a unit.
    survey
        Name of the survey to show first, such as "band_i".
    height, width
        Size of the frame: pixels, or a CSS length.
    read_only
        Whether flags are stored in the page instead of in the folders of the surveys, for folders
        that you cannot write to.
    proxy
        URL or path, with ``{port}`` in it, at which the browser reaches a port of the kernel's
        machine if it runs on another one: "/proxy/{port}/" with jupyter-server-proxy. The default
        is right for a local kernel, and is detected on a JupyterHub.

    Returns
    -------
    Frame
        The frame, to control the page and to read its state.

    Raises
    ------
    InputError, SurveyError
        If a folder does not exist or no survey is found.
    ConfigError
        If another argument is invalid.

    Examples
    --------
    >>> import viewer
    >>> frame = viewer.show("surveys", target="150.1 2.2", fov=0.1)  # doctest: +SKIP
    >>> frame  # doctest: +SKIP
    """
    base_url = _base_url(proxy)
    # validate before starting the server
    position = None if target is None else position_of(target)
    width_of_view = None if fov is None else _fov(fov)
    style = f"width: {_css(width)}; height: {_css(height)}"
    frame = Frame(_server(roots, read_only), base_url, style)
    try:
        if survey is not None:
            frame.survey = survey
    except ConfigError:
        frame.close()
        raise
    frame._goto(position, width_of_view)
    return frame


@dataclass(frozen=True)
class View:
    """What a page shows.

    Attributes
    ----------
    ra, dec
        Center, ICRS degrees, RA from 0 to 360.
    fov
        Width, degrees.
    survey
        Name of the survey that is shown.
    url
        Link to this view.
    """

    ra: float
    dec: float
    fov: float
    survey: str
    url: str


@dataclass(frozen=True)
class SelectedPosition:
    """A position that the user clicked, and the coadds there.

    Attributes
    ----------
    ra, dec
        The position, ICRS degrees.
    survey
        Name of the survey that the coadds belong to.
    coadds
        One dictionary for each coadd, with `data_id`, `dataset_type`, `run`, `uuid`, `band`, `uri`,
        and either `pixel` or `error`. `pixel` has `value`, `unit`, `variance` (None where the file
        has no data), `mask` (names of the planes that are set), and `x`, `y` from 0.
    problem
        Why there are no coadds, "" if there are some.
    """

    ra: float
    dec: float
    survey: str
    coadds: list[CoaddDescription] = field(default_factory=list)
    problem: str = ""


class Frame:
    """A page in a notebook, made by `viewer.show`. Angles are in degrees.

    Changes return immediately, and take effect as soon as the page is displayed. Reading the
    page's state (`survey`, `view`, `selection`, `region`) waits until earlier changes have been
    made, so the page must be displayed.

    Raises
    ------
    FrameError
        If the frame is closed, or the page does not respond or cannot make a change.

    Examples
    --------
    >>> frame.goto("10:00:24 +02:12:00", fov=0.1)  # doctest: +SKIP
    >>> frame.survey = "band_i"  # doctest: +SKIP
    >>> frame.view.url  # doctest: +SKIP
    """

    def __init__(self, server: "_Server", base_url: str, style: str) -> None:
        self._server = server
        self._style = style
        self._name, self._channel = server.open()
        self._url = f"{base_url.replace('{port}', str(server.port))}{server.root_path}/"

    def __repr__(self) -> str:
        return f"<Frame {self._url}>"

    def _repr_html_(self) -> str:
        # the URL is a secret: it gives access to the surveys while the kernel runs
        url, style = html.escape(f"{self._url}?frame={self._name}"), html.escape(self._style)
        return (
            f'<iframe src="{url}" style="border: 0; {style}" title="hipsgen" '
            'allow="clipboard-write; fullscreen"></iframe>'
        )

    def goto(self, target: SkyPosition, fov: Angle | None = None) -> None:
        """Move the view.

        Parameters
        ----------
        target
            The new center: a `SkyCoord` or anything it accepts; (ra, dec) in ICRS degrees; or a
            string such as "150.1 2.2" (degrees) or "10:00:24 +02:12:00".
        fov
            Width of the view, in degrees or with a unit; by default it is not changed.

        Raises
        ------
        ConfigError
            If an argument is invalid.
        FrameError
            If the frame is closed.

        Examples
        --------
        >>> frame.goto((150.1, 2.2), fov=0.05)  # doctest: +SKIP
        >>> frame.goto(SkyCoord.from_name("M31"), fov=3 * u.deg)  # doctest: +SKIP
        """
        self._goto(position_of(target), None if fov is None else _fov(fov))

    @property
    def survey(self) -> str:
        """Name of the survey that is shown; assign a name to show another.

        Raises
        ------
        ConfigError
            If the assigned name is not that of an image survey; the message lists them.
        FrameError
            If the frame is closed or, when reading, if the page does not respond.

        Examples
        --------
        >>> frame.survey = "band_i"  # doctest: +SKIP
        """
        return self.view.survey

    @survey.setter
    def survey(self, name: str) -> None:
        names = [one.name for one in self._server.surveys.all() if one.survey.plane != "mask"]
        if name not in names and not is_made_by_the_page(name, names):
            raise ConfigError(f"no survey {name!r}; available: {', '.join(names)}")
        self._channel.command(survey=name)

    @property
    def view(self) -> View:
        """What the page shows now.

        Raises
        ------
        FrameError
            If the frame is closed or the page does not respond.

        Examples
        --------
        >>> frame.view.ra, frame.view.dec  # doctest: +SKIP
        """
        state = self._channel.ask()
        ra, dec, fov = (float(state[key]) for key in ("ra", "dec", "fov"))
        return View(ra % 360, dec, fov, str(state["survey"]), str(state["url"]))

    @property
    def selection(self) -> SelectedPosition | None:
        """The position that the user clicked, with its coadds; None if there is none.

        Raises
        ------
        FrameError
            If the frame is closed or the page does not respond.

        Examples
        --------
        >>> [coadd["pixel"]["value"] for coadd in frame.selection.coadds]  # doctest: +SKIP
        """
        selected = self._channel.ask()["selection"]
        return selected and SelectedPosition(**{**selected, "ra": selected["ra"] % 360})

    @property
    def region(self) -> dict[str, Any] | None:
        """The region that the user drew, with its measurements; None if there is none.

        A dictionary. `kind` is "circle" (with `ra`, `dec` in degrees and `radius` in arcsec), "box"
        (with `ra`, `dec`, `width`, `height`) or "line" (from `ra`, `dec` to `ra2`, `dec2`).
        `statistics` has `count`, `mean`, `median`, `sigma`, `robust_sigma` and others for each
        survey; a line has `profiles` instead.

        Raises
        ------
        FrameError
            If the frame is closed or the page does not respond.

        Examples
        --------
        >>> [one["median"] for one in frame.region["statistics"]]  # doctest: +SKIP
        """
        region: dict[str, Any] | None = self._channel.ask()["region"]
        return region

    def flags(self) -> Table:
        """Return the flags of all surveys.

        They are read from disk, so the page need not be displayed. If the frame is read-only, they
        are read from the page.

        Returns
        -------
        Table
            Columns survey, ra, dec (ICRS degrees), note, author, created, changed (UTC), view (the
            page's address after #), id.

        Raises
        ------
        FrameError
            If the frame is read-only, and is closed or its page does not respond.

        Examples
        --------
        >>> frame.flags()["ra", "dec", "note"]  # doctest: +SKIP
        """
        if self._server.read_only:
            return _flag_table(self._channel.ask()["flags"])
        return _flag_table(
            {"survey": survey.name, **asdict(annotation)}
            for survey in self._server.surveys.all()
            for annotation in Annotations(survey.folder).all()
        )

    def close(self) -> None:
        """Disconnect the page; closing the last frame of the same folders stops their server.

        Examples
        --------
        >>> frame.close()  # doctest: +SKIP
        """
        self._server.close(self._name)

    def _goto(self, position: tuple[float, float] | None, fov: float | None) -> None:
        changes = {} if position is None else {"ra": position[0], "dec": position[1]}
        changes |= {} if fov is None else {"fov": fov}
        if changes:
            self._channel.command(**changes)


class _Server:
    """A thread of this process that serves folders below a secret path."""

    def __init__(self, roots: tuple[Path, ...], read_only: bool) -> None:
        self.read_only = read_only
        self.root_path = f"/{secrets.token_urlsafe(24)}"
        self.surveys = Surveys(roots)
        self._frames = Frames()
        config = ViewerConfig(
            roots,
            read_only=read_only,
            root_path=self.root_path,
            only_below_root_path=True,
            frames=self._frames,
            # the kernel reads for its own user, as Survey.cutout does
            originals=None,
        )
        find_surveys(config)
        self._server = make_server(create_app(config), configure_logging=False)
        self._socket = bind_socket("127.0.0.1", 0)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
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
        """Close a frame, and stop after the last one."""
        if self._frames.close(name):
            self.stop()

    def stop(self) -> None:
        with _LOCK:
            for key in [key for key, server in _SERVERS.items() if server is self]:
                del _SERVERS[key]
        self._frames.close_all()
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()


_SERVERS: dict[tuple[tuple[Path, ...], bool], _Server] = {}
_LOCK = threading.Lock()


@atexit.register
def _stop_all() -> None:
    for server in list(_SERVERS.values()):
        server.stop()


def _server(roots: tuple[Path | str, ...], read_only: bool) -> _Server:
    """Return the running server for these folders, or start one."""
    if not roots:
        raise ConfigError("viewer.show needs a folder: give the output folder of 'hipsgen build'")
    folders = tuple(check_root(local_path(root)).resolve() for root in roots)
    with _LOCK:
        server = _SERVERS.get((folders, read_only))
        if server is None or not server.is_alive:
            server = _SERVERS[folders, read_only] = _Server(folders, read_only)
        return server


def _base_url(proxy: str | None) -> str:
    """Return the URL at which the browser reaches {port}, without a slash at the end."""
    if proxy is None and os.environ.get(_HUB):
        proxy = f"{os.environ[_HUB].rstrip('/')}/proxy/{{port}}/"
    if proxy is None:
        return "http://127.0.0.1:{port}"
    if "{port}" not in proxy or not proxy.startswith(("/", "http://", "https://")):
        raise ConfigError(f"proxy {proxy!r}: give a path or a URL that contains {{port}}")
    return proxy.rstrip("/")


def _flag_table(flags: Iterable[Mapping[str, Any]]) -> Table:
    rows = list(flags)
    table = Table(
        {name: np.array([row.get(name, "") for row in rows], str) for name in _FLAG_COLUMNS}
    )
    for name in ("ra", "dec"):
        table[name] = np.array([row[name] for row in rows], float) * units.deg
    return table


def position_of(target: SkyPosition) -> tuple[float, float]:
    """Convert a target, see `Frame.goto`, to ICRS degrees. Raises ConfigError."""
    try:
        position = _coordinates(target).icrs
        ra, dec = float(position.ra.deg), float(position.dec.deg)
    except (ValueError, TypeError, AttributeError, units.UnitsError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"target {str(target)[:60]!r}: {reason[:120]}; give a SkyCoord, (ra, dec) in degrees, "
            "'150.1 2.2' or '10:00:24 +02:12:00'"
        ) from None
    if not (np.isfinite(ra) and np.isfinite(dec)):
        raise ConfigError(f"target {str(target)[:60]!r} is not a position: ra={ra}, dec={dec}")
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
    """Convert the width of a view to degrees. Raises ConfigError."""
    try:
        width = float(units.Quantity(fov, units.deg).value)
    except (ValueError, TypeError, units.UnitsError) as error:
        raise ConfigError(f"fov {str(fov)[:60]!r}: {error}; give degrees, such as 0.1") from None
    if not 0 < width <= 180:
        raise ConfigError(f"fov {width:g}: must be greater than 0 and at most 180 degrees")
    return width
