"""`python -m tests.benchmarks`: us, our peers and the floor, side by side in one go.

Writes docs/explanations/benchmark.md, docs/benchmark.png and the tables of
docs/explanations/speed.md.
"""

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hipsgen.sky.tiles import pixel_size
from tests.benchmarks.floor import Part, Work, floor_parts
from tests.benchmarks.measure import Cost, middle, run
from tests.benchmarks.patches import SCALE, SIZE, make_patches

ROOT = Path(__file__).parents[2]
JAR = Path("/usr/share/java/aladin.jar")
KINDS = {"float32": "", "RICE": "RICE_1", "GZIP_2": "GZIP_2"}
LEAF = 11
_BEGIN, _END = "<!-- benchmark: written by make bench -->", "<!-- end of benchmark -->"


@dataclass(frozen=True)
class Contender:
    """A program that makes a survey of a folder of images."""

    name: str
    formats: str
    command: Callable[[Path, Path], list[str]]
    kinds: tuple[str, ...] = tuple(KINDS)


def ours(name: str, *options: str, formats: str = "fits,png") -> Contender:
    """A way to call us."""
    program = os.environ.get("HIPSGEN", str(Path(sys.executable).with_name("hipsgen")))
    return Contender(
        f"hipsgen, {name}",
        formats,
        lambda source, out: [
            program, "build", str(source), "-o", str(out), "--order", str(LEAF),
            "--workers", "2", "--format", formats, *options,
        ],
    )  # fmt: skip


def contenders() -> Iterator[Contender]:
    """Us, and who is installed."""
    yield ours("bilinear", "--interp", "bilinear")
    yield ours("default interpolation")
    yield ours("bilinear", "--interp", "bilinear", formats="fits")
    if JAR.exists() and shutil.which("java"):
        yield Contender("Hipsgen (Java), bilinear", "fits,png", _java)
    try:
        import reproject
    except ImportError:
        return
    yield Contender(
        f"reproject {reproject.__version__}, bilinear", "fits", _reproject, ("float32",)
    )


def _java(source: Path, out: Path) -> list[str]:
    return [
        "java", "-Djava.awt.headless=true", "-Xmx4g", "-jar", str(JAR), "-hipsgen", "maxThread=2",
        f"in={source}", f"out={out}", "creator_did=TEST/P/x", "hips_creator=me",
        "hips_frame=equatorial", f"hips_order={LEAF}", "INDEX", "TILES", "PNG",
    ]  # fmt: skip


def _reproject(source: Path, out: Path) -> list[str]:
    # one survey for each image, as it cannot combine those that overlap
    script = f"""
from pathlib import Path
from astropy.io import fits
from reproject import reproject_interp
from reproject.hips import reproject_to_hips
for path in sorted(Path({str(source)!r}).glob("*.fits")):
    with fits.open(path) as hdus:
        reproject_to_hips(
            (hdus[-1].data, hdus[-1].header), coord_system_out="equatorial", level={LEAF},
            reproject_function=reproject_interp, order="bilinear", tile_size=512, threads=2,
            output_directory=str(Path({str(out)!r}) / path.stem),
        )
"""
    return [sys.executable, "-c", script]


Costs = dict[tuple[str, str], Cost]


def compare(scratch: Path, runs: int) -> Costs:
    """The medians of (contender and format, kind of input), taken in turns."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for kind, compression in KINDS.items():
        source = make_patches(scratch / f"patches_4_{kind}", 4, compression)
        for turn in range(runs):
            for number, contender in enumerate(contenders()):
                if kind in contender.kinds:
                    cost = _build(contender, source, scratch / "out" / f"{kind}_{turn}_{number}")
                    _say(f"{kind:8} {contender.name} ({contender.formats}): {cost.cpu:.2f} s CPU")
                    key = (f"{contender.name}, {_formats(contender.formats)}", kind)
                    found.setdefault(key, []).append(cost)
                    _empty(scratch / "out")
    return {key: middle(costs) for key, costs in found.items()}


def _build(contender: Contender, source: Path, out: Path) -> Cost:
    """The cost of a survey in a new place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    os.sync()  # nobody pays for what the one before left in memory
    for path in source.iterdir():  # everybody finds the input there
        path.read_bytes()
    return run(contender.command(source, out), out.parent, out.parent / "log.txt")


def _empty(folder: Path) -> None:
    """Give back the room of all files; a file system slows down for a minute after a deletion."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def _formats(names: str) -> str:
    return names.upper().replace(",", " + ")


def floors(scratch: Path) -> dict[tuple[str, str], list[Part]]:
    """The parts for (interpolation, kind of input)."""
    out = scratch / "out" / "survey"
    source = scratch / "patches_4_float32"
    _build(ours("bilinear", "--interp", "bilinear"), source, out)
    leaves = len(list((out / f"Norder{LEAF}").rglob("*.fits")))
    tiles = len(list(out.rglob("Npix*.fits")))
    side = 512 * pixel_size(LEAF, 512) / SCALE
    found = {}
    for interpolation in ("bilinear", "optimal"):
        for kind in KINDS:
            files = tuple(sorted((scratch / f"patches_4_{kind}").glob("*.fits")))
            work = Work(leaves, tiles, 4 * SIZE**2 / side**2, files)
            place = scratch / "floor" / f"{interpolation}_{kind}"
            found[interpolation, kind] = floor_parts(work, interpolation, place)
    return found


def grow(scratch: Path, counts: list[int], runs: int) -> dict[int, Cost]:
    """The cost of more and more patches, default options."""
    found = {}
    for count in counts:
        source = make_patches(scratch / f"patches_{count}_float32", count)
        costs = []
        for turn in range(runs):
            out = scratch / "out" / f"{count}_{turn}"
            costs.append(_build(ours("default"), source, out))
            _empty(out)
            _say(f"{count} patches: {costs[-1].cpu:.2f} s CPU, {costs[-1].peak >> 20} MB")
        found[count] = middle(costs)
    return found


def main() -> None:
    """Measure all, write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog="HIPSGEN: the program to measure, else the one beside this Python",
    )
    parser.add_argument("--scratch", type=Path, default=ROOT / "bench", help="40 GB free")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--patches", default="1,4,16,64", help="sizes of the growing survey")
    parser.add_argument("--keep", action="store_true", help="keep the input for another time")
    options = parser.parse_args()
    scratch = options.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    from tests.benchmarks import report

    small = make_patches(scratch / "patches_1_float32", 1)
    _build(ours("once, to compile"), small, scratch / "out" / "once")
    costs = compare(scratch, options.runs)
    parts = floors(scratch)
    growth = grow(scratch, [int(n) for n in options.patches.split(",")], options.runs)
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    text = report.markdown(costs, parts, growth, f"{date}, {machine}, median of {options.runs}")
    docs = ROOT / "docs"
    (docs / "explanations" / "benchmark.md").write_text(text, encoding="utf-8")
    report.plot(costs, parts, growth, docs / "benchmark.png")
    summary = report.summary(costs, parts, growth, f"{date}, {machine}")
    _insert(docs / "explanations" / "speed.md", summary)
    if not options.keep:
        shutil.rmtree(scratch)
    _say(f"docs/explanations/benchmark.md written after {time.monotonic() - started:.0f} s")


def _insert(path: Path, text: str) -> None:
    """Put a text between the marks of a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    if after:
        path.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
