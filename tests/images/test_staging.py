"""Files that are fetched: what is none is said so."""

import subprocess
import sys
import zipfile

import pytest

from hipsgen.errors import CoaddError
from hipsgen.images.staging import local_file


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://[::1#zip-path=a", "[", "s3://[/x#component-mask=y", "#", "x#y"]
)
def test_what_is_no_address_is_a_coadd_that_cannot_be_had(uri):
    with pytest.raises(CoaddError), local_file(uri):
        pass


def test_copies_are_closed_when_the_process_ends(tmp_path):
    """Python would say so of each that is not: ResourceWarning: unclosed file."""
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as written:
        written.writestr("a", "content")
    code = (
        "import sys; from hipsgen.images.staging import local_file\n"
        "with local_file(sys.argv[1]) as path: print(path.read_text())"
    )
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    member = f"{packed.as_uri()}#zip-path=a"
    ran = subprocess.run([*command, member], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("content\n", "")
