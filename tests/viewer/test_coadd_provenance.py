import asyncio
import os

from hipsgen.survey.provenance import Provenance
from tests.viewer.conftest import COADD
from tests.viewer.small_hips import DEC, RA
from viewer.coadds.provenance import ProvenanceTables


def test_a_table_is_read_once_and_again_when_it_changes(tmp_path, monkeypatch):
    file = tmp_path / "provenance.fits"
    file.write_bytes(Provenance([COADD]).to_bytes())
    reads = []
    original = Provenance.from_bytes
    monkeypatch.setattr(Provenance, "from_bytes", lambda data: (reads.append(1), original(data))[1])
    tables = ProvenanceTables([tmp_path])

    async def ask(times):
        answers = (tables.at(tmp_path, RA, DEC) for _ in range(times))
        return [len(coadds) for coadds in await asyncio.gather(*answers)]

    # at the same time, and from another event loop
    assert asyncio.run(ask(5)) == [1] * 5
    assert asyncio.run(ask(2)) == [1] * 2
    assert len(reads) == 1
    file.write_bytes(Provenance([COADD, COADD]).to_bytes())
    os.utime(file, (1, 1))
    assert asyncio.run(ask(1)) == [2]
    assert len(reads) == 2
