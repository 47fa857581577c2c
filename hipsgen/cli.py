"""The command line: parse, call one function, report. Heavy imports are inside the commands."""

import errno
import gc
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from hipsgen import __version__
from hipsgen.arguments import (
    INPUT_OPTIONS,
    PROPERTY_OPTION,
    RUNTIME_OPTIONS,
    SERVE_OPTIONS,
    VERBOSITY_OPTIONS,
    options_of,
    pairs,
    planes_of,
    query_of,
    runtime_of,
    words,
)
from hipsgen.errors import ConfigError, HipsgenError
from hipsgen.run import interrupt
from hipsgen.text import counted


class _Commands(click.Group):
    """Commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As written below."""
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="hipsgen")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """BuildLease coadded sky images into a HiPS survey, check it, look at it.

    \b
    hipsgen build REPO -c COLLECTION -d deepCoadd_calexp -b i -o OUT
    hipsgen build images/*.fits -o OUT
    hipsgen serve OUT
    """
    ctx.obj = {"debug": debug}


@cli.command()
@INPUT_OPTIONS
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@PROPERTY_OPTION
@RUNTIME_OPTIONS
@VERBOSITY_OPTIONS
def build(**given: Any) -> None:
    """Make a HiPS survey of coadds.

    INPUT is a Butler repository, or FITS files, folders and lists of files (.txt), or a manifest
    that `hipsgen plan --manifest` saved. One band: OUT is the survey. Several bands or planes, or
    --color: each survey is a folder in OUT. An interrupted or grown build continues.
    """
    _can_go_on(given["fresh"])
    from hipsgen.build.surveys import build_all
    from hipsgen.run.progress import reporter

    options, query, runtime = options_of(given), query_of(given), runtime_of(given)
    say = reporter(given["quiet"], given["verbose"])
    summaries = build_all(
        given["inputs"],
        query,
        options,
        runtime,
        given["out"],
        given["color"],
        say,
        planes_of(given),
    )
    if not given["quiet"]:
        _print_summaries(summaries, given["out"])


@cli.command()
@INPUT_OPTIONS
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="An earlier build's folder: say what would change in it.",
)
@click.option("--manifest", type=click.Path(path_type=Path), help="Save the references here.")
@VERBOSITY_OPTIONS
def plan(**given: Any) -> None:
    """Say what a build would do, without building it.

    INPUT is a Butler repository, or FITS files, folders and lists of files (.txt), or a manifest.
    Where no coadd can be read, --order is needed too. With --manifest the references are saved,
    and `hipsgen build FILE` needs no registry. With --out it is said how many tiles of the survey
    that is there would be made anew.
    """
    from hipsgen.build.surveys import plan_all
    from hipsgen.run.progress import reporter

    say = reporter(given["quiet"], given["verbose"])
    for line in plan_all(
        given["inputs"],
        query_of(given),
        options_of(given),
        given["manifest"],
        given["color"],
        say,
        given["out"],
        planes_of(given),
    ):
        click.echo(line)


@cli.command()
@click.argument("out")
@click.option(
    "--deep",
    is_flag=True,
    help="Look at every tile: does it decode, is it what was written, are parents made of their "
    "children, do pictures, coverage and Allskys show the values.",
)
@click.option(
    "--against-inputs",
    "against",
    type=click.IntRange(min=1),
    metavar="N",
    help="Make N leaf tiles, chosen at random, again from the coadds and compare.",
)
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    metavar="N",
    help="How many tiles at a time. Default: one per core.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only the findings.")
def check(
    out: str, deep: bool, against: int | None, as_json: bool, workers: int, quiet: bool
) -> None:
    """Check surveys against the HiPS standard, and against themselves.

    OUT is a survey, a folder of surveys or the http(s) URL of a survey. Exit code 1 if there is a
    finding of level error or warning.
    """
    import json
    from dataclasses import asdict

    from hipsgen.build.surveys import surveys_under
    from hipsgen.check.survey import Depth, check_survey, condensed
    from hipsgen.run.progress import reporter

    say = reporter(quiet, verbose=False)
    depth = Depth(deep, against or 0, workers)
    places = surveys_under(out, unfinished=True)
    found = {str(place): check_survey(place, depth, say) for place in places}
    if as_json:
        plain = {name: [asdict(f) for f in findings] for name, findings in found.items()}
        click.echo(json.dumps(plain, indent=1))
    else:
        for name, findings in found.items():
            for finding in condensed(findings):
                if finding.level != "note" or not quiet:
                    click.echo(f"{name}: {finding}")
            if all(f.level == "note" for f in findings) and not quiet:
                click.echo(f"{name}: conforms to HiPS 1.0{_agrees(depth)}")
    if any(f.level != "note" for findings in found.values() for f in findings):
        sys.exit(1)


def _agrees(depth: Any) -> str:
    """What else was found to be right."""
    deep = "; every tile agrees with the rest" if depth.every_tile else ""
    tiles = "tile agrees with its" if depth.against == 1 else "tiles agree with their"
    return deep + (f"; {depth.against} leaf {tiles} coadds" if depth.against else "")


@cli.command()
@click.argument("red", type=click.Path(path_type=Path))
@click.argument("green", type=click.Path(path_type=Path))
@click.argument("blue", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--format",
    "formats",
    default="png",
    show_default=True,
    metavar="F",
    type=click.Choice(["png", "webp", "png,webp", "webp,png"]),
    help="png, webp or both.",
)
@PROPERTY_OPTION
@RUNTIME_OPTIONS
@VERBOSITY_OPTIONS
def color(red: Path, green: Path, blue: Path, out: Path, **given: Any) -> None:
    """Make a color survey of three FITS surveys: RED GREEN BLUE."""
    from hipsgen.build.surveys import color_of
    from hipsgen.run.progress import reporter

    say = reporter(given["quiet"], given["verbose"])
    _can_go_on(given["fresh"])
    summary = color_of(
        (red, green, blue),
        out,
        words(given["formats"]),
        runtime_of(given),
        say,
        pairs(given["own"]),
    )
    if not given["quiet"]:
        _print_summaries([summary], out)


@cli.command()
@click.argument("out")
def info(out: str) -> None:
    """Describe a survey, each survey of a folder, or the one at a URL."""
    from hipsgen.build.surveys import describe_survey, surveys_under

    click.echo("\n\n".join(map(describe_survey, surveys_under(out, unfinished=True))))


@cli.command()
@click.argument("out", nargs=-1, required=True, type=click.Path(path_type=Path))
@SERVE_OPTIONS
def serve(
    out: tuple[Path, ...],
    files: tuple[str, ...],
    files_0_1: tuple[str, ...],
    objects: str | None,
    collections: tuple[str, ...],
    object_table: str,
    **given: Any,
) -> None:
    """Serve surveys with a page to look at them.

    OUT is a survey or a folder of surveys.
    """
    from viewer.catalogs.catalog import open_file
    from viewer.server import serve as serve_surveys

    catalogs = [open_file(file) for file in (*files, *files_0_1)]
    if objects:
        from viewer.catalogs.object_tables import open_object_tables

        searched = [c for text in collections for c in words(text)]
        catalogs.append(open_object_tables(objects, searched, object_table))
    elif collections or object_table:
        raise ConfigError("-c and --object-table are for --objects REPO")
    with suppress(KeyboardInterrupt):  # as it says itself: stop with Ctrl-C
        serve_surveys(list(out), catalogs=catalogs, **given)


def _can_go_on(fresh: bool) -> None:
    """What a build that is stopped says."""
    but = " without --fresh" if fresh else ""
    interrupt.set_hint(f"; the same command{but} goes on where it was")


def _print_summaries(summaries: list[Any], out: Path) -> None:
    from hipsgen.text import human_size

    for s in summaries:
        size = ", ".join(f"{name} {human_size(count)}" for name, count in sorted(s.size.items()))
        click.echo(
            f"{s.name}: order {s.order}, {counted(s.coadds, s.kind)}, "
            f"{counted(s.tiles, 'tile')} in all ({size}), {s.seconds:.1f} s"
            + (_changed(s) if s.updated else "")
        )
        if s.skipped:
            faults = sum(problem.is_fault for problem in s.skipped)
            others = len(s.skipped) - faults
            said = [
                f"{counted(number, thing)} {words}"
                for number, thing, words in (
                    (faults, "input", "left out, named in provenance.fits"),
                    (others, "file", "passed over"),
                )
                if number
            ]
            click.echo(f"{s.name}: {'; '.join(said)}")
    click.echo(f"look at it: hipsgen serve {out}")


def _changed(s: Any) -> str:
    share = 100 * s.made / s.tiles if s.tiles else 100.0
    gone = f", {s.removed} removed" if s.removed else ""
    return f", {s.made} of them made in this run ({share:.1f} %){gone}"


def main() -> None:
    """Run the command line; errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    # importing numpy, numba and astropy makes half a million objects and no garbage: with the usual
    # threshold 0.1 s go into looking for some; `precompile` sets another once all is there
    gc.set_threshold(200_000)
    # matrices here are 3x3: threads of BLAS would only wait, which costs 0.15 s
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not debug:  # astropy's remarks on headers; what matters comes as an error
        warnings.simplefilter("ignore")
    interrupt.install()
    try:
        try:
            cli.main(prog_name="hipsgen", standalone_mode=False)
        except BaseException:
            if interrupt.requested():  # whatever a library made of it
                interrupt.exit_now()
            raise
        interrupt.ignore()
    except (click.exceptions.Abort, KeyboardInterrupt, interrupt.StoppedError):
        interrupt.exit_now()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_said(error), error.exit_code)
    except ConfigError as error:
        _fail(str(error), 2, debug, error)
    except HipsgenError as error:
        _fail(str(error), 1, debug, error)
    except OSError as error:
        _fail(_system_error(error), 1, debug, error)
    finally:
        gc.freeze()  # at its end Python looks through all objects twice: 0.2 s for nothing


def _said(error: click.ClickException) -> str:
    """What is wrong with a command line, and where it is told how it should be."""
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see {context.command_path} --help" if context else text


def _system_error(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk of{place or ' OUT'}: make room, the same command goes on"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to write{place}: {error.strerror}"
    return f"{error.strerror or error}{place}"


def _fail(text: str, code: int, debug: bool = False, error: BaseException | None = None) -> None:
    if debug and error is not None:
        raise error
    click.echo(f"hipsgen: {text}", err=True)
    sys.exit(code)
