"""The database of a registry: how to get in, and what to do when one does not get in."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hipsgen.errors import InputError

# by what a server or the driver says: what that means for the user
_ADVICE = {
    "password authentication failed": "the password is wrong: {credentials}",
    "no password supplied": "there is no password: {credentials}",
    "no pg_hba.conf entry": "the server does not let this user in from here: ask who runs it",
    "permission denied": "ask for: GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",
    "does not exist": "see registry.db in the repository's butler.yaml",
    "Connection refused": "no server answers there: is it running, and is this the right machine?",
    "could not translate host name": "no such host is known here: see registry.db in butler.yaml",
    "resolve": "no such host is known here: see registry.db in butler.yaml",
    "timeout": "no server answers there: is a tunnel or a firewall in between?",
}
_CREDENTIALS = (
    "put it into ~/.lsst/db-auth.yaml or the file that LSST_DB_AUTH names, "
    "or set PGUSER and PGPASSWORD or PGPASSFILE"
)


class DatabaseError(InputError):
    """The database cannot be reached, or does not let us read."""


def engine_of(text: str) -> Any:
    """A SQLAlchemy engine that cannot write, for the URL in a butler.yaml.

    Users and passwords are found where daf_butler finds them. Raises DatabaseError for a file of
    credentials that others may read.
    """
    import sqlalchemy

    url = sqlalchemy.make_url(text)
    if url.get_backend_name() == "sqlite":
        path = quote(str(Path(url.database or "").absolute()))
        return sqlalchemy.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    options = {"postgresql_readonly": True}
    return sqlalchemy.create_engine(_signed(url), execution_options=options)


def _signed(url: Any) -> Any:
    """With the user's name and password."""
    from lsst.utils.db_auth import DbAuth, DbAuthError, DbAuthNotFoundError

    if url.password is not None:
        return url
    try:
        known = DbAuth("~/.lsst/db-auth.yaml", "LSST_DB_AUTH")
        place = url.get_backend_name(), url.username, url.host, url.port, url.database
        user, password = known.getAuth(*place)
    except DbAuthNotFoundError:
        return url  # the driver asks PGUSER, PGPASSFILE and the like
    except DbAuthError as error:
        raise DatabaseError(f"credentials of {_place(url)}: {_plain(error)}") from error
    return url.set(username=user, password=password)


def trouble_of(error: BaseException, text: str) -> DatabaseError | None:
    """What an error of SQLAlchemy says of getting into the database with this URL, if it does."""
    import sqlalchemy

    said = _plain(getattr(error, "orig", None) or error)
    if not text or not isinstance(error, sqlalchemy.exc.DBAPIError):
        return None
    url = sqlalchemy.make_url(text)
    if "unable to open database file" in said and url.database:
        advice = "it is registry.db in butler.yaml"
        return DatabaseError(f"the registry {url.database} is not there, or not readable: {advice}")
    for words, advice in _ADVICE.items():
        if words in said and url.host:
            user = url.username or os.environ.get("PGUSER", "the user")
            means = advice.format(credentials=_CREDENTIALS, user=user)
            return DatabaseError(f"database {_place(url)}: {_shorter(said)}; {means}")
    return None


def _place(url: Any) -> str:
    port = f":{url.port}" if url.port else ""
    return f"{url.host}{port}/{url.database}"


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())


def _shorter(said: str) -> str:
    """Without what the driver says before, and asks after, the reason."""
    reason = said.rsplit("failed: ", 1)[-1].removeprefix("FATAL: ").split(" Is the server")[0]
    return reason.split(" LINE ")[0][:200].strip()
