"""`python -m tests.benchmarks.registry DATA`: what `hipsgen plan` costs on a large registry.

DATA: the folder with old_registries. One of them is grown to 100,000 coadds on SQLite, another on
a PostgreSQL server; each is planned through daf_butler and, with a manager deleted, by SQL.
"""

import argparse
import base64
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from tests.benchmarks.measure import Cost, middle, run
from tests.repositories.postgres import OWNER, PASSWORD, server

COLLECTION, DATASET_TYPE = "u/me/coadds", "deepCoadd_calexp"
PATCHES, ROWS_AT_ONCE = 50, 20_000
_MANAGER = "DELETE FROM butler_attributes WHERE name = 'config:registry.managers.datasets'"


def grow(engine: Any, coadds: int) -> None:
    """So many more coadds of band r, tracts of fifty patches each, in the first run.

    Rows are like those that are there, whatever columns they have.
    """
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    tables = metadata.tables
    tags = next(name for name in tables if name.startswith("dataset_tags_"))
    rng = np.random.default_rng(1)
    with engine.begin() as connection:

        def like(name: str, **where: Any) -> dict[str, Any]:
            query = sqlalchemy.select(tables[name])
            for column, value in where.items():
                query = query.where(tables[name].c[column] == value)
            return dict(connection.execute(query.limit(1)).mappings().one())

        tag = like(tags, band="r")
        dataset = like("dataset", id=tag["dataset_id"])
        tract, patch = like("tract"), like("patch")
        file = like("file_datastore_records", dataset_id=tag["dataset_id"])
        place = like("dataset_location", dataset_id=tag["dataset_id"])
        rows: dict[str, list[dict[str, Any]]] = {}
        for number in range(coadds // PATCHES):
            n, lon, lat = 10_000 + number, number % 100 * 3.0, number // 100 % 40 * 3.0 - 60
            rows.setdefault("tract", []).append({**tract, "id": n, "region": _box(lon, lat, 0.8)})
            for p in range(PATCHES):
                x, y = p % 7, p // 7
                region = _box(lon + 0.2 * x - 0.6, lat + 0.2 * y - 0.6, 0.1)
                made = {"id": p, "tract": n, "cell_x": x, "cell_y": y, "region": region}
                key = uuid.UUID(bytes=rng.bytes(16), version=4)
                path = f"run/{DATASET_TYPE}/{n}/{p}/r/{DATASET_TYPE}_{n}_{p}_r.fits"
                rows.setdefault("patch", []).append({**patch, **made})
                rows.setdefault("dataset", []).append({**dataset, "id": key})
                found = {"dataset_id": key, "tract": n, "patch": p}
                rows.setdefault(tags, []).append({**tag, **found})
                record = {**file, "dataset_id": key, "path": path}
                rows.setdefault("file_datastore_records", []).append(record)
                rows.setdefault("dataset_location", []).append({**place, "dataset_id": key})
        for name, new in rows.items():
            insert = tables[name].insert()
            for k in range(0, len(new), ROWS_AT_ONCE):
                some = [_fitting(row, dataset["id"]) for row in new[k : k + ROWS_AT_ONCE]]
                connection.execute(insert, some)


def _fitting(row: dict[str, Any], known: Any) -> dict[str, Any]:
    """UUIDs in the form that the registry's own have."""
    if isinstance(known, uuid.UUID):
        return row
    return {k: v.hex if isinstance(v, uuid.UUID) else v for k, v in row.items()}


def _box(lon: float, lat: float, half: float) -> str:
    wide = half / np.cos(np.radians(lat))
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    vectors = [
        UnitVector3d(LonLat.fromDegrees((lon + a * wide) % 360, lat + b * half)) for a, b in corners
    ]
    return base64.b64encode(ConvexPolygon(vectors).encode()).decode()


@contextmanager
def registries(data: Path, scratch: Path, coadds: int) -> Iterator[dict[str, tuple[Path, Any]]]:
    """The folder of each repository, and its database, open for writing."""
    made: dict[str, tuple[Path, Any]] = {}
    root = Path(shutil.copytree(data / "old_registries" / "rv28", scratch / "sqlite"))
    made["SQLite"] = root, sqlalchemy.create_engine(f"sqlite:///{root / 'gen3.sqlite3'}")
    dump = data / "old_registries" / "23.0.4-postgresql"
    with server() as started:
        started.psql("CREATE DATABASE butler")
        started.psql("", "butler", dump / "dump.sql")
        root = Path(shutil.copytree(dump, scratch / "postgresql"))
        url = started.url("butler", OWNER)
        text = (root / "butler.yaml").read_text()
        old = next(line.split("db:")[1].strip() for line in text.splitlines() if "db:" in line)
        (root / "butler.yaml").write_text(text.replace(old, url))
        os.environ["PGPASSWORD"] = PASSWORD
        made["PostgreSQL"] = root, sqlalchemy.create_engine(url)
        for _, engine in made.values():
            grow(engine, coadds)
        started.psql("ANALYZE", "butler")
        yield made
        for _, engine in made.values():
            engine.dispose()


_LISTING = """
import gc, resource, sys, time
gc.set_threshold(200_000)  # as the command line does
import lsst.daf.butler, sqlalchemy
from hipsgen.images.butler_source import ButlerSource
started = time.monotonic()
refs = list(ButlerSource(sys.argv[1], sys.argv[2], (sys.argv[3],), "r").refs())
print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def references(root: Path, times: int) -> Cost:
    """All of them, with URIs and polygons, once the libraries are loaded."""
    command = [sys.executable, "-c", _LISTING, str(root), DATASET_TYPE, COLLECTION]
    costs = []
    for _ in range(times):
        wall, peak = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()
        costs.append(Cost(0.0, float(wall), int(peak)))
    return middle(costs)


def plan(root: Path, times: int) -> Cost:
    """`hipsgen plan` of all of it; the files are not there, so nothing but the registry is read."""
    program = os.environ.get("HIPSGEN", str(Path(sys.executable).with_name("hipsgen")))
    what = ["-c", COLLECTION, "-d", DATASET_TYPE, "-b", "r", "--order", "11"]
    return middle(
        [run([program, "plan", str(root), *what], root, root / "log") for _ in range(times)]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--coadds", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    print(f"| {asked.coadds} coadds | references, s | peak MB | `hipsgen plan`, s | peak MB |")
    print("|---|---:|---:|---:|---:|")
    with (
        tempfile.TemporaryDirectory() as scratch,
        registries(asked.data, Path(scratch), asked.coadds) as made,
    ):
        for reader in ("daf_butler", "SQL"):
            for name, (root, engine) in made.items():
                if reader == "SQL":
                    with engine.begin() as connection:
                        connection.exec_driver_sql(_MANAGER)
                costs = references(root, asked.times), plan(root, asked.times)
                figures = " | ".join(f"{c.wall:.1f} | {c.peak / 1e6:.0f}" for c in costs)
                print(f"| {name}, by {reader} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
