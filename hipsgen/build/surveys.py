"""The commands' work on one survey or several: build, plan, color, describe."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hipsgen.survey import paths
from hipsgen.errors import ConfigError, HipsgenError, InputError, SurveyError
from hipsgen.text import counted
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.manifest import write_manifest
from hipsgen.coadd import CoaddRef
from hipsgen.build.survey import (
    BuildResult,
    IncompleteBuildError,
    build_survey,
    collect,
)
from hipsgen.journal.changes import ChangeSet
from hipsgen.build.color import build_color
from hipsgen.plan.recipe import TILE_WIDTH
from hipsgen.plan.options import BuildOptions, Runtime, tile_bytes
from hipsgen.build.metadata import SurveyIdentity
from hipsgen.plan.jobs import SurveyJob, CoaddQuery, color_bands, find_jobs, expand_planes
from hipsgen.journal.journal import Journal
from hipsgen.plan.blocks import make_plan
from hipsgen.plan.recipe import check_excluded, natural_order, stretch_of
from hipsgen.build.prepare import earlier_recipe
from hipsgen.run.progress import Reporter
from hipsgen.text import human_size
from hipsgen.plan.sample import known_scales, take_names, take_sample
from hipsgen.render.precompile import precompile
from hipsgen.sky.tiles import pixel_size
from hipsgen.survey.folders import survey_folders
from hipsgen.survey.http_store import HttpStore
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import is_url, open_store
from hipsgen.survey.survey import Survey

_LEAF_SECONDS = 0.02  # measured: CPU of a leaf tile with its share of parents


def build_all(
    inputs: Sequence[str],
    query: CoaddQuery,
    options: BuildOptions,
    runtime: Runtime,
    out: Path,
    color: str,
    reporter: Reporter,
    planes: tuple[str, ...] = ("image",),
) -> list[BuildResult]:
    """Build the survey of each band, and the color survey of three, as `hipsgen build` does.

    planes: of the coadds (PLANES), each a survey of its own.
    """
    jobs = _jobs(inputs, query, options, color, planes, reporter)
    precompile(options.interpolation, options.overlap, reporter, "mask" in planes)
    several = len(jobs) > 1 or bool(color)
    images = [job.band for job in jobs if job.plane == "image"]
    rgb = color_bands(color, images) if color else None
    color_waits = False
    if planes == ("mask",) and len(options.formats) > 1:
        reporter.note("of a mask there are no pictures: only FITS tiles are made")
    _refuse_mixture(out, several)
    summaries = []
    unfinished = []
    for job in jobs:
        place = _place(out, job, several)
        wanted = options.of_plane(job.plane, alone=len(planes) == 1)
        subject = _subject(job, out, place, several)
        try:
            summaries.append(
                build_survey(job.source, open_store(place), subject, wanted, runtime, reporter)
            )
        except IncompleteBuildError as error:  # the others go on
            unfinished.append(str(error))
            color_waits |= bool(rgb) and job.plane == "image"
        except InputError as error:
            if job.plane == "image":
                raise
            unfinished.append(f"{place.name}: {error}")  # coadds without that plane
    if rgb and not color_waits:
        places = tuple(out / band_folder(band) for band in rgb)
        name = "color_" + _word(color.replace(",", ""))
        red, green, blue = places
        own = options.properties
        summaries.append(
            color_of((red, green, blue), out / name, options.formats, runtime, reporter, own, True)
        )
    if unfinished:
        done = ", ".join(summary.name for summary in summaries)
        more = [f"done: {done}"] if done else []
        more += ["the color survey waits"] if color_waits else []
        raise IncompleteBuildError("; ".join([*unfinished, *more]))
    return summaries


def _subject(job: SurveyJob, out: Path, place: Path, several: bool) -> SurveyIdentity:
    """What a job's survey is to be called."""
    title = job.title or f"{out.name} {job.band}".strip()
    path = f"{out.name}/{place.name}" if several else place.name
    if job.plane != "image":
        title = f"{title}: {job.plane}"
        path = path if several else f"{path}/{job.plane}"
    return SurveyIdentity(place.name, title, job.source.describe(), job.band, path, job.plane)


def band_folder(band: str, plane: str = "image") -> str:
    """Folder of a survey among others: filters are called F110W/F160W, or worse."""
    return f"{'band' if plane == 'image' else plane}_{_word(band)}"


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9+-]+", "_", text).strip("_") or "none"


def color_of(
    places: tuple[Path, Path, Path],
    out: Path,
    formats: tuple[str, ...],
    runtime: Runtime,
    reporter: Reporter,
    own: tuple[tuple[str, str], ...] = (),
    several: bool = False,
) -> BuildResult:
    """Build a color survey of three FITS surveys: red, green, blue."""
    red, green, blue = (Survey.open(open_store(place)) for place in places)
    bands = ", ".join(place.name.removeprefix("band_") for place in places)
    of = out.parent.resolve().name if several else out.name
    title = f"{of}: color of {bands}"
    origins = [s.properties.get("prov_progenitor", s.title) for s in (red, green, blue)]
    origin = ", ".join(dict.fromkeys(origins))
    path = f"{of}/{out.name}" if several else out.name
    subject = SurveyIdentity(out.name, title, origin, place=path)
    return build_color(
        (red, green, blue), open_store(out), subject, formats, runtime, reporter, own
    )


def plan_all(
    inputs: Sequence[str],
    query: CoaddQuery,
    options: BuildOptions,
    manifest: Path | None,
    color: str,
    reporter: Reporter,
    out: Path | None = None,
    planes: tuple[str, ...] = ("image",),
) -> Iterator[str]:
    """LineReporter that say what `build_all` would do; out: where it would do so."""
    if manifest is not None and not manifest.absolute().parent.is_dir():
        raise ConfigError(f"--manifest {manifest}: there is no folder {manifest.parent}")
    jobs = _jobs(inputs, query, options, color, planes, reporter)
    if color:
        color_bands(color, [job.band for job in jobs if job.plane == "image"])
    saved = []
    for job in jobs:
        refs = collect(job.source, reporter)
        saved += refs if job.plane == planes[0] else []
        wanted = options.of_plane(job.plane, alone=len(planes) == 1)
        place = _place(out, job, len(jobs) > 1 or bool(color)) if out else None
        faults = sum(problem.is_fault for problem in job.source.problems)
        if faults:
            bad = counted(faults, "input")
            yield f"{bad} cannot be used: a build does not finish without --skip-bad"
        if place is not None and Journal(open_store(place)).exists():
            yield _update(job, refs, wanted, place)
            continue
        scale, cuts = _look(job, refs, wanted, reporter)
        order = options.order if options.order is not None else natural_order(scale)
        made = make_plan(refs, order, options.frame)
        counts = made.leaf_counts()
        leaves, tiles = int(counts.sum()), made.tile_count(counts)
        bytes_all = tiles * tile_bytes(wanted.formats)
        seconds = leaves * _LEAF_SECONDS * 4 ** max(0, natural_order(scale) - order)
        name = f"band {job.band}" if job.band else job.source.describe()
        name += "" if job.plane == "image" else f", {job.plane}"
        yield (
            f"{name}: {counted(len(refs), 'coadd')}, order {order}, at most "
            f"{counted(leaves, 'leaf tile')} and "
            f"{tiles} in all, {human_size(bytes_all)}, about {seconds:.0f} s of CPU time; {cuts}"
        )
    if manifest is not None:
        count = write_manifest(manifest, saved, jobs[0].source.describe())
        again = f" --color {color}" if color else ""
        again += "" if planes == ("image",) else f" --planes {','.join(planes)}"
        yield f"{count} references saved: hipsgen build {manifest}{again} -o OUT"


def _update(job: SurveyJob, refs: Sequence[CoaddRef], options: BuildOptions, place: Path) -> str:
    """A line on what a build would change in the survey that is there."""
    store = open_store(place)
    journal = Journal(store)
    recipe = earlier_recipe(store, options, job.band)
    if recipe is None:
        raise ConfigError(f"{place} holds a survey of another kind: name another -o")
    made = make_plan(refs, recipe.order, recipe.frame, recipe.block_depth)
    change = ChangeSet.between(journal, recipe, made)
    counts = list(change.tiles(store))
    new, gone = (sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0)
    total = made.tile_count(np.array(change.leaves))
    above = f" and those above order {recipe.block_order}" if counts else ""
    return (
        f"{place}: {counted(len(refs), 'coadd')}, order {recipe.order}; {len(change.pending)} of "
        f"{len(made.npix)} blocks change: at most {new} of {total} tiles are made anew{above}, "
        f"about {gone} removed; cuts stay at {recipe.stretch.low:.4g} to {recipe.stretch.high:.4g} "
        f"{recipe.unit} (--recut chooses them anew)"
    )


def _place(out: Path, job: SurveyJob, several: bool) -> Path:
    """Folder of a job's survey."""
    return out / band_folder(job.band, job.plane) if several else out


def _look(
    job: SurveyJob, refs: Sequence[CoaddRef], options: BuildOptions, reporter: Reporter
) -> tuple[float, str]:
    """The finest pixel, degrees, and words on the cuts, from a sample of the coadds.

    Where none can be read, what the references and the options say of the pixels is enough.
    """
    try:
        take = take_names if options.plane == "mask" else take_sample
        sample, problems = take(refs, job.source.reader().with_range_reads())
    except HipsgenError as error:
        asked = [] if options.order is None else [pixel_size(options.order, TILE_WIDTH)]
        scale = min(known_scales(refs) or asked, default=None)
        if scale is None:
            raise
        return scale, f"cuts not known: {error}"
    check_excluded(options, sample)
    for problem in problems:
        reporter.problem(problem)
    if sample.names:
        return sample.pixel_scale, f"flags {', '.join(sample.names)}"
    stretch = stretch_of(options, sample.level)
    cuts = f"cuts {stretch.low:.4g} to {stretch.high:.4g} {sample.unit}".rstrip()
    return sample.pixel_scale, cuts


def surveys_under(place: str | Path, unfinished: bool = False) -> list[str]:
    """The place itself, or the surveys beneath it. Raises SurveyError for none.

    unfinished: those that a build has only begun, too.
    """
    if is_url(place):
        return [str(place)]
    out = Path(place)
    if not out.is_dir():
        raise SurveyError(f"no folder {out}")
    found = [str(f) for f in survey_folders(out, begun=paths.BUILD if unfinished else PROPERTIES)]
    if not found:
        raise SurveyError(f"{out} is not a finished HiPS and holds none: no properties file")
    return found


def describe_survey(place: str | Path) -> str:
    """A few lines on a survey."""
    try:
        survey = Survey.open(HttpStore(str(place)) if is_url(place) else open_store(place))
    except SurveyError as error:
        return f"survey    {error}"
    p = survey.properties
    rows = [
        ("survey", f"{survey.title} ({place})"),
        ("plane", p.get("hipsgen_plane", "")),
        ("flags", ", ".join(survey.planes)),
        ("order", f"{survey.order}, {_angle(p.get('hips_pixel_scale', ''))} pixels"),
        ("frame", survey.frame),
        ("formats", " ".join(survey.formats)),
        ("size", human_size(1024 * float(p.get("hips_estsize", 0)))),
        ("sky", f"{float(p.get('moc_sky_fraction', 0)) * 41252.96:.4g} deg2"),
        ("center", f"{p.get('hips_initial_ra')} {p.get('hips_initial_dec')} deg (ICRS)"),
        ("values", f"{p.get('hips_data_range', '')} {p.get('hips_bunit', '')}".strip()),
        ("cuts", p.get("hips_pixel_cut", "")),
        ("sampling", f"{p.get('hips_sampling', '')} {p.get('hips_overlay', '')}".strip()),
        ("from", p.get("prov_progenitor", "")),
        ("made", f"{p.get('hips_builder', '')} {p.get('hips_release_date', '')}".strip()),
    ]
    return "\n".join(f"{name:<9} {value}" for name, value in rows if value)


def _jobs(
    inputs: Sequence[str],
    query: CoaddQuery,
    options: BuildOptions,
    color: str,
    planes: tuple[str, ...],
    reporter: Reporter,
) -> list[SurveyJob]:
    """The images of each band, then their other planes."""
    if color and "image" not in planes:
        raise ConfigError("--color is made of images: add image to --planes")
    reader = FitsReader(options.excluded, options.blank)
    if color and not query.bands:
        query = _narrowed(inputs, query, color)
    jobs = find_jobs(inputs, query, reader, reporter)
    if not jobs:
        raise InputError("nothing to do")
    if color and query.bands:
        _check_color(color, query.bands, [job.band for job in jobs])
    return expand_planes(jobs, {plane: _reader(options, plane) for plane in planes})


def _reader(options: BuildOptions, plane: str) -> FitsReader:
    wanted = options.of_plane(plane)
    return FitsReader(wanted.excluded, wanted.blank, plane=plane)


def _check_color(color: str, asked: Sequence[str], found: Sequence[str]) -> None:
    """Raise ConfigError when the bands that were asked for are not those of the color, too."""
    try:
        color_bands(color, found)
    except InputError as error:
        raise ConfigError(
            f"--color {color} and --band {','.join(asked)}: {error}; "
            "name its three bands with --band, or none"
        ) from None


def _narrowed(inputs: Sequence[str], query: CoaddQuery, color: str) -> CoaddQuery:
    """A color alone asks for its three bands."""
    from dataclasses import replace

    return replace(query, bands=tuple(reversed(color_bands(color, []))))


def _refuse_mixture(out: Path, several: bool) -> None:
    """Several surveys are folders of OUT; OUT must not be a survey itself."""
    if several and (out / PROPERTIES).exists():
        raise ConfigError(f"{out} is one survey; several are to be folders in it: name another -o")


def _angle(text: str) -> str:
    return f"{float(text) * 3600:.4g} arcsec" if text else ""
