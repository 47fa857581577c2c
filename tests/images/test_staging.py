"""Files that are fetched: what is none is said so."""

import subprocess
import sys
import zipfile

import pytest

from hipsgen.errors import CoaddError
from hipsgen.images import staging
from hipsgen.images.staging import _Copies, local_file


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://[::1#zip-path=a", "[", "s3://[/x#component-mask=y", "#", "x#y"]
)
def test_invalid_uris_are_coadd_errors(uri):
    with pytest.raises(CoaddError), local_file(uri):
        pass


@pytest.fixture
def member(tmp_path):
    """A URI whose content has to be copied."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("a", "content")
        packed.writestr("b", "another")
        packed.writestr("c", 1000 * "a third")
    return f"{(tmp_path / 'x.zip').as_uri()}#zip-path=a"


@pytest.fixture
def another(member):
    """Another one."""
    return member.removesuffix("a") + "b"


def test_a_copy_stays_until_its_last_reader_is_done_and_another_is_made(member, another):
    copies = _Copies(capacity=0)
    first, second = copies.acquire(member), copies.acquire(member)
    assert first is second
    copies.release(first)
    copies.release(copies.acquire(another))
    assert copies.has(member)
    assert second.path.read_text() == "content"
    copies.release(second)
    copies.release(copies.acquire(another))
    assert not copies.has(member)
    assert copies.has(another)


def test_a_copy_that_is_kept_stays_until_there_is_no_room(member, another, monkeypatch):
    copies = _Copies(capacity=0)
    copies.keep([member, member])
    for uri in (member, another):
        copies.release(copies.acquire(uri))
    copies.unkeep([member])
    copies.release(copies.acquire(another))
    assert copies.has(member)
    copies.unkeep([member])
    assert not copies.has(member)


def test_a_kept_copy_is_dropped_if_another_needs_its_space(member, another, monkeypatch):
    copies, disk = _Copies(), [1000]

    def free_space() -> int:
        return disk[0] - sum(copy.size for copy in copies._copies.values())

    monkeypatch.setattr(staging, "free_space", free_space)
    copies.keep([member])
    copies.release(copies.acquire(member))
    disk[0] = 107  # a tenth of the 1000 stays free
    copies.release(copies.acquire(another))
    assert not copies.has(member)
    assert copies.has(another)
    with pytest.raises(CoaddError, match=r"do not fit into .*set TMPDIR to a folder with more"):
        copies.acquire(f"{member.removesuffix('a')}c")


def test_copies_are_closed_when_the_process_ends(member):
    """Python would say so of each that is not: ResourceWarning: unclosed file."""
    code = (
        "import sys; from hipsgen.images.staging import local_file\n"
        "with local_file(sys.argv[1]) as path: print(path.read_text())"
    )
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    ran = subprocess.run([*command, member], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("content\n", "")
