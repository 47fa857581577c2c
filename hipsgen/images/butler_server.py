"""Datasets of a Butler server, identified by a permanent URL and located just before they are read.

The server gives out the location of a file as a signed URL that is valid for an hour, so it is
requested when the file is about to be copied. Until then a dataset is identified by the URL that
the server redirects from.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from hipsgen.errors import CoaddError, MissingExtraError

_VARIABLES = "BUTLER_RUBIN_ACCESS_TOKEN, or CADC_TOKEN at CADC"
_DATASET = re.compile(r"(https?://.+)/v1/dataset/([0-9a-f-]{36})/download(?:\?component=(\w+))?")


class Dataset(NamedTuple):
    """A dataset of a server; component: "" for the whole dataset."""

    server: str
    id: str
    component: str = ""

    @property
    def uri(self) -> str:
        """Permanent URL of the dataset."""
        component = f"?component={self.component}" if self.component else ""
        return f"{self.server}/v1/dataset/{self.id}/download{component}"


def dataset_of(uri: str) -> Dataset | None:
    """Return the dataset that a URI identifies, None for any other file."""
    found = _DATASET.fullmatch(uri)
    return Dataset(*(part or "" for part in found.groups())) if found else None


def component_paths(dataset: Dataset) -> dict[str, Any]:
    """Return where the files of a dataset are for the next hour, as ResourcePaths by component.

    Raises CoaddError if the server does not have the dataset, and any error of lsst.daf.butler.
    """
    butler = _butler(dataset.server)
    ref = butler.get_dataset(UUID(dataset.id))
    if ref is None:
        raise CoaddError(f"{dataset.server} has no dataset {dataset.id}: list the coadds again")
    from lsst.daf.butler import DatasetNotFoundError

    try:
        uris = butler.getURIs(ref)
    except DatasetNotFoundError as error:
        raise CoaddError("registered, but not stored in the datastore") from error
    found = dict(uris.componentURIs)
    return found if uris.primaryURI is None else {**found, "": uris.primaryURI}


@lru_cache(maxsize=8)
def _butler(server: str) -> Any:
    """Connect to a server, once per process; threads share the connection."""
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
    """Return the URL of the server that a ButlerConfig names, "" if it names a registry."""
    url = str(config.get(("remote_butler", "url"), "") or "")
    return url.replace("<butlerRoot>", str(config.configDir)).rstrip("/")


def advice_on(error: BaseException) -> str:
    """Return what to do about an error of a Butler server, "" if there is no known remedy."""
    status = getattr(error, "status_code", 0)
    if "no access credentials" in str(error):
        return f"the server requires a token: set {_VARIABLES}"
    if status in (401, 403):
        return f"the server rejects the token ({status}): check {_VARIABLES}"
    if status == 404:
        return "the server has no such repository or dataset (404)"
    return ""
