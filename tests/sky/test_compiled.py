"""Compiled loops are kept, and not beyond a change of what they are made of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POSITIONS = """
import numpy as np
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.tile_kernels import add_feathered
y, x = np.mgrid[0.0:32.0, 0.0:32.0]
at = PixelMap.from_positions(x, y)
total, weight = np.zeros((2, 32, 32))
chosen = np.ones((1, 1), np.bool_)
add_feathered(np.ones((32, 32), np.float32), at, chosen, 100, 100, 25.0, total, weight)
print(weight.sum(), sum(add_feathered.stats.cache_hits.values()), add_feathered.stats.cache_path)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package in a folder of its own."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hipsgen", tmp_path / "hipsgen", ignore=ignored)
    return tmp_path


def run(place: Path, **environment: str) -> tuple[float, int, Path]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-c", POSITIONS],
        cwd=place,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    total, hits, path = done.stdout.split(maxsplit=2)
    return float(total), int(hits), Path(path.strip())


def test_a_function_of_another_file_that_changed_is_compiled_anew(copy: Path) -> None:
    first, hits, path = run(copy)
    assert hits == 0
    assert path.is_relative_to(copy / "hipsgen")
    assert run(copy) == (first, 1, path)
    source = copy / "hipsgen" / "sky" / "grid_kernels.py"
    old = "x[c] = pixel_map.exact[0, j * step + r, i * step + c]"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, f"{old} + 10.0"))
    second, hits, _ = run(copy)
    assert hits == 0
    assert second > 1.1 * first


def test_where_the_modules_cannot_be_written_to_the_users_cache_is_taken(copy: Path) -> None:
    (copy / "hipsgen" / "__pycache__").write_text("in the way")
    home = {"HOME": str(copy / "home"), "XDG_CACHE_HOME": "", "PYTHONDONTWRITEBYTECODE": "1"}
    first = run(copy, **home)
    assert first[2].is_relative_to(copy / "home" / ".cache" / "hipsgen")
    assert run(copy, **home)[1] == 1
    (copy / "home" / ".cache" / "hipsgen").rename(copy / "elsewhere")
    (copy / "home" / ".cache" / "hipsgen").write_text("in the way, too")
    total, hits, path = run(copy, **home)
    assert (total, hits) == (first[0], 0)
    assert not path.exists()  # a process for itself
