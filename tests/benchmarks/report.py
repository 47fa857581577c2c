"""The figures of the benchmarks as Markdown and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.floor import Part
from tests.benchmarks.measure import Cost

Costs = Mapping[tuple[str, str], Cost]  # (who and what, kind of input)
Floors = Mapping[tuple[str, str], Sequence[Part]]  # (interpolation, kind of input)
Growth = Mapping[int, Cost]
BILINEAR, DEFAULT = "hipsgen, bilinear, FITS + PNG", "hipsgen, default interpolation, FITS + PNG"
FITS_ALONE = "hipsgen, bilinear, FITS"


def summary(costs: Costs, floors: Floors, growth: Growth, when: str) -> str:
    """The tables of docs/explanations/speed.md."""
    lines = [
        "Four patches of 4200×4200 float32 pixels (100 pixels of border, 0.2″) to order 11, with",
        f"all orders, MOC, Allsky files and properties ({when}):",
        "",
        "![CPU time of each program; time and memory by number of patches](../benchmark.png)",
        "",
        *_comparison(costs, floors, "float32"),
    ]
    return "\n".join([*lines, "", *_growth(growth)])


def markdown(costs: Costs, floors: Floors, growth: Growth, when: str) -> str:
    """All tables."""
    lines = ["# Benchmark", "", f"{when}. Written by `make bench`.", ""]
    lines += [
        "CPU: user and system time of all threads. Floor: the sum of the necessary parts, each "
        "measured on its own.",
        "",
    ]
    for kind in dict.fromkeys(kind for _, kind in costs):
        lines += [f"## Four patches, {kind} input", "", *_comparison(costs, floors, kind), ""]
    lines += ["## The floor", ""]
    for (interpolation, kind), parts in floors.items():
        lines += [f"### {interpolation}, {kind}", "", *_parts(parts), ""]
    lines += ["## Growth, default options", "", *_growth(growth)]
    return "\n".join(lines) + "\n"


def _comparison(costs: Costs, floors: Floors, kind: str) -> list[str]:
    lines = ["| | CPU s | wall s | peak MB | CPU, relative |", "|---|---:|---:|---:|---:|"]
    for (name, of), cost in costs.items():
        if of == kind:
            ours = costs[FITS_ALONE if name.endswith(", FITS") else BILINEAR, kind]
            row = f"{cost.cpu:.2f} | {cost.wall:.2f} | {cost.peak / 2**20:.0f}"
            lines.append(f"| {name} | {row} | {cost.cpu / ours.cpu:.2f} |")
    for interpolation, name in (("bilinear", BILINEAR), ("optimal", DEFAULT)):
        total = sum(part.cpu for part in floors[interpolation, kind])
        ratio = total / costs[name, kind].cpu
        who = name.split(", FITS")[0]
        lines.append(f"| floor, {interpolation} | {total:.2f} | | | {ratio:.2f} of {who} |")
    return lines


def _parts(parts: Sequence[Part]) -> list[str]:
    lines = ["| part | by | ms each | count | CPU s |", "|---|---|---:|---:|---:|"]
    lines += [f"| {p.name} | {p.by} | {p.each:.2f} | {p.count:.0f} | {p.cpu:.2f} |" for p in parts]
    return [*lines, f"| sum | | | | {sum(p.cpu for p in parts):.2f} |"]


def _growth(growth: Growth) -> list[str]:
    lines = ["| patches | CPU s | wall s | CPU s per patch | peak MB |"]
    lines += ["|---:|---:|---:|---:|---:|"]
    for count, c in growth.items():
        row = f"{c.cpu:.2f} | {c.wall:.2f} | {c.cpu / count:.2f} | {c.peak / 2**20:.0f}"
        lines.append(f"| {count} | {row} |")
    return lines


def plot(costs: Costs, floors: Floors, growth: Growth, path: Path) -> None:
    """Bars of CPU seconds, and how time and memory grow."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(12, 3.6), width_ratios=[2, 1, 1], layout="constrained"
    )
    names = [name for name, kind in costs if kind == "float32"]
    values = [costs[name, "float32"].cpu for name in names]
    names += ["floor, bilinear"]
    values += [sum(part.cpu for part in floors["bilinear", "float32"])]
    colors = ["#1f77b4" if n.startswith("hipsgen") else "#999999" for n in names]
    bars = left.barh(names, values, color=colors)
    left.bar_label(bars, fmt="%.1f", padding=3)
    left.invert_yaxis()
    left.set_xscale("log")
    left.set_xlabel("CPU seconds, four patches of float32")
    left.margins(x=0.15)
    counts = list(growth)
    middle.loglog(counts, [c.cpu for c in growth.values()], "o-", label="CPU")
    middle.loglog(counts, [c.wall for c in growth.values()], "s-", label="wall")
    middle.set_xlabel("patches")
    middle.set_ylabel("seconds")
    middle.legend()
    right.semilogx(counts, [c.peak / 2**20 for c in growth.values()], "o-")
    right.set_xlabel("patches")
    right.set_ylabel("peak memory, MB")
    right.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)
