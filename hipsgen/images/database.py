"""Connect to the database of a registry, and explain why a connection fails."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hipsgen.errors import InputError
from hipsgen.files import NotRegularError, check_regular

# message of the server or the driver: what the user can do
_ADVICE = {
    "password authentication failed": "the password is wrong: {credentials}",
    "no password supplied": "there is no password: {credentials}",
    "no pg_hba.conf entry": "the server refuses this user from this host: ask its administrator",
    "permission denied": "ask for: GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",
    "does not exist": "see registry.db in the repository's butler.yaml",
    "Connection refused": "no server responds: is it running, and is the host correct?",
    "could not translate host name": "the host is unknown: see registry.db in butler.yaml",
    "resolve": "the host is unknown: see registry.db in butler.yaml",
    "timeout": "no server responds: is it behind a firewall, or does it need a tunnel?",
}
_CREDENTIALS = (
    "put it into ~/.lsst/db-auth.yaml or the file named by LSST_DB_AUTH, "
    "or set PGUSER and PGPASSWORD or PGPASSFILE"
)


class DatabaseError(InputError):
    """The database cannot be reached or refuses to be read."""


def read_only_engine(text: str) -> Any:
    """Create a read-only SQLAlchemy engine for the URL in a butler.yaml.

    Users and passwords come from where daf_butler looks for them. Raises DatabaseError if others
    may read the file of credentials.
    """
    import sqlalchemy

    url = sqlalchemy.make_url(text)
    if url.get_backend_name() == "sqlite":
        check_database(text)
        path = quote(str(Path(url.database or "").absolute()))
        return sqlalchemy.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    options = {"postgresql_readonly": True}
    return sqlalchemy.create_engine(_with_credentials(url), execution_options=options)


def check_database(text: str) -> None:
    """Raise DatabaseError if a URL names a FIFO or a device as SQLite's file.

    SQLite would wait for a writer of the FIFO. Without a file, it says so itself.
    """
    import sqlalchemy

    url = sqlalchemy.make_url(text)
    if url.get_backend_name() != "sqlite" or not url.database:
        return
    try:
        check_regular(url.database)
    except NotRegularError as error:
        advice = "check registry.db in butler.yaml"
        raise DatabaseError(f"the registry {url.database}: {error.strerror}; {advice}") from error
    except OSError:
        pass


def _with_credentials(url: Any) -> Any:
    """Add the user's name and password to a database URL."""
    from lsst.utils.db_auth import DbAuth, DbAuthError, DbAuthNotFoundError

    if url.password is not None:
        return url
    try:
        auth = DbAuth("~/.lsst/db-auth.yaml", "LSST_DB_AUTH")
        database = url.get_backend_name(), url.username, url.host, url.port, url.database
        user, password = auth.getAuth(*database)
    except DbAuthNotFoundError:
        return url  # the driver uses PGUSER, PGPASSFILE and the like
    except DbAuthError as error:
        raise DatabaseError(f"credentials of {_location(url)}: {_one_line(error)}") from error
    return url.set(username=user, password=password)


def explain_error(error: BaseException, text: str) -> DatabaseError | None:
    """Explain an error of SQLAlchemy if the database cannot be reached or read; None otherwise.

    text: URL of the database.
    """
    import sqlalchemy

    message = _one_line(getattr(error, "orig", None) or error)
    if not text or not isinstance(error, sqlalchemy.exc.DBAPIError):
        return None
    url = sqlalchemy.make_url(text)
    if "unable to open database file" in message and url.database:
        advice = "check registry.db in butler.yaml"
        return DatabaseError(f"the registry {url.database} is not there or not readable: {advice}")
    for phrase, advice in _ADVICE.items():
        if phrase in message and url.host:
            user = url.username or os.environ.get("PGUSER", "the user")
            remedy = advice.format(credentials=_CREDENTIALS, user=user)
            return DatabaseError(f"database {_location(url)}: {_reason(message)}; {remedy}")
    return None


def _location(url: Any) -> str:
    port = f":{url.port}" if url.port else ""
    return f"{url.host}{port}/{url.database}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _reason(message: str) -> str:
    """Strip the parts of a driver's message that surround the reason."""
    reason = message.rsplit("failed: ", 1)[-1].removeprefix("FATAL: ").split(" Is the server")[0]
    return reason.split(" LINE ")[0][:200].strip()
