"""Files that are fetched: what is none is said so."""

import pytest

from hipsgen.errors import CoaddError
from hipsgen.images.staging import local_file


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://[::1#zip-path=a", "[", "s3://[/x#component-mask=y", "#", "x#y"]
)
def test_what_is_no_address_is_a_coadd_that_cannot_be_had(uri):
    with pytest.raises(CoaddError), local_file(uri):
        pass
