"""The command line: parse, call one function, report. Heavy imports are inside the commands."""

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
from hipsgen.text import as_option, counted, human_size
from hipsgen.version import __version__


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
    """Turn coadded sky images into a HiPS survey, check it, look at it.

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
    """Build HiPS surveys of coadds.

    INPUT is a Butler repository, or FITS files, folders and lists of files (.txt), or a manifest
    that `hipsgen plan --manifest` saved. One band: OUT is the survey. Several bands or planes, or
    --color: each survey is a folder in OUT. The same command resumes an interrupted build, and
    updates the survey when coadds were added, removed or changed.
    """
    _say_how_to_resume(given["fresh"])
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
    type=click.Path(path_type=Path),
    help="Folder of an earlier build: report what would change in it.",
)
@click.option("--manifest", type=click.Path(path_type=Path), help="Save the references here.")
@VERBOSITY_OPTIONS
def plan(**given: Any) -> None:
    """Report what a build would do, without building it.

    INPUT is a Butler repository, or FITS files, folders and lists of files (.txt), or a manifest.
    Where no coadd can be read, --order is needed too. With --manifest the references are saved,
    and `hipsgen build FILE` needs no registry. With --out the numbers of tiles are reported that
    would be rendered again or removed in the survey that is there.
    """
    from hipsgen import api
    from hipsgen.run.progress import reporter

    manifest, planes = given["manifest"], planes_of(given)
    if manifest is not None and not manifest.absolute().parent.is_dir():
        raise ConfigError(f"--manifest {manifest}: there is no folder {manifest.parent}")
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
    for one in plans:
        click.echo(_planned(one))
    if manifest is not None:
        count = coadds.save(manifest)
        again = f" --color {given['color']}" if given["color"] else ""
        again += "" if planes == ("image",) else f" --planes {','.join(planes)}"
        click.echo(f"{count} references saved: hipsgen build {manifest}{again} -o OUT")


def _find(given: dict[str, Any], say: Any) -> Any:
    """List the coadds of a command."""
    from hipsgen.planner.coadd_list import list_coadds

    return list_coadds(given["inputs"], query_of(given), say)


def _planned(plan: Any) -> str:
    """Lines on what a build would make, or change, of one survey."""
    warning = (
        f"{counted(plan.n_unusable, 'input')} cannot be used: a build does not finish without "
        "--skip-bad\n"
        if plan.n_unusable
        else ""
    )
    return warning + (_planned_update(plan) if plan.changes else _planned_survey(plan))


def _planned_survey(plan: Any) -> str:
    name = f"band {plan.band}" if plan.band else plan.source
    name += "" if plan.plane == "image" else f", {plan.plane}"
    return (
        f"{name}: {counted(plan.n_coadds, 'coadd')}, order {plan.order}, at most "
        f"{counted(plan.n_leaf_tiles, 'leaf tile')} and {plan.n_tiles} in all, "
        f"{human_size(plan.n_bytes)}, about {plan.cpu_seconds:.0f} s of CPU time; {_cuts_of(plan)}"
    )


def _cuts_of(plan: Any) -> str:
    if plan.problem:
        return f"cuts not known: {plan.problem}"
    if plan.cuts is None:
        return f"mask planes {', '.join(plan.mask_planes)}"
    return f"cuts {plan.cuts[0]:.4g} to {plan.cuts[1]:.4g} {plan.unit}".rstrip()


def _planned_update(plan: Any) -> str:
    change = plan.changes
    above = f", besides those above order {change.block_order}" if change.n_blocks_changed else ""
    cuts = ""
    if plan.cuts is not None:
        stay = f"{plan.cuts[0]:.4g} to {plan.cuts[1]:.4g} {plan.unit}".rstrip()
        cuts = f"; cuts stay at {stay} (--recut chooses them again)"
    return (
        f"{plan.path}: {counted(plan.n_coadds, 'coadd')}, order {plan.order}; "
        f"{change.n_blocks_changed} of {change.n_blocks} blocks change: at most "
        f"{change.n_tiles_made} of {plan.n_tiles} tiles are rendered again{above}, "
        f"about {change.n_tiles_removed} removed{cuts}"
    )


@cli.command()
@click.argument("out")
@click.option(
    "--deep",
    is_flag=True,
    help="Check every tile: does it decode, is it what was written, are parents made of their "
    "children, do previews, coverage and Allskys show the values.",
)
@click.option(
    "--against-inputs",
    "against",
    type=click.IntRange(min=1),
    metavar="N",
    help="Render N leaf tiles, chosen at random, again from the coadds and compare.",
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
        _print_findings(report, quiet, _agreement(deep, against or 0))
    if not report.ok:
        sys.exit(1)


def _print_json(report: Any) -> None:
    import json
    from dataclasses import asdict

    plain = {name: [asdict(f) for f in found] for name, found in report.surveys.items()}
    click.echo(json.dumps(plain, indent=1))


def _print_findings(report: Any, quiet: bool, agreement: str) -> None:
    from hipsgen.checker.survey import condensed

    for name, findings in report.surveys.items():
        for finding in condensed(findings):
            if finding.level != "note" or not quiet:
                click.echo(f"{name}: {finding}")
        if all(f.level == "note" for f in findings) and not quiet:
            click.echo(f"{name}: conforms to HiPS 1.0{agreement}")


def _agreement(deep: bool, against: int) -> str:
    """What else was found to be right."""
    every = "; every tile agrees with the rest" if deep else ""
    tiles = "tile agrees with its" if against == 1 else "tiles agree with their"
    return every + (f"; {against} leaf {tiles} coadds" if against else "")


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
    """Build a color survey of three FITS surveys: RED GREEN BLUE."""
    from hipsgen import api
    from hipsgen.run.progress import reporter

    _say_how_to_resume(given["fresh"])
    result = api.build_color(
        red,
        green,
        blue,
        out,
        formats=words(given["formats"]),
        runtime=runtime_of(given),
        properties=pairs(given["own"]),
        reporter=reporter(given["quiet"], given["verbose"]),
    )
    if not given["quiet"]:
        _print_results([result], out)


@cli.command()
@click.argument("out")
def info(out: str) -> None:
    """Describe a survey, each survey of a folder, or the one at a URL."""
    from hipsgen.survey.folders import surveys_under
    from hipsgen.survey.summary import summarize

    click.echo("\n\n".join(map(summarize, surveys_under(out, unfinished=True))))


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


def _say_how_to_resume(fresh: bool) -> None:
    """Set what a build that is stopped prints."""
    but = " without --fresh" if fresh else ""
    interrupt.set_hint(f"; the same command{but} resumes the build")


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
    click.echo(f"look at it: hipsgen serve {out}")


def _skipped(problems: Sequence[Any]) -> str:
    faults = sum(problem.is_fault for problem in problems)
    rows = (
        (faults, "input", "left out, named in provenance.fits"),
        (len(problems) - faults, "file", "passed over"),
    )
    return "; ".join(f"{counted(number, thing)} {text}" for number, thing, text in rows if number)


def _changed(r: Any) -> str:
    share = 100 * r.n_tiles_made / r.n_tiles if r.n_tiles else 100.0
    gone = f", {r.n_tiles_removed} removed" if r.n_tiles_removed else ""
    return f", {r.n_tiles_made} of them made in this run ({share:.1f} %){gone}"


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
        _fail(error.render(as_option), 2, debug, error)
    except HipsgenError as error:
        _fail(error.render(as_option), 1, debug, error)
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
