"""CDS Aladin (Debian package aladin): its LINT, and the desktop program itself."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Build, StarField, needs
from tests.viewer.serving import served

JAR = Path("/usr/share/java/aladin.jar")


@pytest.fixture(scope="module")
def aladin() -> list[str]:
    if not JAR.exists():
        pytest.skip("needs Aladin (Debian package aladin)")
    return [
        needs("java", "default-jre-headless"),
        "-Djava.awt.headless=true",
        "-Xmx1g",
        "-jar",
        str(JAR),
    ]


def lint(aladin: list[str], place: Path) -> str:
    ran = subprocess.run(
        [*aladin, "-hipsgen", f"out={place}", "LINT"], capture_output=True, text=True, timeout=120
    )
    return ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("frame", "width"),
    [("equatorial", 512), ("galactic", 512), ("ecliptic", 512), ("equatorial", 128)],
)
def test_the_lint_of_java_hipsgen_finds_a_survey_compatible(
    frame: str, width: int, aladin: list[str], build: Build, tmp_path: Path
) -> None:
    field = StarField(10.0, 20.0, background=1.0, stars=[(200.0, 250.0, 100.0)])
    path = field.write(
        tmp_path / "a.fits", FILTER="r", **{"DATE-OBS": "2026-01-01T00:00:00", "EXPTIME": 30.0}
    )
    formats = ("fits", "png", "jpeg")
    built = build([path], frame=frame, formats=formats, tile_width=width)
    said = lint(aladin, built.place)
    assert "IVOA HiPS 1.0 compatible" in said, said
    assert "ERROR" not in said, said


@pytest.mark.parametrize("width", [512, 128])
def test_the_desktop_program_shows_a_served_survey(
    width: int, build: Build, tmp_path: Path
) -> None:
    from PIL import Image

    if not JAR.exists():
        pytest.skip("needs Aladin (Debian package aladin)")
    java, xvfb = needs("java", "default-jre"), needs("xvfb-run", "xvfb")
    rng = np.random.default_rng(5)
    stars = [(x, y, 3000.0) for x, y in rng.uniform(20, 580, (300, 2))]
    field = StarField(10.0, 20.0, background=1.0, stars=stars)
    built = build([field.write(tmp_path / "a.fits")], name="sky", tile_width=width)
    picture = tmp_path / "view.png"
    with served(tmp_path / "sky") as port:
        script = tmp_path / "view.ajs"
        script.write_text(
            f"load http://127.0.0.1:{port}/hips/sky\nsync\n"
            "10.0 +20.0\nzoom 2arcmin\nsync\npause 8\nsync\n"
            f"save -png 600x600 {picture}\nquit\n"
        )
        command = [xvfb, "-a", java, "-Xmx1g", "-jar", str(JAR)]
        options = ["-local", "-nosamp", "-noreleasetest", "-noplugin", "-nolog", "-nogui"]
        environment = {**os.environ, "HOME": str(tmp_path)}
        ran = subprocess.run(
            [*command, *options, str(script)],
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
            cwd=tmp_path,
        )
    assert picture.exists(), ran.stdout + ran.stderr
    gray = np.asarray(Image.open(picture).convert("L")).astype(float)
    middle = gray[100:500, 100:500]
    assert middle.std() > 5, "the picture shows the sky"
    assert built.summary.n_tiles > 0
