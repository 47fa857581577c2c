"""Make the sample Butler repository: SQLite, with its files, readable without the LSST stack."""

import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import types
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import lsst.sphgeom as sphgeom
from lsst.daf.butler import (
    Butler,
    CollectionType,
    DataCoordinate,
    DatasetRef,
    DatasetType,
    FileDataset,
    FormatterV2,
)
from lsst.daf.butler.formatters.parquet import ParquetFormatter

from samples import skymap
from samples.objects import write_object_tables
from samples.sky import BANDS
from samples.skymap import Box, Tract, make_tracts
from samples.tractfiles import FIRST_RUN, SECOND_RUN, CoaddFile, write_tract

DATASET_TYPE = "deepCoadd_calexp"
OBJECTS = "objectTable_tract"
CHAIN = "sample/coadds"
INSTRUMENT = "LSSTCam"
_FORMATTER = "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter"
_UUIDS = uuid.UUID("6d1c7b1e-6f0f-5b53-9a2e-1d8c3a6c9f10")


def make_repository(root: Path, size: int = 1000, seed: int = 1, workers: int = 2) -> int:
    """Make the repository in a new or empty folder; return the number of files of coadds.

    size: pixels along a patch's inner region. Equal size and seed give equal FITS bytes. Raises
    FileExistsError if the folder is not empty.
    """
    root = root.absolute()  # the Butler takes relative paths as relative to itself
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise FileExistsError(f"{root} is a file or not empty: name a new or empty folder")
    tracts = make_tracts(size)
    root.mkdir(parents=True, exist_ok=True)
    # next to the repository, so that moving a file in is a rename
    scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        files = _write_files(scratch, tracts, size, seed, workers)
        tables = write_object_tables(scratch, size, seed)
        _ingest(root, tracts, files, tables)
    finally:
        shutil.rmtree(scratch)
    return len(files)


def _write_files(
    folder: Path, tracts: Sequence[Tract], size: int, seed: int, workers: int
) -> list[CoaddFile]:
    jobs = (repeat(folder), [t.id for t in tracts], repeat(size), repeat(seed))
    if workers <= 1:
        made = list(map(write_tract, *jobs))
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(tracts)), mp_context=spawn) as pool:
            made = list(pool.map(write_tract, *jobs))
    return [file for files in made for file in files]


def _ingest(
    root: Path, tracts: Sequence[Tract], files: Sequence[CoaddFile], tables: Mapping[int, Path]
) -> None:
    Butler.makeRepo(str(root))
    with _closing(Butler.from_config(str(root), writeable=True)) as butler:
        _insert_dimensions(butler, tracts)
        for run in (FIRST_RUN, SECOND_RUN):
            butler.collections.register(run, CollectionType.RUN)
        butler.collections.register(CHAIN, CollectionType.CHAINED)
        butler.collections.redefine_chain(CHAIN, [SECOND_RUN, FIRST_RUN])
        dataset_type = DatasetType(
            DATASET_TYPE,
            ("skymap", "tract", "patch", "band"),
            "ExposureF",
            universe=butler.dimensions,
        )
        butler.registry.registerDatasetType(dataset_type)
        with named_formatter() as formatter:
            datasets = [
                FileDataset(
                    path=str(f.path),
                    refs=[_reference(butler, dataset_type, f)],
                    formatter=formatter,
                )
                for f in files
            ]
            butler.ingest(*datasets, transfer="move")
        _ingest_tables(butler, tables)


def _ingest_tables(butler: Butler, tables: Mapping[int, Path]) -> None:
    """Ingest tables of objects, given by tract."""
    dimensions = ("skymap", "tract")
    kind = DatasetType(OBJECTS, dimensions, "ArrowAstropy", universe=butler.dimensions)
    butler.registry.registerDatasetType(kind)
    datasets = []
    for tract, path in tables.items():
        data_id = DataCoordinate.standardize(
            skymap=skymap.NAME, tract=tract, universe=butler.dimensions
        )
        key = uuid.uuid5(_UUIDS, f"{FIRST_RUN}/{OBJECTS}/{tract}")
        expanded = butler.registry.expandDataId(data_id)
        ref = DatasetRef(kind, expanded, run=FIRST_RUN, id=key)
        datasets.append(FileDataset(path=str(path), refs=[ref], formatter=ParquetFormatter))
    butler.ingest(*datasets, transfer="move")


def _reference(butler: Butler, dataset_type: DatasetType, file: CoaddFile) -> DatasetRef:
    """Return a reference with a UUID derived from its content, so that samples can be compared."""
    data_id = DataCoordinate.standardize(
        skymap=skymap.NAME,
        tract=file.tract,
        patch=file.patch,
        band=file.band,
        universe=butler.dimensions,
    )
    name = f"{file.run}/{DATASET_TYPE}/{file.tract}/{file.patch}/{file.band}"
    return DatasetRef(
        dataset_type,
        butler.registry.expandDataId(data_id),
        run=file.run,
        id=uuid.uuid5(_UUIDS, name),
    )


def _insert_dimensions(butler: Butler, tracts: Sequence[Tract]) -> None:
    insert = butler.registry.insertDimensionData
    insert(
        "skymap",
        {
            "name": skymap.NAME,
            "hash": hashlib.sha1(repr(tracts).encode()).digest(),
            "tract_max": max(t.id for t in tracts) + 1,
            "patch_nx_max": max(t.nx for t in tracts),
            "patch_ny_max": max(t.ny for t in tracts),
        },
    )
    for tract in tracts:
        rows, columns = tract.shape
        key = {"skymap": skymap.NAME, "tract": tract.id}
        whole = _region(tract, (0, 0, columns, rows))
        insert("tract", {"skymap": skymap.NAME, "id": tract.id, "region": whole})
        insert(
            "patch",
            *(
                {
                    **key,
                    "id": patch.id,
                    "cell_x": patch.x,
                    "cell_y": patch.y,
                    "region": _region(tract, patch.box),
                }
                for patch in tract.patches()
            ),
        )
    # bands have no table of their own: they are defined by a physical filter
    limits = dict.fromkeys(("visit_max", "exposure_max", "detector_max"), 10)
    insert("instrument", {"name": INSTRUMENT, "class_name": "lsst.obs.lsst.LsstCam", **limits})
    for band in BANDS:
        insert("physical_filter", {"instrument": INSTRUMENT, "name": f"{band}_01", "band": band})


def _region(tract: Tract, box: Box) -> sphgeom.ConvexPolygon:
    corners = [sphgeom.LonLat.fromDegrees(ra, dec) for ra, dec in tract.corners(box)]
    return sphgeom.ConvexPolygon([sphgeom.UnitVector3d(corner) for corner in corners])


@contextmanager
def _closing(butler: Butler) -> Iterator[Butler]:
    try:
        yield butler
    finally:
        butler.close()


@contextmanager
def named_formatter() -> Iterator[type[FormatterV2]]:
    """Provide a class with the name of the stack's formatter, which the registry then records.

    The stack need not be installed: this class is never used for reading.
    """
    module_name, class_name = _FORMATTER.rsplit(".", 1)
    parts = module_name.split(".")
    names = [".".join(parts[: n + 1]) for n in range(1, len(parts))]
    before = {name: sys.modules.get(name) for name in names}
    namespace = {
        "__module__": module_name,
        "__qualname__": class_name,
        "default_extension": ".fits",
        "supported_extensions": frozenset({".fits"}),
    }
    formatter = type(class_name, (FormatterV2,), namespace)
    try:
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[module_name], class_name, formatter)
        yield formatter
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def folder_bytes(root: Path) -> int:
    """Return the total size of the files under a folder."""
    return sum(
        os.path.getsize(Path(folder) / name) for folder, _, names in os.walk(root) for name in names
    )
