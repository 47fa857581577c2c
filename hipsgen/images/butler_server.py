"""Datasets behind a Butler server: named for good by a URL, found just before they are read.

What the server tells of a file is good for an hour (a signed URL), so it is asked when a file is
about to be copied. Until then a dataset goes by the URL with which the server redirects to it.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from hipsgen.errors import CoaddError, MissingExtraError

_VARIABLES = "BUTLER_RUBIN_ACCESS_TOKEN, or CADC_TOKEN at CADC"
_DATASET = re.compile(r"(https?://.+)/v1/dataset/([0-9a-f-]{36})/download(?:\?component=(\w+))?")


class Dataset(NamedTuple):
    """A dataset of a server; component: "" for all of it."""

    server: str
    id: str
    component: str = ""

    @property
    def uri(self) -> str:
        """Its URL."""
        component = f"?component={self.component}" if self.component else ""
        return f"{self.server}/v1/dataset/{self.id}/download{component}"


def dataset_of(uri: str) -> Dataset | None:
    """The dataset that a URI names, None for any other file."""
    found = _DATASET.fullmatch(uri)
    return Dataset(*(part or "" for part in found.groups())) if found else None


def places_of(dataset: Dataset) -> dict[str, Any]:
    """Where the files of a dataset are for the next hour, as ResourcePaths by component.

    Raises CoaddError for one that the server does not have, and what the library raises.
    """
    butler = _butler(dataset.server)
    ref = butler.get_dataset(UUID(dataset.id))
    if ref is None:
        raise CoaddError(f"{dataset.server} knows no dataset {dataset.id}")
    from lsst.daf.butler import DatasetNotFoundError

    try:
        uris = butler.getURIs(ref)
    except DatasetNotFoundError as error:
        raise CoaddError("registered, but not stored in the datastore") from error
    found = dict(uris.componentURIs)
    return found if uris.primaryURI is None else {**found, "": uris.primaryURI}


@lru_cache(maxsize=8)
def _butler(server: str) -> Any:
    """One connection per process, which threads share."""
    try:
        from lsst.daf.butler import Butler
        from lsst.daf.butler.remote_butler import RemoteButler
    except ImportError as error:
        raise MissingExtraError("reading from a Butler server", "remote") from error
    butler = Butler.from_config(f"{server}/", writeable=False)
    if not isinstance(butler, RemoteButler):
        raise CoaddError(f"{server} is not a Butler server")
    return butler


def server_of(config: Any) -> str:
    """The URL of the server that a ButlerConfig names, "" if it names a registry."""
    url = str(config.get(("remote_butler", "url"), "") or "")
    return url.replace("<butlerRoot>", str(config.configDir)).rstrip("/")


def advice_on(error: BaseException) -> str:
    """What to do about an error of a Butler server, "" where nothing is known to help."""
    status = getattr(error, "status_code", 0)
    if "no access credentials" in str(error):
        return f"the server asks for a token: set {_VARIABLES}"
    if status in (401, 403):
        return f"the server refuses the token ({status}); it is in {_VARIABLES}"
    if status == 404:
        return "the server has no such repository or dataset (404)"
    return ""
