"""What is acknowledged must be kept: PostgreSQL is asked at start whether it will."""

from typing import Final

from sqlalchemy import Engine, text

from commons.database import reading
from commons.errors import ConflictError

_MUST_NOT_BE_OFF: Final = ("fsync", "full_page_writes", "synchronous_commit")


def check_durability(engine: Engine) -> None:
    """Raise ConflictError where the server may lose what it has committed.

    The embedded database is opened by ourselves, with `synchronous=FULL`.
    """
    if engine.dialect.name != "postgresql":
        return
    with reading(engine) as session:
        off = [
            name
            for name in _MUST_NOT_BE_OFF
            if session.scalar(text("SELECT current_setting(:name)"), {"name": name}) == "off"
        ]
    if off:
        told = " and ".join(f"{name}=off" for name in off)
        raise ConflictError(
            f"PostgreSQL runs with {told}, so that payments it has confirmed may be lost in a "
            "crash; turn it on (LOCALPAY_ALLOW_LOSS=true serves nevertheless, for tests only)"
        )
