"""The audit log: who did what with the operator's or a hub's powers, in one hash chain.

Each row's hash is SHA-256(previous hash as 32 bytes ‖ the row as canonical JSON, RFC 8785), all of
whose values are strings. Payments are not in it: they have the chains of their accounts.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons import database
from commons.database import Base, Counter

_COUNTER: Final = "audit_log"
FIRST_HASH: Final = hashlib.sha256(b"localpay audit log").hexdigest()


class Deed(Base):
    """One row of the audit log; `data` holds strings only, and no member's name.

    `actor` is who did it: `operator`, `token:PREFIX` or `hub:GROUP`.
    """

    __tablename__ = "deeds"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    actor: Mapped[str] = mapped_column(String(60))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(200))
    data: Mapped[dict[str, Any]]
    done_at: Mapped[datetime]
    hash: Mapped[str] = mapped_column(String(64))


database.append_only(Deed)


def record(
    session: Session, actor: str, action: str, subject: str, data: Mapping[str, str] | None = None
) -> Deed:
    """Add a row; the log is locked from here to the commit, so call it last."""
    number = database.draw(session, _COUNTER)
    previous = session.scalar(select(Deed.hash).where(Deed.number == number - 1)) or FIRST_HASH
    deed = Deed(
        number=number,
        actor=actor,
        action=action,
        subject=subject,
        data=dict(data or {}),
        done_at=database.now(session),
    )
    deed.hash = _hash(previous, deed)
    session.add(deed)
    session.flush()
    return deed


def after(session: Session, number: int, limit: int) -> list[Deed]:
    """Return the rows after a number, in their order, `limit` at most."""
    query = select(Deed).where(Deed.number > number).order_by(Deed.number).limit(limit)
    return list(session.scalars(query))


def newest(session: Session) -> Deed | None:
    """Return the last row, whose hash stands for the whole log."""
    return session.scalar(select(Deed).order_by(Deed.number.desc()).limit(1))


def broken(session: Session) -> Iterator[str]:
    """Tell which rows of the log were changed or are missing; nothing where it is whole.

    Rows cut off at the end are found by the counter that numbers them.
    """
    previous, number = FIRST_HASH, 0
    for deed in session.scalars(select(Deed).order_by(Deed.number)):
        number += 1
        if deed.number != number:
            yield f"row {number} of the audit log is missing"
            number = deed.number
        elif deed.hash != _hash(previous, deed):
            yield f"row {number} of the audit log does not verify"
        previous = deed.hash
    drawn = session.scalar(select(Counter.value).where(Counter.name == _COUNTER)) or 0
    if number < drawn:
        yield f"rows {number + 1} to {drawn} of the audit log are missing"


def _hash(previous: str, deed: Deed) -> str:
    row = {
        "number": str(deed.number),
        "actor": deed.actor,
        "action": deed.action,
        "subject": deed.subject,
        "data": deed.data,
        "time": deed.done_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    return hashlib.sha256(
        bytes.fromhex(previous) + orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    ).hexdigest()
