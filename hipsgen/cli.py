"""Command line: parse options, call the API, print results.

Modules that take long to import are imported in the commands.
"""

import errno
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from hipsgen.arguments import (
    INPUT_OPTIONS,
    OUTPUT_OPTION,
    PROPERTY_OPTION,
    RUNTIME_OPTIONS,
    SERVE_OPTIONS,
    VERBOSITY_OPTIONS,
    Folder,
    options_of,
    parse_properties,
    planes_of,
    query_of,
    runtime_of,
    split_list,
)
from hipsgen.errors import ConfigError, HipsgenError
from hipsgen.run import interrupt
from hipsgen.text import as_option, counted, cuts_text, human_size
from hipsgen.version import __version__

_NO_THREAD = "can't start new thread"  # there is no memory for its stack


class _Commands(click.Group):
    """Group that lists its commands in order of definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in order of definition."""
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="hipsgen")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Turn coadded sky images into a HiPS survey, check it and view it.

    \b
    hipsgen build REPO -c COLLECTION -d deepCoadd_calexp -b i -o OUT
    hipsgen build images/*.fits -o OUT
    hipsgen serve OUT
    """
    ctx.obj = {"debug": debug}


@cli.command()
@INPUT_OPTIONS
@OUTPUT_OPTION
@PROPERTY_OPTION
@RUNTIME_OPTIONS
@VERBOSITY_OPTIONS
def build(**given: Any) -> None:
    """Build HiPS surveys from coadds.

    INPUT is a Butler repository; or FITS files, folders and lists of files (.txt); or a manifest
    saved by `hipsgen plan --manifest`. With a single band and plane, OUT is the survey; otherwise,
    and with --color, OUT contains a folder for each survey. Rerunning the same command resumes an
    interrupted build, and updates the survey after coadds were added, removed or changed.
    """
    _set_interrupt_hint(given["fresh"])
    from hipsgen import api
    from hipsgen.run.progress import reporter
    from hipsgen.startup import prepare_process

    options, runtime, planes = options_of(given), runtime_of(given), planes_of(given)
    say = reporter(given["quiet"], given["verbose"])
    coadds = _find(given, say)
    prepare_process(options, planes, say)
    results = api.build(
        coadds,
        given["out"],
        options=options,
        runtime=runtime,
        planes=planes,
        color=given["color"],
        reporter=say,
    )
    if not given["quiet"]:
        _print_results(results, given["out"])


@cli.command()
@INPUT_OPTIONS
@click.option(
    "-o",
    "--out",
    type=Folder(),
    help="Output folder of an earlier build: report what would change in it.",
)
@click.option(
    "--manifest",
    metavar="FILE",
    type=Folder(),
    help="Save the list of coadds to this file.",
)
@VERBOSITY_OPTIONS
def plan(**given: Any) -> None:
    """Report what a build would do, without building it.

    INPUT is a Butler repository; or FITS files, folders and lists of files (.txt); or a manifest.
    If no coadd can be read, --order is required. With --manifest the list of coadds is saved, so
    that `hipsgen build FILE` does not need the registry. With --out the numbers of tiles of the
    existing survey that would be rendered again or removed are reported.
    """
    from hipsgen import api
    from hipsgen.run.progress import reporter

    manifest, planes = given["manifest"], planes_of(given)
    if manifest is not None and not manifest.absolute().parent.is_dir():
        raise ConfigError(f"--manifest {manifest}: the folder {manifest.parent} does not exist")
    say = reporter(given["quiet"], given["verbose"])
    coadds = _find(given, say)
    plans = api.plan(
        coadds,
        given["out"],
        options=options_of(given),
        planes=planes,
        color=given["color"],
        reporter=say,
    )
    for survey in plans:
        click.echo(_describe_plan(survey))
    if manifest is not None:
        count = coadds.save(manifest)
        options = f" --color {given['color']}" if given["color"] else ""
        options += "" if planes == ("image",) else f" --planes {','.join(planes)}"
        click.echo(
            f"{counted(count, 'coadd')} saved; build with: hipsgen build {manifest}{options} -o OUT"
        )


def _find(given: dict[str, Any], say: Any) -> Any:
    """List the coadds that a command is given."""
    from hipsgen.planner.coadd_list import list_coadds

    return list_coadds(given["inputs"], query_of(given), say)


def _describe_plan(plan: Any) -> str:
    """Return lines that describe a new survey or changes to an existing one."""
    warning = (
        f"{counted(plan.n_unusable, 'input')} cannot be used: the build needs --skip-bad to "
        "finish\n"
        if plan.n_unusable
        else ""
    )
    return warning + (_describe_update(plan) if plan.changes else _describe_survey(plan))


def _describe_survey(plan: Any) -> str:
    name = f"band {plan.band}" if plan.band else plan.source
    name += "" if plan.plane == "image" else f", {plan.plane}"
    return (
        f"{name}: {counted(plan.n_coadds, 'coadd')}, order {plan.order}, at most "
        f"{counted(plan.n_leaf_tiles, 'leaf tile')} and {plan.n_tiles} tiles in all, "
        f"{human_size(plan.n_bytes)}, about {plan.cpu_seconds:.0f} s of CPU time; "
        f"{_describe_cuts(plan)}"
    )


def _describe_cuts(plan: Any) -> str:
    if plan.problem:
        return f"cuts unknown: {plan.problem}"
    if plan.cuts is None:
        return f"mask planes {', '.join(plan.mask_planes)}"
    return f"cuts {cuts_text(*plan.cuts)} {plan.unit}".rstrip()


def _describe_update(plan: Any) -> str:
    change = plan.changes
    top = f", plus those below order {change.block_order}" if change.n_blocks_changed else ""
    cuts = ""
    if plan.cuts is not None:
        unchanged = f"{cuts_text(*plan.cuts)} {plan.unit}".rstrip()
        cuts = f"; the cuts remain {unchanged} (--recut computes new ones)"
    return (
        f"{plan.path}: {counted(plan.n_coadds, 'coadd')}, order {plan.order}; "
        f"{change.n_blocks_changed} of {change.n_blocks} blocks change: at most "
        f"{change.n_tiles_made} of {plan.n_tiles} tiles are rendered again{top}, "
        f"about {change.n_tiles_removed} removed{cuts}"
    )


@cli.command()
@click.argument("out")
@click.option(
    "--deep",
    is_flag=True,
    help="Check every tile: its checksum, parents against their children, and previews, MOC and "
    "Allsky files against the pixel values.",
)
@click.option(
    "--against-inputs",
    "against",
    type=click.IntRange(min=1),
    metavar="N",
    help="Render N random leaf tiles again from the coadds and compare.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    metavar="N",
    help="Tiles checked at the same time. Default: number of cores.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only errors and warnings.")
def check(
    out: str, deep: bool, against: int | None, as_json: bool, workers: int, quiet: bool
) -> None:
    """Check that surveys conform to the HiPS standard and are consistent.

    OUT is a survey, a folder of surveys or the http(s) URL of a survey. The exit code is 1 if there
    is an error or a warning.
    """
    from hipsgen import api
    from hipsgen.run.progress import reporter

    report = api.check(
        out,
        deep=deep,
        against_inputs=against or 0,
        workers=workers,
        reporter=reporter(quiet, verbose=False),
    )
    if as_json:
        _print_json(report)
    else:
        _print_findings(report, quiet, deep)
    if not report.ok:
        sys.exit(1)


def _print_json(report: Any) -> None:
    import json

    findings = {
        name: [{"level": f.level, "where": f.where, "what": f.message} for f in found]
        for name, found in report.surveys.items()
    }
    click.echo(json.dumps(findings, indent=1))


def _print_findings(report: Any, quiet: bool, deep: bool) -> None:
    from hipsgen.checker.survey import group_similar

    for name, findings in report.surveys.items():
        for finding in group_similar(findings):
            if finding.level != "note" or not quiet:
                click.echo(f"{name}: {finding}")
        if all(f.level == "note" for f in findings) and not quiet:
            passed = _passed_checks(deep, report.compared[name])
            click.echo(f"{name}: conforms to HiPS 1.0{passed}")


def _passed_checks(deep: bool, compared: int) -> str:
    """Describe the optional checks that found no fault."""
    every = "; all tiles are consistent" if deep else ""
    tiles = counted(compared, "leaf tile")
    return every + (f"; {tiles} rendered again without a difference" if compared else "")


@cli.command()
@click.argument("red", type=Folder())
@click.argument("green", type=Folder())
@click.argument("blue", type=Folder())
@OUTPUT_OPTION
@click.option(
    "--format",
    "formats",
    default="png",
    show_default=True,
    metavar="F",
    type=click.Choice(["png", "webp", "png,webp", "webp,png"]),
    help="png, webp or both, separated by a comma.",
)
@PROPERTY_OPTION
@RUNTIME_OPTIONS
@VERBOSITY_OPTIONS
def color(red: Path, green: Path, blue: Path, out: Path, **given: Any) -> None:
    """Build a color survey from three FITS surveys.

    RED, GREEN and BLUE are the folders of finished surveys with FITS tiles.
    """
    from hipsgen import api
    from hipsgen.run.progress import reporter

    _set_interrupt_hint(given["fresh"])
    result = api.build_color(
        red,
        green,
        blue,
        out,
        formats=split_list(given["formats"]),
        runtime=runtime_of(given),
        properties=parse_properties(given["own"]),
        reporter=reporter(given["quiet"], given["verbose"]),
    )
    if not given["quiet"]:
        _print_results([result], out)


@cli.command()
@click.argument("out")
def info(out: str) -> None:
    """Describe a survey, all surveys of a folder, or the survey at a URL."""
    from hipsgen.survey.folders import surveys_under
    from hipsgen.survey.store import is_url, location_of
    from hipsgen.survey.summary import describe, summarize

    out = location_of(out)
    if is_url(out):
        click.echo(describe(out))
    else:
        click.echo("\n\n".join(map(summarize, surveys_under(out, unfinished=True))))


@cli.command()
@click.argument("out", nargs=-1, required=True, type=Folder())
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
    """Serve surveys with a web page that displays them.

    OUT is a survey or a folder of surveys.
    """
    from viewer.catalogs.catalog import open_file
    from viewer.server import serve as serve_surveys

    catalogs = [open_file(file) for file in (*files, *files_0_1)]
    if objects:
        from viewer.catalogs.object_tables import open_object_tables

        searched = [c for text in collections for c in split_list(text)]
        catalogs.append(open_object_tables(objects, searched, object_table))
    elif collections or object_table:
        raise ConfigError("-c and --object-table require --objects REPO")
    with suppress(KeyboardInterrupt):  # the normal way to stop the server
        serve_surveys(list(out), catalogs=catalogs, **given)


def _set_interrupt_hint(fresh: bool) -> None:
    """Set the hint that an interrupted build prints."""
    without = " without --fresh" if fresh else ""
    interrupt.set_hint(f"; rerun the same command{without} to resume")


def _print_results(results: list[Any], out: Path) -> None:
    for r in results:
        size = ", ".join(f"{name} {human_size(count)}" for name, count in sorted(r.size.items()))
        inputs = counted(r.n_inputs, "survey" if r.is_color else "coadd")
        click.echo(
            f"{r.name}: order {r.order}, {inputs}, {counted(r.n_tiles, 'tile')} in all ({size}), "
            f"{r.seconds:.1f} s" + (_changed(r) if r.is_update else "")
        )
        if r.skipped:
            click.echo(f"{r.name}: {_skipped(r.skipped)}")
    click.echo(f"view it with: hipsgen serve {out}")


def _skipped(problems: Sequence[Any]) -> str:
    faults = sum(problem.is_fault for problem in problems)
    rows = (
        (faults, "input", "left out, listed in provenance.fits"),
        (len(problems) - faults, "file", "skipped"),
    )
    return "; ".join(f"{counted(number, thing)} {text}" for number, thing, text in rows if number)


def _changed(r: Any) -> str:
    percent = 100 * r.n_tiles_made / r.n_tiles if r.n_tiles else 100.0
    gone = f", {r.n_tiles_removed} removed" if r.n_tiles_removed else ""
    return f", {r.n_tiles_made} of them made in this run ({percent:.1f} %){gone}"


def main() -> None:
    """Run the command line; errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    # importing numpy, numba and astropy creates half a million objects but no garbage; with the
    # default threshold, looking for it takes 0.1 s. `prepare_process` sets another one later
    gc.set_threshold(200_000)
    # matrices are 3x3: starting BLAS threads would cost 0.15 s for nothing
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not debug:  # of astropy on headers; serious problems raise errors
        warnings.simplefilter("ignore")
    interrupt.install()
    try:
        try:
            cli.main(prog_name="hipsgen", standalone_mode=False)
        except BaseException:
            if interrupt.requested():  # a library may have replaced the exception
                interrupt.exit_now()
            raise
        interrupt.ignore()
    except (click.exceptions.Abort, KeyboardInterrupt, interrupt.StoppedError):
        interrupt.exit_now()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_usage_error(error), error.exit_code)
    except ConfigError as error:
        _fail(error.render(as_option), 2, debug, error)
    except HipsgenError as error:
        _fail(error.render(as_option), 1, debug, error)
    except OSError as error:
        _fail(_system_error(error), 1, debug, error)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and _NO_THREAD not in str(error):
            raise
        _fail("there is not enough memory: use fewer --workers or less --memory", 1, debug, error)
    finally:
        gc.freeze()  # without it Python traverses all objects twice at exit, which takes 0.2 s


def _usage_error(error: click.ClickException) -> str:
    """Describe an error of the command line and name the command that prints help."""
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see {context.command_path} --help" if context else text


def _system_error(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return (
            f"no space left on the disk of{place or ' OUT'}: free some, then rerun the same command"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write{place}: {error.strerror}"
    return f"{error.strerror or error}:{place}" if place else f"{error.strerror or error}"


def _fail(text: str, code: int, debug: bool = False, error: BaseException | None = None) -> None:
    if debug and error is not None:
        raise error
    click.echo(f"hipsgen: {text}", err=True)
    sys.exit(code)
