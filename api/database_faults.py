"""When the database itself fails: what is then our caller's to know, and what is not."""

import sqlite3
from typing import Final

from sqlalchemy import exc

SAID: Final = "the database does not take this now; nothing was done, try again later"
"""What a caller is told; which database it is and how it fails stays in the log."""

FAULTS: Final = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
"""What SQLAlchemy raises when the database, and not what we asked of it, is at fault."""

_READ_ONLY: Final = "25006"


def reason(error: Exception) -> str | None:
    """Return in few words how the database failed, no value among them; None for another fault."""
    if isinstance(error, exc.TimeoutError):
        return "no connection is free"
    if not isinstance(error, exc.DBAPIError):
        return None
    cause = error.orig
    code = getattr(cause, "pgcode", None)
    if isinstance(error, exc.InternalError) and code != _READ_ONLY:
        return None
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorname", type(cause).__name__)
    return f"{type(cause).__name__} {code or ''}".strip()
