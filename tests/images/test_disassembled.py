"""Coadds whose image, mask and calibration are files of their own."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.errors import InputError
from hipsgen.images import butler_source
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from hipsgen.images.uris import path_of
from samples.repository import CHAIN, DATASET_TYPE


def split(whole: Path, compressed: bool) -> dict[str, Path]:
    """The components of a file, beside it, and the file no more."""
    made = {}
    with fits.open(whole, disable_image_compression=compressed) as hdus:
        numbers = {"image": [1], "mask": [2], "variance": [3], "photoCalib": [4, 5]}
        for name, which in numbers.items():
            made[name] = whole.with_suffix(f".{name}.fits")
            first = fits.PrimaryHDU()
            parts: list[Any] = [hdus[k] for k in which]
            if not compressed and name in ("image", "mask"):  # in the primary HDU itself
                header = parts[0].header.copy()
                first, parts = fits.PrimaryHDU(parts[0].data, header), []
            fits.HDUList([first, *parts]).writeto(made[name], output_verify="ignore")
    whole.unlink()
    return made


def disassemble(root: Path, dataset_id: str, files: dict[str, Path]) -> None:
    """The registry's records of a dataset as of components."""
    key = dataset_id.replace("-", "")
    with sqlite3.connect(root / "gen3.sqlite3") as registry:
        table = "file_datastore_records"
        columns = [row[1] for row in registry.execute(f"PRAGMA table_info({table})")]
        where = f"FROM {table} WHERE dataset_id = ?"
        (record,) = registry.execute(f"SELECT {', '.join(columns)} {where}", (key,)).fetchall()
        registry.execute(f"DELETE {where}", (key,))
        for name, path in files.items():
            values = dict(zip(columns, record, strict=True))
            values |= {"component": name, "path": str(path.relative_to(root))}
            marks = ", ".join("?" * len(columns))
            registry.execute(f"INSERT INTO {table} VALUES ({marks})", list(values.values()))
    registry.close()


@pytest.mark.parametrize("kind", [ButlerRegistry, SqlRegistry])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("band", ["g", "i"])
def test_a_disassembled_coadd_has_the_pixels_of_the_whole_one(
    kind: type,
    compressed: bool,
    band: str,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(butler_source, "open_registry", lambda root: (kind(root), ""))
    root = Path(shutil.copytree(repository, tmp_path / "copy"))
    reader = FitsReader(excluded=("NO_DATA", "DETECTED"))

    def first() -> Any:
        return next(iter(ButlerSource(str(root), DATASET_TYPE, (CHAIN,), band).refs()))

    ref = first()
    info = reader.info(ref)
    everything = tuple(slice(0, n) for n in info.shape)
    pixels = reader.read(ref, everything)
    assert np.isnan(pixels).any()
    path = path_of(ref.uri)
    assert path is not None
    disassemble(root, ref.dataset_id, split(path, compressed))
    parts = first()
    assert parts.data_id == ref.data_id
    found = reader.info(parts)
    assert (found.shape, found.unit, found.excluded) == (info.shape, info.unit, info.excluded)
    assert found.scale == info.scale
    np.testing.assert_array_equal(reader.read(parts, everything), pixels)


def test_components_without_an_image_are_told(repository: Path, tmp_path: Path):
    root = Path(shutil.copytree(repository, tmp_path / "copy"))
    source = ButlerSource(str(root), DATASET_TYPE, (CHAIN,), "r")
    ref = next(iter(source.refs()))
    path = path_of(ref.uri)
    assert path is not None
    files = split(path, True)
    disassemble(root, ref.dataset_id, {k: files[k] for k in ("mask", "variance")})
    assert len(list(source.refs())) == 7
    assert "without an image: mask, variance" in source.problems[0].reason
    with pytest.raises(InputError, match="without an image"):
        list(ButlerSource(str(root), DATASET_TYPE, (CHAIN,), "r", strict=True).refs())
