"""Files that are fetched: what is none is said so."""

import subprocess
import sys
import zipfile

import pytest

from hipsgen.errors import CoaddError
from hipsgen.images.staging import _Copies, local_file


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://[::1#zip-path=a", "[", "s3://[/x#component-mask=y", "#", "x#y"]
)
def test_what_is_no_address_is_a_coadd_that_cannot_be_had(uri):
    with pytest.raises(CoaddError), local_file(uri):
        pass


@pytest.fixture
def member(tmp_path):
    """A URI whose content has to be copied."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("a", "content")
    return f"{(tmp_path / 'x.zip').as_uri()}#zip-path=a"


def test_a_copy_stays_until_its_last_reader_is_done(member):
    copies = _Copies(capacity=0)
    first, second = copies.acquire(member), copies.acquire(member)
    assert first is second
    copies.release(first)
    assert copies.has(member)
    assert second.path.read_text() == "content"
    copies.release(second)
    assert not copies.has(member)


def test_copies_are_closed_when_the_process_ends(member):
    """Python would say so of each that is not: ResourceWarning: unclosed file."""
    code = (
        "import sys; from hipsgen.images.staging import local_file\n"
        "with local_file(sys.argv[1]) as path: print(path.read_text())"
    )
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    ran = subprocess.run([*command, member], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("content\n", "")
