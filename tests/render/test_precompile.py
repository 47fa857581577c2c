"""The compiled loops: each has one signature, and compilation is announced."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hipsgen.render.precompile import precompile
from hipsgen.run.progress import QuietReporter
from hipsgen.sky.sample_kernels import keep_missing
from tests.builder.test_planes import coadd
from tests.conftest import StarField

SIGNATURES = """
import sys
from hipsgen.cli import main
source = sys.argv[1]
for interpolation in ("optimal", "bilinear", "lanczos5"):
    for overlap in ("feather", "primary", "mean"):
        sys.argv = ["hipsgen", "build", source, "-o", f"{interpolation}_{overlap}",
                    "--interp", interpolation, "--overlap", overlap]
        main()
sys.argv = ["hipsgen", "build", "masked", "--planes", "mask", "-o", "mask"]
main()
from hipsgen.images import decode_kernels
from hipsgen.sky import (
    mask_kernels, grid_kernels, outline_kernels, sample_kernels, tile_kernels
)
for module in (
    grid_kernels, sample_kernels, tile_kernels, outline_kernels, decode_kernels, mask_kernels
):
    found = [f for name, f in vars(module).items() if not name.startswith("_")]
    for f in [*found, *getattr(module, "SAMPLERS", {}).values()]:
        if hasattr(f, "nopython_signatures") and f.stats.cache_path:
            print("compiled", f.__name__, len(f.nopython_signatures))
"""


def test_every_loop_is_compiled_for_one_combination_of_types(tmp_path: Path) -> None:
    """numba's cache may mix up several signatures if two processes write it at the same time."""
    (tmp_path / "in").mkdir()
    hole = (slice(200, 210), slice(9, 99))
    for k in range(2):  # overlapping
        field = StarField(30.0 + 0.01 * k, -10.0, size=500, holes=[hole])
        field.write(tmp_path / "in" / f"{k}.fits")
    coadd(tmp_path / "masked" / "a.fits")
    coadd(tmp_path / "masked" / "b.fits", 40.01, compression="GZIP_2")
    done = subprocess.run(
        [sys.executable, "-c", SIGNATURES, str(tmp_path / "in")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("compiled ")]
    counts = {name: int(count) for _, name, count in lines}
    assert {
        "sample_nearest",
        "sample_2",
        "sample_6",
        "sample_10",
        "keep_missing",
        "measure_curvature",
    } <= set(counts)
    assert {name: n for name, n in counts.items() if n > 1} == {}


# announces earlier: only the samplers are compiled, which may take less than the usual 3 s
SOONER = """
from hipsgen.render import precompile
from hipsgen.cli import main
precompile._NOTICE_AFTER = 1.0
main()
"""


@pytest.mark.slow
def test_the_first_build_on_a_machine_announces_the_compilation(tmp_path: Path) -> None:
    """All loops but the samplers are those of this process: compiling all takes 17 s."""
    StarField(30.0, -10.0, size=300).write(tmp_path / "image.fits")
    precompile("optimal", "feather", QuietReporter())
    compiled = Path(keep_missing.stats.cache_path).parent
    shutil.copytree(compiled, tmp_path / "cache" / compiled.name)
    samplers = list((tmp_path / "cache").rglob("sample_kernels.*"))
    assert samplers
    for path in samplers:
        path.unlink()

    def built(out: str, *program: str) -> str:
        done = subprocess.run(
            [sys.executable, *program, "build", "image.fits", "-o", out],
            cwd=tmp_path,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr

    assert "compiling the inner loops" in built("first", "-c", SOONER)
    assert "compiling" not in built("second", "-m", "hipsgen")


STOPPED_IN_COMPILER = """
import os, signal, time
from hipsgen.run import interrupt

interrupt.install()
text = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
exec(text, {"__name__": "llvmlite.binding", "os": os, "signal": signal, "time": time})
"""


def test_a_signal_during_compilation_stops_the_process_at_once() -> None:
    """An exception would crash the compiler, and waiting for it took longer than 1.5 s."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_IN_COMPILER], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "hipsgen: stopped\n"
    assert time.monotonic() - started < 1.4
