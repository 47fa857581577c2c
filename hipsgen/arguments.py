"""Options that commands share, and their conversion to arguments of the API."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hipsgen.errors import ConfigError


class Folder(click.Path):
    """Path or file URI; not empty: Path("") would be the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a text to a path; an empty one, as of a variable that is not set, is an error."""
        from hipsgen.images.uris import local_path

        try:
            return super().convert(local_path(value), param, ctx)
        except ConfigError as error:
            self.fail(error.message, param, ctx)


def _combine(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


INPUT_OPTIONS = _combine(
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.option(
        "-c", "--collection", "collections", multiple=True, metavar="C",
        help="Butler collection; repeat or separate by commas for several, which are searched in "
        "the order given.",
    ),
    click.option("-d", "--dataset-type", default="", metavar="T", help="Butler dataset type."),
    click.option(
        "-b", "--band", "bands", multiple=True, metavar="B",
        help="Band; repeat or separate by commas for several surveys. Default: all bands of a "
        "collection, or the only band of plain FITS. '*': plain FITS of all bands in one survey.",
    ),
    click.option(
        "--skymap", default="", metavar="S", help="Butler skymap; required if there are several."
    ),
    click.option(
        "--where", default="", metavar="EXPR",
        help="Butler query expression, e.g. 'tract = 9813'.",
    ),
    click.option(
        "--tract", "tracts", multiple=True, metavar="N",
        help="Use only coadds of this tract; repeat or separate by commas.",
    ),
    click.option(
        "--patch", "patches", multiple=True, metavar="N",
        help="Use only coadds of this patch; repeat or separate by commas.",
    ),
    click.option(
        "--region", metavar="R",
        help="Use only coadds that overlap circle:RA,DEC,RADIUS, box:RA,DEC,WIDTH,HEIGHT, "
        "polygon:RA,DEC,RA,DEC,RA,DEC... (degrees, ICRS) or a MOC file.",
    ),
    click.option(
        "--hdu", "hdus", multiple=True, metavar="H",
        help="HDUs of FITS files to use: a number, a name (EXTNAME; with wildcards), or all; "
        "repeat or separate by commas for several. "
        "Default: every image except those that accompany another one (weight, error, mask ...).",
    ),
    click.option(
        "--include", multiple=True, metavar="GLOB",
        help="Use only FITS files whose name matches, e.g. 'drz*.fits'; repeat for several.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="GLOB",
        help="Do not use FITS files whose name matches; repeat for several.",
    ),
    click.option(
        "--assume-band", default="", metavar="B",
        help="Band of FITS images whose headers name none.",
    ),
    click.option(
        "--color", default="", metavar="BANDS",
        help="Also build a color survey of three bands (gri, or J,H,Ks); the longest wavelength "
        "becomes red, whatever their order.",
    ),
    click.option(
        "--planes", default="image", show_default=True, metavar="P,P",
        help="Planes of the coadds: image, variance, mask. Each becomes a survey of its own.",
    ),
    click.option(
        "--order", type=int, metavar="N",
        help="Deepest HiPS order. Default: the one that matches the pixel size of the coadds.",
    ),
    click.option(
        "--tile-width", type=int, default=512, show_default=True, metavar="W",
        help="Width of a tile in pixels: 64, 128, 256, 512, 1024, 2048 or 4096.",
    ),
    click.option(
        "--frame", default="equatorial", metavar="F", show_default=True,
        help="Coordinate frame: equatorial, galactic or ecliptic.",
    ),
    click.option(
        "--format", "formats", default="fits,png", show_default=True, metavar="F,F",
        help="Tile formats: fits and any of png, jpeg, webp.",
    ),
    click.option(
        "--interp", "interpolation", default="optimal", show_default=True, metavar="I",
        help="Interpolation: optimal, bilinear, nearest, lanczos3 or lanczos5.",
    ),
    click.option(
        "--overlap", default="feather", show_default=True, metavar="O",
        help="Combination of overlapping coadds: feather, primary or mean.",
    ),
    click.option(
        "--exclude-mask", "excluded", default="NO_DATA", show_default=True, metavar="P,P",
        help="Mask planes whose pixels are treated as missing ('' for none).",
    ),
    click.option(
        "--blank", type=float, metavar="VALUE", help="Pixel value to treat as missing, e.g. 0."
    ),
    click.option(
        "--unit", default="", metavar="UNIT",
        help="Unit of the values as they are stored, e.g. nJy. Default: read from the headers, and "
        "their calibration is applied.",
    ),
    click.option(
        "--cuts", metavar="LO,HI", help="Display range of the previews. Default: from a sample."
    ),
    click.option(
        "--stretch", default="asinh", show_default=True, metavar="S",
        help="Stretch of the previews: asinh or linear.",
    ),
    click.option("--strict", is_flag=True, help="Stop at the first input that cannot be used."),
    click.option(
        "--skip-bad", is_flag=True,
        help="Finish the survey without inputs that cannot be used. Default: build everything that "
        "does not need them, but do not finish.",
    ),
)  # fmt: skip

RUNTIME_OPTIONS = _combine(
    click.option(
        "--workers", type=int, default=lambda: os.cpu_count() or 1, metavar="N",
        help="Number of parallel workers. Default: number of cores.",
    ),
    click.option(
        "--memory", default="1600M", show_default=True, metavar="SIZE",
        help="Memory for decoded coadds, shared by all workers; no read takes more.",
    ),
    click.option(
        "--engine", default="threads", show_default=True, metavar="E",
        help="Engine: threads, processes, dask, or the address of a Dask scheduler, tcp://HOST:PORT.",
    ),
    click.option("--fresh", is_flag=True, help="Delete the existing survey in OUT and start over."),
    click.option(
        "--recut", is_flag=True,
        help="Compute the display range of the previews again; pixel values do not change.",
    ),
)  # fmt: skip

SERVE_OPTIONS = _combine(
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option("--port", default=8000, show_default=True, help="Port to listen on."),
    click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser."),
    click.option(
        "--catalog", "files", multiple=True, metavar="FILE",
        help="Also serve a catalog (CSV, VOTable, FITS or Parquet); repeat for several. "
        "FILE,ra=COLUMN,dec=COLUMN,unit=deg|rad,name=NAME sets its position columns and name.",
    ),
    click.option("--catalogue", "files_0_1", multiple=True, hidden=True),  # as in version 0.1
    click.option(
        "--objects", metavar="REPO", help="Also serve the object tables of a Butler repository."
    ),
    click.option("-c", "--collection", "collections", multiple=True, metavar="C",
        help="Butler collection of the object tables; repeat or separate by commas."),
    click.option(
        "--object-table", default="", metavar="T",
        help="Dataset type of the object tables. Default: the standard ones.",
    ),
    click.option(
        "--view", default="", metavar="LINK",
        help="Initial view: a link copied from the page, or the part of it after #.",
    ),
    click.option(
        "--originals", multiple=True, metavar="ROOT",
        help="Open coadds beneath this folder or URL prefix; repeat for several. Those that the "
        "build used are opened anyway, if only you can write to OUT/.hipsgen/build.json.",
    ),
    click.option("--read-only", is_flag=True, help="Keep flags in each browser instead of in OUT."),
    click.option(
        "--token", metavar="TEXT", default=lambda: os.environ.get("HIPSGEN_TOKEN"),
        help="Require this token from every client. Prefer the environment variable HIPSGEN_TOKEN: "
        "other users can see command lines.",
    ),
    click.option(
        "--root-path", default="", metavar="/PATH",
        help="Path of the page on the site, if a proxy serves it below a path.",
    ),
    click.option(
        "--trusted-proxy", "trusted_proxies", multiple=True, metavar="IP,IP/BITS",
        callback=lambda _context, _option, given: ",".join(given),
        help="Trust X-Forwarded-For, -Proto and -Host only from these proxies.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
        help="Number of server processes.",
    ),
    click.option(
        "--access-log", metavar="FILE",
        help="Append a JSON line for each request to FILE; - means stdout.",
    ),
)  # fmt: skip

VERBOSITY_OPTIONS = _combine(
    click.option("-q", "--quiet", is_flag=True, help="Print only problems."),
    click.option("-v", "--verbose", is_flag=True, help="Print details."),
)

OUTPUT_OPTION = click.option(
    "-o", "--out", required=True, type=Folder(), help="Output folder.",
)  # fmt: skip

PROPERTY_OPTION = click.option(
    "--property", "own", multiple=True, metavar="KEY=VALUE",
    help="Set a line of the properties file, e.g. creator_did=ivo://my.org/P/x; repeatable.",
)  # fmt: skip


def options_of(given: dict[str, Any]) -> Any:
    """Return the `BuildOptions` of a command. Raises ConfigError."""
    from hipsgen.planner.options import BuildOptions

    return BuildOptions(
        order=given["order"],
        tile_width=given["tile_width"],
        frame=given["frame"],
        formats=tuple("jpeg" if f == "jpg" else f for f in split_list(given["formats"])),
        interpolation=given["interpolation"],
        overlap=given["overlap"],
        stretch=given["stretch"],
        cuts=_cuts(given["cuts"]),
        excluded=split_list(given["excluded"]),
        blank=given["blank"],
        unit=given["unit"],
        properties=parse_properties(given.get("own", ())),
    )


def planes_of(given: dict[str, Any]) -> tuple[str, ...]:
    """Return the planes of a command, without duplicates, image first. Raises ConfigError."""
    from hipsgen.planner import options

    return options.planes_of(split_list(given["planes"]))


def query_of(given: dict[str, Any]) -> Any:
    """Return the `CoaddQuery` of a command. Raises ConfigError."""
    from hipsgen.images.fits_folder import ImageChoice
    from hipsgen.planner.jobs import CoaddQuery, narrow_to_color

    query = CoaddQuery(
        collections=tuple(c for text in given["collections"] for c in split_list(text)),
        dataset_type=given["dataset_type"],
        bands=tuple(dict.fromkeys(b for text in given["bands"] for b in split_list(text))),
        skymap=given["skymap"],
        where=given["where"],
        selection=_selection(given),
        choice=ImageChoice(
            tuple(dict.fromkeys(h for text in given["hdus"] for h in split_list(text))),
            given["include"],
            given["exclude"],
            given["assume_band"],
        ),
        strict=given["strict"],
    )
    return narrow_to_color(query, given["color"])


def _selection(given: dict[str, Any]) -> Any:
    from hipsgen.images.selection import Region, Selection

    return Selection(
        tracts=_numbers("tract", given["tracts"]),
        patches=_numbers("patch", given["patches"]),
        region=Region(given["region"]) if given["region"] else None,
    )


def _numbers(name: str, texts: tuple[str, ...]) -> frozenset[int]:
    numbers = [item for text in texts for item in split_list(text)]
    invalid = [item for item in numbers if not item.isdecimal()]
    if invalid:
        raise ConfigError(f"--{name} {invalid[0]!r} is not a number (example: 9813)")
    return frozenset(map(int, numbers))


def runtime_of(given: dict[str, Any]) -> Any:
    """Return the `Runtime` of a command. Raises ConfigError."""
    from hipsgen.planner.options import Runtime, parse_size

    return Runtime(
        workers=given["workers"],
        memory=parse_size(given["memory"]),
        engine=given["engine"],
        strict=given.get("strict", False),
        skip_bad=given.get("skip_bad", False),
        fresh=given["fresh"],
        recut=given["recut"],
    )


def split_list(text: str) -> tuple[str, ...]:
    """Split a list separated by commas, without empty items."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _cuts(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--cuts {text!r} is not two numbers (example: -1,50)") from None
    return low, high


def parse_properties(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Parse texts of the form KEY=VALUE. Raises ConfigError for any other text."""
    found = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--property {text!r} is not KEY=VALUE")
        found.append((key.strip(), value.strip()))
    return tuple(found)
