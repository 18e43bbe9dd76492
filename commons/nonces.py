"""Nonces of signatures: each is used once, in the transaction of what was signed with it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, exists, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from commons.database import Base, now
from commons.groups import Hub, HubKey, HubState, Nonce

KEPT: Final = timedelta(minutes=15)
"""Longer than a signature is valid: 5 minutes to either side of our clock."""

_GATHERING: Final = timedelta(minutes=1)

USED_BEFORE: Final = "the signature's nonce was used before"
REVOKED: Final = "the key that signed this was revoked or replaced meanwhile"
CLOSED: Final = "this key is not confirmed any more, or its hub is not admitted"


_NONCES: Final = Base.metadata.tables[Nonce.__tablename__]
_INSERTS: Final = {
    dialect.__name__.rpartition(".")[2]: dialect.insert(_NONCES)
    .on_conflict_do_nothing()
    .returning(_NONCES.c.key_id, _NONCES.c.nonce)
    for dialect in (postgresql, sqlite)
}


@dataclass(frozen=True, slots=True)
class Used:
    """A nonce that a signature was made with, and until when it has to be remembered.

    `pem` is the public key that the signature was verified with, where it is to be asked whether
    it is still the one of this id.
    """

    key_id: str
    nonce: str
    expires_at: datetime
    pem: str = ""


def use(
    session: Session, used: Sequence[Used], *, clearing: bool = True, own: Collection[int] = ()
) -> dict[int, str]:
    """Use up the nonces of hubs' calls; return by index which are not to be handled, and why.

    Those are the ones whose nonce was used before, also within the sequence, and the ones whose
    key was revoked or replaced since the signature was verified: keys are remembered for a while
    in each process, and what is revoked does nothing from then on. Calls to `clearing` are refused
    too where the key waits to be confirmed, or its hub is no longer admitted.

    `own` are the indexes of calls tried once more whose nonces were found unused before: where
    they are used by now, that try did it, and its commit was kept though nobody was told.
    """
    refused = dict.fromkeys(take(session, used) - set(own), USED_BEFORE)
    keys = _keys(session, {one.key_id for one in used})
    for index, one in enumerate(used):
        pem, is_revoked, is_closed = keys.get(one.key_id, _NO_KEY)
        if is_revoked or one.pem not in {"", pem}:
            refused.setdefault(index, REVOKED)
        elif clearing and is_closed:
            refused.setdefault(index, CLOSED)
    return refused


def take(session: Session, used: Sequence[Used]) -> set[int]:
    """Use up nonces; return the indexes of those used before, also within the sequence."""
    rows = {(one.key_id, one.nonce): one.expires_at for one in used}
    if not rows:
        return set()
    # One statement, so that of two uses in the same moment the second waits and is refused;
    # in one order, so that two that use several do not wait for each other.
    ordered = [
        {"key_id": key_id, "nonce": nonce, "expires_at": rows[key_id, nonce]}
        for key_id, nonce in sorted(rows)
    ]
    connection = session.connection()
    insert = _INSERTS[connection.dialect.name]
    fresh = {(key_id, nonce) for key_id, nonce in connection.execute(insert, ordered)}
    spent = set()
    for index, one in enumerate(used):
        if (one.key_id, one.nonce) not in fresh:
            spent.add(index)
        fresh.discard((one.key_id, one.nonce))  # of two in one sequence the second is refused
    return spent


def is_purge_due(session: Session) -> bool:
    """Tell whether there are nonces to forget, which gather for a minute."""
    over = exists().where(Nonce.expires_at < now(session) - _GATHERING)
    return session.scalar(select(over)) or False


def purge(session: Session) -> int:
    """Forget the nonces of signatures that are too old to be valid; return how many."""
    gone = session.execute(
        delete(Nonce)
        .where(Nonce.expires_at < now(session))
        .returning(Nonce.nonce)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


_NO_KEY: Final = ("", True, True)
_KEYS: Final = (
    select(
        HubKey.key_id,
        HubKey.public_key_pem,
        HubKey.revoked_at.is_not(None),
        or_(HubKey.confirmed_at.is_(None), Hub.state != HubState.ADMITTED),
    )
    .join(Hub, Hub.group_id == HubKey.group_id)
    .where(HubKey.key_id.in_(bindparam("key_ids", expanding=True)))
)
"""Made once: SQLAlchemy takes longer to put it together than a database to answer it."""


def _keys(session: Session, key_ids: set[str]) -> dict[str, tuple[str, bool, bool]]:
    """Return of these keys the public key, whether it is revoked, and whether it signs no calls."""
    if not key_ids:
        return {}
    rows = session.connection().execute(_KEYS, {"key_ids": list(key_ids)})
    return {key_id: (pem, revoked, closed) for key_id, pem, revoked, closed in rows}
