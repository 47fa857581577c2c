"""Inputs of the builds that are killed: new surveys, updates, other cuts, colors."""

from pathlib import Path

import pytest

from tests.builder.test_survey import images
from tests.conftest import StarField
from tests.test_cli import hipsgen
from tests.torture.campaign import Campaign, quiet

_CUTS = ("--cuts=-5,100",)


def scene(folder: Path, engine: str, order: int = 12, tile_width: int = 512) -> Campaign:
    """Four images; begun upon nothing, upon a survey of three of them, and upon other cuts."""
    inputs = images(folder / "in")
    options = ("--order", str(order), "--tile-width", str(tile_width))
    _built(inputs[:3], folder / "fewer", *options, *_CUTS)
    _built([folder / "in"], folder / "recut", *options, "--cuts=0,50")
    starts = (None, folder / "fewer", folder / "recut")
    return Campaign(folder / "in", folder / "work", engine, (*options, *_CUTS, "--recut"), starts)


def color_scene(folder: Path) -> Campaign:
    """Two images in each of three bands, and their color."""
    (folder / "in").mkdir(parents=True)
    for k in range(2):
        for number, band in enumerate("gri"):
            field = StarField(
                40.0 + k, -10.0, size=150, background=3.0 + number, angle=9.0 * number
            )
            field.write(folder / "in" / f"{band}{k}.fits", FILTER=band)
    options = ("--color", "gri", "--order", "12", *_CUTS)
    _built([folder / "in" / f"{band}0.fits" for band in "gri"], folder / "fewer", *options)
    starts = (None, folder / "fewer")
    return Campaign(folder / "in", folder / "work", "threads", options, starts)


def _built(inputs: list[Path], out: Path, *options: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", quiet()["SOURCE_DATE_EPOCH"])
        ran = hipsgen("build", *inputs, "-o", out, *options, "-q")
    assert ran.returncode == 0, ran.stderr
