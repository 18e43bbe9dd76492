"""The keys of hubs as their actors publish them, and the nonces that they have used."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from commons.database import Base, now
from commons.errors import UnauthenticatedError
from commons.groups import HubKey, Nonce
from commons.signatures import Verified
from crawler.origins import ActorKey

NONCE_KEPT: Final = timedelta(minutes=15)
"""Longer than a signature is valid: 5 minutes to either side of our clock."""

PURGED_EACH: Final = 0.01
"""At how many uses of nonces those that are over are dropped: what is left over does no harm."""

NONCE_USED: Final = "the signature's nonce was used before"


def store_keys(session: Session, group_id: str, keys: Sequence[ActorKey]) -> None:
    """Make a hub's keys those that its actor names now; the others are revoked.

    A key id that is another group's stays that group's.
    """
    moment = now(session)
    named = {key.key_id: key for key in keys}
    held = session.scalars(
        select(HubKey).where(or_(HubKey.group_id == group_id, HubKey.key_id.in_(named)))
    ).all()
    for row in held:
        key = named.pop(row.key_id, None)
        if row.group_id != group_id:
            continue
        if key is None:
            row.revoked_at = row.revoked_at or moment
        else:
            row.algorithm, row.public_key_pem, row.revoked_at = key.algorithm, key.pem, None
    for key in named.values():
        session.add(
            HubKey(
                key_id=key.key_id,
                group_id=group_id,
                algorithm=key.algorithm,
                public_key_pem=key.pem,
                added_at=moment,
            )
        )
    session.flush()


def use_nonce(session: Session, verified: Verified) -> None:
    """Use up a signature's nonce, where it has one; UnauthenticatedError where it was used."""
    if not use_nonces(session, [verified])[0]:
        raise UnauthenticatedError(NONCE_USED)


def use_nonces(session: Session, signatures: Sequence[Verified]) -> list[bool]:
    """Use up the nonces of signatures; return of each whether it was unused, or has none."""
    moment = now(session)
    if random.random() < PURGED_EACH:  # noqa: S311 (now and then, by whichever process)
        session.execute(delete(Nonce).where(Nonce.expires_at < moment))
    wanted = {(one.key_id, one.nonce) for one in signatures if one.nonce is not None}
    used = set()
    if wanted:
        # One statement, so that of two uses in the same moment the second waits and is refused;
        # in one order, so that two that use several do not wait for each other.
        rows = [
            {"key_id": key_id, "nonce": nonce, "expires_at": moment + NONCE_KEPT}
            for key_id, nonce in sorted(wanted)
        ]
        table, names = Base.metadata.tables[Nonce.__tablename__], (Nonce.key_id, Nonce.nonce)
        if session.get_bind().dialect.name == "postgresql":
            query = postgresql.insert(table).on_conflict_do_nothing().returning(*names)
        else:
            query = sqlite.insert(table).on_conflict_do_nothing().returning(*names)
        used = {(key_id, nonce) for key_id, nonce in session.execute(query, rows)}
    unused = []
    for one in signatures:
        mine = one.key_id, one.nonce
        unused.append(one.nonce is None or mine in used)
        used.discard(mine)  # of two in one batch the second is refused
    return unused
