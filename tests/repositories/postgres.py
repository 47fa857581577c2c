"""A PostgreSQL server of one's own, for as long as a test run."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

OWNER, PASSWORD = "owner", "its password"


def programs() -> Path:
    """Where initdb is, or skip saying which Debian package has it."""
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path is None and not found:
        pytest.skip("needs initdb (Debian package postgresql)")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


@dataclass(frozen=True)
class Server:
    """Listens on loopback; roles need passwords."""

    port: int
    programs: Path

    def psql(self, statement: str, database: str = "postgres", file: Path | None = None) -> str:
        """What psql prints, as the owner of everything."""
        what = ["-f", str(file)] if file else ["-c", statement]
        command = [str(self.programs / "psql"), "-h", "127.0.0.1", "-p", str(self.port)]
        command += ["-U", OWNER, "-d", database, "-v", "ON_ERROR_STOP=1", "-qAt", *what]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def url(self, database: str, user: str = "") -> str:
        """For a butler.yaml."""
        return f"postgresql://{user + '@' if user else ''}127.0.0.1:{self.port}/{database}"


@contextmanager
def server() -> Iterator[Server]:
    """A new server without databases."""
    there = programs()
    # PostgreSQL refuses to run as root
    user = "postgres" if getpass.getuser() == "root" else None
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if user:
            shutil.chown(place, user)
        password = place / "password"
        password.write_text(PASSWORD)
        if user:
            shutil.chown(password, user)
        initdb = [str(there / "initdb"), "-D", str(place / "data"), "-U", OWNER, "-A"]
        initdb += ["scram-sha-256", f"--pwfile={password}", "-N", "-E", "UTF8", "--locale=C"]
        quiet = {"check": True, "user": user, "cwd": place, "stdout": subprocess.DEVNULL}
        subprocess.run(initdb, **quiet)  # type: ignore[call-overload]
        port = _free_port()
        options = f"-p {port} -h 127.0.0.1 -k {place} -c fsync=off"
        control = [str(there / "pg_ctl"), "-D", str(place / "data"), "-w", "-l", str(place / "log")]
        subprocess.run([*control, "-o", options, "start"], **quiet)  # type: ignore[call-overload]
        try:
            yield Server(port, there)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(place)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
