"""What commands share: their options, and what the words given with them mean."""

import os
from collections.abc import Callable
from typing import Any

import click

from hipsgen.errors import ConfigError


def _stacked(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


INPUT_OPTIONS = _stacked(
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.option(
        "-c", "--collection", "collections", multiple=True, metavar="C",
        help="Butler collection, searched in the order given; repeat or separate by commas.",
    ),
    click.option("-d", "--dataset-type", default="", metavar="T", help="Butler dataset type."),
    click.option(
        "-b", "--band", "bands", multiple=True, metavar="B",
        help="Band; repeat for several surveys. Default: all bands of a collection; of plain FITS "
        "the only one there is. '*': plain FITS of all bands in one map.",
    ),
    click.option("--skymap", default="", metavar="S", help="Butler skymap, if there are several."),
    click.option("--where", default="", metavar="EXPR", help="Butler query, e.g. 'tract = 9813'."),
    click.option(
        "--tract", "tracts", multiple=True, metavar="N",
        help="Coadds of this tract; repeat or separate by commas.",
    ),
    click.option("--patch", "patches", multiple=True, metavar="N", help="The same of patches."),
    click.option(
        "--region", metavar="R",
        help="Coadds that touch circle:RA,DEC,RADIUS, box:RA,DEC,WIDTH,HEIGHT, "
        "polygon:RA,DEC,RA,DEC,RA,DEC... (degrees, ICRS) or a MOC file.",
    ),
    click.option(
        "--color", default="", metavar="gri",
        help="Also make a color survey of three bands (gri, or J,H,Ks); the longest wavelength is "
        "red, in whatever order they are named.",
    ),
    click.option(
        "--planes", default="image", show_default=True, metavar="P,P",
        help="Planes of the coadds, each a survey of its own: image, variance, mask.",
    ),
    click.option("--order", type=int, help="Deepest order. Default: that of the input's pixels."),
    click.option(
        "--tile-width", type=int, default=512, show_default=True, metavar="W",
        help="Pixels along a side of a tile: 64, 128, 256, 512, 1024, 2048 or 4096.",
    ),
    click.option(
        "--frame", default="equatorial", metavar="F", show_default=True,
        help="equatorial or galactic.",
    ),
    click.option(
        "--format", "formats", default="fits,png", show_default=True, metavar="F,F",
        help="Tile formats: fits and any of png, jpeg, webp.",
    ),
    click.option(
        "--interp", "interpolation", default="optimal", show_default=True, metavar="I",
        help="optimal, bilinear, nearest, lanczos3 or lanczos5.",
    ),
    click.option(
        "--overlap", default="feather", show_default=True, metavar="O",
        help="Where coadds overlap: feather, primary or mean.",
    ),
    click.option(
        "--exclude-mask", "excluded", default="NO_DATA", show_default=True, metavar="P,P",
        help="Mask planes whose pixels count as missing ('' for none).",
    ),
    click.option("--blank", type=float, help="Pixel value that means no data, e.g. 0."),
    click.option("--cuts", metavar="LO,HI", help="Display range. Default: from a sample."),
    click.option(
        "--stretch", default="asinh", show_default=True, metavar="S", help="asinh or linear."
    ),
    click.option("--strict", is_flag=True, help="Stop at the first input that cannot be used."),
    click.option(
        "--skip-bad", is_flag=True,
        help="Finish without inputs that cannot be used. Default: do all that does not need them.",
    ),
)  # fmt: skip

RUNTIME_OPTIONS = _stacked(
    click.option(
        "--workers", type=int, default=lambda: os.cpu_count() or 1, metavar="N",
        help="How many at a time. Default: one per core.",
    ),
    click.option(
        "--memory", default="1600M", show_default=True, metavar="SIZE",
        help="For decoded coadds, over all workers.",
    ),
    click.option(
        "--engine", default="threads", show_default=True, metavar="E",
        help="threads, processes, dask, or a Dask address tcp://HOST:PORT.",
    ),
    click.option("--fresh", is_flag=True, help="Throw away what an earlier build left in OUT."),
    click.option(
        "--recut", is_flag=True,
        help="Choose the display range of the previews anew; the values stay as they are.",
    ),
)  # fmt: skip

SERVE_OPTIONS = _stacked(
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option("--port", default=8000, show_default=True, help="Port to listen on."),
    click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser."),
    click.option(
        "--catalog", "files", multiple=True, metavar="FILE",
        help="Also serve the rows of a CSV, VOTable, FITS or Parquet file; "
        "FILE,ra=COLUMN,dec=COLUMN,unit=deg|rad,name=NAME says more. Repeat for several.",
    ),
    click.option("--catalogue", "files_0_1", multiple=True, hidden=True),  # its name in 0.1.0
    click.option(
        "--objects", metavar="REPO", help="Also serve the object tables of a Butler repository."
    ),
    click.option("-c", "--collection", "collections", multiple=True, metavar="C",
        help="Collections in which --objects looks."),
    click.option(
        "--object-table", default="", metavar="T",
        help="Dataset type of the object tables. Default: the usual ones.",
    ),
    click.option(
        "--view", default="", metavar="LINK",
        help="Open on this view: a link copied from the page, or what it has after #.",
    ),
    click.option("--read-only", is_flag=True, help="Keep flags in each browser, not in OUT."),
    click.option(
        "--token", metavar="TEXT", default=lambda: os.environ.get("HIPSGEN_TOKEN"),
        help="Show nothing to those who do not know it. Better given in HIPSGEN_TOKEN: others see "
        "command lines.",
    ),
    click.option(
        "--root-path", default="", metavar="/PATH",
        help="The path on the site, if a proxy shows it beneath one.",
    ),
    click.option(
        "--trusted-proxy", "trusted_proxies", multiple=True, metavar="IP,IP/BITS",
        callback=lambda _context, _option, given: ",".join(given),
        help="Believe X-Forwarded-For, -Proto and -Host of these, and of nobody else.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
        help="Processes that answer.",
    ),
    click.option(
        "--access-log", metavar="FILE",
        help="Append a line of JSON for each request; - is stdout.",
    ),
)  # fmt: skip

VERBOSITY_OPTIONS = _stacked(
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
)

PROPERTY_OPTION = click.option(
    "--property", "own", multiple=True, metavar="KEY=VALUE",
    help="Put a line into the properties file, e.g. creator_did=ivo://my.org/P/x.",
)  # fmt: skip


def options_of(given: dict[str, Any]) -> Any:
    """The `BuildOptions` of a command. Raises ConfigError."""
    from hipsgen.planner.options import BuildOptions

    return BuildOptions(
        order=given["order"],
        tile_width=given["tile_width"],
        frame=given["frame"],
        formats=tuple("jpeg" if f == "jpg" else f for f in words(given["formats"])),
        interpolation=given["interpolation"],
        overlap=given["overlap"],
        stretch=given["stretch"],
        cuts=_cuts(given["cuts"]),
        excluded=words(given["excluded"]),
        blank=given["blank"],
        properties=pairs(given.get("own", ())),
    )


def planes_of(given: dict[str, Any]) -> tuple[str, ...]:
    """The planes of a command, each once, image first. Raises ConfigError."""
    from hipsgen.images.coadd_fits import PLANES

    asked = words(given["planes"])
    unknown = [plane for plane in asked if plane not in PLANES]
    if unknown or not asked:
        raise ConfigError(f"--planes {given['planes']!r} is not a list of: {', '.join(PLANES)}")
    return tuple(plane for plane in PLANES if plane in asked)


def query_of(given: dict[str, Any]) -> Any:
    """The `CoaddQuery` of a command. Raises ConfigError."""
    from hipsgen.planner.jobs import CoaddQuery, narrow_to_color

    query = CoaddQuery(
        collections=tuple(c for text in given["collections"] for c in words(text)),
        dataset_type=given["dataset_type"],
        bands=tuple(dict.fromkeys(b for text in given["bands"] for b in words(text))),
        skymap=given["skymap"],
        where=given["where"],
        selection=_selection(given),
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
    numbers = [word for text in texts for word in words(text)]
    wrong = [word for word in numbers if not word.isdecimal()]
    if wrong:
        raise ConfigError(f"--{name} {wrong[0]!r} is not a number like 9813")
    return frozenset(map(int, numbers))


def runtime_of(given: dict[str, Any]) -> Any:
    """The `Runtime` of a command. Raises ConfigError."""
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


def words(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _cuts(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--cuts {text!r} is not two numbers like -1,50") from None
    return low, high


def pairs(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """KEY=VALUE, each; raises ConfigError for something else."""
    found = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--property {text!r} is not KEY=VALUE")
        found.append((key.strip(), value.strip()))
    return tuple(found)
